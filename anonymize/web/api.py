"""The REST API: /api/v1 and /healthz. A camera posts a frame and gets it back clean; nothing is kept.

Options have the names, limits and defaults of Settings, so that page, command line and API cannot differ.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field, ValidationError, validate_call

from .. import images, weights
from ..detectors.spec import names
from ..errors import (
    AnonymizeError,
    DetectionError,
    ImageTooLargeError,
    SettingsError,
    UnreadableImageError,
    UnsupportedImageError,
    WeightsError,
)
from ..hiding import hide_record
from ..settings import EFFECTS, MASKS, MIN_THRESHOLD, PRESETS, Kind, Settings, option_help
from ..weights.registry import registry
from .controls import check_detector
from .detector_pool import DetectorPool, Turns
from .limits import is_full
from .names import safe_name
from .policy import Policy
from .telling import message_of

VERSION = "1"
DESCRIPTION: dict[str, Any] = {
    "title": "anonymize",
    "version": VERSION,
    "description": "Hide every face and license plate in photos. A photo is deleted as soon as it is answered.",
}
# Requests whose photo may wait on the disk, each in a thread; more are told to come back.
_WAITING = 24
_AT_ONCE = min(os.cpu_count() or 1, 7) + 1  # photos that are decoded in memory


METHODS = {"/api/v1/detect": "POST", "/api/v1/anonymize": "POST", "/api/v1/models": "GET", "/healthz": "GET"}


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


class Anonymized(Detected):
    media_type: str
    image: str = Field(description="the clean photo, base64")
    removed_metadata: list[str]


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


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "A setting is wrong, or the request is not a form"},
    401: {"model": Problem, "description": "A key or a login is needed"},
    413: {"model": Problem, "description": "The photo is too large"},
    415: {"model": Problem, "description": "Unsupported file type, or not readable"},
    422: {"description": "A field is missing or not of its type"},
    429: {"model": Problem, "description": "Too many requests"},
    507: {"model": Problem, "description": "The server's disk is nearly full"},
    503: {"model": Problem, "description": "Busy, or the detectors are not available"},
}


def _text(name: str, cls: type | None = None) -> Any:
    return Form(description=option_help(name, cls))


Threshold = Annotated[float | None, Form(ge=MIN_THRESHOLD, le=1.0, description="lowest score that is hidden")]


class Options:
    """The form's fields besides the photo, as Settings; what is not given stays at the server's default."""

    @validate_call  # for gradio_client; FastAPI has checked its form
    def __init__(
        self,
        preset: Annotated[
            Literal[tuple(PRESETS)] | None,  # type: ignore[valid-type]
            Form(description="detectors and thresholds; other fields override it"),
        ] = None,
        face_threshold: Threshold = None,
        plate_threshold: Threshold = None,
        face_detector: Annotated[str | None, _text("face_detector")] = None,
        plate_detector: Annotated[str | None, _text("plate_detector")] = None,
        iou_threshold: Annotated[float | None, Form(ge=0.0, le=1.0, description=option_help("iou_threshold"))] = None,
        effect: Annotated[Literal[EFFECTS] | None, _text("effect", Kind)] = None,  # type: ignore[valid-type]
        mask: Annotated[Literal[MASKS] | None, _text("mask", Kind)] = None,  # type: ignore[valid-type]
        kernel: Annotated[str | None, Form(description=option_help("kernel", Kind), examples=["101,3,19"])] = None,
        mosaic_blocks: Annotated[int | None, Form(ge=1, le=64, description=option_help("mosaic_blocks", Kind))] = None,
        padding: Annotated[float | None, Form(ge=0.0, le=2.0, description=option_help("padding", Kind))] = None,
        fill: Annotated[str | None, Form(description=option_help("fill", Kind), examples=["ff00ff"])] = None,
        keep_metadata: Annotated[
            str | None, Form(description=option_help("keep_metadata"), examples=["copyright,datetime"])
        ] = None,
    ) -> None:
        self.preset: str | None = preset
        self.thresholds = {"face": face_threshold, "plate": plate_threshold}
        kind = {
            "effect": effect,
            "mask": mask,
            "kernel": kernel,
            "mosaic_blocks": mosaic_blocks,
            "padding": padding,
            "fill": fill,
        }
        self.kind = {k: v for k, v in kind.items() if v is not None}
        whole = {"face_detector": face_detector, "plate_detector": plate_detector, "iou_threshold": iou_threshold}
        self.whole: dict[str, Any] = {k: v for k, v in whole.items() if v is not None}
        if keep_metadata is not None:
            self.whole["keep_metadata"] = tuple(n.strip() for n in keep_metadata.split(",") if n.strip())

    def settings(self, policy: Policy) -> Settings:
        """Raises SettingsError: a value that its field's type could not check."""
        for name in ("face_detector", "plate_detector"):
            if name in self.whole:
                check_detector(self.whole[name], policy)
        base = policy.defaults.with_preset(self.preset) if self.preset else policy.defaults
        out = base.replace(**self.whole)
        for name in out.kinds:
            threshold = self.thresholds.get(name)
            out = out.with_kind(name, **self.kind, **({} if threshold is None else {"threshold": threshold}))
        return out


