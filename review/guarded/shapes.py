"""Values in the requests of FiftyOne's App: filters, stages, labels, panels. Whatever is not a key here is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from .offered import CALCULATIONS
from .process import STAGES

MOST_DEEP = 40


def _plain(value: Any, depth: int = 0) -> Any:
    """Values of a filter: comparisons and calculations of the database, and nothing that names a class."""
    if depth > MOST_DEEP:
        raise ValueError("too deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            if (key.startswith("_") and key != "_id") or (key.startswith("$") and key not in CALCULATIONS):
                raise ValueError("an expression that is not offered")
            _plain(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _plain(inner, depth + 1)
    return value


Plain = Annotated[Any, AfterValidator(_plain)]
Text = Annotated[str, Field(max_length=4000)]
Id = Annotated[str, Field(pattern="^[0-9a-f]{24}$")]
# Of a sample; one of a patch has its label's behind it.
SampleId = Annotated[str, Field(pattern="^[0-9a-f]{24}([-_][0-9a-f]{1,24})?$")]
Path = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\- ]{0,200}$")]
Dataset = Annotated[str, Field(pattern="^[A-Za-z0-9-]{1,100}$")]  # whether it is one of ours is looked up after
Number = int | float | None
Scalar = bool | int | float | Text | None


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Style(Closed):
    default: Text | None = None
    alt: Text | None = None


class State(Closed):
    """What a view of patches was made of."""

    dataset_id: Id | None = None
    stages: list[Stage] = []
    name: Text | None = None
    field: Path | None = None
    eval_key: Path | None = None
    config: Plain = None


def _argument(pair: list[Any]) -> list[Any]:
    name, value = pair
    if not isinstance(name, str):
        raise ValueError("an argument without a name")
    if name == "_state" and value is not None:
        State.model_validate(value)
    else:
        _plain(value)
    return pair


class Stage(Closed):
    cls: Literal[tuple(f"fiftyone.core.stages.{name}" for name in STAGES)] = Field(alias="_cls")  # type: ignore[valid-type]
    kwargs: list[Annotated[list[Any], Field(min_length=2, max_length=2), AfterValidator(_argument)]]
    uuid: Text | None = Field(None, alias="_uuid")


View = Annotated[list[Stage], Field(max_length=50)]


class SortBy(Closed):
    field_or_expr: Path | None = None
    reverse: bool | None = None
    create_index: bool | None = None


class Select(Closed):
    sample_ids: list[SampleId]
    ordered: bool | None = None


class Extended(Closed):
    """Stages by their names, with their arguments: the App sends sorting and a selection, else none."""

    sort_by: SortBy | None = Field(None, alias="fiftyone.core.stages.SortBy")
    select: Select | None = Field(None, alias="fiftyone.core.stages.Select")


class Filter(Closed):
    """What is chosen of one field in the sidebar."""

    values: list[Scalar] | None = None
    range: Annotated[list[Any], AfterValidator(_plain)] | None = None
    exclude: bool | None = None
    isMatching: bool | None = None
    onlyMatch: bool | None = None
    none: bool | None = None
    nan: bool | None = None
    inf: bool | None = None
    ninf: bool | None = None
    true: bool | None = None
    false: bool | None = None


Filters = Annotated[dict[Path, Filter], Field(max_length=100)]  # by the field's path


class Spaces(Closed):
    """Which panels are open, and where."""

    cls: Literal["Space", "Panel"] = Field(alias="_cls")
    version: int | None = Field(None, alias="_version")
    id: Text | None = None
    component_id: Text | None = None
    active_child: Text | None = None
    orientation: Text | None = None
    pinned: bool | None = None
    type: Text | None = None
    sizes: list[Number] | None = None
    state: Plain = None
    children: list[Spaces] = []


class Group(Closed):
    id: Text | None = None
    slice: Text | None = None
    slices: list[Text] | None = None


class SampleFilter(Closed):
    group: Group | None = None
    id: SampleId | None = None


class Instance(Closed):
    """What labels of several frames are of."""

    cls: Literal["Instance"] = Field(alias="_cls")
    id: Id | None = Field(None, alias="_id")


class Label(Closed):
    """A label that is selected."""

    label_id: Id | None = None
    labelId: Id | None = None
    sample_id: SampleId | None = None
    sampleId: SampleId | None = None
    field: Path
    frame_number: int | None = None
    frameNumber: int | None = None
    instance_id: Text | None = None
    instanceId: Text | None = None
    type: Text | None = None
    instance: Instance | None = None


class Selected(Closed):
    id: SampleId
    type: Text | None = None
