"""The routes that bring photos and clips in and take clean ones out, each bound to the visitor's session.

Files come in as raw bodies, so that Gradio's upload cache never holds an original, and go out as the bytes that the
engine wrote. An id is unguessable and looked up in the visitor's own session only: another visitor's id finds nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from ..errors import AnonymizeError, ClipError, SettingsError
from .clip_session import ClipSession, open_upload
from .clip_view import frame_view, thumbnail, track_list
from .elements import samples
from .file_names import clip_extension, refused_by_name, safe_name, unsupported
from .job_results import as_jpeg
from .jobs import Job
from .limits import is_full
from .photo_session import PhotoSession
from .sessions import DiskFullError, FullError, GoneError, RefusedFileError, Session, new_id
from .site import name_of, session_of

_BLOCK = 1 << 20  # bytes of an upload that are written at once
_NAMED = {"Cache-Control": "private, max-age=600"}  # the address names what is shown

routes = APIRouter(include_in_schema=False)
of_clips = APIRouter(include_in_schema=False)


# --- uploads ---


async def save(chunks: AsyncIterator[bytes], target: Path, room: int) -> int:
    """Write an upload as it comes in; the number of bytes.

    Raises:
        FullError: more than there is room for. DiskFullError: more than the disk has. Nothing stays; it is read to its
            end all the same, because a browser shows no answer to what it could not send whole.
    """
    size, waiting, has_place = 0, bytearray(), True
    try:
        with open(target, "xb") as file:

            async def write() -> None:
                nonlocal has_place
                try:
                    if has_place:
                        await run_in_threadpool(file.write, bytes(waiting))
                except OSError as e:
                    if not is_full(e):
                        raise
                    has_place = False
                waiting.clear()

            async for chunk in chunks:
                size += len(chunk)
                if size > room:
                    continue
                waiting += chunk
                if len(waiting) > _BLOCK:
                    await write()
            if size > room:
                raise FullError("Not enough space for this file. “Delete my photos now” under About frees some.")
            await write()
            if not has_place:
                raise DiskFullError
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return size


async def receive(request: Request, target: Path, most: int) -> int:
    """Write an upload into its visitor's folder, as far as there is room; its size.

    Args:
        most: bytes that it may have, where it does not say.
    """
    session, size = session_of(request), int(request.headers.get("content-length") or most)
    room = await run_in_threadpool(session.reserve, size)  # kept from those that come in beside it
    try:
        return await save(request.stream(), target, room)
    finally:
        session.coming.remove(size)


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


# --- one photo ---


@routes.post("/photos")
async def add_photo(request: Request, name: str = "photo.jpg") -> Any:
    policy, extension = session_of(request).policy, Path(safe_name(name)).suffix.lower()
    known = policy.defaults.image_extensions
    if extension.lstrip(".") not in known:
        raise RefusedFileError(unsupported(name, known))
    async with upload(request, f"photo{extension}", policy.most_upload, SettingsError("The file is empty.")) as path:
        return {"id": path.parent.name, "file": path.name, "name": safe_name(name)}


@routes.get("/photos/{id}/clean-as.jpg")
def clean_jpeg(request: Request, id: str, shows: str | None = None) -> Response:
    """For those who cannot open a HEIC."""
    target = _written(request, PhotoSession, id, lambda photo: photo.write(shows))
    picture = as_jpeg(target, session_of(request).policy.defaults)
    return attachment(picture, f"{target.stem}.jpg", "image/jpeg")


@routes.get("/photos/{id}/{what}.jpg")
def picture(request: Request, id: str, what: str) -> Response:
    photo = session_of(request).get(PhotoSession, id)
    if what == "before":
        return Response(photo.display.before, media_type="image/jpeg", headers=_NAMED)
    if what == "after":
        return Response(photo.show(photo.settings), media_type="image/jpeg")
    raise GoneError("There is no such picture.")


@routes.get("/photos/{id}/clean")
def clean(request: Request, id: str, shows: str | None = None) -> Response:
    target = _written(request, PhotoSession, id, lambda photo: photo.write(shows))
    return FileResponse(target, filename=target.name)


@routes.get("/photos/{id}/report.json")
def report(request: Request, id: str, shows: str | None = None) -> Response:
    photo = session_of(request).get(PhotoSession, id)
    body = json.dumps(photo.report(shows), indent=1, ensure_ascii=False).encode()
    return attachment(body, f"{Path(photo.name).stem}-hidden.json", "application/json")


@routes.get("/samples/{number}.jpg")
def sample(number: int) -> Response:
    known = list(samples().values())
    if not 0 <= number < len(known):
        raise GoneError("There is no such photo.")
    return FileResponse(known[number], headers={"Cache-Control": "max-age=3600"})


# --- many photos ---

# What is written, and what the visitor calls it.
_DOWNLOADS: Mapping[str, tuple[Callable[[Job], Path], str]] = {
    "clean": (Job.zip, "anonymized-photos.zip"),
    "clean-jpeg": (lambda job: job.zip(heif_as_jpeg=True), "anonymized-photos-jpeg.zip"),
    "records": (Job.records_zip, "records-of-photos.zip"),
    "audit": (Job.audit_zip, "audit-of-photos.zip"),
}


@routes.post("/batches")
async def new_batch(request: Request) -> Any:
    session = session_of(request)
    folder = await run_in_threadpool(session.make_folder)
    job = Job(folder.name, folder, session.policy)
    if not session.policy.own_machine:  # there a batch may be a folder of any size
        job.check_room = session.check_room
    session.add(job)
    return {"id": folder.name}


@routes.post("/batches/{id}/files")
async def add_file(request: Request, id: str, name: str = "photo.jpg") -> Any:
    session = session_of(request)
    job = session.get(Job, id)
    incoming = job.folder / f".{new_id()}.part"
    try:
        await receive(request, incoming, session.policy.most_upload)
        added = await run_in_threadpool(_take, session, job, incoming, name)
    finally:
        incoming.unlink(missing_ok=True)
    return {"added": added, "photos": job.count}


def _take(session: Session, job: Job, incoming: Path, name: str) -> int:
    if not name.lower().endswith(".zip"):
        return job.take(incoming, name, 0)
    with session.writing:  # one zip after the other: each fills what room the one before left
        return job.take(incoming, name, session.room())


@routes.get("/batches/{id}/thumb/{number}.jpg")
def thumb(request: Request, id: str, number: int) -> Response:
    return Response(session_of(request).get(Job, id).thumb(number), media_type="image/jpeg", headers=_NAMED)


@routes.get("/batches/{id}/{what}.zip")
def batch_zip(request: Request, id: str, what: str) -> Response:
    if what not in _DOWNLOADS:
        raise GoneError("There is nothing here.")
    write, name = _DOWNLOADS[what]
    return FileResponse(_written(request, Job, id, write), filename=name)


# --- clips ---


def _clip(request: Request, id: str) -> ClipSession:
    return session_of(request).get(ClipSession, id)


@of_clips.post("/videos")
async def add_clip(request: Request, name: str = "clip.mp4") -> Any:
    session, short = session_of(request), safe_name(name)
    policy, extension = session.policy, clip_extension(short)
    if len(session.of_kind(ClipSession)) >= policy.most_clips:
        raise FullError(f"At most {policy.most_clips} clips at a time; remove one first.")
    with refused_by_name(short):
        empty = ClipError("the file is empty")
        async with upload(request, f"clip{extension}", policy.most_clip, empty) as path:
            opened = await run_in_threadpool(open_upload, path, short, policy)
    opened.who = name_of(request)
    if not policy.own_machine:
        opened.check_room = session.check_room
    session.add(opened)
    return {"id": opened.id, "name": opened.name}


@of_clips.get("/videos/{id}/before.mp4")
def before(request: Request, id: str) -> Response:
    """A small copy of the original, for the player."""
    return FileResponse(_clip(request, id).original().path, media_type="video/mp4", headers=_NAMED)


@of_clips.get("/videos/{id}/watch")
def watch(request: Request, id: str, shows: str) -> Response:
    """The clean clip, for the player; what no browser plays, as a copy made of it."""
    path = _clip(request, id).clean_file(shows, played=True)
    kind = "video/webm" if path.suffix == ".webm" else "video/mp4"
    return FileResponse(path, media_type=kind, headers=_NAMED)


@of_clips.get("/videos/{id}/clean")
def clean_clip(request: Request, id: str, shows: str) -> Response:
    path = _clip(request, id).clean_file(shows)
    return FileResponse(path, filename=path.name)


@of_clips.get("/videos/{id}/record")
def record(request: Request, id: str) -> Response:
    clip = _clip(request, id)
    with session_of(request).writing:
        return FileResponse(clip.write_record(), filename=clip.record_name)


@of_clips.get("/videos/{id}/audit.zip")
def audit(request: Request, id: str) -> Response:
    """The last audit's report and certificate."""
    clip = _clip(request, id)
    with session_of(request).writing:
        return FileResponse(clip.audit_zip(), filename=f"audit-of-{Path(clip.name).stem}.zip")


