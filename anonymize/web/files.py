"""The routes that bring photos in and take clean ones out, each bound to the visitor's session.

Photos come in as raw bodies, so that Gradio's upload cache never holds an original, and go out as the bytes that the
engine wrote. An id is unguessable and looked up in the visitor's own session only: another visitor's id finds nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from ..errors import AnonymizeError, SettingsError
from .file_names import safe_name, unsupported
from .job_results import as_jpeg
from .jobs import Job
from .limits import is_full
from .photo_session import PhotoSession
from .policy import Policy
from .samples import samples
from .sessions import DiskFullError, FullError, GoneError, Session, Sessions, new_id
from .site import session_of

_BLOCK = 1 << 20  # bytes of an upload that are written at once


def refusal(error: Exception, status: int = 400) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status)


class _Sink:
    """An upload's file. What has no place on the disk is let go, so that the upload is read to its end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.is_full = file, False

    async def write(self, data: bytes) -> None:
        try:
            if not self.is_full:
                await run_in_threadpool(self._file.write, data)
        except OSError as e:
            if not is_full(e):
                raise
            self.is_full = True


async def save(chunks: AsyncIterator[bytes], target: Path, room: int) -> int:
    """Write an upload as it comes in; the number of bytes.

    Raises:
        FullError: more than there is room for. DiskFullError: more than the disk has. Nothing stays; it is read to its
            end all the same, because a browser shows no answer to what it could not send whole.
    """
    size, waiting = 0, bytearray()
    try:
        with open(target, "xb") as file:
            sink = _Sink(file)
            async for chunk in chunks:
                size += len(chunk)
                if size > room:
                    continue
                waiting += chunk
                if len(waiting) > _BLOCK:
                    await sink.write(bytes(waiting))
                    waiting.clear()
            if size > room:
                raise FullError("Not enough space for this file. “Delete my photos now” under About frees some.")
            await sink.write(bytes(waiting))
            if sink.is_full:
                raise DiskFullError
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return size


@asynccontextmanager
async def _room(session: Session, size: int) -> AsyncIterator[int]:
    """Room for an upload, kept from those that come in beside it."""
    room = await run_in_threadpool(session.reserve, size)
    try:
        yield room
    finally:
        session.coming.remove(size)


async def receive(request: Request, target: Path, most: int) -> int:
    """Write an upload into its visitor's folder, as far as there is room; its size.

    Args:
        most: bytes that it may have, where it does not say.
    """
    session = session_of(request)
    async with _room(session, int(request.headers.get("content-length") or most)) as room:
        return await save(request.stream(), target, room)


@asynccontextmanager
async def upload(request: Request, name: str, most: int, empty: AnonymizeError) -> AsyncIterator[Path]:
    """An upload alone in a folder of its visitor, which goes again where the caller raises.

    The name on the disk says nothing; what the visitor calls the file stays in memory.

    Args:
        name: of the file, with its extension. most: bytes that it may have, where it does not say.
        empty: raised for a file without bytes.
    """
    folder = await run_in_threadpool(session_of(request).make_folder)
    try:
        if not await receive(request, folder / name, most):
            raise empty
        yield folder / name
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def add_routes(routes: APIRouter, *handlers: tuple[str, str, Callable[..., Any]]) -> APIRouter:
    """(method, path, handler), in the order in which they are tried."""
    for method, path, handler in handlers:
        routes.add_api_route(path, handler, methods=[method])
    return routes


