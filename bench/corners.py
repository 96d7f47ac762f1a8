"""How well plates' corners are known, on drawn plates whose corners are known.

    python -m bench.corners DATASET/test [--detector plates@640]

DATASET: from `python -m models.recipes.plates build`. The corner network looks at true boxes moved by a few per cent,
as another detector's would be, and at those that a detector finds. Prints the mean distance of corners in shares of
the plate's width, how many plates have corners that are not in doubt, and for photos turned by 30° how much of each
plate its quadrilateral hides, with which share of the area that its upright box would need; and its time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymize import masks
from anonymize.detectors import Detector, FakeDetector, create
from anonymize.detectors.plate_corners import Corners, WithCorners, load, open_corners
from anonymize.regions import Region, boxes, iou
from anonymize.settings import Settings
from models.recipes.plates.marks import load as load_photo

Points = NDArray[np.float64]  # (N, 4, 2) px
QUAD = Settings().with_kind("plate", mask="quad", threshold=0.001)
BOX = QUAD.with_kind("plate", mask="rectangle")
OFF = 0.07  # of a side, by which true boxes' sides are moved at most


@dataclass(frozen=True)
class Seen:
    """One true plate: its corners, and what was found of it (None: nothing)."""

    truth: Points
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
        quad, box = (masks.coverage([self.found], s, *self.size) for s in (QUAD, BOX))
        return float(quad[plate > 0].mean()), float(quad.sum() / max(box.sum(), 1))


def truths(label: Path, width: int, height: int) -> Points:
    """Corners of the plates whose four are in the picture."""
    rows = [[float(v) for v in line.split()[5:]] for line in label.read_text().splitlines()]
    points = np.array(rows).reshape(-1, 4, 3)
    return points[(points[:, :, 2] > 0).all(axis=1)][:, :, :2] * (width, height)


def around(corners: Points) -> NDArray[np.float64]:
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def look(detector: Detector | None, corners: Corners, folder: Path, threshold: float) -> tuple[list[Seen], float]:
    """`WithCorners` on what a detector finds, or (None) on true boxes that are moved; and its time in ms a plate."""
    rng = np.random.default_rng(0)
    out, spent, count = [], 0.0, 0
    for path in sorted((folder / "images").iterdir()):
        photo = load_photo(path)
        height, width = photo.shape[:2]
        true = truths(folder / "labels" / f"{path.stem}.txt", width, height)
        if detector is None:
            sides = np.tile(np.ptp(true, axis=1), 2)
            near = around(true) + rng.uniform(-OFF, OFF, (len(true), 4)) * sides
            regions = [Region("plate", tuple(box)) for box in near.tolist()]
        else:
            regions = [r for r in detector.detect([photo])[0] if r.kind == "plate" and r.score >= threshold]
        regions = [r.replace(corners=None) for r in regions]
        start = time.perf_counter()
        (found,) = WithCorners(FakeDetector(regions), corners).detect([photo])
        spent, count = spent + time.perf_counter() - start, count + len(regions)
        overlaps = iou(around(true), boxes(found)) if len(true) and found else np.zeros((len(true), 0))
        for i, points in enumerate(true):
            best = int(overlaps[i].argmax()) if overlaps.shape[1] else -1
            hit = found[best] if best >= 0 and overlaps[i, best] >= 0.5 else None
            out.append(Seen(points, hit, (width, height), "turned" in path.stem))
    return out, 1000 * spent / max(count, 1)


def say(title: str, seen: Sequence[Seen], ms: float) -> None:
    found = [s for s in seen if s.found is not None]
    sure = [s for s in found if s.found is not None and s.found.corners is not None]
    print(f"{title}: {len(seen)} plates, {len(found)} found, {len(sure)} with corners; {ms:.2f} ms a plate")
    if not sure:
        return
    errors = np.array([s.error for s in sure])
    print(f"  corner error, share of the width: mean {errors.mean():.4f}, median {np.median(errors):.4f}", end="")
    print(f", 95th percentile {np.percentile(errors, 95):.4f}")
    for low, high in ((0, 16), (16, 32), (32, 10_000)):
        some = [s.error for s in sure if low <= np.ptp(s.truth[:, 1]) < high]
        all_of = [s for s in found if low <= np.ptp(s.truth[:, 1]) < high]
        if some:
            print(f"    {low}–{high} px high: {np.mean(some):.4f} of {len(some)} (of {len(all_of)})")
    turned = [s for s in sure if s.is_turned]
    if turned:
        hides, area = np.array([s.hidden() for s in turned]).T
        every = [s for s in found if s.is_turned]
        print(f"  turned by 30°: {len(turned)} of {len(every)}; the quadrilateral hides {hides.mean():.4f}", end="")
        print(f" (99 % or more of {np.mean(hides >= 0.99):.3f}) with {area.mean():.3f} of its box's area")
        hides = np.array([s.hidden()[0] for s in every])
        print(f"    with boxes where there are none: {hides.mean():.4f} (99 % or more of {np.mean(hides >= 0.99):.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", default="safelicensing@640")
    parser.add_argument("--corners", type=Path, help="another corner network than the registry's (.onnx)")
    parser.add_argument("--threshold", type=float, default=0.1)
    given = parser.parse_args()
    settings = Settings(device="cpu")
    corners = open_corners(given.corners, "cpu", "") if given.corners else load(settings)
    corners.find(np.zeros((64, 64, 3), np.uint8), [(8.0, 8.0, 56.0, 24.0)])  # compile
    say(f"true boxes, sides moved by up to {OFF:.0%}", *look(None, corners, given.folder, given.threshold))
    if given.detector != "none":
        seen = look(create(given.detector, settings), corners, given.folder, given.threshold)
        say(given.detector, *seen)


if __name__ == "__main__":
    main()
