"""The REST API: /api/v1 and /healthz. A camera posts a frame and gets it back clean; nothing is kept."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import gradio as gr
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError

from .. import images, weights
from ..detectors.spec import names
from ..errors import AnonymizeError, SettingsError
from ..hiding import save_hidden, warning_texts
from ..images import formats
from ..records import Record
from ..regions import Region
from ..settings import Settings
from ..weights.registry import registry
from .answers import BusyError, refuse_other_methods
from .api_forms import (
    PROBLEMS,
    Anonymized,
    AnonymizedFrame,
    Detected,
    FrameUpload,
    Given,
    GivenFrame,
    Health,
    Models,
    Options,
    is_form,
    once_only,
    validation_text,
)
from .api_streams import StreamName, Streams
from .detector_pool import DetectorPool
from .elements import STATIC
from .file_names import safe_name
from .policy import Policy
from .telling import message_of

# Requests whose photo may wait on the disk, each in a thread; more are told to come back.
_WAITING = 24


# docs.js puts the address of the page in place of the one in the examples.
DESCRIPTION: dict[str, Any] = {
    "title": "anonymize", "version": "1", "description": (STATIC / "api.md").read_text("utf-8").strip(),
}  # fmt: skip


class PhotoService:
    """Takes a photo, gives an answer, keeps nothing; so many at once, the others are told to come back.

    Args:
        folder: where a photo lies while it is looked at; this process owns it.
    """

    def __init__(self, policy: Policy, pool: DetectorPool, folder: Path) -> None:
        self.policy, self.pool, self.folder = policy, pool, folder
        self._streams = Streams()
        self._places = threading.BoundedSemaphore(_WAITING)
        shutil.rmtree(folder, ignore_errors=True)  # photos that a killed process left behind

    @contextlib.contextmanager
    def _photo(self, file: IO[bytes], name: str, settings: Settings) -> Iterator[tuple[images.Photo, Path]]:
        """The photo when it is its turn, and its file, which is gone afterwards."""
        if not self._places.acquire(blocking=False):
            raise BusyError("The server is busy; please try again in a moment.")
        try:
            suffix = Path(safe_name(name)).suffix.lower() or ".jpg"
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                path = Path(folder) / f"photo{suffix}"
                with open(path, "xb") as copy:
                    shutil.copyfileobj(file, copy)
                with self.pool.decoded:
                    yield images.load(path, settings), path
        finally:
            self._places.release()

    def detect(self, file: IO[bytes], name: str, options: Options) -> dict[str, Any]:
        """What `Detected` describes."""
        settings = options.settings(self.policy)
        with self._photo(file, name, settings) as (photo, path):
            record = self.pool.predictor(settings).record(photo, path.name)
        return _found(record, record.regions, settings)

    def anonymize(self, file: IO[bytes], name: str, options: Options) -> tuple[dict[str, Any], bytes]:
        """What `Anonymized` describes, without its image, and the bytes that the engine wrote."""
        settings = options.settings(self.policy)
        with self._photo(file, name, settings) as (photo, path):
            return _clean(photo, self.pool.predictor(settings).record(photo, path.name), settings, path)

    def frame(
        self, who: str, stream: str, file: IO[bytes], name: str, options: FrameUpload
    ) -> tuple[dict[str, Any], bytes]:
        """What `AnonymizedFrame` describes, without its image, and its bytes.

        Args:
            who: whose stream of this name it is.
        """
        settings = options.settings(self.policy)
        with self._photo(file, name, settings) as (photo, path):
            predictor = self.pool.predictor(settings)
            number, regions = self._streams.add((who, stream), photo, predictor, options.rate)
            answer, clean = _clean(photo, predictor.record_of(photo, path.name, regions), settings, path)
        return {**answer, "frame": number}, clean

    def for_gradio_client(self, image: str, options: dict[str, Any]) -> dict[str, Any]:
        """The same for gradio_client: a photo in base64 and the form's fields in; the JSON of /api/v1/anonymize out.

        Files of Gradio's own are closed here, so that its cache never holds an original.

        Raises:
            gradio.Error: what /api/v1/anonymize answers with an error.
        """
        try:
            photo = base64.b64decode(image, validate=True)
            answer, clean = self.anonymize(io.BytesIO(photo), "", Options(**options))
        except ValidationError as e:
            raise gr.Error(validation_text(e.errors()), print_exception=False) from None
        except (AnonymizeError, OSError, TypeError, ValueError) as e:
            raise gr.Error(message_of(e, self.policy.own_machine), print_exception=False) from None
        return {**answer, "image": base64.b64encode(clean).decode()}


def _clean(photo: images.Photo, record: Record, settings: Settings, path: Path) -> tuple[dict[str, Any], bytes]:
    """An answer without its image, and the bytes that the engine wrote."""
    target = path.with_name(f"clean{path.suffix}")
    save_hidden(photo, record, target, settings)
    clean = target.read_bytes()
    answer = {
        **_found(record, [r.replace(landmarks=None) for r in record.regions], settings),
        "media_type": f"image/{'heic' if (kind := formats.kind(clean)) == 'HEIF' else kind.lower()}",
        "removed_metadata": list(photo.removed_metadata),
    }
    return answer, clean


async def named_once(request: Request) -> None:
    """Refuse what would silently not count: options in the address, and a form's field that comes twice.

    Raises:
        SettingsError: there are some.
    """
    if request.query_params:
        raise SettingsError("The address takes no options; send them as fields of the form.")
    if request.method == "POST" and is_form(request.headers.get("content-type", "")):
        once_only(name for name, _ in (await request.form()).multi_items())


_CLEAN: dict[str, Any] = {
    "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
    "description": "The clean photo; the header X-Warnings has the warnings as a JSON list, where there are some",
}


def router(service: PhotoService) -> APIRouter:
    """/api/v1 and /healthz."""
    routes, pool = APIRouter(), service.pool
    strict, answers = [Depends(named_once)], {200: _CLEAN, **PROBLEMS}

    @routes.post("/api/v1/detect", response_model=Detected, responses=PROBLEMS, tags=["photos"], dependencies=strict)
    def detect(form: Given) -> Any:
        """Find faces and plates; nothing is hidden and nothing is kept."""
        return service.detect(form.image.file, form.image.filename or "", form)

    @routes.post(
        "/api/v1/anonymize", response_model=Anonymized, responses=answers, tags=["photos"], dependencies=strict
    )
    def anonymize(request: Request, form: Given) -> Any:
        """Hide faces and plates. `Accept: image/*` answers with the photo itself, anything else with JSON around it."""
        return _in_form(request, *service.anonymize(form.image.file, form.image.filename or "", form))

    to_frames = "/api/v1/streams/{name}/frames"

    @routes.post(to_frames, response_model=AnonymizedFrame, responses=answers, tags=["streams"], dependencies=strict)
    def frame(request: Request, name: StreamName, form: GivenFrame) -> Any:
        """Hide faces and plates in a camera's next frame, also what was seen in the frames before it.

        Send frames in order, each after the answer to the one before. A stream begins with its first frame, and anew
        with another size or other options, or when nothing came for five minutes.
        """
        who = getattr(request.scope.get("state", {}).get("session"), "who", "")
        return _in_form(request, *service.frame(who, name, form.image.file, form.image.filename or "", form))

    refused: dict[int | str, dict[str, Any]] = {400: PROBLEMS[400], 401: PROBLEMS[401]}

    @routes.get("/api/v1/models", response_model=Models, tags=["models"], responses=refused, dependencies=strict)
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

    refuse_other_methods(routes)
    return routes


def _in_form(request: Request, answer: dict[str, Any], clean: bytes) -> Any:
    """The photo itself where that is asked for, else JSON around it."""
    if "image/" in request.headers.get("accept", ""):
        hidden = sum(r["hidden"] for r in answer["regions"])
        headers = {"X-Hidden-Regions": str(hidden)}
        headers |= {"X-Warnings": json.dumps(answer["warnings"])} if answer["warnings"] else {}
        return Response(clean, media_type=answer["media_type"], headers=headers)
    return {**answer, "image": base64.b64encode(clean).decode()}


def _found(record: Record, regions: Iterable[Region], settings: Settings) -> dict[str, Any]:
    """What `Detected` describes."""
    return {
        "width": record.width,
        "height": record.height,
        "regions": [{**r.to_dict(), "hidden": settings.hides(r)} for r in regions],
        "warnings": warning_texts(record, settings),
    }
