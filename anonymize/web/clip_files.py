"""The routes that bring clips in and take clean ones out: guarded as those of photos are (files.py)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from ..errors import ClipError
from ..video.batch import EXTENSIONS, RECORD_SUFFIX
from .clip_session import ClipSession, open_upload
from .clip_view import advice, frame_view, thumbnail, track_list
from .file_names import safe_name
from .files import add_routes, refusal, upload
from .policy import Policy
from .sessions import FullError
from .site import name_of, session_of

# The address names what is shown.
_KEPT = {"Cache-Control": "private, max-age=600"}


class ClipFiles:
    """What the routes of one server do.

    Args:
        policy: limits.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    async def add(self, request: Request, name: str = "clip.mp4") -> Response:
        session, short = session_of(request), safe_name(name)
        extension = PurePosixPath(short).suffix.lower()
        if extension.lstrip(".") not in EXTENSIONS:
            return refusal(ValueError(f"{short} is not a clip that is supported: {', '.join(EXTENSIONS)}."), 415)
        if len(session.of_kind(ClipSession)) >= self.policy.most_clips:
            raise FullError(f"At most {self.policy.most_clips} clips at a time; remove one first.")
        try:
            async with upload(
                request, f"clip{extension}", self.policy.most_clip, ClipError("the file is empty")
            ) as path:
                opened = await run_in_threadpool(open_upload, path, short, self.policy)
        except ClipError as e:
            return refusal(ValueError(f"{short}: {advice(e)}"), 415)
        opened.who = name_of(request, self.policy)
        if not self.policy.own_machine:
            opened.check_room = session.check_room
        session.add(opened)
        return JSONResponse({"id": opened.id, "name": opened.name})

    def before(self, request: Request, id: str) -> Response:
        """A small copy of the original, for the player."""
        clip = _clip(request, id)
        return FileResponse(clip.original().path, media_type="video/mp4", headers=_KEPT)

    def watch(self, request: Request, id: str, shows: str) -> Response:
        """The clean clip, for the player; what no browser plays, as a copy made of it."""
        path = _clip(request, id).clean_file(shows, played=True)
        kind = "video/webm" if path.suffix == ".webm" else "video/mp4"
        return FileResponse(path, media_type=kind, headers=_KEPT)

    def clean(self, request: Request, id: str, shows: str) -> Response:
        path = _clip(request, id).clean_file(shows)
        return FileResponse(path, filename=path.name)

    def record(self, request: Request, id: str) -> Response:
        clip = _clip(request, id)
        with session_of(request).writing:
            path = clip.write_record()
        return FileResponse(path, filename=f"{Path(clip.name).stem}{RECORD_SUFFIX}")

    def audit(self, request: Request, id: str) -> Response:
        """The last audit's report and certificate."""
        clip = _clip(request, id)
        with session_of(request).writing:
            path = clip.audit_zip()
        return FileResponse(path, filename=f"audit-of-{Path(clip.name).stem}.zip")

    def tracks(self, request: Request, id: str) -> dict[str, Any]:
        return track_list(_clip(request, id))

    def frame(self, request: Request, id: str, number: int, track: str = "") -> dict[str, Any]:
        """What the picture editor shows of a frame. `track`: one that may be extended to it."""
        return frame_view(_clip(request, id), number, track)

    def still(self, request: Request, id: str, number: int, what: str) -> Response:
        picture = _clip(request, id).still(number, clean=what == "clean")
        return Response(picture, media_type="image/jpeg", headers=_KEPT)

    def thumb(self, request: Request, id: str, track: str) -> Response:
        return Response(thumbnail(_clip(request, id), track), media_type="image/jpeg", headers=_KEPT)


def router(policy: Policy) -> APIRouter:
    """Routes /videos."""
    files, routes = ClipFiles(policy), APIRouter(include_in_schema=False)
    return add_routes(
        routes,
        ("POST", "/videos", files.add),
        ("GET", "/videos/{id}/before.mp4", files.before),
        ("GET", "/videos/{id}/watch", files.watch),
        ("GET", "/videos/{id}/clean", files.clean),
        ("GET", "/videos/{id}/record", files.record),
        ("GET", "/videos/{id}/audit.zip", files.audit),
        ("GET", "/videos/{id}/tracks.json", files.tracks),
        ("GET", "/videos/{id}/frames/{number}.json", files.frame),
        ("GET", "/videos/{id}/frames/{number}-{what}.jpg", files.still),
        ("GET", "/videos/{id}/thumbs/{track}.jpg", files.thumb),
    )


def _clip(request: Request, id: str) -> ClipSession:
    clip: ClipSession = session_of(request).get(ClipSession, id)
    return clip
