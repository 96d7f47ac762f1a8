"""Names that a review lets through to FiftyOne, answers cut down to what is ours, and patches of labels.

`shape` says what a request looks like; here is what its names may be.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

PLUGIN = "@anonymize/review"
ONLY_LOOKED_AT = "This sample is only to be looked at. Your own photos can be reviewed."
OPERATORS = (
    "accept",
    "reject",
    "add",
    "set_kind",
    "approve",
    "flag",
    "undo",
    "next",
    "save_edits",
    "preview",
    "export",
    "panel",
)
# FiftyOne's own that the Annotate tab asks; it only reads.
READING = frozenset({"@voxel51/operators/get_label_schemas"})
# The panel's methods: FiftyOne calls whichever attribute a browser names.
METHODS = ("on_startup", "on_load", "on_change_current_sample", "go_next", "approve_next", "flag_next", "undo")
# Labels that a patch may bring.
LABELS = frozenset({"Detection", "Detections", "Classification", "Polyline", "Polylines"})
# What a label has here: FiftyOne's own, and what `review.documents` writes. No path of a file, such as a mask's.
LABEL_KEYS = frozenset(
    (
        "_cls", "_id", "id", "label", "confidence", "tags", "attributes", "bounding_box", "index", "instance",
        "detections", "polylines", "points", "closed", "filled", "region", "status", "height_px", "seen_by", "chance",
        "rank", "data", "covered", "leak", "iscrowd", "eval", "eval_id",
    )
)  # fmt: skip
# Operators of the database that compare and calculate. $where, $function, $lookup, $out, $merge and their like do more.
CALCULATIONS = frozenset(
    "$" + name
    for name in (
        "abs", "add", "all", "and", "anyElementTrue", "arrayElemAt", "cond", "divide", "elemMatch", "eq", "exists",
        "expr", "filter", "floor", "gt", "gte", "ifNull", "in", "let", "literal", "lt", "lte", "map", "max", "min",
        "mod", "multiply", "ne", "nin", "nor", "not", "oid", "or", "reduce", "size", "slice", "strcasecmp", "subtract",
        "sum", "switch", "toString", "type", "uuid", "date",
    )
)  # fmt: skip
_ID = "([0-9a-f]{24})"
SAMPLE = re.compile(f"/dataset/{_ID}/sample/{_ID}" r"(?:/(hidden|candidates)(?:\.detections)?/([0-9a-f]{24}))?")
EDITED = re.compile(r"/(hidden|candidates)(/detections(/(\d+|-)(/.*)?)?)?")


class RefusedError(Exception):
    """Not for this visitor. The answer says no more than that."""


def only_own(answer: Any, datasets: Collection[str]) -> Any:
    """A GraphQL answer without the names and the number of other datasets, and without errors' texts."""
    if not isinstance(answer, dict):
        return None
    data = answer.get("data")
    if isinstance(data, dict):
        if isinstance(found := data.get("dataset"), dict) and found.get("info"):
            found["info"] = {}  # says where the records are
        if isinstance(listed := data.get("datasets"), dict):
            edges = [e for e in listed.get("edges") or () if ((e or {}).get("node") or {}).get("name") in datasets]
            data["datasets"] = {**listed, "edges": edges, **({"total": len(edges)} if "total" in listed else {})}
        if "estimatedDatasetCount" in data:
            data["estimatedDatasetCount"] = len(datasets)
    if answer.get("errors"):
        answer["errors"] = [{"message": "refused"}]
    return answer


def check_patch(body: object) -> None:
    """A JSON patch on a sample may change labels of the two fields that may be edited, nothing else.

    Raises:
        RefusedError: anything else.
    """
    for change in _changes(body):
        if not EDITED.fullmatch(change["path"]):
            raise RefusedError("another field")


def check_field_patch(body: object) -> None:
    """The same on one label, which its route has named.

    Raises:
        RefusedError: not a patch, or one of what a label here does not have (a mask: a path of a file).
    """
    _changes(body)


def _changes(body: object) -> list[dict[str, Any]]:
    if not isinstance(body, list) or len(body) > 1000:
        raise RefusedError("not a patch")
    for change in body:
        if not isinstance(change, dict) or change.get("op") not in ("add", "remove", "replace", "test"):
            raise RefusedError("not a patch")
        path = change.get("path")
        if not change.keys() <= {"op", "path", "value"} or not isinstance(path, str):
            raise RefusedError("not a patch")
        if not all(p in LABEL_KEYS or re.fullmatch(r"\d{1,6}|-|hidden|candidates|", p) for p in path.split("/")):
            raise RefusedError("what labels do not have")
        _check_label(change.get("value"))
    return body


def _check_label(value: object, depth: int = 0) -> None:
    """A label, a list of labels, or a part of one: the keys that labels have here, each with its kind of value."""
    if depth > 6 or not isinstance(value, dict | list | str | int | float | None):
        raise RefusedError("not a label")
    if isinstance(value, list):
        for inner in value:
            _check_label(inner, depth + 1)
    elif isinstance(value, dict):
        if value.keys() & {"$oid", "$date"}:  # how an id or a time is written
            if len(value) > 1 or not isinstance(next(iter(value.values())), str | int):
                raise RefusedError("not an id")
            return
        if not value.keys() <= LABEL_KEYS:
            raise RefusedError("what labels do not have")
        for key, inner in value.items():
            if key == "_cls" and (not isinstance(inner, str) or inner not in LABELS):
                raise RefusedError("not a label")
            if isinstance(inner, dict) and key not in ("_id", "attributes"):
                raise RefusedError("a label within a label")
            _check_label(inner, depth + 1)
