"""Records ⇄ FiftyOne samples, as plain values: the only place where pixels meet relative boxes. Imports no fiftyone.

What a person may look at are labels, each with its region's id; of the rest a sample names the ids. What a person
changed in the App is what differs from the record: it stays as it is, to the last bit, though FiftyOne's boxes are
fractions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from bson import ObjectId

from anonymize.errors import SettingsError
from anonymize.evaluate import LEAK_COVERAGE, PhotoResult
from anonymize.records import Header, Record
from anonymize.regions import Box, Point, Region
from anonymize.risk import SHOWN_REASON
from anonymize.settings import Settings

from .items import Item

# Fields with labels. hidden: what an export hides (found, accepted, drawn). candidates: what it does not (below the
# threshold, rejected). context: vehicles and persons.
HIDDEN, CANDIDATES, CONTEXT, CORNERS, TRUTH = "hidden", "candidates", "context", "corners", "ground_truth"
REGION_FIELDS = (HIDDEN, CANDIDATES, CONTEXT)
# Fainter candidates that are no reason to look are no labels: they are hundreds a photo.
FAINT = 0.05
HUNDREDTH = 0.01 + 1e-6  # px
Document = dict[str, Any]
Decision = tuple[str, Mapping[str, Any]]  # what, and its arguments, as `corrections.decide` takes them


def label_id(path: str, region: str) -> ObjectId:
    """The same region has the same label in every load; one that was drawn in the App is named by its label."""
    if len(region) == 24 and ObjectId.is_valid(region):
        return ObjectId(region)
    return ObjectId(hashlib.blake2s(f"{path}\0{region}".encode(), digest_size=12).digest())


def relative(box: Box, width: int, height: int) -> list[float]:
    """(x1, y1, x2, y2) px -> [x, y, width, height] as fractions of the photo."""
    w, h = max(width, 1), max(height, 1)
    return [box[0] / w, box[1] / h, (box[2] - box[0]) / w, (box[3] - box[1]) / h]


def absolute(box: Sequence[float], width: int, height: int) -> Box:
    """[x, y, width, height] as fractions -> (x1, y1, x2, y2) px."""
    x, y, w, h = (float(v) for v in box)
    return x * width, y * height, (x + w) * width, (y + h) * height


def is_same_box(one: Sequence[float], other: Sequence[float], width: int, height: int) -> bool:
    """Whether two boxes, as fractions, are one within the photo: what is drawn is kept to a hundredth of a pixel."""
    size = (width, height, width, height)
    pairs = zip(absolute(one, width, height), absolute(other, width, height), size, strict=True)
    return all(abs(min(max(a, 0), most) - min(max(b, 0), most)) < HUNDREDTH for a, b, most in pairs)


def media_path(header: Header, record: Record) -> str:
    """The photo's file name for FiftyOne; one that BSON cannot take in its escaped form: review's mount knows both."""
    path = str(header.source(record))
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return f"{header.root.rstrip('/')}/{record.path}"
    return path


def to_document(
    record: Record, item: Item, header: Header, settings: Settings, result: PhotoResult | None = None
) -> Document:
    """A record as FiftyOne keeps a sample, without the keys that FiftyOne itself adds.

    Args:
        item: the queue's view of the record: risk and reasons.
        settings: decide which regions are hidden.
        result: how it compares with the ground truth, where there is one.
    """
    missed = {r.region: r.p for r in item.misses}
    nothing = {r.region: r.p for r in item.doubts}
    fields: dict[str, list[Document]] = {name: [] for name in REGION_FIELDS}
    corners: list[Document] = []
    faint: list[str] = []
    for region in record.regions:
        hides = settings.hides(region)
        p = missed.get(region.id, 0.0)
        if region.status == "auto" and not hides and region.score < FAINT and p < SHOWN_REASON:
            faint.append(region.id)
            continue
        name = HIDDEN if hides else CANDIDATES if region.kind in settings.kinds or region.status != "auto" else CONTEXT
        chance = nothing.get(region.id, 0.0) if hides else p
        fields[name].append(_detection(record, region, chance))
        if region.corners:
            corners.append(_polyline(record, region, region.corners))
    out: Document = {
        "filepath": media_path(header, record),
        "tags": [item.status],
        "metadata": {"_cls": "ImageMetadata", "width": record.width, "height": record.height},
        "photo": record.path,
        "review": item.status,
        "risk": item.risk,
        "reasons": item.reasons,
        "error": record.error,
        "regions_hash": item.regions_hash,
        "settings_hash": settings.export_hash(),
        **{name: {"_cls": "Detections", "detections": labels} for name, labels in fields.items()},
        CORNERS: {"_cls": "Polylines", "polylines": corners},
        "faint": json.dumps(faint),
    }
    if result is not None:
        _compare(out, record, result)
    return out


def _label(record: Record, region: Region, name: str, cls: str) -> Document:
    """What FiftyOne's labels of all classes have."""
    same = {"_id": label_id(record.path, name), "_cls": cls, "attributes": {}, "tags": []}
    return {**same, "label": region.kind, "confidence": region.score, "region": region.id}


