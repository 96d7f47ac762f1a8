"""Changes of labels that FiftyOne's App sends: JSON patches, by the keys of our label documents and no others."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from .offered import RefusedError
from .shapes import Closed, Id, Text

MOST_CHANGES = 1000
# A whole label, or one key of it; of the box also one number, of its tags also one tag.
WHOLE = r"/(?:hidden|candidates)/detections/(?:\d{1,6}|-)"
KEY = r"/(?P<key>[a-z_]+)(?:/(?P<number>\d{1,2}|-))?"
PARTS = {"bounding_box": ("0", "1", "2", "3"), "tags": tuple(map(str, range(100))) + ("-",)}
Fraction = Annotated[float | int, Field(ge=-100, le=100)]  # of the photo; a box may reach beyond it


class ObjectId(Closed):
    oid: Id = Field(alias="$oid")


class Detection(Closed):
    """A label, as `review.documents` writes it and the App sends it back; one just drawn has the first four."""

    cls: Literal["Detection"] = Field(alias="_cls")
    bounding_box: Annotated[list[Fraction], Field(min_length=4, max_length=4)]
    id: ObjectId | None = Field(None, alias="_id")
    label: Text | None = None
    attributes: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    tags: Annotated[list[Text], Field(max_length=100)] | None = None
    confidence: float | int | None = None
    region: Text | None = None
    status: Text | None = None
    height_px: float | int | None = None
    seen_by: Annotated[list[Text], Field(max_length=100)] | None = None
    chance: float | int | None = None
    was: Text | None = None
    eval: Text | None = None
    eval_id: Text | None = None


class Change(Closed):
    """One operation of a patch: a label added or taken away, or one of its keys."""

    op: Literal["add", "remove", "replace"]
    path: Text
    value: Any = None

    @model_validator(mode="after")
    def _says_what_a_label_has(self) -> Change:
        at = re.fullmatch(f"(?:{WHOLE})?(?:{KEY})?", self.path)
        if at is None or not self.path:
            raise ValueError("not a label")
        key, number = at["key"], at["number"]
        is_part = number is not None and number not in PARTS.get(key, ())
        if key in ("_id", "_cls") or is_part or (self.op == "remove" and self.value):
            raise ValueError("not a key of a label")
        if number is not None and self.op == "remove":
            return self
        if key is not None:
            value = [self.value] * 4 if number else self.value
            Detection.model_validate({"_cls": "Detection", "bounding_box": [0, 0, 1, 1], key: value})
        elif self.op != "remove":
            Detection.model_validate(self.value)
        return self


def _in_a_field(change: Change) -> Change:
    if not re.match(WHOLE, change.path):
        raise ValueError("another field")
    return change


def _in_a_label(change: Change) -> Change:
    if re.match(WHOLE, change.path):
        raise ValueError("another label")
    return change


OF_SAMPLE = TypeAdapter(Annotated[list[Annotated[Change, AfterValidator(_in_a_field)]], Field(max_length=MOST_CHANGES)])
OF_LABEL = TypeAdapter(Annotated[list[Annotated[Change, AfterValidator(_in_a_label)]], Field(max_length=MOST_CHANGES)])


def check(body: Any, *, is_of_label: bool) -> None:
    """A patch of a sample's labels in the fields that may be edited, or of the one label that its route has named.

    Raises:
        RefusedError: anything else.
    """
    try:
        (OF_LABEL if is_of_label else OF_SAMPLE).validate_python(body)
    except (ValidationError, RecursionError) as e:
        raise RefusedError(f"not a patch of labels: {e}") from e
