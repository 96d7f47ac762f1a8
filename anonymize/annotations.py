"""Annotation files that other programs wrote, read strictly: COCO, Pascal VOC, YOLO's data.yaml and label files.

A number in quotes, a column too many or a fraction above 1 would become a wrong box, and a wrong figure, without an
error: each is one here, with its place in the file. What the boxes mean is `evaluate`'s and `training`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import AnnotationError
from .extras import extra
from .regions import Box

M = TypeVar("M", bound=BaseModel)
# Fractions that a rounding tool wrote may leave the photo by so much, as in ultralytics.
SLACK = 0.01

Id = int | str
Flag = Annotated[bool, Field(strict=False)]  # 0 and 1, too
Side = Annotated[float, Field(ge=0)]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)


class CocoImage(Strict):
    id: Id
    file_name: Annotated[str, Field(min_length=1)]
    width: Side | None = None
    height: Side | None = None


class CocoBox(Strict):
    """`bbox`: x, y, width, height in px. Neither iscrowd nor ignore: it counts."""

    id: Id
    image_id: Id
    category_id: Id
    bbox: tuple[float, float, float, float]
    iscrowd: Flag | None = None
    ignore: Flag | None = None


class CocoCategory(Strict):
    id: Id
    name: str


class Coco(Strict):
    images: Annotated[list[CocoImage], Field(min_length=1)]
    categories: Annotated[list[CocoCategory], Field(min_length=1)]
    annotations: list[CocoBox]

    @model_validator(mode="after")
    def _refer(self) -> Self:
        for what, things in (("images", self.images), ("categories", self.categories)):
            if len({t.id for t in things}) < len(things):
                raise ValueError(f"it has two {what} with one id")
        images, categories = {i.id for i in self.images}, {c.id for c in self.categories}
        for box in self.annotations:
            if box.image_id not in images:
                raise ValueError(f"it has boxes of image {box.image_id}, which it does not list")
            if box.category_id not in categories:
                raise ValueError(f"box {box.id} is of category {box.category_id}, which is not listed")
        return self


class VocObject(Strict):
    """Pixel indices, 1-based and inclusive; two opposite corners, in any order. Text, as XML has it."""

    model_config = ConfigDict(strict=False, allow_inf_nan=False)
    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float

    @property
    def box(self) -> Box:
        (x1, x2), (y1, y2) = sorted((self.xmin, self.xmax)), sorted((self.ymin, self.ymax))
        return x1 - 1, y1 - 1, x2, y2


class VocSize(Strict):
    """Of the photo, px; 0: not known."""

    model_config = ConfigDict(strict=False, allow_inf_nan=False)
    width: Side = 0
    height: Side = 0


class DataYaml(Strict):
    """A YOLO data.yaml.

    Attributes:
        names: of the classes, from number 0 on without gaps.
        nc: how many these are. kpt_shape: key points of a box, and numbers of each (x, y and perhaps visibility).
        path, train, val, test: folders, or lists of photos.
    """

    names: dict[int, str]
    nc: int | None = None
    kpt_shape: tuple[int, int] | None = None
    path: str | None = None
    train: str | list[str] | None = None
    val: str | list[str] | None = None
    test: str | list[str] | None = None

    @field_validator("names", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        if not isinstance(value, (list, dict)):
            raise ValueError("names is a list, or class number: name")
        named = value if isinstance(value, dict) else dict(enumerate(value))
        return {k: str(v) if isinstance(v, (int, float)) else v for k, v in named.items()}  # a class may be called 0

    @field_validator("kpt_shape", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="before")
    @classmethod
    def _val(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("val") and data.get("valid"):
            data = {**data, "val": data["valid"]}  # as Roboflow calls it
        return data

    @model_validator(mode="after")
    def _count(self) -> Self:
        if not self.names:
            raise ValueError("names has no class")
        if gaps := sorted(set(range(len(self.names))) - set(self.names)):
            raise ValueError(f"names are numbered from 0 without gaps; {gaps[0]} has none")
        if self.nc is not None and self.nc != len(self.names):
            raise ValueError(f"nc is {self.nc}, but names has {len(self.names)} classes")
        return self

    @property
    def points(self) -> int:
        """How many numbers of key points follow a box; 0: none."""
        return math.prod(self.kpt_shape) if self.kpt_shape else 0


def not_as_written(error: ValidationError, source: Path, what: str) -> AnnotationError:
    """The first of a file's problems, and where in the file it is."""
    first = error.errors(include_url=False)[0]
    place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"] if p not in ("int", "str"))
    message = first["msg"].removeprefix("Value error, ")
    received = f"; received {first['input']!r:.80}" if place and not isinstance(first["input"], (dict, list)) else ""
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return AnnotationError(
        f"{source} is not {what}: {place.lstrip('.')}{': ' if place else ''}{message}{received}{more}"
    )


