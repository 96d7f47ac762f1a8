"""Looking again at written photos with networks that did not choose what was hidden.

A network does not find its own misses. The others vote (`detectors.Ensemble`): one alone errs now and then, and in a
clean export, where all real faces and plates are hidden, errors are all that it can find; two that see the same thing
are believed. For plates a witness of another kind is asked, a reader: networks that were trained on like photos take
the same signs, lamps and logos for plates, but nobody reads a plate's text on them. What is believed is a leak, the
rest that is surer than `LISTED` a reason to look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from .attacks import crop
from .findings import Finding
from .reader import HEIGHT, Reader, Reading

# Probability, all networks together: of a sure leak by kind, and of what is listed (docs/audit.md: what was measured).
SURE: Mapping[str, float] = {"face": 0.93, "plate": 0.95}
LISTED = 0.4
# The same of a plate, where a reader was asked: one in which nothing can be read (and that is too small to say that a
# plate would be), one with a short reading (a car's model has one, too), with a long one, and with a sure long one.
UNREAD, READ_SHORT, READ, READ_WELL = 0.995, 0.98, 0.8, 0.45
CHARACTERS, LONG, DIGITS = range(3, 10), 5, 2  # that a plate's reading has; that a long one, and any, has at least
LEGIBLE, SURE_READING = 0.5, 0.9  # mean probability of a reading's characters, and of a sure one's
CROPS = (0.0, 0.08, -0.06)  # of a plate's size, how far around it is read
TWO_LINES = 2.6  # width of a plate by its height, below which its halves are read, too
SECOND = 0.3  # what the second network has to say of a sure one, where several vote
NARROWEST = 1.2  # width of a sure plate by its height: what is as tall as wide is a sign or a logo
NARROWEST_READ = 0.8  # of one that can be read: plates of two lines
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
        again: those of the networks that chose what was hidden; they look at another size.
        unchecked: hidden kind -> why no other network looked for it, so that silence about it says nothing.
        reader: reads what may be a plate; None: there is none.
    """

    detectors: tuple[Detector, ...]
    skipped: Mapping[str, str]
    kinds: tuple[str, ...] = ()
    unchecked: Mapping[str, str] = field(default_factory=dict)
    again: frozenset[str] = frozenset()
    reader: Reader | None = None

    @property
    def said(self) -> str:
        """Which networks look, in words."""
        looking = [
            (f"{kind}s: " if kind else "") + ", ".join(map(self._called, d.name.split("+")))
            for d, kind in zip_longest(self.detectors, self.kinds, fillvalue="")
            if not isinstance(d, str)
        ]
        missing = ", ".join(sorted({n.split("@")[0] for n in self.skipped}))
        return ("; ".join(looking) or "no network") + (f" (could not be had: {missing})" if missing else "")

    def _called(self, network: str) -> str:
        return network.split("@")[0] + (" (which chose, too; at another size)" if network in self.again else "")

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
    again: set[str] = set()
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
            again |= {name for name in loaded if name.endswith(same)}
            unchecked[task] = "only networks that chose what was hidden, at another size"
            if not all(name.endswith(same) for name in loaded):
                del unchecked[task]
    return Looker(tuple(made.values()), skipped, tuple(made), unchecked, frozenset(again))


def look(photo: images.Photo, looker: Looker, settings: Settings) -> list[Region]:
    """What they see in a written photo, the surest first."""
    out: list[Region] = []
    for detector, kind in zip_longest(looker.detectors, looker.kinds, fillvalue=""):
        # Each for itself: of two that see the same, only one would be left, with its own votes.
        seen = Predictor(settings, detectors=[detector]).predict_photo(photo)  # type: ignore[list-item]
        out += [r for r in seen if kind in ("", r.kind)]
    return sorted(out, key=lambda r: -r.score)


Read = Callable[[Region], list[Reading]]


