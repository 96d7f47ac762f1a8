"""The queries of FiftyOne's App, and their variables: a class for each kind of query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, create_model

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


class OfName(Closed):
    name: Dataset


class OfDataset(OfName):
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


class OfSample(Closed):
    dataset: Dataset
    view: View
    filter: SampleFilter
    filters: Filters | None = None


class OfSamples(OfSample):
    count: int | None = None
    after: Text | None = None
    extendedStages: Extended | None = None
    paginationData: bool | None = None
    sortBy: Path | None = None
    desc: bool | None = None
    hint: Text | None = None
    dynamicGroup: None = None
    maxQueryTime: int | None = None


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


class Nothing(Closed):
    pass


class Told(Closed):
    """What one page tells the server of itself."""

    subscription: Text
    session: Text | None = None


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


class StateForm(Closed):
    addStages: View | None = None
    extended: Extended | None = None
    filters: Filters | None = None
    labels: list[Label] | None = None
    sampleIds: list[SampleId] | None = None
    slice: Text | None = None


def _told(**variables: Any) -> type[Closed]:
    """What a mutation tells of a page: these variables; one that may be None may be left out."""
    given: dict[str, Any] = {n: (of, None if type(None) in get_args(of) else ...) for n, of in variables.items()}
    return create_model("Mutation", __base__=Told, **given)


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
    "66b056727b0e76df12d1696a64c52739": _told(colorScheme=ColorScheme),  # setColorSchemeMutation
    "36c8f2f34731763345c93ac34de60f04": _told(name=Dataset | None, viewName=Text | None),  # setDatasetMutation
    "cdcc10648a8e1718eb29411597b449b7": _told(stage=Stage | None),  # setFieldVisibilityStageMutation
    "8c388555df1c1657be4b0df7b99e6fa4": _told(slice=Text | None),  # setGroupSliceMutation
    "cdba1f73900acb2dad1b6ca91287f52d": _told(style=Style),  # setLabelSelectionStyleMutation
    "c376eab1c4554da1e00b9f096f895ee5": _told(groupId=Text | None, id=SampleId | None),  # setSampleMutation
    "549e304a6f4a510deed93e988f74e5e3": _told(style=Style),  # setSampleSelectionStyleMutation
    "77060d1012f2b1770470e171f0b392e2": _told(selectedLabels=list[Label]),  # setSelectedLabelsMutation
    "ace19a509dd087226396d871a47ade0d": _told(selected=list[SampleId]),  # setSelectedMutation
    "7d3997efa616d42784c2c610c218cd5e": _told(selectedSamples=list[Selected]),  # setSelectedSamplesMutation
    "695d697cae2f0849aa8450bf69cb9b58": _told(spaces=Spaces),  # setSpacesMutation
    "d988db07646c56c1e431b7543e24fc7d": _told(  # setViewMutation
        view=View, savedViewSlug=Text | None, datasetName=Dataset | None, form=StateForm
    ),
}
