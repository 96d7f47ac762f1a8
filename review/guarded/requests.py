"""What of FiftyOne's server a review lets through: the very requests that its App sends, key by key. Nothing else.

FiftyOne's App trusts whoever reaches it, so a request is not searched for what is bad: it is one of the shapes below or
it is refused. The text of a query is one of the App's own (by its hash). tests/recorded/fiftyone.json has what the App
sent in a real browser; a new FiftyOne that sends more fails the browser tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from .offered import METHODS, OPERATORS, RefusedError
from .queries import QUERIES, Colors
from .shapes import (
    Closed,
    Dataset,
    Extended,
    Filters,
    Id,
    Label,
    Number,
    Path,
    Plain,
    SampleId,
    Scalar,
    Selected,
    Spaces,
    State,
    Style,
    Text,
    View,
)


class Selection(Closed):
    selection: list[SampleId] | None = None
    scope: Text | None = None


class Page(Closed):
    """What is selected and shown in the page that runs an operator."""

    dataset_name: Dataset
    dataset_id: Id | None = None
    current_sample: SampleId | None = None
    extended: Extended | None = None
    extended_selection: Selection | None = None
    filters: Filters | None = None
    view: View | None = None
    view_name: Text | None = None
    group_slice: Text | None = None
    query_performance: bool | None = None
    selected: list[SampleId] = []
    selected_samples: list[Selected] = []
    selected_labels: list[Label] = []
    sample_selection_style: Style | None = None
    spaces: Spaces | None = None
    active_fields: list[Path] | None = None
    workspace_name: Text | None = None


class Params(Closed):
    """Of our operators and of the panel; which of them is looked up by each."""

    kind: Text | None = None
    x1: Number = None
    y1: Number = None
    x2: Number = None
    y2: Number = None
    method: Literal[METHODS] | None = Field(None, alias="__method__")  # type: ignore[valid-type]
    first: int | None = None  # frames of a clip, counted from 1
    last: int | None = None
    frame: int | None = None
    path: Path | None = None
    value: SampleId | None = None  # the photo that was opened
    panel_id: Text | None = None
    panel_state: Plain = None
    reviewer: Text | None = None  # written over


class Results(Closed):
    """What the operator answered, whose form is asked for."""

    message: Text | None = None
    error: Text | None = None
    image: str | None = None


class Operator(Page):
    operator_uri: Literal[OPERATORS]  # type: ignore[valid-type]
    params: Params | None = None
    request_delegation: Literal[False] | None = None
    prompt_id: Text | None = None
    target: Literal["inputs", "outputs"] | None = None
    results: Results | None = None


class Start(Closed):
    dataset: Dataset | None = None
    group_id: Text | None = None
    group_slice: Text | None = None
    sample_id: SampleId | None = None
    view: Text | None = None
    workspace: Text | None = None


class Events(Closed):
    initializer: Start
    subscription: Text
    events: Annotated[list[Text], Field(max_length=30)]
    polling: bool | None = None


class OfOperators(Closed):
    dataset_name: Dataset


class OfView(Closed):
    dataset: Dataset
    view: View = []
    extended: Extended | None = None


class OfGroup(OfView):
    filters: Filters | None = None
    group_id: Text | None = None
    slice: Text | None = None
    slices: list[Text] | None = None


class Tagging(OfGroup):
    view: View
    modal: bool | None = None
    label_fields: list[Path] | None = None
    target_labels: bool | None = None
    sample_ids: list[SampleId] | None = None
    labels: list[Label] | None = None
    hidden_labels: list[Label] | None = None


class Values(OfGroup):
    path: Path
    selected: list[Scalar] | None = None
    search: Text | None = None
    asc: bool | None = None
    count: bool | None = None
    limit: int | None = None
    sample_id: SampleId | None = None


class Frames(OfView):
    """Frames of a clip with their labels."""

    sampleId: SampleId
    frameNumber: int
    numFrames: int
    frameCount: int


class VideoLabels(OfView):
    """Where a clip's labels are: in a run of its frames, or in all."""

    sampleId: SampleId
    fields: Annotated[list[Path], Field(max_length=50)]
    filters: Filters | None = None
    startFrame: int | None = None
    endFrame: int | None = None
    dynamicAttributes: Annotated[list[Path], Field(max_length=50)] | None = None


class Sort(OfView):
    view: View
    filters: Filters | None = None
    subscription: Text | None = None


ROUTES: Mapping[str, type[Closed]] = {
    "/events": Events,
    "/frames": Frames,
    "/operators": OfOperators,
    "/operators/execute": Operator,
    "/operators/resolve-execution-options": Operator,
    "/operators/resolve-placements": Page,
    "/operators/resolve-type": Operator,
    "/sort": Sort,
    "/tagging": Tagging,
    "/values": Values,
    "/video-labels/index": VideoLabels,
    "/video-labels/window": VideoLabels,
}
# Where a shape names a dataset.
NAMES = ("dataset", "dataset_name", "datasetName", "name", "dataset_id")


def check(path: str, body: Any, datasets: Collection[str]) -> None:
    """One request with a body: a shape of the App's, about one of the given datasets (names and ids).

    Raises:
        RefusedError: anything else.
    """
    shape = ROUTES.get(path)
    if path == "/graphql":
        if not isinstance(body, dict) or not body.keys() <= {"query", "variables", "operationName"}:
            raise RefusedError("not one GraphQL request")
        text = body.get("query")
        shape = QUERIES.get(hashlib.sha256(text.encode()).hexdigest()[:32]) if isinstance(text, str) else None
        if not isinstance(body.get("operationName"), str | None):
            raise RefusedError("not one GraphQL request")
        body = body.get("variables") or {}
    if shape is None:
        raise RefusedError("a route or a query that is not offered")
    try:
        found = shape.model_validate(body)
    except (ValidationError, RecursionError) as e:
        raise RefusedError(f"not what the App sends to {path}: {e}") from e
    _check_datasets(found, datasets)


def _check_datasets(found: BaseModel, datasets: Collection[str]) -> None:
    for name in type(found).model_fields:
        value = getattr(found, name)
        if name in NAMES and not isinstance(found, State | Colors) and value is not None and value not in datasets:
            raise RefusedError("another dataset")
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, BaseModel):
                _check_datasets(inner, datasets)
