"""Risk: what may have been missed in a photo, and how likely, without ground truth.

Every place where something may leak gets a probability, and a photo's risk is that of at least one leak, the places
taken as independent: 1 - prod(1 - p). The probabilities are calibrated: `bench/review_queue.py fit` writes them to
risk.json, from annotated photos on which none of the networks was trained, with the preset `balanced`. Nothing is
fitted to the photos on which the queue is measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .probability import expit, logit
from .records import Record
from .regions import NEARLY_ALL, Box, Region, areas, boxes, intersections
from .settings import MIN_THRESHOLD, Settings

# What carries what. A vehicle or a person that the detectors saw makes a candidate in the right place likelier, and one
# without anything hidden in it is suspect.
CARRIER: Mapping[str, str] = {"face": "person", "plate": "vehicle"}
CARRIER_SCORE = 0.3  # from which a vehicle or a person counts
HEAD = 0.45  # of a person's height, from the top: where a face is
SAME = 0.5  # of the smaller of two boxes inside the other: one thing, found twice
SHOWN_REASON = 0.02  # least probability for a reason of its own
# Risk from which a photo is worth a look. Chosen on the photos of the fit, each ordered by what others taught: 217 of
# 517 are, and 39 of the 50 that leak lie among them (with the numbers before, from 25 %: 177 and 29).
SUSPICIOUS = 0.1
DOUBTED = 0.5  # probability from which a hidden region is said to be nothing

_FITTED = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
# Logistic regressions, weights of `candidate_features` for a candidate, and of (1, logit of the score, log2 of height /
# 128 px, logit of the best candidate's score on it) for a carrier in which nothing is hidden.
CANDIDATE: Mapping[str, tuple[float, ...]] = {k: tuple(v) for k, v in _FITTED["candidate"].items()}
EMPTY: Mapping[str, tuple[float, ...]] = {k: tuple(v) for k, v in _FITTED["empty"].items()}
# P(something leaks here | one neighbor frame, or both, hide a region of this kind here, this one none).
BESIDE: tuple[float, float] = tuple(_FITTED["beside"])


@dataclass(frozen=True, slots=True)
class Reason:
    """One place that a person should look at.

    Attributes:
        p: probability that something leaks here, 0–1; for a suspected false positive, that nothing is here.
        text: in words.
        kind: what may be there. region: the candidate's or carrier's id, or "". box: where, px, or None: the whole
        photo.
        sign: what speaks for it: a candidate, a person or vehicle in which nothing is hidden, a neighbor frame, a box
        that was moved off what was found.
    """

    p: float
    text: str
    kind: str
    region: str = ""
    box: Box | None = None
    sign: Literal["candidate", "carrier", "neighbor", "moved"] = "candidate"

    @property
    def words(self) -> str:
        """What a suspected miss may be, and how likely, in a few words."""
        what = {
            "candidate": f"possible {self.kind}",
            "carrier": f"{CARRIER.get(self.kind, 'object')} without a {self.kind}",
            "neighbor": f"{self.kind} in a neighbor frame",
            "moved": f"{self.kind} that its box was moved off",
        }[self.sign]
        return f"{what}, {percent(self.p)}"

    @property
    def sentence(self) -> str:
        """The same with scores and thresholds."""
        return f"{self.words}: {self.text}"


def percent(p: float) -> str:
    return f"{100 * p:.0f} %"


Floats = NDArray[np.float64]


def probability(weights: Sequence[float], features: Floats) -> Floats:
    """Logistic regression: weights (K,), features (N, K) -> (N,)."""
    out: Floats = expit(features @ np.array(weights))
    return out


def centers_in(zones: Floats, found: Floats) -> NDArray[np.bool_]:
    """Which box centers of `found` (M, 4) lie in which `zones` (N, 4), as (N, M)."""
    x, y = (found[:, 0] + found[:, 2]) / 2, (found[:, 1] + found[:, 3]) / 2
    z = zones[:, :, None]
    return (z[:, 0] <= x) & (x < z[:, 2]) & (z[:, 1] <= y) & (y < z[:, 3])


def zones(kind: str, carriers: Sequence[Region]) -> Floats:
    """Where on each carrier a thing of this kind is: a person's head, a whole vehicle. (N, 4)."""
    out = boxes(carriers)
    if kind == "face":
        height = out[:, 3] - out[:, 1]
        out[:, 3] = out[:, 1] + HEAD * height
        out[:, 1] -= 0.05 * height
    return out