def reading(rgb: NDArray[np.uint8], looker: Looker) -> Read | None:
    """What can be read in a region of a written photo, cut out in some ways; None: there is no reader."""
    reader = looker.reader
    if reader is None:
        return None

    def read(region: Region) -> list[Reading]:
        pieces = [crop(rgb, _grown(region, share)) for share in CROPS]
        if region.width < TWO_LINES * region.height:
            whole = pieces[0]
            pieces += [whole[: len(whole) // 2], whole[len(whole) // 2 :]]
        return [reader(piece) for piece in pieces if min(piece.shape[:2]) >= 4]

    return read


def _grown(region: Region, share: float) -> Region:
    """A region with its sides moved outward by a share of its size, or inward."""
    x1, y1, x2, y2 = region.box
    dx, dy = share * region.width, share * region.height
    return region.replace(box=(x1 - dx, y1 - dy, x2 + dx, y2 + dy))


def check(
    seen: Sequence[Region],
    record: Record | None,
    touched: NDArray[np.float32],
    settings: Settings,
    read: Read | None = None,
) -> Iterator[Finding]:
    """What is still recognizable, the surest first.

    Args:
        seen: by `look`. record: None where there is none; its rejected regions are no alarm.
        touched: (H, W), how much of each pixel was replaced, 0–1. read: of `reading`.
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
        sure = f"{min(region.score, 0.99):.0%} sure"
        text = f"a {region.kind} can be recognized, {sure}{_seen_by(region)}"
        if _is_one_of(region, rejected):
            level, text = "note", f"a {region.kind} can be recognized that a person rejected"
        elif hidden >= PARTLY:
            text = f"a {region.kind} that is partly hidden may be recognized, {sure}"
        elif (found := _believed(region, seen, read)) is not None:
            level, text = "leak", text + found
        # Nothing that is only listed, in whatever number, keeps a leak from being told; nor does a smaller leak in it.
        if level != "leak" and (len(others) >= MOST or _overlaps(region, [*leaks, *others])):
            continue
        (leaks if level == "leak" else others).append(region)
        yield Finding("recognizable", level, text, region.box, region.kind, region.score)


def _seen_by(region: Region) -> str:
    """Which networks see it, in words."""
    names = sorted({name.split("@")[0] for name in region.detector_scores})
    return f" (seen by {', '.join(names)})" if names else ""


def _is_seconded(region: Region, seen: Sequence[Region]) -> bool:
    """Whether a second network agrees; where one alone looks for this kind, its word counts."""
    voters = {name for r in seen if r.kind == region.kind for name in r.detector_scores}
    votes = sorted(region.detector_scores.values())
    return len(voters) < FEWEST or (len(votes) >= FEWEST and votes[-FEWEST] >= SECOND)


def _believed(region: Region, seen: Sequence[Region], read: Read | None) -> str | None:
    """None: not sure enough for a leak. Else what is to be said besides."""
    if min(region.width, region.height) < SMALLEST.get(region.kind, 0):
        return None
    is_plate = region.kind == "plate"
    sure = UNREAD if is_plate and read is not None else SURE.get(region.kind, SURE["face"])
    is_in_shape = not is_plate or region.width >= NARROWEST * region.height
    is_legible = is_plate and read is not None and region.height >= HEIGHT  # what is written there would be read
    if region.score >= sure and is_in_shape and not is_legible and _is_seconded(region, seen):
        return ""
    if is_plate and read is not None and region.width >= NARROWEST_READ * region.height:
        texts = [t for t in read(region) if _is_like_plate(t)] if region.score >= READ_WELL else []
        if any(map(_is_sure_plate, texts)):
            return ", and can be read"
        if any(region.score >= (READ if len(t.text) >= LONG else READ_SHORT) for t in texts):
            return ", and can be read in part"
    return None


def _is_like_plate(text: Reading) -> bool:
    digits = sum(map(str.isdigit, text.text))
    return len(text.text) in CHARACTERS and digits >= DIGITS and text.score >= LEGIBLE


def _is_sure_plate(text: Reading) -> bool:
    return len(text.text) >= LONG and any(map(str.isalpha, text.text)) and text.score >= SURE_READING


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