def _detection(record: Record, region: Region, chance: float) -> Document:
    return {
        **_label(record, region, region.id, "Detection"),
        "tags": [] if region.status == "auto" else [region.status],
        "bounding_box": relative(region.box, record.width, record.height),
        "status": region.status,
        "height_px": region.height,
        "seen_by": sorted(region.detector_scores),
        "chance": chance,
        "was": region.status,  # `status` is what a person changes
    }


def _polyline(record: Record, region: Region, corners: Sequence[Point]) -> Document:
    points = [[x / max(record.width, 1), y / max(record.height, 1)] for x, y in corners]
    label = _label(record, region, f"{region.id} corners", "Polyline")
    return {**label, "points": [points], "closed": True, "filled": False}


def _compare(out: Document, record: Record, result: PhotoResult) -> None:
    """Ground truth beside what was found: tp, fp, fn, hidden share, leak."""
    labels = {label["region"]: label for label in out[HIDDEN]["detections"]}
    ids = [label_id(record.path, f"truth {n}") for n in range(len(result.truths))]
    truth_of, found_of = dict(result.matches), {t: d for d, t in result.matches}
    for n, region in enumerate(result.detections):
        label = labels[region.id]
        label["eval"] = "tp" if n in truth_of else "ignored" if n in result.ignored else "fp"
        label["eval_id"] = str(ids[truth_of[n]]) if n in truth_of else ""
    truths = []
    for n, (t, covered) in enumerate(zip(result.truths, result.covered, strict=True)):
        found = result.detections[found_of[n]].id if n in found_of else None
        truths.append(
            {
                "_id": ids[n],
                "_cls": "Detection",
                "attributes": {},
                "tags": [],
                "label": t.kind,
                "bounding_box": relative(t.box, record.width, record.height),
                "height_px": t.box[3] - t.box[1],
                "covered": covered,
                "leak": covered < LEAK_COVERAGE and not t.ignore,
                "iscrowd": t.ignore,
                "eval": "ignored" if t.ignore else "tp" if found else "fn",
                "eval_id": str(label_id(record.path, found)) if found else "",
            }
        )
    out[TRUTH] = {"_cls": "Detections", "detections": truths}
    out["leaks"] = sum(t["leak"] for t in truths)
    for name, place in (("tp", HIDDEN), ("fp", HIDDEN), ("fn", TRUTH)):
        out[f"eval_{name}"] = sum(label["eval"] == name for label in out[place]["detections"])


def _labels(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [label for f in REGION_FIELDS for label in (document.get(f) or {}).get("detections") or ()]


def changes(document: Mapping[str, Any], record: Record) -> list[Decision]:
    """What a person changed in a sample's labels in FiftyOne: drawn, moved, renamed, deleted, status set.

    A drawn box that is rejected leaves the record, and stays in the App as long as that shows it: with another status
    it is drawn again.

    Args:
        document: the sample as FiftyOne has it now.
        record: the record that it was loaded from.

    Raises:
        SettingsError: a label without a class, or a status that is none.
    """
    out: list[Decision] = []
    known = {r.id: r for r in record.regions}
    shown = set(json.loads(document["faint"]))
    for label in _labels(document):
        box = absolute(label["bounding_box"], record.width, record.height)
        region = known.get(label.get("region") or "")
        if region is None or region.id in shown:  # drawn, or a copy of one
            if not label.get("label"):
                raise SettingsError("a drawn box needs a class: face, plate or a kind of your own")
            name = str(label["_id"])
            if name not in known and label.get("status") != "rejected":  # that one is not to be hidden
                out.append(("add", {"box": _whole(box, record), "kind": label["label"], "id": name}))
            shown.add(name)
            continue
        shown.add(region.id)
        was = relative(region.box, record.width, record.height)
        if not is_same_box(label["bounding_box"], was, record.width, record.height):
            out.append(("move", {"id": region.id, "box": _whole(box, record)}))
        if label.get("label") and label["label"] != region.kind:
            out.append(("set-kind", {"id": region.id, "kind": label["label"]}))
        given = label.get("status", region.status)
        # The App may send a label as it was shown before an earlier edit: its status says nothing new then.
        if given not in (region.status, label.get("was", "")):
            verb = {"accepted": "accept", "manual": "accept", "rejected": "reject", "auto": "reset"}.get(given)
            if verb is None:
                raise SettingsError(f"a status is accepted, rejected or auto; received {given!r}")
            out.append((verb, {"id": region.id}))
    out += [("reject", {"id": r.id}) for r in record.regions if r.id not in shown and r.status != "rejected"]
    return out


def _whole(box: Box, record: Record) -> Box:
    """A hand-drawn box to a hundredth of a pixel, in the photo."""
    x1, y1, x2, y2 = (round(v, 2) for v in box)
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(record.width)), min(y2, float(record.height))
