"""How well a network knows plates' corners, on drawn plates whose corners are known.

    python -m bench.corners DATASET/test --detector yolo:models/plates.onnx [--side 640] [--crop 128] [--margin 0.25]

DATASET: from `python -m anonymize plates build`. Prints, for plates that were found: the mean distance of their corners
in shares of the plate's width, how many have corners that are not in doubt, and for photos turned by 30° how much of
each plate its quadrilateral hides, with which share of the area that its upright box would need. Then the same for
`WithCorners`, on true boxes moved by a few per cent, as another detector's would be; with its time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymize import effects
from anonymize.detectors import Detector, FakeDetector, create
from anonymize.detectors.corners import MARGIN, WithCorners
from anonymize.regions import Region, boxes, iou
from anonymize.settings import Settings
from anonymize.training.marks import load

Corners = NDArray[np.float64]  # (N, 4, 2) px
QUAD = Settings().with_kind("plate", mask="quad", threshold=0.001)
BOX = QUAD.with_kind("plate", mask="rectangle")


@dataclass(frozen=True)
class Seen:
    """One true plate: its corners, and what was found of it (None: nothing)."""

    truth: Corners
    found: Region | None
    size: tuple[int, int]
    is_turned: bool

    @property
    def error(self) -> float:
        """Mean distance of the corners, in shares of the plate's width."""
        assert self.found is not None
        width = (np.linalg.norm(self.truth[1] - self.truth[0]) + np.linalg.norm(self.truth[2] - self.truth[3])) / 2
        return float(np.linalg.norm(np.array(self.found.corners) - self.truth, axis=1).mean() / width)

    def hidden(self) -> tuple[float, float]:
        """(share of the plate that its quadrilateral hides, area of that / area that the upright box would hide)."""
        assert self.found is not None
        plate = np.zeros(self.size[::-1], np.uint8)
        cv2.fillConvexPoly(plate, np.round((self.truth - 0.5) * 16).astype(np.int32), 1, cv2.LINE_8, 4)
        quad, box = (effects.coverage([self.found], s, *self.size) for s in (QUAD, BOX))
        return float(quad[plate > 0].mean()), float(quad.sum() / max(box.sum(), 1))


def truths(label: Path, width: int, height: int) -> Corners:
    """Corners of the plates whose four are in the picture."""
    rows = [[float(v) for v in line.split()[5:]] for line in label.read_text().splitlines()]
    points = np.array(rows).reshape(-1, 4, 3)
    return points[(points[:, :, 2] > 0).all(axis=1)][:, :, :2] * (width, height)


def around(corners: Corners) -> NDArray[np.float64]:
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def look(detector: Detector, folder: Path, threshold: float) -> list[Seen]:
    out = []
    for path in sorted((folder / "images").iterdir()):
        photo = load(path)
        height, width = photo.shape[:2]
        true = truths(folder / "labels" / f"{path.stem}.txt", width, height)
        found = [r for r in detector.detect([photo])[0] if r.kind == "plate" and r.score >= threshold]
        overlaps = iou(around(true), boxes(found)) if len(true) and found else np.zeros((len(true), 0))
        for i, corners in enumerate(true):
            best = int(overlaps[i].argmax()) if overlaps.shape[1] else -1
            hit = found[best] if best >= 0 and overlaps[i, best] >= 0.5 else None
            out.append(Seen(corners, hit, (width, height), "turned" in path.stem))
    return out


def moved(folder: Path, detector: Detector, margin: float) -> tuple[list[Seen], float]:
    """`WithCorners` on true boxes, each side moved by up to 5 % -> what it found, and its time in ms a plate."""
    rng = np.random.default_rng(0)
    out, spent = [], 0.0
    for path in sorted((folder / "images").iterdir()):
        photo = load(path)
        height, width = photo.shape[:2]
        true = truths(folder / "labels" / f"{path.stem}.txt", width, height)
        if not len(true):
            continue
        sides = np.tile(np.ptp(true, axis=1), 2)
        near = around(true) + rng.uniform(-0.05, 0.05, (len(true), 4)) * sides
        regions = [Region("plate", tuple(box)) for box in near.tolist()]
        second = WithCorners(FakeDetector(regions), detector, margin=margin)
        start = time.perf_counter()
        (found,) = second.detect([photo])
        spent += time.perf_counter() - start
        out += [Seen(t, f, (width, height), "turned" in path.stem) for t, f in zip(true, found, strict=True)]
    return out, 1000 * spent / max(len(out), 1)


def say(title: str, seen: Sequence[Seen], print_: Any = print) -> None:
    found = [s for s in seen if s.found is not None]
    sure = [s for s in found if s.found is not None and s.found.corners is not None]
    errors = np.array([s.error for s in sure])
    print_(f"{title}: {len(seen)} plates, {len(found)} found, {len(sure)} with corners")
    if len(sure):
        print_(f"  corner error, share of the width: mean {errors.mean():.4f}, median {np.median(errors):.4f}", end="")
        print_(f", 95th percentile {np.percentile(errors, 95):.4f}")
    for low, high in ((0, 16), (16, 32), (32, 10_000)):
        some = [s.error for s in sure if low <= np.ptp(s.truth[:, 1]) < high]
        if some:
            print_(f"    {low}–{high} px high: {np.mean(some):.4f} of {len(some)}")
    turned = np.array([s.hidden() for s in sure if s.is_turned])
    if len(turned):
        hides, area = turned.T
        print_(f"  turned by 30°: {len(turned)}; the quadrilateral hides {hides.mean():.4f} of the plate", end="")
        print_(f" (99 % or more of {np.mean(hides >= 0.99):.3f}) with {area.mean():.3f} of its box's area")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", default="plates")
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--margin", type=float, default=MARGIN)
    parser.add_argument("--threshold", type=float, default=0.05)
    given = parser.parse_args()
    settings = Settings()
    if given.side:
        say(
            f"{given.detector}@{given.side}",
            look(create(f"{given.detector}@{given.side}", settings), given.folder, given.threshold),
        )
    seen, ms = moved(given.folder, create(f"{given.detector}@{given.crop}", settings), given.margin)
    say(f"WithCorners, crops of {given.crop} px", seen)
    print(f"  {ms:.2f} ms a plate")


if __name__ == "__main__":
    main()
