"""Names that a review lets through to FiftyOne, and answers cut down to what is ours.

`shape` says what a request looks like; here is what its names may be.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

_OWN = (
    "accept", "reject", "add", "set_kind", "extend", "approve", "flag", "undo", "next", "save_edits", "preview",
    "export", "panel",
)  # fmt: skip
# Ours; and FiftyOne's own that the Annotate tab asks, which only reads.
OPERATORS = (*(f"@anonymize/review/{name}" for name in _OWN), "@voxel51/operators/get_label_schemas")
# The panel's methods: FiftyOne calls whichever attribute a browser names.
METHODS = ("on_startup", "on_load", "on_change_current_sample", "go_next", "approve_next", "flag_next", "undo")
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
