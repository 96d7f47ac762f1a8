"""One ASGI app out of the parts: security around API, files and page, Gradio last, at /."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from . import api, api_video, clip_work, files, ui
from .answers import METHODS, handle_errors
from .controls import offered_detectors
from .detector_pool import DetectorPool
from .elements import STATIC
from .gradio_wall import GradioWall, close_files
from .job_queue import JobQueue
from .policy import Policy
from .security import SecurityMiddleware
from .sessions import GoneError, Sessions
from .site import Site
from .telling import keep_names_out_of_logs

_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".css": "text/css", ".html": "text/html"}


def assemble(
    policy: Policy,
    pool: DetectorPool,
    data: Path,
    *,
    mounts: Mapping[str, ASGIApp] | None = None,
    tabs: Mapping[str, Callable[[], object]] | None = None,
    warm_up: bool = True,
    root_path: str = "",
) -> SecurityMiddleware:
    """The whole server as one ASGI app.

    Args:
        policy: who may do what. pool: the detectors. data: a folder for visitors' files, which go at start and end.
        mounts: path -> another app behind the same security ("/review").
        tabs: title -> a function that draws a further tab of the page.
        warm_up: load the default detectors at the start, in the background.
        root_path: the prefix under which a proxy shows the server; `RootPath` goes around it.
    """
    sessions = Sessions(data / "sessions", policy)
    if not policy.own_machine:
        pool.only_fetches = offered_detectors(policy)
    jobs = JobQueue(pool, policy.defaults.jobs)
    service = api.PhotoService(policy, pool, data / "api")
    mounts = mounts or {}

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sessions.start()
        if warm_up:
            pool.start()
        yield
        jobs.close()
        sessions.close()  # first of all they know that they are closed, and begin nothing again
        clip_work.WORKERS.close()

    # FastAPI's own documentation pages fetch scripts from other hosts; /api/docs has ours.
    off: dict[str, Any] = {"docs_url": None, "redoc_url": None}
    app = FastAPI(**api.DESCRIPTION, **off, openapi_url="/api/v1/openapi.json", lifespan=lifespan)
    handle_errors(app, policy)
    of_visitors = [files.routes]
    if ui.has_video():
        of_visitors += [files.of_clips, api_video.router(api_video.ClipService(policy, jobs, sessions))]
    _add_routes(app, service, *of_visitors)
    for path, mounted in mounts.items():
        app.mount(path, mounted)
    page = ui.build(Site(policy, sessions, pool, jobs), tabs, service.for_gradio_client)
    close_files()
    keep_names_out_of_logs()
    gr.mount_gradio_app(app, page, path="/", root_path=root_path or None, **_gradio_options(policy))
    return SecurityMiddleware(app, policy, sessions, mounted=tuple(mounts), wall=GradioWall(page))


def static(name: str) -> Response:
    """A script or picture of the page."""
    return _own_file(STATIC, name) if name.endswith((".js", ".svg")) else nothing_here()


def _own_file(folder: Path, name: str) -> Response:
    if name not in {p.name for p in folder.iterdir()}:
        return nothing_here()
    kind = _TYPES.get(Path(name).suffix, "text/plain")
    return FileResponse(folder / name, media_type=kind, headers={"Cache-Control": "max-age=86400"})


def _add_routes(app: FastAPI, service: api.PhotoService, *of_visitors: APIRouter) -> None:
    hidden, docs = APIRouter(include_in_schema=False), STATIC / "swagger"
    hidden.add_api_route("/web/{name}", static)
    hidden.add_api_route("/docs", lambda: RedirectResponse("/api/docs"))
    hidden.add_api_route("/api/docs", lambda: _own_file(docs, "docs.html"))
    hidden.add_api_route("/api/docs/{name}", lambda name: _own_file(docs, name))
    for routes in (api.router(service), hidden, *of_visitors):
        app.include_router(routes)
    for path in ("/api", "/api/{rest:path}"):
        app.add_api_route(path, nothing_here, methods=list(METHODS), include_in_schema=False)


def nothing_here() -> Response:
    """Gradio, which is mounted below all routes, would say so in another form."""
    raise GoneError("There is nothing here.")


def _gradio_options(policy: Policy) -> dict[str, Any]:
    off = ("run_history", "show_error", "ssr_mode", "enable_monitoring", "pwa", "mcp_server")
    looks = {"theme": ui.theme(), "css": ui.css(), "head": ui.head(policy), "footer_links": []}
    limits = {"max_file_size": policy.most_upload, "server_name": policy.host}
    return {**looks, **limits, **dict.fromkeys(off, False)}
