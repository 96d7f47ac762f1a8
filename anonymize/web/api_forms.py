"""What the REST API takes and answers: the form's fields, the answers' models, and its one form of error.

Options have the names, limits and defaults of Settings, so that page, command line and API cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from fastapi import Form, UploadFile
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..errors import SettingsError, UnknownNameError
from ..settings import EFFECTS, JPEG, MASKS, MIN_THRESHOLD, PRESETS, Kind, Settings, option_help, unread
from .controls import check_detector
from .policy import Policy


class RegionOut(BaseModel):
    id: str
    kind: str = Field(description="face, plate, or a kind of your own")
    box: list[float] = Field(description="x1, y1, x2, y2 in px of the upright image, half-open")
    score: float = Field(ge=0, le=1)
    detector_scores: dict[str, float] = Field(default_factory=dict, description="detector and the score that it gave")
    corners: list[list[float]] | None = None
    landmarks: list[list[float]] | None = None
    status: str = "auto"
    hidden: bool = Field(description="whether these settings hide it")


class Detected(BaseModel):
    width: int
    height: int
    regions: list[RegionOut] = Field(description="best score first")
    warnings: list[str] = Field(
        description="what to know before the photo goes out: pictures that were left out; kinds found and not hidden"
    )


class Anonymized(Detected):
    media_type: str
    image: str = Field(description="the clean photo, base64")
    removed_metadata: list[str]


class AnonymizedFrame(Anonymized):
    frame: int = Field(description="its number in the stream, from 0; 0 again where the stream began anew")


class ModelOut(BaseModel):
    name: str
    task: str
    license: str
    bytes: int
    size: int = Field(description="default long side of its input, px")
    installed: bool


class Models(BaseModel):
    detectors: list[str] = Field(description="names for face_detector and plate_detector")
    models: list[ModelOut]


class Health(BaseModel):
    status: Literal["ok", "starting", "failing"]
    doing: str = Field("", description="what keeps it from being ok, in a sentence")


class Problem(BaseModel):
    error: str = Field(description="what is wrong, in a sentence")


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "A setting is wrong, or the request is not a form"},
    401: {"model": Problem, "description": "A key or a login is needed"},
    413: {"model": Problem, "description": "The photo is too large"},
    415: {"model": Problem, "description": "Unsupported file type, or not readable"},
    422: {"model": Problem, "description": "A field is missing, unknown, given twice, or not of its type"},
    429: {"model": Problem, "description": "Too many requests"},
    507: {"model": Problem, "description": "The server's disk is nearly full"},
    503: {"model": Problem, "description": "Busy, or the detectors are not available"},
}

FORM = "multipart/form-data"
_FILES = {"image": "street.jpg", "video": "ride.mp4"}  # fields that are files -> how one is called in examples

Threshold = Annotated[float | None, Field(ge=MIN_THRESHOLD, le=1.0, description="lowest score that is hidden")]


def _text(name: str, cls: type | None = None, **options: Any) -> Any:
    return Field(None, description=option_help(name, cls), **options)


class Options(BaseModel):
    """The form's fields besides the photo; what is not given stays at the server's default. Others are errors."""

    model_config = ConfigDict(extra="forbid")

    preset: Literal[tuple(PRESETS)] | None = Field(  # type: ignore[valid-type]
        None, description="detectors and thresholds; other fields override it"
    )
    face_threshold: Threshold = None
    plate_threshold: Threshold = None
    face_detector: str | None = _text("face_detector")
    plate_detector: str | None = _text("plate_detector")
    iou_threshold: float | None = _text("iou_threshold", ge=0.0, le=1.0)
    effect: Literal[EFFECTS] | None = _text("effect", Kind)  # type: ignore[valid-type]
    mask: Literal[MASKS] | None = _text("mask", Kind)  # type: ignore[valid-type]
    kernel: str | None = _text("kernel", Kind, examples=["101,3,19"])
    mosaic_blocks: int | None = _text("mosaic_blocks", Kind, ge=1, le=64)
    padding: float | None = _text("padding", Kind, ge=0.0, le=2.0)
    fill: str | None = _text("fill", Kind, examples=["ff00ff"])
    jpeg: Literal[JPEG] | None = _text("jpeg")  # type: ignore[valid-type]
    keep_metadata: str | None = _text("keep_metadata", examples=["copyright,datetime"])

    @field_validator("keep_metadata", mode="before")
    @classmethod
    def _join(cls, value: Any) -> Any:
        """A form has text; programs hand on what they have."""
        return ",".join(map(str, value)) if isinstance(value, list) else value

    def settings(self, policy: Policy) -> Settings:
        """The server's settings with these.

        Raises:
            SettingsError: a value that its field's type could not check, or that the effect does not read.
        """
        given = {name: getattr(self, name) for name in Options.model_fields if getattr(self, name) is not None}
        base = policy.defaults.with_preset(given.pop("preset")) if "preset" in given else policy.defaults
        for name in ("face_detector", "plate_detector"):
            if name in given:
                check_detector(given[name], policy)
        if "keep_metadata" in given:
            given["keep_metadata"] = tuple(n.strip() for n in given["keep_metadata"].split(",") if n.strip())
        thresholds = {kind: given.pop(f"{kind}_threshold", None) for kind in ("face", "plate")}
        of_kind = {n: given.pop(n) for n in _OF_KIND if n in given}
        out = base.replace(**given)
        for name in out.kinds:
            threshold = thresholds.get(name)
            out = out.with_kind(name, **of_kind, **({} if threshold is None else {"threshold": threshold}))
        for name in of_kind:
            if why := unread(name, out.kinds.values()):
                raise SettingsError(why)
        return out


_OF_KIND = ("effect", "mask", "kernel", "mosaic_blocks", "padding", "fill")


class Upload(Options):
    """A request: the photo and the options."""

    image: UploadFile = Field(description="the photo: JPEG, PNG, WebP, TIFF, BMP or HEIC")


class FrameUpload(Upload):
    """A request: a camera's next frame and the options."""

    rate: float = Field(5.0, ge=0.1, le=240.0, description="frames that the camera sends per second")