@dataclass(frozen=True)
class Places:
    """The places of one kind in a photo where something may leak, and what is known of each.

    Attributes:
        candidates: not hidden, not covered by what is hidden, one a thing. features: (N, 6), `candidate_features`.
        empty: carriers in which nothing is hidden. empty_features: (M, 4) as `EMPTY`'s.
        inside: (M, N), which candidates lie on which of them.
    """

    candidates: list[Region]
    features: Floats
    empty: list[Region]
    empty_features: Floats
    inside: NDArray[np.bool_]


def candidate_features(record: Record, found: Sequence[Region], on_carrier: Floats) -> Floats:
    """What speaks for regions of one kind, (N, 6).

    (1, logit of the score, log2 of height / 32 px, carrier, agreement, logit of the surest vote). Agreement is +1 where
    several detectors see it, -1 where one alone does, 0 where only one is heard in this photo. The surest vote is what
    a network said before it was doubted, because no vehicle is around it, say: a trailer is none.

    Args:
        on_carrier: (N,), +1 on its carrier, -1 off every one, 0 where no detector looked for carriers.
    """
    height = np.log2(np.maximum([r.height for r in found], 1.0) / 32)
    score = logit(np.array([r.score for r in found], dtype=np.float64))
    heard = {name for r in record.regions if found and r.kind == found[0].kind for name in r.detector_scores}
    detector_scores = np.array([len(r.detector_scores) for r in found])
    agreement = np.where(detector_scores > 1, 1.0, -1.0) if len(heard) > 1 else np.zeros(len(found))
    surest = logit(np.array([max(r.detector_scores.values(), default=r.score) for r in found], dtype=np.float64))
    return np.stack([np.ones(len(found)), score, height, on_carrier, agreement, surest], axis=1)


def places(record: Record, settings: Settings, kind: str) -> Places:
    open_ = [r for r in record.regions if r.kind == kind and r.status == "auto" and not settings.hides(r)]
    # What was rejected is decided: the same thing found again is no news.
    settled = [r for r in record.regions if settings.hides(r) or (r.kind == kind and r.status == "rejected")]
    open_ = distinct(open_, settled)
    carriers, on, on_carrier = _on_carriers(record, kind, open_)
    same = boxes([r for r in record.regions if r.kind == kind and (settings.hides(r) or r.status == "rejected")])
    is_empty = np.logical_not(np.any(centers_in(zones(kind, carriers), same), axis=1))
    empty = [c for c, e in zip(carriers, is_empty.tolist(), strict=True) if e]
    tall = np.log2(np.array([max(c.height, 1.0) for c in empty]) / 128)
    sure = logit(np.array([c.score for c in empty], dtype=np.float64))
    inside = on[is_empty]
    faint = np.where(inside, [r.score for r in open_], MIN_THRESHOLD).max(axis=1, initial=MIN_THRESHOLD)
    empty_features = np.stack([np.ones(len(empty)), sure, tall, logit(faint)], axis=1)
    return Places(open_, candidate_features(record, open_, on_carrier), empty, empty_features, inside)


def _on_carriers(record: Record, kind: str, found: Sequence[Region]) -> tuple[list[Region], NDArray[np.bool_], Floats]:
    """What may carry a kind; which of `found` lie on which, (C, N); `on_carrier` of `candidate_features`, (N,)."""
    # A person may reject a carrier too: then it is none.
    seen = [r for r in record.regions if r.kind == CARRIER.get(kind) and r.status != "rejected"]
    carriers = [r for r in seen if r.score >= CARRIER_SCORE]
    on = centers_in(zones(kind, carriers), boxes(found))
    return carriers, on, np.where(on.any(axis=0), 1.0, -1.0) if seen else np.zeros(len(found))


def distinct(found: Sequence[Region], settled: Sequence[Region]) -> list[Region]:
    """One region a thing, the best first, without what lies on a settled region: most are found many times."""
    ordered = sorted(found, key=lambda r: -r.score)
    if not ordered:
        return []
    every = boxes([*settled, *ordered])
    shared = intersections(every, every)
    size = np.maximum(areas(every), 1e-9)
    same = shared >= SAME * np.minimum(size[:, None], size[None])
    start = len(settled)
    alive = ~same[:start].any(axis=0)
    for i in range(start, len(every)):
        if alive[i]:
            alive[i + 1 :] &= ~same[i, i + 1 :]
    return [r for r, a in zip(ordered, alive[start:].tolist(), strict=True) if a]


def moved_off(record: Record, settings: Settings) -> list[tuple[Region, float]]:
    """What detectors found and a person moved the box off: each as it was found, and the share that is still hidden.

    Left out is what another box hides nearly all of, and what a person rejected since.
    """
    found: dict[str, Region] = {}
    for decision in record.decisions:
        if before := decision.get("before"):
            region = Region.from_dict(before)
            found.setdefault(region.id, region)
    if not found:
        return []
    there = {r.id: r for r in record.regions}
    hidden = boxes(r.pad(settings.kind(r.kind).padding) for r in record.hidden(settings))
    out = []
    for id, region in found.items():
        now = there.get(id)
        if now is None or now.box == region.box or now.status == "rejected" or not settings.hides(region):
            continue
        shared = intersections(boxes([region]), hidden).max(initial=0.0) / max(region.area, 1e-9)
        if region.status != "manual" and shared < NEARLY_ALL:
            out.append((region, float(shared)))
    return out


