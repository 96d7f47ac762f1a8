"""What people use instead, each as a program of its own: a folder of photos in, blurred copies out.

    python peers.py deface|loop|stream PHOTOS OUTPUT [PLATES.pt]

It imports nothing of this package, so that a peer may live in an environment of its own. OUTPUT/hidden.json says what
was hidden: a photo's name -> [shape, x1, y1, x2, y2] each, the shape being "box" or "ellipse" (within that box).
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

PHOTOS = (".jpg", ".jpeg", ".png")
HIDDEN = "hidden.json"
KERNEL = (51, 51)  # of OpenCV's blur, as answers on the web have it

Hidden = dict[str, list[list[Any]]]


def photos(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PHOTOS)


def deface(folder: Path, output: Path, _: str = "") -> Hidden:
    """deface as its command runs, told what it hides."""
    import deface.deface as program

    hidden: Hidden = {}
    now = ""
    image_detect, anonymize_frame = program.image_detect, program.anonymize_frame

    def noting_image(ipath: str, **options: Any) -> Any:
        nonlocal now
        now = Path(ipath).name
        hidden[now] = []
        return image_detect(ipath=ipath, **options)

    def noting_frame(dets: Any, frame: Any, mask_scale: float, **options: Any) -> Any:
        for det in dets:
            x1, y1, x2, y2 = map(int, program.scale_bb(*det[:4].astype(int), mask_scale))
            height, width = frame.shape[:2]
            hidden[now].append(["ellipse", max(0, x1), max(0, y1), min(width - 1, x2), min(height - 1, y2)])
        return anonymize_frame(dets, frame, mask_scale=mask_scale, **options)

    program.image_detect, program.anonymize_frame = noting_image, noting_frame
    copies = output / "photos"  # it writes beside what it reads
    shutil.copytree(folder, copies)
    sys.argv = ["deface", str(copies)]
    program.main()
    return hidden


def loop(folder: Path, output: Path, plates: str) -> Hidden:
    """Photo by photo: ultralytics' YOLO at 640 for plates, MTCNN for faces, OpenCV's blur."""
    import cv2
    from facenet_pytorch import MTCNN

    network, faces = yolo(plates), MTCNN(keep_all=True)

    hidden = {}
    for path in photos(folder):
        image = cv2.imread(str(path))
        boxes = network.predict(image, imgsz=640, verbose=False)[0].boxes.xyxy.tolist()
        found, _ = faces.detect(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        boxes += [] if found is None else found.tolist()
        hidden[path.name] = blur(image, boxes, output / path.name)
    return hidden


def stream(folder: Path, output: Path, plates: str) -> Hidden:
    """ultralytics' own way for many photos, predict(stream=True), and OpenCV's blur; plates alone."""
    results = yolo(plates).predict([str(p) for p in photos(folder)], stream=True, imgsz=640, verbose=False)
    hidden = {}
    for result in results:
        path = Path(result.path)
        hidden[path.name] = blur(result.orig_img, result.boxes.xyxy.tolist(), output / path.name)
    return hidden


def yolo(weights: str) -> Any:
    from ultralytics import YOLO

    return YOLO(weights)


def blur(image: Any, boxes: Iterable[Iterable[float]], target: Path) -> list[list[Any]]:
    """Blur boxes of a BGR image and write it."""
    import cv2

    hidden: list[list[Any]] = []
    height, width = image.shape[:2]
    for box in boxes:
        x1, y1, x2, y2 = (round(v) for v in box)
        x1, y1, x2, y2 = max(0, x1), max(0, y1), min(width, x2), min(height, y2)
        if x2 > x1 and y2 > y1:
            image[y1:y2, x1:x2] = cv2.GaussianBlur(image[y1:y2, x1:x2], KERNEL, 0)
            hidden.append(["box", x1, y1, x2, y2])
    cv2.imwrite(str(target), image)
    return hidden


def main() -> None:
    name, folder, output, *rest = sys.argv[1:]
    target = Path(output)
    target.mkdir(parents=True, exist_ok=True)
    peers: dict[str, Callable[..., Hidden]] = {"deface": deface, "loop": loop, "stream": stream}
    hidden = peers[name](Path(folder), target, *rest)
    (target / HIDDEN).write_text(json.dumps(hidden))


if __name__ == "__main__":
    main()