def read_json(model: type[M], source: Path, what: str) -> M:
    """Raises AnnotationError: not such a file, and where. OSError: it cannot be read."""
    try:
        return model.model_validate_json(source.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as e:
        raise not_as_written(e, source, what) from e


def read_xml(source: Path, program: str, what: str) -> Any:
    """The root element of a program's XML. Raises AnnotationError: not such a file."""
    with extra("evaluate", f"reading {program} annotations"):
        from defusedxml.ElementTree import ParseError, parse  # type: ignore[import-untyped]

    try:
        return parse(source).getroot()
    except (OSError, ParseError, ValueError, LookupError) as e:  # LookupError: an encoding that nobody knows
        raise AnnotationError(f"{source} is not {what}: {e!r}") from e


def read_coco(source: Path) -> Coco:
    """Errors as `read_json`."""
    return read_json(Coco, source, "a COCO file")


def read_data_yaml(source: Path) -> tuple[DataYaml, dict[str, Any]]:
    """A data.yaml, and all that stands in it. Raises AnnotationError: not such a file, and why."""
    try:
        fields = yaml.safe_load(source.read_text("utf-8-sig"))
        if not isinstance(fields, dict) or not fields.get("names"):
            raise AnnotationError(f"{source} has no `names` of classes")
        return DataYaml.model_validate(fields), fields
    except ValidationError as e:
        raise not_as_written(e, source, "a data.yaml") from e
    except yaml.YAMLError as e:
        raise AnnotationError(f"{source} is not YAML: {e}") from e
    except (OSError, ValueError, RecursionError) as e:
        raise AnnotationError(f"{source} cannot be read: {e}") from e


def read_voc(source: Path) -> tuple[str | None, VocSize, list[tuple[VocObject, bool]]]:
    """A Pascal VOC file: its photo's name, the size, and each object with whether it is `difficult`.

    Raises:
        AnnotationError: not such a file; an element is missing or is no number.
    """
    root = read_xml(source, "Pascal VOC", "a Pascal VOC file")
    found = []
    for number, thing in enumerate(root.findall("object")):
        sides = {side: thing.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")}
        one = _voc(VocObject, source, f", object {number}", {"name": thing.findtext("name"), **sides})
        found.append((one, (thing.findtext("difficult") or "0").strip() not in ("0", "false", "False")))
    size = {side: root.findtext(f"size/{side}") or None for side in ("width", "height")}
    return root.findtext("filename"), _voc(VocSize, source, "", size), found


def _voc(model: type[M], source: Path, where: str, fields: dict[str, str | None]) -> M:
    try:
        return model.model_validate({k: v.strip() for k, v in fields.items() if v is not None})
    except ValidationError as e:
        raise not_as_written(e, source, f"a Pascal VOC file{where}") from e


def read_labels(
    source: Path, classes: int | Sequence[int], points: int = 0, *, is_uniform: bool = False
) -> Iterator[tuple[int, Box]]:
    """The boxes of a YOLO label file: class number, (x1, y1, x2, y2) as fractions of the photo.

    A line is CLASS X Y WIDTH HEIGHT; with `points` so many numbers of key points after it; or, without, CLASS and the
    points of an outline, at least four.

    Args:
        classes: the class numbers that have a name, or how many there are.
        points: `DataYaml.points`.
        is_uniform: all lines are of one form, with key points where there are any (ultralytics leaves other files out).

    Raises:
        AnnotationError: a line that is none of these, and which.
    """
    known = range(classes) if isinstance(classes, int) else classes
    try:
        lines = source.read_text("utf-8-sig").split("\n")
    except (OSError, ValueError) as e:
        raise AnnotationError(f"{source} is not a YOLO label file: {e}") from e
    forms: set[int] = {5 + points} if is_uniform and points else set()
    for number, line in enumerate(lines, 1):
        if columns := line.split():
            try:
                yield _label(columns, known, points)
                forms.add(min(len(columns), 9) if not points else len(columns))
                if is_uniform and len(forms) > 1:
                    raise ValueError(
                        f"it has {len(columns)} columns, unlike others: a file has boxes or outlines, not both"
                    )
            except ValueError as e:
                raise AnnotationError(f"{source} is not a YOLO label file: line {number}: {e}") from e


def _label(columns: list[str], classes: Sequence[int], points: int) -> tuple[int, Box]:
    values = [float(c) for c in columns]
    kind, place = values[0], values[1:]
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{' '.join(columns)!r} has a number that is not finite")
    if kind not in classes:
        raise ValueError(f"class {columns[0]} has no name")
    is_outline = not points and len(values) >= 9 and len(values) % 2
    if not is_outline and len(values) not in (5, 5 + points):
        form = f"5 columns, or {5 + points} with key points" if points else "5 columns, or 9, 11, … of an outline"
        raise ValueError(f"it has {len(values)} columns; a label has {form}")
    if not is_outline:
        place = place[:4]
    if wrong := [v for v in place if not -SLACK <= v <= 1 + SLACK]:
        raise ValueError(f"{wrong[0]:g} is no fraction of the photo (0–1)")
    if is_outline:
        return int(kind), (min(place[::2]), min(place[1::2]), max(place[::2]), max(place[1::2]))
    x, y, width, height = place
    if width <= 0 or height <= 0:
        raise ValueError(f"the box has no area: {width:g} x {height:g}")
    return int(kind), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
