"""Clips by REST: /api/v1/videos. A clip in, a job that is asked for its progress, the clean clip out.

A job's id is a secret that only its answer tells: who knows it has the clip. It is deleted when it is told to be, or
after as long without use as a visitor's clips on the page.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Request, Response, UploadFile
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field

from ..errors import SettingsError
from ..video.writer import AUDIO, Encoding
from .answers import refuse_other_methods
from .api import named_once
from .api_forms import PROBLEMS, Options, Problem
from .clip_session import ClipSession, open_upload
from .file_names import clip_extension, refused_by_name, safe_name
from .job_queue import JobQueue
from .policy import Policy
from .sessions import FullError, GoneError, Session, Sessions, new_secret


class ClipUpload(Options):
    """A request: the clip, and the options of a photo, but for those of its file."""

    video: UploadFile = Field(description="the clip: MP4, MOV, MKV, WebM, AVI, MPEG-TS and others")
    codec: str = Field("h264", description="same (as the clip's), h264, hevc, vp9, av1, ffv1 or mjpeg")
    quality: int = Field(20, ge=0, le=51, description="0 (best) to 51, as H.264's CRF")
    audio: Literal[AUDIO] = Field("keep", description="copy the sound, or leave it out")  # type: ignore[valid-type]


class ClipJob(BaseModel):
    id: str = Field(description="a secret: whoever knows it has the clip")
    state: Literal["ready", "waiting", "searching", "writing", "auditing", "done", "stopped", "failed"]
    frame: int = Field(description="frames of this step that are done")
    frames: int = Field(description="how many there are, as far as that is known; else 0")
    seconds_left: float | None = Field(description="of this step, a guess")
    hidden: dict[str, int] = Field(description="kind and how many of it are hidden, each counted once")
    left_out: list[str] = Field(description="what the file carries and the clean clip does not")
    warnings: list[str] = Field(description="what of a damaged clip is missing")
    problem: str = Field(description="why it failed; empty otherwise")


def _answers(text: str = "", media: str = "") -> dict[int | str, dict[str, Any]]:
    """What the routes of one clip answer: JSON, or a file of this kind."""
    known: dict[int | str, dict[str, Any]] = {n: PROBLEMS[n] for n in (400, 401)}
    known[404] = _problem("There is no such clip (any more)")
    file = {"content": {media: {"schema": {"type": "string", "format": "binary"}}}, "description": text}
    return {**known, 200: file} if media else known


def _problem(text: str) -> dict[str, Any]:
    return {"model": Problem, "description": text}


class ClipService:
    """Takes clips, works on them one after the other, gives them out clean.

    Args:
        policy: limits. jobs: threads that work. sessions: keeps each clip as a visit of its own.
    """

    def __init__(self, policy: Policy, jobs: JobQueue, sessions: Sessions) -> None:
        self.policy, self.jobs, self.sessions = policy, jobs, sessions

    def add(self, form: ClipUpload, who: str) -> ClipJob:
        """Raises AnonymizeError: a setting, a clip, or room for it."""
        if form.keep_metadata is not None or form.jpeg is not None:
            raise SettingsError("A clip has no fields keep_metadata and jpeg: they are for photos.")
        settings, encoding = form.settings(self.policy), Encoding(form.codec, form.quality, form.audio)
        name = safe_name(form.video.filename or "clip.mp4")
        extension, secret = clip_extension(name), new_secret()
        session = self.sessions.of(secret, who)
        try:
            with refused_by_name(name):
                clip = open_upload(self._save(session, form.video, extension), name, self.policy)
        except BaseException:
            self.sessions.delete(session)
            raise
        clip.settings, clip.encoding, clip.check_room = settings, encoding, session.check_room
        session.add(clip)
        clip.go_on(lambda: self.jobs.submit(clip, lambda: clip.work(self.jobs.pool.predictor)))
        return job_of(secret, clip)

    def _save(self, session: Session, file: UploadFile, extension: str) -> Path:
        folder, size = session.make_folder(), file.size or 0
        room = session.reserve(size)
        try:
            if size > room:
                raise FullError("Not enough space for this clip; delete others first.")
            path = folder / f"clip{extension}"
            with open(path, "xb") as target:
                shutil.copyfileobj(file.file, target)
            return path
        finally:
            session.coming.remove(size)

    def find(self, id: str) -> ClipSession:
        """Raises GoneError: there is no such clip."""
        session = self.sessions.find(id)
        if session and (clips := session.of_kind(ClipSession)):
            return session.get(ClipSession, clips[0].id)
        raise GoneError("There is no such clip (any more).")

    def delete(self, id: str) -> None:
        self.find(id)
        if session := self.sessions.find(id):
            self.sessions.delete(session)


def job_of(id: str, clip: ClipSession) -> ClipJob:
    with clip.lock:
        record = clip.record
        return ClipJob(
            id=id,
            state=clip.state,
            frame=clip.step.frame if clip.step else 0,
            frames=clip.frames,
            seconds_left=clip.seconds_left,
            hidden=record.count_hidden(clip.settings) if record else {},
            left_out=list(clip.clip.dropped),
            warnings=list(record.warnings) if record else [],
            problem=clip.problem,
        )


def router(service: ClipService) -> APIRouter:
    """Routes /api/v1/videos."""
    routes, strict = APIRouter(tags=["clips"]), [Depends(named_once)]

    @routes.post("/api/v1/videos", response_model=ClipJob, status_code=202, responses=PROBLEMS, dependencies=strict)
    def add(request: Request, form: Annotated[ClipUpload, Form(media_type="multipart/form-data")]) -> Any:
        """Send a clip. It is searched and written when it is its turn; ask for `/api/v1/videos/{id}` meanwhile."""
        return service.add(form, f"api {request.scope['state']['address']}")

    @routes.get("/api/v1/videos/{id}", response_model=ClipJob, responses=_answers(), dependencies=strict)
    def look(id: str) -> Any:
        """What is being done with a clip."""
        return job_of(id, service.find(id))

    written = {**_answers("The clean clip", "video/*"), 409: _problem("It is not written yet")}

    @routes.get("/api/v1/videos/{id}/clean", response_class=FileResponse, responses=written, dependencies=strict)
    def clean(id: str) -> Response:
        """The clean clip, when it is `done`."""
        clip = service.find(id)
        if (path := clip.clean) is None:
            return JSONResponse({"error": clip.problem or "The clean clip is not written yet."}, 409)
        return FileResponse(path, filename=path.name, media_type="video/*")

    kept = _answers("Tracks, as the command `video` keeps them", "application/jsonl")

    @routes.get("/api/v1/videos/{id}/record", response_class=FileResponse, responses=kept, dependencies=strict)
    def record(id: str) -> Response:
        """What was found in a clip. It says more than the clean clip does."""
        clip = service.find(id)
        return FileResponse(clip.write_record(), filename=clip.record_name, media_type="application/jsonl")

    @routes.delete("/api/v1/videos/{id}", status_code=204, responses=_answers(), dependencies=strict)
    def delete(id: str) -> Response:
        """Stop, and delete the clip and all that was made of it."""
        service.delete(id)
        return Response(status_code=204)

    refuse_other_methods(routes)
    return routes
