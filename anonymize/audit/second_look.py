"""Looking again at written photos with networks that did not choose what was hidden.

A network does not find its own misses. The others vote (`detectors.Ensemble`): one alone errs now and then, and in a
clean export, where all real faces and plates are hidden, errors are all that it can find. So a vote is a reason to look
closer and no more. What fails a photo is evidence: close-ups that nearly all networks take for a face or plate
(`close_up`), and for plates a witness of another kind, a reader: networks that were trained on like photos take the
same signs, lamps and logos for plates, but nobody reads a plate's text on them. All else is a reason to look.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .. import images, weights
from ..detectors import Detector, create
from ..detectors.upright import Upright
from ..detectors.upright import load as load_upright
from ..errors import AnonymizeError
from ..predictor import Predictor
from ..probability import log_odds
from ..records import Record
from ..regions import Region, areas, boxes, intersections, iou
from ..settings import Settings
from ..weights.registry import registry
from . import close_up
from .attacks import crop
from .close_up import Closely
from .findings import Finding
from .plate_reader import HEIGHT, Reader, Reading

LISTED = 0.4  # probability, all networks together, from which something is looked at closer, or listed


@dataclass(frozen=True)
class Bars:
    """Log-odds from which something is a leak (docs/audit.md: what was measured).

    Attributes:
        face, plate: without a reader's word.
        unread, tall: of a plate in which a reader reads nothing; of one that is large enough that it would be read.
        short, long, well: where it has a short reading (a car's model has one, too), a long one, and a sure long one.
    """

    face: float
    plate: float
    unread: float
    tall: float
    short: float
    long: float
    well: float


CLOSE = Bars(face=2.0, plate=1.0, unread=0.75, tall=1.5, short=0.5, long=0.0, well=-1.0)  # of close-ups
# Of the first look, where no close-ups can be had: what would be read has to be.
VOTE = Bars(
    face=log_odds(0.93), plate=log_odds(0.95), unread=log_odds(0.995), tall=math.inf, short=log_odds(0.98),
    long=log_odds(0.8), well=log_odds(0.45),
)  # fmt: skip
# Log-odds of close-ups below which it is none, and not listed either: of 432 marked faces one lies below -3.
NOTHING: Mapping[str, float] = {"face": -4.0}
CHARACTERS, LONG, DIGITS = range(3, 10), 5, 2  # that a plate's reading has; that a long one, and any, has at least
LEGIBLE, SURE_READING = 0.5, 0.9  # mean probability of a reading's characters, and of a sure one's
CROPS = (0.0, 0.08, -0.06)  # of a plate's size, how far around it is read
TWO_LINES = 2.6  # width of a plate by its height, below which its halves are read, too
SECOND = 0.3  # what the second network has to say of a sure one, where several vote and there are no close-ups
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
        close: kind -> networks that are shown close-ups; without them the votes count.
        upright: tells in which turns a photo is looked at; None: as it comes.
    """

    detectors: tuple[Detector, ...]
    skipped: Mapping[str, str]
    kinds: tuple[str, ...] = ()
    unchecked: Mapping[str, str] = field(default_factory=dict)
    again: frozenset[str] = frozenset()
    reader: Reader | None = None
    close: Mapping[str, tuple[Detector, ...]] = field(default_factory=dict)
    upright: Upright | None = None

    @property
    def said(self) -> str:
        """Which networks look, in words."""
        looking = [
            (f"{kind}s: " if kind else "") + ", ".join(map(self._called, d.name.split("+")))
            for d, kind in zip_longest(self.detectors, self.kinds, fillvalue="")
            if not isinstance(d, str)
        ]
        missing = ", ".join(sorted({n.split("@")[0] for n in self.skipped}))
        if self.close:
            shown = " and ".join(f"{len(networks)} for {kind}s" for kind, networks in sorted(self.close.items()))
            looking.append(f"close-ups were shown to {shown}")
        return ("; ".join(looking) or "no network") + (f" (could not be had: {missing})" if missing else "")

    def _called(self, network: str) -> str:
        return network.split("@")[0] + (" (which chose, too; at another size)" if network in self.again else "")

    @property
    def weights(self) -> dict[str, Mapping[str, str]]:
        every = (*self.detectors, *(d for networks in self.close.values() for d in networks))
        return {d.name: dict(d.weights) for d in every}


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
    close = close_up.load(settings, weights_dir=weights_dir, progress=progress) if made else {}
    upright = None
    try:
        upright = load_upright(settings, weights_dir=weights_dir, progress=progress) if made else None
    except AnonymizeError as e:
        skipped["coco, for how photos lie"] = str(e).split(". ")[0]
    return Looker(tuple(made.values()), skipped, tuple(made), unchecked, frozenset(again), close=close, upright=upright)


def look(photo: images.Photo, looker: Looker, settings: Settings) -> list[Region]:
    """What they see in a written photo, the surest first."""
    out: list[Region] = []
    for detector, kind in zip_longest(looker.detectors, looker.kinds, fillvalue=""):
        # Each for itself: of two that see the same, only one would be left, with its own votes.
        predictor = Predictor(settings, detectors=[detector], upright=looker.upright)  # type: ignore[list-item]
        seen = predictor.predict_photo(photo)
        out += [r for r in seen if kind in ("", r.kind)]
    return sorted(out, key=lambda r: -r.score)


def findings(
    photo: images.Photo, looker: Looker, record: Record | None, touched: NDArray[np.float32], settings: Settings
) -> Iterator[Finding]:
    """What is still recognizable in a written photo. Args: as of `look` and `check`."""
    turns = looker.upright.turns(photo.rgb) if looker.upright else (0,)
    closely = close_up.closely(photo.rgb, looker.close, turns)
    yield from check(look(photo, looker, settings), record, touched, settings, reading(photo.rgb, looker), closely)


Read = Callable[[Region], list[Reading]]


def reading(rgb: NDArray[np.uint8], looker: Looker) -> Read | None:
    """What can be read in a region of a written photo, cut out in some ways; None: there is no reader."""
    reader = looker.reader
    if reader is None:
        return None

    def read(region: Region) -> list[Reading]:
        pieces = [crop(rgb, region.pad(share)) for share in CROPS]
        if region.width < TWO_LINES * region.height:
            whole = pieces[0]
            pieces += [whole[: len(whole) // 2], whole[len(whole) // 2 :]]
        return [reader(piece) for piece in pieces if min(piece.shape[:2]) >= 4]

    return read


def check(
    seen: Sequence[Region],
    record: Record | None,
    touched: NDArray[np.float32],
    settings: Settings,
    read: Read | None = None,
    closely: Closely | None = None,
) -> Iterator[Finding]:
    """What is still recognizable, the surest first.

    Args:
        seen: by `look`. record: None where there is none; its rejected regions are no alarm.
        touched: (H, W), how much of each pixel was replaced, 0–1. read: of `reading`. closely: of `close_up`.
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
        level: Literal["leak", "look", "note"] | None = "look"
        sure = f"{min(region.score, 0.99):.0%} sure"
        text = f"this may be a recognizable {region.kind}, {sure}{_seen_by(region)}"
        if _is_one_of(region, rejected):
            level, text = "note", f"what looks like a {region.kind} was rejected by a person"
        elif hidden >= PARTLY:
            text = f"this may be a recognizable {region.kind} that is partly hidden, {sure}"
        else:
            level, said = _judged(region, seen, read, closely if len(leaks) < MOST else None)
            if level == "leak":
                text = f"a {region.kind} can be recognized, {sure}{_seen_by(region)}{said}"
        if level is None:
            continue
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


def _judged(
    region: Region, seen: Sequence[Region], read: Read | None, closely: Closely | None
) -> tuple[Literal["leak", "look"] | None, str]:
    """Whether it is a leak, something to look at, or nothing; and what is to be said besides."""
    near = closely(region) if closely else None
    if near is not None and near < NOTHING.get(region.kind, -math.inf):
        return None, ""
    if min(region.width, region.height) < SMALLEST.get(region.kind, 0):
        return "look", ""
    said = _evidence(region, near, near is not None or _is_seconded(region, seen), read)
    return ("look", "") if said is None else ("leak", said)


def _evidence(region: Region, near: float | None, is_seconded: bool, read: Read | None) -> str | None:
    """What proves that it is what it seems, in words; None: nothing.

    Args:
        near: log-odds of close-ups; None: there are none. is_seconded: more than one network sees it.
    """
    bars, odds, said = (CLOSE, near, ", also in close-ups") if near is not None else (VOTE, log_odds(region.score), "")
    if region.kind != "plate":
        return said if odds >= bars.face and is_seconded else None
    if odds < (bars.plate if read is None else bars.well):
        return None
    texts = read(region) if read is not None else []
    bar = bars.plate if read is None else bars.tall if region.height >= HEIGHT else bars.unread
    is_in_shape = region.width >= NARROWEST * region.height
    if odds >= bar and is_in_shape and is_seconded and not any(map(_is_word, texts)):  # a brand, a name's frame
        return said
    texts = [t for t in texts if _is_like_plate(t) and region.width >= NARROWEST_READ * region.height]
    if any(map(_is_sure_plate, texts)):
        return ", and can be read"
    if any(odds >= (bars.long if len(t.text) >= LONG else bars.short) for t in texts):
        return ", and can be read in part"
    return None


def _is_like_plate(text: Reading) -> bool:
    digits = sum(map(str.isdigit, text.text))
    return len(text.text) in CHARACTERS and digits >= DIGITS and text.score >= LEGIBLE


def _is_word(text: Reading) -> bool:
    return len(text.text) >= CHARACTERS.start and not any(map(str.isdigit, text.text)) and text.score >= SURE_READING


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
