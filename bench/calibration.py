"""The numbers of `calibration` and `in_crops` in models/registry.toml, fitted on annotated plates and agreed faces.

    python -m bench.calibration IMAGES ANNOTATIONS [--photos 200] [--names NAME …]

Plates: candidates on IMAGES' annotated plates are real. Faces, which are not annotated: what RetinaFace and CenterFace
both see at 2,048 px, or one of them is sure of, is real; what either of them half sees there is left out. Prints, for
each detector, bias, slope, size and edge, and how often its candidates are real by what the fit says. Margin and slack,
the numbers before edge, are chosen by hand: an export grows regions anyway.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from anonymize.detectors import Image, create
from anonymize.detectors.calibrated import SMALL, reaches_edge
from anonymize.evaluate.ground_truth import read as read_annotations
from anonymize.probability import log_odds
from anonymize.regions import Region, boxes, iou, suppress
from anonymize.settings import Settings

NAMES = ("retinaface-mobilenet@1536", "centerface@1280", "safelicensing@640", "fastanpr@1280", "pyplatex@1280")
CROPS = ("two-stage:safelicensing", "two-stage:fastanpr")
TEACHERS = {
    "retinaface-mobilenet@2048": (0.35, 0.95, 0.25),
    "centerface@2048": (0.3, 0.7, 0.2),
}  # seen, sure, half seen
SAME, NEAR = 0.4, 0.15  # IoU from which a candidate is the real thing; between them it is left out
FLOOR = 0.01  # raw score from which candidates count
S = Settings()

Truth = Callable[[str, Image], tuple[np.ndarray, np.ndarray]]  # path, image -> real boxes, and all that may be real


def raw(region: Region) -> float:
    """What the network itself said."""
    return max(region.detector_scores.values(), default=region.score)


def agreed(image: Image, teachers: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Faces that the teachers agree on, and all that any of them half sees, as boxes (N, 4)."""
    found = [suppress(t.detect([image])[0], SAME) for t in teachers]
    limits = list(TEACHERS.values())
    overlap = iou(boxes(found[0]), boxes(found[1]))
    real = []
    for i, (mine, other) in enumerate(((0, 1), (1, 0))):
        seen, sure, _ = limits[mine]
        for n, region in enumerate(found[mine]):
            same = np.flatnonzero((overlap[n] if i == 0 else overlap[:, n]) > SAME)
            both = i == 0 and any(raw(found[other][m]) >= limits[other][0] for m in same) and raw(region) >= seen
            if both or (raw(region) >= sure and (i == 0 or not len(same))):
                real.append(region.box)
    may = [r.box for regions, (_, _, half) in zip(found, limits, strict=True) for r in regions if raw(r) >= half]
    return np.array(real).reshape(-1, 4), np.array(may).reshape(-1, 4)


def fit(name: str, kind: str, photos: Sequence[tuple[str, Image]], truth: Truth, is_whole: bool) -> str:
    """One detector's regression, as numbers for the registry, and its reliability."""
    from sklearn.linear_model import LogisticRegression

    detector, side = create(name, S), int(name.rpartition("@")[2]) if "@" in name else 0
    rows, hits = [], []
    for path, image in photos:
        found = [r for r in detector.detect([image])[0] if r.kind == kind and raw(r) >= FLOOR]
        real, may = truth(path, image)
        on, near = iou(boxes(found), real), iou(boxes(found), may)
        for i, region in enumerate(found):
            hit = bool(len(real)) and on[i].max() >= SAME
            if not hit and len(may) and near[i].max() > NEAR:
                continue
            row = (1.0, log_odds(raw(region)), 0.0, 0.0)
            if is_whole:  # a crop of a vehicle has neither a scale of its own nor the photo's edge
                height = region.height * side / max(image.shape[:2])
                is_cut = reaches_edge(boxes([region]), image.shape[1], image.shape[0])[0]
                row = (*row[:2], np.log2(max(height, 1) / SMALL), float(is_cut))
            rows.append(row)
            hits.append(hit)
    x, y = np.array(rows), np.array(hits)
    model = LogisticRegression(fit_intercept=False, C=100, max_iter=1000).fit(x, y)
    p = model.predict_proba(x)[:, 1]
    reliability = []
    for low in np.arange(0, 1, 0.2):
        between = (p >= low) & (p < low + 0.2)
        if between.any():
            reliability.append(f"{low:.1f}–{low + 0.2:.1f}: {y[between].mean():.2f} of {between.sum()}")
    told = dict(zip(("bias", "slope", "size", "edge"), (round(float(v), 2) for v in model.coef_[0]), strict=True))
    return f"{name}: {told}, {y.sum()} real; " + ", ".join(reliability)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--names", nargs="*", default=[*NAMES, *CROPS])
    args = parser.parse_args()
    paths = sorted(p.name for p in args.folder.iterdir())
    random.Random(0).shuffle(paths)
    paths = paths[: args.photos]
    photos = [(p, cv2.cvtColor(cv2.imread(str(args.folder / p)), cv2.COLOR_BGR2RGB)) for p in paths]
    known = read_annotations(args.annotations, args.folder, paths, ("plate",))
    faces: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def plates(path: str, image: Image) -> tuple[np.ndarray, np.ndarray]:
        truths = known.photos[path].at(image.shape[1], image.shape[0]) if path in known.photos else ()
        every = [t.box for t in truths]
        return np.array([t.box for t in truths if not t.ignore]).reshape(-1, 4), np.array(every).reshape(-1, 4)

    def agreed_once(path: str, image: Image) -> tuple[np.ndarray, np.ndarray]:
        if path not in faces:
            faces[path] = agreed(image, teachers)
        return faces[path]

    is_face = {n: n.startswith(("retinaface", "centerface")) for n in args.names}
    teachers = [create(n, S) for n in TEACHERS] if any(is_face.values()) else []
    for name in args.names:
        kind, truth = ("face", agreed_once) if is_face[name] else ("plate", plates)
        print(fit(name, kind, photos, truth, is_whole="@" in name), flush=True)


if __name__ == "__main__":
    main()
