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

from .offered import METHODS, OPERATORS, PLUGIN, READING, RefusedError
from .queries import (
    Colors,
    Nothing,
    OfAggregations,
    OfDataset,
    OfLightning,
    OfName,
    OfSample,
    OfSamples,
    SetColorScheme,
    SetDataset,
    SetSample,
    SetSelected,
    SetSelectedLabels,
    SetSelectedSamples,
    SetSlice,
    SetSpaces,
    SetStyle,
    SetView,
    SetVisibility,
)
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
    operator_uri: Literal[(*(f"{PLUGIN}/{name}" for name in OPERATORS), *sorted(READING))]  # type: ignore[valid-type]
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


class Tagging(Closed):
    dataset: Dataset
    view: View
    filters: Filters | None = None
    extended: Extended | None = None
    modal: bool | None = None
    label_fields: list[Path] | None = None
    target_labels: bool | None = None
    group_id: Text | None = None
    slice: Text | None = None
    slices: list[Text] | None = None
    sample_ids: list[SampleId] | None = None
    labels: list[Label] | None = None
    hidden_labels: list[Label] | None = None


class Values(Closed):
    dataset: Dataset
    path: Path
    view: View = []
    extended: Extended | None = None
    filters: Filters | None = None
    selected: list[Scalar] | None = None
    search: Text | None = None
    asc: bool | None = None
    count: bool | None = None
    limit: int | None = None
    sample_id: SampleId | None = None
    group_id: Text | None = None
    slice: Text | None = None
    slices: list[Text] | None = None


class Frames(Closed):
    """Frames of a clip with their labels."""

    dataset: Dataset
    sampleId: SampleId
    frameNumber: int
    numFrames: int
    frameCount: int
    view: View = []
    extended: Extended | None = None


class VideoLabels(Closed):
    """Where a clip's labels are: in a run of its frames, or in all."""

    dataset: Dataset
    sampleId: SampleId
    fields: Annotated[list[Path], Field(max_length=50)]
    view: View = []
    extended: Extended | None = None
    filters: Filters | None = None
    startFrame: int | None = None
    endFrame: int | None = None
    dynamicAttributes: Annotated[list[Path], Field(max_length=50)] | None = None


class Sort(Closed):
    dataset: Dataset
    view: View
    filters: Filters | None = None
    extended: Extended | None = None
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
# The App's queries: the first 32 digits of the SHA-256 of each text -> its variables.
QUERIES: Mapping[str, type[Closed]] = {
    "de3c77f3907149427d8f06de9f116698": OfDataset,  # DatasetPageQuery
    "79d63163ddef44fff305ab79eb54ba9c": OfAggregations,  # aggregationsQuery
    "df0a15196bc0dd9308c8c42ad852e76e": Nothing,  # configQuery
    "2bb6a82787eead2bbdfe5cc95fa2532e": OfDataset,  # datasetQuery
    "d8d7af07d9f4b1258c8b4de599a202bc": OfLightning,  # lightningQuery
    "8a28af9f9ae86b4b4ed44df2d06d9d22": OfSample,  # mainSampleQuery
    "6ae2eda8d90c5aa855152f9d5bfe0fa5": OfSamples,  # paginateSamplesQuery
    "aaabe9282894d59d2afaa3a77dfa27d1": OfName,  # savedViewsFragmentQuery
    "66b056727b0e76df12d1696a64c52739": SetColorScheme,  # setColorSchemeMutation
    "36c8f2f34731763345c93ac34de60f04": SetDataset,  # setDatasetMutation
    "cdcc10648a8e1718eb29411597b449b7": SetVisibility,  # setFieldVisibilityStageMutation
    "8c388555df1c1657be4b0df7b99e6fa4": SetSlice,  # setGroupSliceMutation
    "cdba1f73900acb2dad1b6ca91287f52d": SetStyle,  # setLabelSelectionStyleMutation
    "c376eab1c4554da1e00b9f096f895ee5": SetSample,  # setSampleMutation
    "549e304a6f4a510deed93e988f74e5e3": SetStyle,  # setSampleSelectionStyleMutation
    "77060d1012f2b1770470e171f0b392e2": SetSelectedLabels,  # setSelectedLabelsMutation
    "ace19a509dd087226396d871a47ade0d": SetSelected,  # setSelectedMutation
    "7d3997efa616d42784c2c610c218cd5e": SetSelectedSamples,  # setSelectedSamplesMutation
    "695d697cae2f0849aa8450bf69cb9b58": SetSpaces,  # setSpacesMutation
    "d988db07646c56c1e431b7543e24fc7d": SetView,  # setViewMutation
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
