"""What of FiftyOne's server a review lets through. Everything that is not named here is refused.

FiftyOne's App trusts whoever reaches it: it deletes datasets, runs operators, reads any file, evaluates expressions in
the database. A review needs a small part of that, on its own dataset only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from graphql import GraphQLError, parse
from graphql.language import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    ListValueNode,
    Node,
    ObjectValueNode,
    OperationDefinitionNode,
    StringValueNode,
    VariableNode,
    Visitor,
    visit,
)

from anonymize.errors import ReadOnlyError

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
# Those of them that only look: what is left on a read-only server.
LOOKING = ("next", "preview", "panel")
# FiftyOne's own that the Annotate tab asks; it only reads.
READING = frozenset({"@voxel51/operators/get_label_schemas"})
# The panel's methods: FiftyOne calls whichever attribute a browser names.
PANEL_LOOKS = ("on_startup", "on_load", "on_change_current_sample", "go_next")
PANEL_METHODS = (*PANEL_LOOKS, "approve_next", "flag_next", "undo")

# GraphQL's root fields that the App needs -> the argument that names the dataset; None: it names none.
QUERIES: Mapping[str, str | None] = {
    "aggregations": "form",
    "colorscale": None,
    "config": None,
    "context": None,
    "dataset": "name",
    "datasets": None,  # its answer is cut down to ours
    "dev": None,
    "doNotTrack": None,
    "estimatedDatasetCount": None,
    "lightning": "input",
    "aggregate": "datasetName",
    "sample": "dataset",
    "samples": "dataset",
    "savedViews": "datasetName",
    "schemaForViewStages": "datasetName",
    "stageDefinitions": None,
    "uid": None,
    "version": None,
}
MUTATIONS: Mapping[str, str | None] = {
    "setDataset": "name",
    "setView": "datasetName",
    "setSample": None,
    "setSelected": None,
    "setSelectedSamples": None,
    "setSelectedLabels": None,
    "setSpaces": None,
    "setColorScheme": None,
    "setGroupSlice": None,
    "setFieldVisibilityStage": None,
    "setLabelSelectionStyle": None,
    "setSampleSelectionStyle": None,
}
# View stages that filter, sort and cut; none that writes, joins another collection or runs code (Mongo, Concat,
# MapLabels …).
STAGES = frozenset(
    f"fiftyone.core.stages.{name}"
    for name in (
        "Exclude", "ExcludeFields", "ExcludeLabels", "Exists", "FilterField", "FilterLabels", "Limit", "LimitLabels",
        "Match", "MatchLabels", "MatchTags", "Select", "SelectBy", "SelectFields", "SelectLabels", "Shuffle", "Skip",
        "SortBy", "Take", "ToEvaluationPatches", "ToPatches",
    )
)  # fmt: skip
STAGES_BY_NAME = ("extended", "extendedStages", "extended_stages")
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
DATASET_KEYS = ("dataset", "dataset_name", "datasetName", "dataset_id", "datasetId")
_ID = "([0-9a-f]{24})"
SAMPLE = re.compile(f"/dataset/{_ID}/sample/{_ID}" r"(?:/(hidden|candidates)(?:\.detections)?/([0-9a-f]{24}))?")
EDITED = re.compile(r"/(hidden|candidates)(/detections(/(\d+|-)(/.*)?)?)?")


class RefusedError(Exception):
    """Not for this visitor. The answer says no more than that."""


def check_graphql(body: object, datasets: Collection[str], *, read_only: bool) -> None:
    """One GraphQL request: known root fields, on the given datasets.

    Raises:
        RefusedError: anything else.
    """
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        raise RefusedError("not one GraphQL request")
    variables = body.get("variables") or {}
    if not isinstance(variables, dict):
        raise RefusedError("variables that are no object")
    try:
        document = parse(body["query"], max_tokens=20_000)
    except GraphQLError as e:
        raise RefusedError("not GraphQL") from e
    visit(document, _NoLiterals())
    parts = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    if len(operations) != 1:
        raise RefusedError("not one operation")
    known = {"query": QUERIES, "mutation": MUTATIONS}.get(operations[0].operation.value)
    if known is None:
        raise RefusedError("a subscription")
    for chosen in _root_fields(operations[0].selection_set.selections, parts):
        if chosen.name.value not in known or chosen.alias is not None:
            raise RefusedError(f"the root field {chosen.name.value}")
        argument = known[chosen.name.value]
        given = {a.name.value: _value(a.value, variables) for a in chosen.arguments}
        check_values(given, read_only=read_only)  # by the argument's name, whatever its variable is called
        if argument is not None:
            named = given.get(argument)
            named = named.get("dataset") if isinstance(named, dict) else named
            is_leaving = chosen.name.value in ("setDataset", "setView") and named in (None, "")
            if named not in datasets and not is_leaving:
                raise RefusedError(f"another dataset for {chosen.name.value}")
    check_values(variables, read_only=read_only)


def _root_fields(selections: Sequence[Any], parts: Mapping[str, Any], depth: int = 0) -> Iterator[FieldNode]:
    """The fields of the root, those that fragments bring too."""
    if depth > 10:
        raise RefusedError("fragments within fragments")
    for chosen in selections:
        if isinstance(chosen, FieldNode):
            yield chosen
        elif isinstance(chosen, FragmentSpreadNode):
            if chosen.name.value not in parts:
                raise RefusedError("an unknown fragment")
            yield from _root_fields(parts[chosen.name.value].selection_set.selections, parts, depth + 1)
        else:
            yield from _root_fields(chosen.selection_set.selections, parts, depth + 1)


def only_own(answer: Any, datasets: Collection[str]) -> Any:
    """A GraphQL answer without the names and the number of other datasets, and without errors' texts."""
    if not isinstance(answer, dict):
        return None
    data = answer.get("data")
    if isinstance(data, dict):
        if isinstance(listed := data.get("datasets"), dict):
            edges = [e for e in listed.get("edges") or () if ((e or {}).get("node") or {}).get("name") in datasets]
            data["datasets"] = {**listed, "edges": edges, **({"total": len(edges)} if "total" in listed else {})}
        if "estimatedDatasetCount" in data:
            data["estimatedDatasetCount"] = len(datasets)
    if answer.get("errors"):
        answer["errors"] = [{"message": "refused"}]
    return answer