Image = Annotated[UploadFile, File(description="the photo: JPEG, PNG, WebP, TIFF, BMP or HEIC")]
Chosen = Annotated[Options, Depends(Options)]


class PhotoService:
    """Takes a photo, gives an answer, keeps nothing; so many at once, the others are told to come back.

    Args:
        folder: where a photo lies while it is looked at; this process owns it.
    """

    def __init__(self, policy: Policy, pool: DetectorPool, folder: Path) -> None:
        self.policy, self.pool, self.folder = policy, pool, folder
        self._places, self._turns = threading.BoundedSemaphore(_WAITING), Turns(_AT_ONCE)
        shutil.rmtree(folder, ignore_errors=True)  # photos that a killed process left behind

    @contextlib.contextmanager
    def _temporary_file(self, file: IO[bytes], name: str) -> Iterator[Path]:
        """The photo as a file that is gone afterwards, when it is its turn."""
        if not self._places.acquire(blocking=False):
            raise _BusyError("The server is busy; please try again in a moment.")
        try:
            suffix = Path(safe_name(name)).suffix.lower() or ".jpg"
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                path = Path(folder) / f"photo{suffix}"
                with open(path, "xb") as copy:
                    shutil.copyfileobj(file, copy)
                with self._turns:
                    yield path
        finally:
            self._places.release()

    def detect(self, file: IO[bytes], name: str, options: Options) -> dict[str, Any]:
        """What `Detected` describes."""
        settings = options.settings(self.policy)
        with self._temporary_file(file, name) as path:
            photo = images.load(path, settings)
            regions = self.pool.predictor(settings).predict_photo(photo)
            return {"width": photo.width, "height": photo.height, "regions": _regions(regions, settings)}

    def anonymize(self, file: IO[bytes], name: str, options: Options) -> tuple[dict[str, Any], bytes]:
        """What `Anonymized` describes, without its image, and the bytes that the engine wrote."""
        settings = options.settings(self.policy)
        with self._temporary_file(file, name) as path:
            photo = images.load(path, settings)
            record = self.pool.predictor(settings).record(photo, path.name)
            target = path.with_name(f"clean{path.suffix}")
            images.save(photo, hide_record(photo, record, settings), target, settings)
            clean = target.read_bytes()
        answer = {
            "width": photo.width,
            "height": photo.height,
            "regions": _regions(record.regions, settings),
            "media_type": _media_type(clean),
            "removed_metadata": list(photo.removed_metadata),
        }
        return answer, clean

    def for_gradio_client(self, image: str, options: dict[str, Any]) -> dict[str, Any]:
        """The same for gradio_client: a photo in base64 and the form's fields in; the JSON of /api/v1/anonymize out.

        Files of Gradio's own are closed here, so that its cache never holds an original.
        """
        try:
            photo = base64.b64decode(image, validate=True)
            if isinstance(
                names := options.get("keep_metadata"), list
            ):  # a form has text; programs hand on what they have
                options = {**options, "keep_metadata": ",".join(map(str, names))}
            answer, clean = self.anonymize(io.BytesIO(photo), "", Options(**options))
        except ValidationError as e:
            return {"error": "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in e.errors())}
        except (AnonymizeError, OSError, TypeError, ValueError) as e:
            return {"error": message_of(e, self.policy.own_machine)}
        return {**answer, "image": base64.b64encode(clean).decode()}


_CLEAN: dict[str, Any] = {
    "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
    "description": "The clean photo",
}


def router(service: PhotoService) -> APIRouter:
    """/api/v1/detect, /api/v1/anonymize, /api/v1/models and /healthz."""
    routes, pool = APIRouter(), service.pool

    @routes.post("/api/v1/detect", response_model=Detected, responses=_PROBLEMS, tags=["photos"])
    def detect(image: Image, options: Chosen) -> Any:
        """Find faces and plates; nothing is hidden and nothing is kept."""
        try:
            return service.detect(image.file, image.filename or "", options)
        except AnonymizeError as e:
            return _error_response(e, service.policy)

    @routes.post(
        "/api/v1/anonymize",
        response_model=Anonymized,
        tags=["photos"],
        responses={200: _CLEAN, **_PROBLEMS},
    )
    def anonymize(request: Request, image: Image, options: Chosen) -> Any:
        """Hide faces and plates. `Accept: image/*` answers with the photo itself, anything else with JSON around it."""
        try:
            answer, clean = service.anonymize(image.file, image.filename or "", options)
        except AnonymizeError as e:
            return _error_response(e, service.policy)
        if "image/" in request.headers.get("accept", ""):
            hidden = sum(r["hidden"] for r in answer["regions"])
            return Response(clean, media_type=answer["media_type"], headers={"X-Hidden-Regions": str(hidden)})
        return {**answer, "image": base64.b64encode(clean).decode()}

    @routes.get("/api/v1/models", response_model=Models, tags=["models"], responses={401: _PROBLEMS[401]})
    def models() -> Any:
        """The detectors that may be named, and the models behind them."""
        shown = ("name", "task", "license", "bytes", "size")
        known = [
            {**{n: getattr(m, n) for n in shown}, "installed": weights.is_installed(m, cache=pool.weights_dir)}
            for m in registry().values()
        ]
        return {"detectors": [*names(), "none"], "models": known}

    @routes.get(
        "/healthz",
        response_model=Health,
        tags=["server"],
        responses={503: {"model": Health, "description": "The detectors could not be loaded"}},
    )
    async def health() -> Any:  # needs none of the threads, which others may have taken
        """`ok` once the default detectors are loaded."""
        if pool.problem:
            return JSONResponse({"status": "failing", "doing": ""}, 503)
        return {"status": "ok", "doing": ""} if pool.ready else {"status": "starting", "doing": pool.doing}

    for path, allowed in METHODS.items():  # else Gradio, which is mounted below them all, would say 404
        others = [m for m in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE") if m != allowed]
        routes.add_api_route(path, _other_method, methods=others, include_in_schema=False)

    return routes


def _other_method(request: Request) -> Response:
    allowed = METHODS[request.url.path]
    return JSONResponse({"error": f"{allowed} only."}, 405, {"Allow": allowed})


class _BusyError(AnonymizeError):
    pass


def _error_response(error: AnonymizeError, policy: Policy) -> JSONResponse:
    status, headers = 500, None
    if isinstance(error, SettingsError):
        status = 400
    elif isinstance(error, ImageTooLargeError):
        status = 413
    elif isinstance(error, (UnreadableImageError, UnsupportedImageError)):
        status = 415
    elif isinstance(error, (_BusyError, WeightsError, DetectionError)):
        status, headers = 503, {"Retry-After": "5"}
    if is_full(error):
        status, headers = 507, None
    return JSONResponse({"error": message_of(error, policy.own_machine)}, status, headers)


def _regions(regions: Any, settings: Settings) -> list[dict[str, Any]]:
    return [{**r.to_dict(), "hidden": settings.hides(r)} for r in regions]


def _media_type(data: bytes) -> str:
    for start, name in (
        (b"\xff\xd8", "jpeg"),
        (b"\x89PNG", "png"),
        (b"BM", "bmp"),
        (b"II*", "tiff"),
        (b"MM\0*", "tiff"),
        (b"RIFF", "webp"),
    ):
        if data.startswith(start):
            return f"image/{name}"
    return "image/heic" if data[4:8] == b"ftyp" else "application/octet-stream"