class Files:
    """What the routes of one server do.

    Args:
        policy: limits and kinds of files. sessions: all visitors'.
    """

    def __init__(self, policy: Policy, sessions: Sessions) -> None:
        self.policy, self.sessions = policy, sessions

    async def add_photo(self, request: Request, name: str = "photo.jpg") -> Response:
        extension = Path(safe_name(name)).suffix.lower()
        known = self.policy.defaults.image_extensions
        if extension.lstrip(".") not in known:
            return refusal(ValueError(unsupported(name, known)), 415)
        async with upload(
            request, f"photo{extension}", self.policy.most_upload, SettingsError("The file is empty.")
        ) as path:
            return JSONResponse({"id": path.parent.name, "file": path.name, "name": safe_name(name)})

    def picture(self, request: Request, id: str, what: str) -> Response:
        photo: PhotoSession = session_of(request).get(PhotoSession, id)
        if what == "before":
            kept = {"Cache-Control": "private, max-age=600"}
            return Response(photo.display.before, media_type="image/jpeg", headers=kept)
        if what == "after":
            return Response(photo.show(photo.settings), media_type="image/jpeg")
        raise GoneError("There is no such picture.")

    def clean(self, request: Request, id: str, shows: str | None = None) -> Response:
        target = _written(request, PhotoSession, id, lambda photo: photo.write(shows))
        return FileResponse(target, filename=target.name)

    def clean_jpeg(self, request: Request, id: str, shows: str | None = None) -> Response:
        """For those who cannot open a HEIC."""
        target = _written(request, PhotoSession, id, lambda photo: photo.write(shows))
        return attachment(as_jpeg(target, self.policy.defaults), f"{target.stem}.jpg", "image/jpeg")

    def report(self, request: Request, id: str, shows: str | None = None) -> Response:
        photo: PhotoSession = session_of(request).get(PhotoSession, id)
        return attachment(_json(photo.report(shows)), f"{Path(photo.name).stem}-hidden.json", "application/json")

    async def new_batch(self, request: Request) -> Response:
        session = session_of(request)
        folder = await run_in_threadpool(session.make_folder)
        job = Job(folder.name, folder, self.policy)
        if not self.policy.own_machine:  # there a batch may be a folder of any size
            job.check_room = session.check_room
        session.add(job)
        return JSONResponse({"id": folder.name})

    async def add_file(self, request: Request, id: str, name: str = "photo.jpg") -> Response:
        session = session_of(request)
        job: Job = session.get(Job, id)
        incoming = job.folder / f".{new_id()}.part"
        try:
            await receive(request, incoming, self.policy.most_upload)
            added = await run_in_threadpool(_take, session, job, incoming, name)
        finally:
            incoming.unlink(missing_ok=True)
        return JSONResponse({"added": added, "photos": job.count})

    def thumb(self, request: Request, id: str, number: int) -> Response:
        picture = session_of(request).get(Job, id).thumb(number)
        # Its address names what it shows (`Job.shows`).
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    def batch_zip(self, request: Request, id: str) -> Response:
        return FileResponse(_written(request, Job, id, Job.zip), filename="anonymized-photos.zip")

    def batch_jpegs(self, request: Request, id: str) -> Response:
        written = _written(request, Job, id, lambda job: job.zip(heif_as_jpeg=True))
        return FileResponse(written, filename="anonymized-photos-jpeg.zip")

    def batch_records(self, request: Request, id: str) -> Response:
        return FileResponse(_written(request, Job, id, Job.records_zip), filename="records-of-photos.zip")

    def batch_audit(self, request: Request, id: str) -> Response:
        return FileResponse(_written(request, Job, id, Job.audit_zip), filename="audit-of-photos.zip")

    def sample(self, number: int) -> Response:
        known = list(samples().values())
        if not 0 <= number < len(known):
            raise GoneError("There is no such photo.")
        return FileResponse(known[number], headers={"Cache-Control": "max-age=3600"})

    def leave(self, request: Request) -> Response:
        self.sessions.leave(request.scope["state"]["secret"])
        return Response(status_code=204)

    def here(self, request: Request) -> Response:
        return Response(status_code=204)  # security.py has found the session, which takes a `leave` back

    def forget(self, request: Request) -> Response:
        self.sessions.delete(session_of(request))
        return Response(status_code=204)


def router(policy: Policy, sessions: Sessions) -> APIRouter:
    """Routes /photos, /batches and /visit."""
    files, routes = Files(policy, sessions), APIRouter(include_in_schema=False)
    return add_routes(
        routes,
        ("POST", "/photos", files.add_photo),
        ("GET", "/photos/{id}/clean-as.jpg", files.clean_jpeg),
        ("GET", "/photos/{id}/{what}.jpg", files.picture),
        ("GET", "/photos/{id}/clean", files.clean),
        ("GET", "/photos/{id}/report.json", files.report),
        ("POST", "/batches", files.new_batch),
        ("POST", "/batches/{id}/files", files.add_file),
        ("GET", "/batches/{id}/thumb/{number}.jpg", files.thumb),
        ("GET", "/batches/{id}/clean.zip", files.batch_zip),
        ("GET", "/batches/{id}/clean-jpeg.zip", files.batch_jpegs),
        ("GET", "/batches/{id}/records.zip", files.batch_records),
        ("GET", "/batches/{id}/audit.zip", files.batch_audit),
        ("GET", "/samples/{number}.jpg", files.sample),
        ("POST", "/visit/leave", files.leave),
        ("POST", "/visit/here", files.here),
        ("POST", "/visit/forget", files.forget),
    )


def _written(request: Request, kind: type[Any], id: str, write: Callable[[Any], Path]) -> Path:
    """A result on the disk, as far as there is room: one after the other for each visitor."""
    session = session_of(request)
    thing = session.get(kind, id)
    with session.writing:
        session.check_room()
        return write(thing)


def _take(session: Session, job: Job, incoming: Path, name: str) -> int:
    if not name.lower().endswith(".zip"):
        return job.take(incoming, name, 0)
    with session.writing:  # one zip after the other: each fills what room the one before left
        return job.take(incoming, name, session.room())


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


def attachment(body: bytes, name: str, media_type: str) -> Response:
    plain = safe_name(name).encode("ascii", "replace").decode().replace("?", "_")
    return Response(body, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{plain}"'})
