"""The presets on a GPU, beside the CPU of the same machine: time, memory, and what half precision changes.

    python -m bench.gpu [PHOTOS] [--presets fast,balanced] [--batches 1,4,8,16] [--sizes 1,12] [--json FILE]

PHOTOS: a folder; without it, drawn streets. They are cut to 4:3 and resized to each number of megapixels. Per preset,
size and way (`cpu f32`, `cuda f32`, `cuda f16`) it prints how many photos per second the detectors look at, all photos
decoded before, how much memory the GPU gives (all of its processes, less what it gave at the start), and the largest
difference from the first way's answers; then where the time of one photo goes, and photos per second of `run` from
files to files. `--ways cpu` tries the command where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np

from anonymize import engine, images
from anonymize.detectors import closer, factory, yolo
from anonymize.detectors.onnx_runtime import OnnxRuntime
from anonymize.detectors.runtime import NetworkDetector, OpenVino
from anonymize.hiding import hide_record
from anonymize.predictor import Predictor
from anonymize.regions import Region, iou
from anonymize.regions import boxes as boxes_of
from anonymize.settings import Settings

SHOWN = 0.05  # regions that are less likely than this do not count in differences
WAYS = {"cpu": ("cpu", "f32"), "f32": ("cuda", "f32"), "f16": ("cuda", "f16")}


def drawn(n: int) -> np.ndarray:
    """A street with boxes and discs, which networks take for all kinds of things: 8 bits BGR, 1200 x 1600 px."""
    rng = np.random.default_rng(n)
    image = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), (1600, 1200), interpolation=cv2.INTER_CUBIC)
    for _ in range(60):
        x, y, w, h = (int(v) for v in rng.integers((0, 0, 10, 10), (1500, 1100, 200, 200)))
        color = [int(v) for v in rng.integers(0, 255, 3)]
        cv2.rectangle(image, (x, y), (x + w, y + h), color, -1)
        cv2.circle(image, (x + w // 2, y - h // 3), h // 4 + 2, (140, 170, 220), -1)
    return image


def make_photos(source: Path | None, folder: Path, megapixels: float, count: int) -> None:
    """`count` JPEG files of one size."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5 / 8) * 8
    size = (height * 4 // 3, height)
    files = [] if source is None else sorted(p for p in source.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    for i in range(count):
        image = cv2.imread(str(files[i % len(files)])) if files else drawn(i)
        h, w = image.shape[:2]
        high, wide = (h, h * 4 // 3) if w * 3 >= h * 4 else (w * 3 // 4, w)
        top, left = (h - high) // 2, (w - wide) // 2
        cut = image[top : top + high, left : left + wide]
        way = cv2.INTER_AREA if wide > size[0] else cv2.INTER_CUBIC
        cv2.imwrite(str(folder / f"{i:03}.jpg"), cv2.resize(cut, size, interpolation=way))


def gpu_memory() -> float:
    """MB that the GPU has given."""
    ask = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        return float(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split()[0])
    except (OSError, subprocess.CalledProcessError, IndexError):
        return 0.0


@contextmanager
def environment(**values: str) -> Iterator[None]:
    with mock.patch.dict(os.environ, values):
        yield


def look(predictor: Predictor, photos: Sequence[images.Photo], batch: int) -> list[tuple[Region, ...]]:
    return [found for i in range(0, len(photos), batch) for found in predictor.predict_photos(photos[i : i + batch])]


def best_of(times: int, work: Callable[[], Any]) -> float:
    """Seconds of the quickest of several."""
    out = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        out.append(time.perf_counter() - started)
    return min(out)


def differences(
    ours: Sequence[Sequence[Region]], theirs: Sequence[Sequence[Region]], settings: Settings
) -> dict[str, float]:
    """How far apart scores and boxes of likely regions are, and how many one list has or hides alone."""
    score = box = 0.0
    alone = hidden = 0
    for a, b in zip(ours, theirs, strict=True):
        for some, others in ((a, b), (b, a)):
            for r in (r for r in some if r.score >= SHOWN):
                same = [o for o in others if o.kind == r.kind]
                overlap = iou(boxes_of([r]), boxes_of(same))[0] if same else np.zeros(1)
                if overlap.max() < 0.5:
                    alone += 1
                    hidden += settings.hides(r)
                    continue
                o = same[int(overlap.argmax())]
                score = max(score, abs(o.score - r.score))
                box = max(box, *(abs(x - y) / max(r.width, r.height) for x, y in zip(o.box, r.box, strict=True)))
                hidden += settings.hides(r) and not settings.hides(o)
    return {"score": round(score, 4), "box": round(box, 3), "unmatched": alone, "hidden in one only": hidden}


def steps(predictor: Predictor, path: Path) -> dict[str, float]:
    """ms of each step for one photo, in one thread."""
    spent: Counter[str] = Counter()

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return work(*args, **options)
            finally:
                spent[name] += time.perf_counter() - started

        return wrapped

    with ExitStack() as stack:
        for owner, attribute, name in (
            (factory, "letterbox", "resize"),
            (yolo, "letterbox", "resize"),
            (closer, "pack", "resize"),
            (OnnxRuntime, "__call__", "networks"),
            (OpenVino, "__call__", "networks"),
            (NetworkDetector, "_found", "candidates"),
        ):
            stack.enter_context(mock.patch.object(owner, attribute, timed(name, getattr(owner, attribute))))
        settings = predictor.settings
        photo = timed("decode", images.load)(path, settings)
        record = timed("look", predictor.record)(photo, path.name)
        pixels = timed("hide", hide_record)(photo, record, settings)
        timed("encode", images.encode)(photo, pixels, settings, None)
    spent["fuse, calibrate, turn"] = spent.pop("look") - sum(spent[k] for k in ("resize", "networks", "candidates"))
    return {k: round(1000 * v, 1) for k, v in spent.items()}


def measure(
    preset: str, folder: Path, ways: Sequence[str], batches: Sequence[int], few: int, repeats: int
) -> list[dict[str, Any]]:
    """A row for each way, with half precision for each batch; the CPU sees only `few` photos."""
    settings = Settings().with_preset(preset)
    paths = sorted(folder.iterdir())
    photos = [images.load(p, settings) for p in paths]
    rows: list[dict[str, Any]] = []
    reference: list[tuple[Region, ...]] | None = None
    for way in ways:
        device, precision = WAYS[way]
        for batch in batches if way == "f16" else batches[:1]:
            some = photos[:few] if device == "cpu" else photos
            with environment(ANONYMIZE_PRECISION=precision, ANONYMIZE_BATCH=str(batch)):
                idle = gpu_memory()
                predictor = Predictor(settings.replace(device=device))
                started = time.perf_counter()
                found = look(predictor, some, batch)  # loads, and sees each size
                first = time.perf_counter() - started
                seconds = best_of(repeats, lambda p=predictor, s=some, b=batch: look(p, s, b))
                row = {"preset": preset, "way": f"{device} {precision}", "batch": batch, "first s": round(first, 1)}
                row |= {"photos/s": round(len(some) / seconds, 2), "ms": round(1000 * seconds / len(some), 1)}
                row |= {"gpu MB": gpu_memory() - idle}
                reference = reference or found
                row["differs"] = differences(found[:few], reference[:few], settings)
                row["regions"] = sum(map(len, found[:few]))
                row["steps ms"] = steps(predictor, paths[0]) if batch == batches[0] else {}
                if device != "cpu":
                    with tempfile.TemporaryDirectory() as out:
                        started = time.perf_counter()
                        summary = engine.run(folder, out, predictor)
                        assert summary.ok, summary.failures
                        row["run photos/s"] = round(len(paths) / (time.perf_counter() - started), 2)
            print(json.dumps(row), flush=True)
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--presets", default="fast,balanced")
    parser.add_argument("--sizes", default="1,12", help="megapixels")
    parser.add_argument("--ways", default="cpu,f32,f16")
    parser.add_argument("--batches", default="1,4,8,16")
    parser.add_argument("--count", type=int, default=32, help="photos of 1 megapixel; a quarter of it of larger ones")
    parser.add_argument("--few", type=int, default=4, help="photos that the CPU sees, too")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    os.environ.setdefault("ANONYMIZE_RUNTIME", "onnxruntime")  # on the CPU, too: what differs is the device
    out: dict[str, Any] = {"python": sys.version.split()[0], "cores": os.cpu_count()}
    for megapixels in map(float, args.sizes.split(",")):
        with tempfile.TemporaryDirectory() as name:
            count = args.count if megapixels < 4 else max(args.count // 4, 2)
            make_photos(args.photos, Path(name), megapixels, count)
            for preset in args.presets.split(","):
                print(f"{preset}, {megapixels:g} megapixels, {count} photos", flush=True)
                batches = [b for b in map(int, args.batches.split(",")) if b <= count]
                rows = measure(preset, Path(name), args.ways.split(","), batches, min(args.few, count), args.repeats)
                out[f"{preset} {megapixels:g}"] = rows
                if args.json:
                    args.json.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
