"""Errors as answers, the same for all routes: a status, and {"error": a sentence}."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from ..errors import (
    AnonymizeError,
    DetectionError,
    ImageTooLargeError,
    SettingsError,
    UnreadableImageError,
    UnsupportedImageError,
    WeightsError,
)
from .api_forms import FORM, validation_text
from .limits import NO_DISK, is_full
from .policy import Policy
from .sessions import DiskFullError, FullError, GoneError, RefusedFileError, TooManyError
from .telling import WRONG, message_of

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


class BusyError(AnonymizeError):
    """So many are at it that others have to come back."""


# The first that an error is counts.
_STATUS: Mapping[type[AnonymizeError], int] = {
    GoneError: 404, DiskFullError: 507, FullError: 413, TooManyError: 429, SettingsError: 400, ImageTooLargeError: 413,
    UnreadableImageError: 415, UnsupportedImageError: 415, RefusedFileError: 415, BusyError: 503,
    WeightsError: 503, DetectionError: 503,
}  # fmt: skip


def handle_errors(app: FastAPI, policy: Policy) -> None:
    """Answer all errors of an app's routes so."""

    @app.exception_handler(AnonymizeError)
    def ours(request: Request, error: AnonymizeError) -> Response:
        other = 500 if request.url.path.startswith("/api/") else 400
        status = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), other)
        status = 507 if is_full(error) else status
        later = {"Retry-After": "5"} if status == 503 else None
        return JSONResponse({"error": message_of(error, policy.own_machine)}, status, later)

    @app.exception_handler(OSError)
    def no_disk(request: Request, error: OSError) -> Response:
        session = request.scope.get("state", {}).get("session")
        if isinstance(error, FileNotFoundError) and session is not None and session.closed:
            return JSONResponse({"error": "The photos of this visit were deleted."}, 404)
        if not is_full(error):
            raise error
        return JSONResponse({"error": NO_DISK}, 507)

    @app.exception_handler(RequestValidationError)
    def wrong_form(request: Request, error: RequestValidationError) -> Response:
        media_type = request.headers.get("content-type", "") if request.method == "POST" else FORM
        return JSONResponse({"error": validation_text(error.errors(), media_type)}, 422)

    @app.exception_handler(Exception)
    def unforeseen(request: Request, error: Exception) -> Response:  # it goes on to uvicorn, which logs its place
        return JSONResponse({"error": WRONG}, 500)

    @app.exception_handler(HTTPException)
    def theirs(request: Request, error: HTTPException) -> Response:  # FastAPI's own, in the same form as ours
        if is_full(error):  # an upload's parser says that the form is broken
            return JSONResponse({"error": NO_DISK}, 507)
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


def refuse_other_methods(routes: APIRouter) -> None:
    """405 for the methods that a path has not: else Gradio, which is mounted below all routes, would say 404."""

    def refusing(allowed: str) -> Callable[[], Response]:
        return lambda: JSONResponse({"error": f"{allowed} only."}, 405, {"Allow": allowed})

    known: dict[str, list[str]] = {}
    for route in routes.routes:
        if isinstance(route, APIRoute):
            known.setdefault(route.path, []).extend(route.methods or ())
    for path, allowed in known.items():
        others = [m for m in METHODS if m not in allowed]
        routes.add_api_route(path, refusing(", ".join(allowed)), methods=others, include_in_schema=False)
