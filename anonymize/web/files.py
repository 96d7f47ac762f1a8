"""The routes that bring photos in and take clean ones out, each bound to the visitor's session.

Photos come in as raw bodies, so that Gradio's upload cache never holds an original, and go out as the bytes that the
engine wrote. An id is unguessable and looked up in the visitor's own session only: another visitor's id finds nothing.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from .batch import Batch
from .limits import is_full
from .policy import Policy
from .sessions import DiskFullError, FullError, GoneError, Session, Sessions, new_id
from .work import Work

_BLOCK = 1 << 20  # bytes of an upload that are written at once
_PLAIN = re.compile(r"[^\w .()+\-]")


def session_of(request: Any) -> Session:
    """The visitor whom the guard found (a Starlette request, or the one inside Gradio's)."""
    return getattr(request, "request", request).scope["state"]["session"]


def safe_name(name: str) -> str:
    """A visitor's file name as one that any file system takes: no folders, no control characters, no hidden files."""
    last = PurePosixPath(name.replace("\\", "/")).name
    plain = _PLAIN.sub("_", last).strip(" .")
    stem, dot, extension = plain.rpartition(".")
    if not dot:
        return plain[:100] or "photo"
    return f"{stem[:100] or 'photo'}.{extension[:10]}"


def refused(error: Exception, status: int = 400) -> JSONResponse:
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
                raise FullError("There is no room for that photo. “Delete my photos now” under About makes some.")
            await sink.write(bytes(waiting))
            if sink.is_full:
                raise DiskFullError
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return size


def _size(request: Request, policy: Policy) -> int:
    """What an upload says that it has, or may have at most."""
    return int(request.headers.get("content-length") or policy.most_upload)


@asynccontextmanager
async def _room(session: Session, size: int) -> AsyncIterator[int]:
    """Room for an upload, kept from those that come in beside it."""
    room = await run_in_threadpool(session.reserve, size)
    try:
        yield room
    finally:
        session.coming.remove(size)


def router(policy: Policy, sessions: Sessions) -> APIRouter:
    """Routes /photos, /batches and /visit."""
    routes = APIRouter(include_in_schema=False)

    @routes.post("/photos")
    async def add_photo(request: Request, name: str = "photo.jpg") -> Response:
        session = session_of(request)
        extension = Path(safe_name(name)).suffix.lower()
        if extension.lstrip(".") not in policy.defaults.image_extensions:
            known = ", ".join(policy.defaults.image_extensions)
            return refused(ValueError(f"This is not a kind of photo that can be read here. Known kinds: {known}."), 415)
        folder = await run_in_threadpool(session.make_folder)
        try:
            # The name on the disk says nothing; what the visitor calls the photo stays in memory.
            async with _room(session, _size(request, policy)) as room:
                size = await save(request.stream(), folder / f"photo{extension}", room)
        except BaseException:
            folder.rmdir()
            raise
        if not size:
            (folder / f"photo{extension}").unlink()
            folder.rmdir()
            return refused(ValueError("The file is empty."))
        return JSONResponse({"id": folder.name, "file": f"photo{extension}", "name": safe_name(name)})

    @routes.get("/photos/{id}/{what}.jpg")
    def picture(request: Request, id: str, what: str) -> Response:
        work: Work = session_of(request).get(Work, id)
        if what == "before":
            return Response(
                work.display.before, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"}
            )
        if what == "after":
            return Response(work.show(work.settings), media_type="image/jpeg")
        raise GoneError("There is no such picture.")

    @routes.get("/photos/{id}/clean")
    def clean(request: Request, id: str) -> Response:
        target = session_of(request).get(Work, id).write()
        return FileResponse(target, filename=target.name)

    @routes.get("/photos/{id}/report.json")
    def report(request: Request, id: str) -> Response:
        work: Work = session_of(request).get(Work, id)
        return _attached(_json(work.report()), f"{Path(work.name).stem}-hidden.json", "application/json")

    @routes.get("/photos/{id}/all.zip")
    def everything(request: Request, id: str) -> Response:
        work: Work = session_of(request).get(Work, id)
        target = work.write()
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            archive.write(target, target.name)
            archive.writestr(f"{target.name}.json", _json(work.report()))
        return _attached(out.getvalue(), f"{Path(target.name).stem}.zip", "application/zip")

    @routes.post("/batches")
    async def new_batch(request: Request) -> Response:
        session = session_of(request)
        folder = await run_in_threadpool(session.make_folder)
        batch = Batch(folder.name, folder, policy)
        session.add(batch)
        return JSONResponse({"id": batch.id})

    def take(session: Session, batch: Batch, incoming: Path, name: str) -> int:
        if not name.lower().endswith(".zip"):
            return batch.take(incoming, name, 0)
        with session.unpacking:  # one zip after the other: each fills what room the one before left
            return batch.take(incoming, name, session.room())

    @routes.post("/batches/{id}/files")
    async def add_file(request: Request, id: str, name: str = "photo.jpg") -> Response:
        session = session_of(request)
        batch: Batch = session.get(Batch, id)
        incoming = batch.folder / f".{new_id()}.part"
        try:
            async with _room(session, _size(request, policy)) as room:
                await save(request.stream(), incoming, room)
            added = await run_in_threadpool(take, session, batch, incoming, name)
        finally:
            incoming.unlink(missing_ok=True)
        return JSONResponse({"added": added, "photos": batch.count})

    @routes.get("/batches/{id}/thumb/{number}.jpg")
    def thumb(request: Request, id: str, number: int) -> Response:
        picture = session_of(request).get(Batch, id).thumb(number)
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "no-cache"})

    @routes.get("/batches/{id}/clean.zip")
    def batch_zip(request: Request, id: str) -> Response:
        return FileResponse(session_of(request).get(Batch, id).zip(), filename="anonymized-photos.zip")

    @routes.post("/visit/leave")
    def leave(request: Request) -> Response:
        sessions.leave(request.scope["state"]["secret"])
        return Response(status_code=204)

    @routes.post("/visit/here")
    def here(request: Request) -> Response:
        return Response(status_code=204)  # the guard has found the session, which takes a `leave` back

    @routes.post("/visit/forget")
    def forget(request: Request) -> Response:
        sessions.delete(session_of(request))
        return Response(status_code=204)

    return routes


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


def _attached(body: bytes, name: str, media_type: str) -> Response:
    plain = safe_name(name).encode("ascii", "replace").decode().replace("?", "_")
    return Response(body, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{plain}"'})