def _value(node: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(node, VariableNode):
        return variables.get(node.name.value)
    if isinstance(node, StringValueNode):
        return node.value
    return None


class _NoLiterals(Visitor):
    """Views, stages and filters come as variables, which are looked through; in the query's own text nothing does."""

    def enter(self, node: Node, *_: Any) -> None:
        if isinstance(node, ObjectValueNode) or (isinstance(node, ListValueNode) and node.values):
            raise RefusedError("an object or a list in the text of a query")


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


def check_values(value: object, *, read_only: bool) -> None:
    """Stages and expressions anywhere in a request.

    Raises:
        RefusedError: a stage or a database operator that is not on the lists. ReadOnlyError: a view that is stored.
    """
    for key, inner in _walk(value):
        if key == "_cls" and inner not in STAGES and inner not in ("Space", "Panel"):
            raise RefusedError("a stage that is not offered")
        if key == "_CLS":
            raise RefusedError("a whole state")
        # Stages by their names: FiftyOne makes an object of whatever class a key names.
        if key in STAGES_BY_NAME and inner and not (isinstance(inner, dict) and inner.keys() <= STAGES):
            raise RefusedError("a stage that is not offered")
        if key == "_cls" and read_only and isinstance(inner, str) and inner.rpartition(".")[2].startswith("To"):
            raise ReadOnlyError(ONLY_LOOKED_AT)
        if key.startswith("$") and key not in CALCULATIONS and not key.startswith("$$"):
            raise RefusedError("an expression that is not offered")


def check_json(body: object, datasets: Collection[str], *, read_only: bool) -> None:
    """A request to one of FiftyOne's routes: only the given datasets (names and ids), only harmless stages.

    Raises:
        RefusedError: anything else.
    """
    if not isinstance(body, dict):
        raise RefusedError("not an object")
    for key, inner in _walk(body):
        if key in DATASET_KEYS and isinstance(inner, str) and inner and inner not in datasets:
            raise RefusedError("another dataset")
    check_values(body, read_only=read_only)


def check_event(body: Mapping[str, Any], datasets: Collection[str]) -> None:
    """What one browser tells the others through /event, or asks for when it listens on /events.

    Raises:
        RefusedError: an event that carries a whole state, or names another dataset.
    """
    if body.get("event") in (
        "state_update",
        "refresh",
        "close_session",
        "capture_notebook_cell",
        "reactivate_notebook_cell",
    ):
        raise RefusedError("an event that is not offered")
    start = body.get("initializer")
    if isinstance(start, dict) and start.get("dataset") not in (None, "", *datasets):
        raise RefusedError("another dataset")
    if isinstance(start, str):
        raise RefusedError("a whole state")


def check_operator(body: Mapping[str, Any], datasets: Collection[str], *, read_only: bool) -> None:
    """One call of an operator.

    Raises:
        RefusedError: an operator that is not ours, another dataset, or none. ReadOnlyError: one that writes.
    """
    uri = body.get("operator_uri")
    if not isinstance(uri, str) or uri not in {f"{PLUGIN}/{name}" for name in OPERATORS} | READING:
        raise RefusedError("an operator that is not offered")
    if body.get("dataset_name") not in datasets:
        raise RefusedError("another dataset")
    params = body.get("params")
    method = params.get("__method__") if isinstance(params, dict) else None
    if method is not None and method not in PANEL_METHODS:
        raise RefusedError("a method that is not offered")
    if body.get("request_delegation"):
        raise RefusedError("no delegation")
    name = uri.rpartition("/")[2]
    if read_only and uri not in READING and (name not in LOOKING or (method and method not in PANEL_LOOKS)):
        raise ReadOnlyError(ONLY_LOOKED_AT)


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
