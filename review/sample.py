"""The sample that a public demo shows in Review: photos that an installed package carries, cut and looked at here.

No photo of other people is part of this project, so the sample is made when the server starts: cuts of the two photos
of ultralytics, searched by the server's own detectors. Some are approved, so that a review is seen on its way.
"""

from __future__ import annotations

import threading
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from anonymize.disk import write_whole
from anonymize.engine import detect
from anonymize.errors import PathError
from anonymize.predictor import Predictor
from anonymize.preview import to_jpeg

from .queue import Queue
from .store import ReviewStore

NAME = "Sample.jsonl"
WHO = "the demo"
APPROVED = 2  # of the least risky photos
# Cuts of ultralytics' photos, (x1, y1, x2, y2) px: enough of them for a queue.
CUTS = {
    "zidane": [(0, 0, 1280, 720), (420, 60, 1180, 600), (800, 0, 1280, 480)],
    "bus": [(0, 0, 810, 1080), (0, 300, 420, 900), (30, 330, 810, 800), (400, 300, 810, 900)],
}


def cut(folder: Path) -> list[Path]:
    """Write the cuts as JPEG files; which.

    Raises:
        PathError: the package or its photos are not installed.
    """
    spec = find_spec("ultralytics")
    out = []
    for name, boxes in CUTS.items():
        source = Path(spec.origin).parent / "assets" / f"{name}.jpg" if spec and spec.origin else Path(f"{name}.jpg")
        if not source.is_file():
            raise PathError(f"{source} is not there: ultralytics carries it")
        with Image.open(source) as photo:
            for letter, box in zip("abcd", boxes, strict=False):
                out.append(folder / f"{name}-{letter}.jpg")
                if not out[-1].exists():
                    write_whole(out[-1], to_jpeg(photo.crop(box), 95))
    return out


def make(folder: Path, predictor: Predictor, stop: threading.Event | None = None) -> Path:
    """The sample's records file; what an earlier start made is taken as it is.

    Args:
        folder: for photos and records. predictor: finds. stop: set it to end early.

    Raises:
        PathError: the photos are not installed. WeightsError, DetectionError: the detectors cannot be had.
    """
    cut(folder / "photos")
    records = folder / NAME
    detect(folder / "photos", records, predictor, stop=stop)
    store = ReviewStore(records)
    if not any(r.decisions for r in store):
        for item in Queue(store).items()[::-1][:APPROVED]:
            if item.status == "pending":
                store.decide(item.path, "approve", who=WHO, expected=item.regions_hash)
    return records