@of_clips.get("/videos/{id}/tracks.json")
def tracks(request: Request, id: str) -> Any:
    return track_list(_clip(request, id))


@of_clips.get("/videos/{id}/frames/{number}.json")
def frame(request: Request, id: str, number: int, track: str = "") -> Any:
    """What the picture editor shows of a frame. `track`: one that may be extended to it."""
    return frame_view(_clip(request, id), number, track)


@of_clips.get("/videos/{id}/frames/{number}-{what}.jpg")
def still(request: Request, id: str, number: int, what: str) -> Response:
    picture = _clip(request, id).still(number, clean=what == "clean")
    return Response(picture, media_type="image/jpeg", headers=_NAMED)


@of_clips.get("/videos/{id}/thumbs/{track}.jpg")
def thumb_of_track(request: Request, id: str, track: str) -> Response:
    return Response(thumbnail(_clip(request, id), track), media_type="image/jpeg", headers=_NAMED)


# --- the visit ---


@routes.post("/visit/leave")
def leave(request: Request) -> Response:
    session_of(request).leave()
    return Response(status_code=204)


@routes.post("/visit/here")
def here() -> Response:
    return Response(status_code=204)  # security.py has found the session, which takes a `leave` back


@routes.post("/visit/forget")
def forget(request: Request) -> Response:
    session = session_of(request)
    session.of.delete(session)
    return Response(status_code=204)


def _written(request: Request, kind: type[Any], id: str, write: Callable[[Any], Path]) -> Path:
    """A result on the disk, as far as there is room: one after the other for each visitor."""
    session = session_of(request)
    thing = session.get(kind, id)
    with session.writing:
        session.check_room()
        return write(thing)


def attachment(body: bytes, name: str, media_type: str) -> Response:
    plain = safe_name(name).encode("ascii", "replace").decode().replace("?", "_")
    return Response(body, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{plain}"'})
