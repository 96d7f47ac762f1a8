"""Names that a review lets through to FiftyOne, answers cut down to what is ours, and patches of labels.

`shape` says what a request looks like; here is what its names may be.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
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


def _walk(value: object, depth: int = 0) -> Iterator[tuple[str, object]]:
    if depth > 60:
        raise RefusedError("too deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key), inner
            yield from _walk(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, depth + 1)


def check_patch(body: object) -> None:
    """A JSON patch on a sample may change labels of the two fields that may be edited, nothing else.

    Raises:
        RefusedError: anything else.
    """
    if not isinstance(body, list) or len(body) > 1000:
        raise RefusedError("not a patch")
    for change in body:
        if not isinstance(change, dict) or change.get("op") not in ("add", "remove", "replace", "test"):
            raise RefusedError("not a patch")
        if not EDITED.fullmatch(str(change.get("path"))) or re.search("mask", str(change)):
            raise RefusedError("another field")
    _check_labels(body)


def check_field_patch(body: object) -> None:
    """The same on one label, which its route has named.

    Raises:
        RefusedError: not a patch, or one with a mask (a path of a file).
    """
    if not isinstance(body, list) or len(body) > 1000 or not all(isinstance(c, dict) for c in body):
        raise RefusedError("not a patch")
    if re.search("mask", str(body)):
        raise RefusedError("a mask")
    for change in body:
        if change.get("op") not in ("add", "remove", "replace", "test"):
            raise RefusedError("not a patch")
    _check_labels(body)


def _check_labels(body: object) -> None:
    for key, inner in _walk(body):
        if key == "_cls" and (not isinstance(inner, str) or inner not in LABELS):
            raise RefusedError("not a label")
        if key.startswith("$") and key not in ("$oid", "$date"):
            raise RefusedError("an expression that is not offered")
