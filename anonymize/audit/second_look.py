"""Looking again at written photos with networks that did not choose what was hidden.

A network does not find its own misses. The others vote (`detectors.Ensemble`): one alone errs now and then, and in a
clean export, where all real faces and plates are hidden, errors are all that it can find; two that see the same thing
are believed. What is surer than `SURE` is a leak, what is surer than `LISTED` a reason to look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .. import images, weights
from ..detectors import Detector, create
from ..errors import AnonymizeError
from ..predictor import Predictor
from ..records import Record
from ..regions import Region, areas, boxes, intersections, iou
from ..settings import Settings
from ..weights.registry import registry
from .findings import Finding

# Probability, all networks together: of a sure leak by kind, and of what is listed (docs/audit.md: what was measured).
SURE: Mapping[str, float] = {"face": 0.9, "plate": 0.95}
LISTED = 0.4
SECOND = 0.3  # what the second network has to say of a sure one, where several vote
NARROWEST = 1.2  # width of a sure plate by its height: what is as tall as wide is a sign or a logo
FEWEST = 2  # networks that vote on a kind
# Long sides at which networks look: those that did not choose, and those that did, which have seen other sizes.
SIZES: Mapping[str, tuple[str, str]] = {"face": ("@1280", "@896"), "plate": ("@640-1280", "@896")}
SMALLEST: Mapping[str, float] = {"face": 16.0, "plate": 8.0}  # px of the shorter side; smaller ones are only listed
COVERED, PARTLY = 0.8, 0.4  # share of a candidate in hidden pixels: it is hidden; it may be
HIDDEN = 0.95  # share of a pixel that was replaced, from which on it is hidden: a soft edge shows what is under it
SAME = 0.5  # IoU with a region that a person rejected
MOST = 20  # findings of one photo that are listed beside its leaks


@dataclass(frozen=True)
class Looker:
    """What looks again.

    Attributes:
        detectors: one for each kind, or those that were asked for. skipped: network -> why it does not look.
        kinds: of each detector, what it is asked about; empty: whatever it sees.
        unchecked: hidden kind -> why no other network looked for it, so that silence about it says nothing.
    """

    detectors: tuple[Detector, ...]
    skipped: Mapping[str, str]
    kinds: tuple[str, ...] = ()
    unchecked: Mapping[str, str] = field(default_factory=dict)

    @property
    def weights(self) -> dict[str, Mapping[str, str]]:
        return {d.name: dict(d.weights) for d in self.detectors}


def choose(
    used: Sequence[str],
    settings: Settings,
    *,
    names: Sequence[str] = (),
    weights_dir: Path | None = None,
    progress: weights.Progress | None = None,
) -> Looker:
    """The networks that look again.

    Args:
        used: networks that chose what was hidden. settings: device and such.
        names: detectors that were asked for, instead of a choice.
        weights_dir, progress: as for `Predictor`.

    Returns:
        For each kind all networks of the registry that did not choose and whose weights can be had, as an ensemble;
        where they are fewer than FEWEST, also those that did choose, at another size.
    """

    def make(spec: str) -> Detector:
        return create(spec, settings, weights_dir=weights_dir, progress=progress)

    if names:
        return Looker(tuple(map(make, names)), {})
    made: dict[str, Detector] = {}
    skipped: dict[str, str] = {}
    unchecked = dict.fromkeys(settings.kinds, "no network could be had")
    for task, (others, same) in SIZES.items():
        of_task = [
            m.name for m in registry().values() if m.task not in ("corners", "text") and task in m.classes.values()
        ]
        loaded: dict[str, Detector] = {}
        for name in (*(n + others for n in of_task if n not in used), *(n + same for n in of_task if n in used)):
            if name.endswith(same) and len(loaded) >= FEWEST:
                break
            try:
                loaded[name] = make(name)  # kept until the ensemble has it, so that it is loaded once
            except AnonymizeError as e:
                skipped[name] = str(e).split(". ")[0]
        if loaded and task in settings.kinds:
            made[task] = make("+".join(loaded))
            unchecked[task] = "only networks that chose what was hidden, at another size"
            if not all(name.endswith(same) for name in loaded):
                del unchecked[task]
    return Looker(tuple(made.values()), skipped, tuple(made), unchecked)


def look(photo: images.Photo, looker: Looker, settings: Settings) -> list[Region]:
    """What they see in a written photo, the surest first."""
    out: list[Region] = []
    for detector, kind in zip_longest(looker.detectors, looker.kinds, fillvalue=""):
        # Each for itself: of two that see the same, only one would be left, with its own votes.
        seen = Predictor(settings, detectors=[detector]).predict_photo(photo)  # type: ignore[list-item]
        out += [r for r in seen if kind in ("", r.kind)]
    return sorted(out, key=lambda r: -r.score)


def check(
    seen: Sequence[Region], record: Record | None, touched: NDArray[np.float32], settings: Settings
) -> Iterator[Finding]:
    """What is still recognizable, the surest first.

    Args:
        seen: by `look`. record: None where there is none; its rejected regions are no alarm.
        touched: (H, W), how much of each pixel was replaced, 0–1.
    """
    rejected = [r for r in record.regions if r.status == "rejected"] if record else []
    leaks: list[Region] = []
    others: list[Region] = []
    for region in sorted(seen, key=lambda r: -r.score):
        if region.kind not in settings.kinds or region.score < LISTED:
            continue
        hidden = _covered(region, touched)
        if hidden >= COVERED or _is_one_of(region, leaks):
            continue
        level: Literal["leak", "look", "note"] = "look"
        votes = ", ".join(f"{name} {score:.2f}" for name, score in sorted(region.detector_scores.items()))
        text = f"a {region.kind} can be recognized, {region.score:.0%} sure" + (f" ({votes})" if votes else "")
        if _is_one_of(region, rejected):
            level, text = "note", f"a {region.kind} can be recognized that a person rejected"
        elif hidden >= PARTLY:
            text = f"a {region.kind} that is partly hidden may be recognized, {region.score:.0%} sure"
        elif _is_sure(region) and _is_seconded(region, seen):
            level = "leak"
        # Nothing that is only listed, in whatever number, keeps a leak from being told; nor does a smaller leak in it.
        if level != "leak" and (len(others) >= MOST or _overlaps(region, [*leaks, *others])):
            continue
        (leaks if level == "leak" else others).append(region)
        yield Finding("recognizable", level, text, region.box, region.kind, region.score)


def _is_seconded(region: Region, seen: Sequence[Region]) -> bool:
    """Whether a second network agrees; where one alone looks for this kind, its word counts."""
    voters = {name for r in seen if r.kind == region.kind for name in r.detector_scores}
    votes = sorted(region.detector_scores.values())
    return len(voters) < FEWEST or (len(votes) >= FEWEST and votes[-FEWEST] >= SECOND)


def _is_sure(region: Region) -> bool:
    """Whether a candidate alone is sure, large, and in shape."""
    if region.kind == "plate" and region.width < NARROWEST * region.height:
        return False
    is_large = min(region.width, region.height) >= SMALLEST.get(region.kind, 0)
    return is_large and region.score >= SURE.get(region.kind, SURE["face"])


def _covered(region: Region, touched: NDArray[np.float32]) -> float:
    height, width = touched.shape
    x1, y1, x2, y2 = region.pixels(width, height)
    inside = touched[y1:y2, x1:x2]
    return float((inside >= HIDDEN).mean()) if inside.size else 1.0


def _is_one_of(region: Region, others: Sequence[Region]) -> bool:
    """Whether a region is one of others of its kind: a speck in it, or one around it, is another thing."""
    of_kind = boxes(r for r in others if r.kind == region.kind)
    return bool((iou(boxes([region]), of_kind) >= SAME).any())


def _overlaps(region: Region, others: Sequence[Region]) -> bool:
    """Whether a region lies half in another of its kind, or another half in it."""
    of_kind = [r for r in others if r.kind == region.kind]
    if not of_kind:
        return False
    own, every = boxes([region]), boxes(of_kind)
    shared = intersections(own, every)[0]
    return bool((shared >= 0.5 * np.maximum(np.minimum(areas(own)[0], areas(every)), 1e-9)).any())
