"""The variables of the queries of FiftyOne's App, a class for each kind of query; `requests` says which has which."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .shapes import (
    Closed,
    Dataset,
    Extended,
    Filters,
    Label,
    Number,
    Path,
    Plain,
    SampleFilter,
    SampleId,
    Scalar,
    Selected,
    Spaces,
    Stage,
    Style,
    Text,
    View,
)


class Modal(Closed):
    """Which photo is open."""

    groupId: Text | None = None
    id: SampleId | None = None


class Fields(Closed):
    field_names: list[Path]
    allow_missing: bool | None = Field(None, alias="_allow_missing")


class Visibility(Closed):
    """Which fields are shown."""

    cls: Literal["fiftyone.core.stages.SelectFields", "fiftyone.core.stages.ExcludeFields"]
    kwargs: Fields


class OfDataset(Closed):
    name: Dataset
    event: Literal["modal", "slice", "spaces", "fieldVisibility"] | None = None
    fieldVisibility: Visibility | None = None
    modalSelector: Modal | None = None
    view: View = []
    extendedView: View = []
    savedViewSlug: Text | None = None
    groupSlice: Text | None = None
    workspace: Spaces | None = None
    workspaceSlug: Text | None = None
    search: Text | None = None
    count: int | None = None
    cursor: Text | None = None


class OfSamples(Closed):
    count: int | None = None
    after: Text | None = None
    dataset: Dataset
    view: View
    filter: SampleFilter
    filters: Filters | None = None
    extendedStages: Extended | None = None
    paginationData: bool | None = None
    sortBy: Path | None = None
    desc: bool | None = None
    hint: Text | None = None
    dynamicGroup: None = None
    maxQueryTime: int | None = None


class OfSample(Closed):
    dataset: Dataset
    view: View
    filter: SampleFilter
    filters: Filters | None = None


class AggregationForm(Closed):
    index: int | None = None
    dataset: Dataset
    extendedStages: Extended | None = None
    filters: Filters | None = None
    groupId: Text | None = None
    hiddenLabels: list[Label] = []
    paths: Annotated[list[Path], Field(max_length=200)]
    mixed: bool | None = None
    sampleIds: list[SampleId] = []
    slices: list[Text] | None = None
    slice: Text | None = None
    view: View = []
    viewName: Text | None = None
    queryPerformance: bool | None = None
    maxQueryTime: int | None = None
    hint: Text | None = None


class OfAggregations(Closed):
    form: AggregationForm


class LightningPath(Closed):
    path: Path
    exclude: list[Scalar] | None = None
    filters: Filters | None = None
    first: int | None = None
    index: Text | None = None
    maxDocumentsSearch: int | None = None
    search: Text | None = None


class Lightning(Closed):
    dataset: Dataset
    match: Plain = None
    paths: Annotated[list[LightningPath], Field(max_length=200)]
    slice: Text | None = None


class OfLightning(Closed):
    input: Lightning


class OfName(Closed):
    name: Dataset


class Nothing(Closed):
    pass


class Told(Closed):
    """What one page tells the server of itself."""

    subscription: Text
    session: Text | None = None


class SetSample(Told):
    groupId: Text | None = None
    id: SampleId | None = None


class SetSelected(Told):
    selected: list[SampleId]


class SetSelectedSamples(Told):
    selectedSamples: list[Selected]


class SetSelectedLabels(Told):
    selectedLabels: list[Label]


class SetStyle(Told):
    style: Style


class SetSpaces(Told):
    spaces: Spaces


class SetSlice(Told):
    slice: Text | None = None


class ValueColor(Closed):
    value: Scalar = None
    intTarget: int | None = None
    color: Text | None = None


class Colors(Closed):
    path: Path | None = None
    name: Text | None = None
    steps: Annotated[list[ValueColor], Field(max_length=200)] | None = Field(None, alias="list")
    fieldColor: Text | None = None
    colorByAttribute: Path | None = None
    valueColors: Annotated[list[ValueColor], Field(max_length=200)] | None = None
    maskTargetsColors: Annotated[list[ValueColor], Field(max_length=200)] | None = None


class ColorScheme(Closed):
    id: Text | None = None
    colorPool: list[Text]
    colorBy: Text | None = None
    colorscales: list[Colors] | None = None
    defaultColorscale: Colors | None = None
    defaultMaskTargetsColors: list[ValueColor] | None = None
    fields: list[Colors] | None = None
    labelTags: Colors | None = None
    temporalTags: Colors | None = None
    multicolorKeypoints: bool | None = None
    opacity: Number = None
    showSkeletons: bool | None = None


class SetColorScheme(Told):
    colorScheme: ColorScheme


class SetVisibility(Told):
    stage: Stage | None = None


class SetDataset(Told):
    name: Dataset | None = None
    viewName: Text | None = None


class StateForm(Closed):
    addStages: View | None = None
    extended: Extended | None = None
    filters: Filters | None = None
    labels: list[Label] | None = None
    sampleIds: list[SampleId] | None = None
    slice: Text | None = None


class SetView(Told):
    view: View
    savedViewSlug: Text | None = None
    datasetName: Dataset | None = None
    form: StateForm