def misses(record: Record, settings: Settings) -> list[Reason]:
    """Where something may have been missed, likeliest first. A carrier and the candidates on it are one place."""
    out: list[Reason] = []
    for r, shared in moved_off(record, settings):
        text = f"a {r.kind} was found here and its box moved; {shared:.0%} of it are hidden"
        out.append(Reason(max(r.score, SUSPICIOUS), text, r.kind, box=r.box, sign="moved"))
    for kind in settings.kinds:
        found = places(record, settings, kind)
        weights = CANDIDATE.get(kind, CANDIDATE["plate"])
        chances = probability(weights, found.features)
        threshold = settings.kinds[kind].threshold
        counted = np.zeros(len(chances), dtype=bool)  # a candidate on two carriers is one place
        bases = probability(EMPTY.get(kind, EMPTY["plate"]), found.empty_features)
        for i, (carrier, base) in enumerate(zip(found.empty, bases, strict=True)):
            on = np.flatnonzero(found.inside[i] & ~counted)
            counted |= found.inside[i]
            together = 1 - float(np.prod(1 - chances[on]))
            text = f"a {carrier.kind} without a {kind}"
            p = max(together, float(base))
            if len(on) and together >= SHOWN_REASON:  # that would be a reason of its own
                best = found.candidates[on[chances[on].argmax()]]
                text += f"; a candidate on it scores {best.score:.3g}, the threshold is {threshold:g}"
                out.append(Reason(p, text, kind, best.id, best.box))
            else:
                out.append(Reason(p, text, kind, carrier.id, carrier.box, "carrier"))
        for region, p, is_counted in zip(found.candidates, chances.tolist(), counted.tolist(), strict=True):
            if not is_counted:
                out.append(Reason(p, _faint(region, threshold), kind, region.id, region.box))
    return sorted(out, key=lambda r: -r.p)


def _faint(region: Region, threshold: float) -> str:
    """A candidate in words; with detectors that disagree named."""
    if region.score >= threshold:
        return f"a {region.kind} (score {region.score:.3g}) that the size limits leave alone"
    text = f"a candidate for a {region.kind} scores {region.score:.3g}, the threshold is {threshold:g}"
    if len(region.detector_scores) > 1:
        scores = sorted(region.detector_scores.items(), key=lambda v: -v[1])
        text += f"; detectors disagree: {', '.join(f'{name} {score:.2f}' for name, score in scores)}"
    return text


def false_positives(record: Record, settings: Settings) -> list[Reason]:
    """Hidden regions that may be nothing, likeliest first. They cost a look, not a leak, so they add no risk."""
    out = []
    for kind in settings.kinds:
        shown = [r for r in record.hidden(settings) if r.kind == kind and r.status == "auto"]
        if not shown:
            continue
        where = _on_carriers(record, kind, shown)[2]
        features = candidate_features(record, shown, where)
        chances = 1 - probability(CANDIDATE.get(kind, CANDIDATE["plate"]), features)
        for region, p, w in zip(shown, chances, where, strict=True):
            text = f"a {kind} with a score of {region.score:.3g}"
            text += f" that is on no {CARRIER[kind]}" if w < 0 and kind in CARRIER else ""
            out.append(Reason(float(p), text, kind, region.id, region.box))
    return sorted(out, key=lambda r: -r.p)


def at_least_one(chances: Iterable[float]) -> float:
    """1 - prod(1 - p), also for very many and very small ones."""
    return abs(math.expm1(sum(math.log1p(-min(p, 1 - 1e-12)) for p in chances)))  # not -0.0 for none


def worth_a_look(record: Record, settings: Settings) -> tuple[float, list[Reason]] | None:
    """The risk of a photo that a person should look at, and why, likeliest first; None: it need not be, or was.

    Its reasons are never none: a risk has at least one place.
    """
    if record.error is not None or record.is_approved(settings):
        return None
    found = misses(record, settings)
    risk = at_least_one(r.p for r in found)
    return (risk, [r for i, r in enumerate(found) if not i or r.p >= SHOWN_REASON]) if risk >= SUSPICIOUS else None


def risk_of(record: Record, settings: Settings) -> float:
    """How likely it is that something leaks in a photo, 0–1."""
    return at_least_one(r.p for r in misses(record, settings))