Given = Annotated[Upload, Form(media_type=FORM)]
GivenFrame = Annotated[FrameUpload, Form(media_type=FORM)]


def is_form(media_type: str) -> bool:
    """Whether a request of this type can carry a file."""
    return media_type.lower().startswith(FORM)


def validation_text(errors: Iterable[Mapping[str, Any]], media_type: str = FORM) -> str:
    """What pydantic found wrong, in a sentence each.

    Args:
        media_type: of the request. Of what is no form nothing is quoted: it may be the photo itself.
    """
    if not is_form(media_type):
        return f"Send a form ({FORM}) whose field image, or video, is the file; with curl: -F image=@street.jpg"
    return " ".join(dict.fromkeys(_sentence(e) for e in errors))


def _sentence(error: Mapping[str, Any]) -> str:
    where = [str(part) for part in error["loc"] if part not in ("body", "query", "path")]
    name = ".".join(where)[:80]
    if error["type"] == "extra_forbidden":
        return f"{UnknownNameError('field', name, sorted(FrameUpload.model_fields))}."
    if name in _FILES and error["type"] == "value_error":  # text where a file belongs: the @ was forgotten
        return f"{name} has to be a file; with curl: -F {name}=@{_FILES[name]}"
    if error["type"] == "missing":
        return f"The field {name} is missing{f': -F {name}=@{_FILES[name]}' if name in _FILES else ''}."
    return f"{name}: {error['msg']}." if name else f"{error['msg']}."


def once_only(fields: Iterable[str]) -> None:
    """Refuse a form in which one field comes twice: only one of the values could count.

    Raises:
        SettingsError: it does.
    """
    seen: set[str] = set()
    for name in fields:
        if name in seen:
            raise SettingsError(f"The field {name[:80]!r} comes twice.")
        seen.add(name)
