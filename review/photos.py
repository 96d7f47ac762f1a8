"""The files that a review shows: its photos as they were, and what it exported, as one ZIP."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageOps
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, PlainTextResponse, Response

from anonymize import images
from anonymize.corrections import gate
from anonymize.errors import AnonymizeError, ImageError, RecordsError
from anonymize.hiding import hide_record
from anonymize.outputs import add_to_zip
from anonymize.preview import shrink, to_jpeg
from anonymize.records import escape, unescape

from .reviews import NOTHING, Review

log = logging.getLogger("anonymize.review")
KEPT = {"Cache-Control": "private, max-age=60", "X-Content-Type-Options": "nosniff"}
PREVIEW = 2000  # px, of the longer side
_few = threading.Semaphore(2)  # previews that are made at once: each has a whole photo in memory
# Browsers show these as they are, turned upright by themselves; anything else is decoded here.
SHOWN_BY_BROWSERS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


def photo_file(review: Review, wanted: str) -> Path | None:
    """The file behind a sample's file path, if it is a photo of this review: named in its records, and no link."""
    root = review.store.header.root.rstrip("/")
    shown = unescape(root)
    for base, as_in_records in ((shown, escape), (root, str)):
        if not wanted.startswith(base + "/"):
            continue
        path = as_in_records(wanted[len(base) + 1 :])
        if path not in review.store.refresh():
            continue
        source = Path(shown) / unescape(path)
        try:
            parts = [shown, *unescape(path).split("/")]
            for n in range(2, len(parts) + 1):  # neither the file nor a folder on the way may be a link
                if stat.S_ISLNK(os.lstat("/".join(parts[:n])).st_mode):
                    return None
            if ".." in parts or not stat.S_ISREG(os.stat(source).st_mode):
                return None
        except (OSError, ValueError):
            return None
        return source
    return None


def export_zip(review: Review, allow_unreviewed: bool = False) -> Response:
    """The photos that the last export wrote, as one file: those that may go out now, as they were decided.

    What was corrected, flagged or taken back since then stays behind until the next export.

    Args:
        allow_unreviewed: as for the export, also those that nobody approved.
    """
    settings = review.store.settings
    reason = gate(settings, allow_unreviewed)
    handle, name = tempfile.mkstemp(suffix=".zip")
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            add_to_zip(archive, review.output, (r for r in review.store if not reason(r)), settings)
    except BaseException:
        os.unlink(name)
        raise
    return FileResponse(name, filename="approved.zip", background=BackgroundTask(os.unlink, name))


def _small(source: Path) -> bytes | None:
    """A large JPEG file at a screen's size, upright; None for what is small or another file.

    Its decoder leaves out what is not needed, which takes a tenth of the time.
    """
    try:
        with Image.open(source, formats=["JPEG"]) as picture:
            if max(picture.size) <= PREVIEW or picture.mode not in ("RGB", "L"):
                return None
            profile = picture.info.get("icc_profile")
            picture.draft(None, (PREVIEW, PREVIEW))
            small = ImageOps.exif_transpose(picture)
            small.thumbnail((PREVIEW, PREVIEW), reducing_gap=2.0)
            return to_jpeg(small, 85, icc_profile=profile)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # whatever it is, the browser gets it as it is


def answer(source: Path, review: Review, is_small: bool = False) -> Response:
    """A photo as it was, as browsers can show it.

    Args:
        is_small: no larger than a screen, so that the next one is there at once; the whole one is for who zooms in.
    """
    kind = SHOWN_BY_BROWSERS.get(source.suffix.lower())
    if is_small and (small := _small(source)):
        return Response(small, media_type="image/jpeg", headers=KEPT)
    if kind:
        return FileResponse(source, media_type=kind, headers=KEPT)
    return _as_jpeg(lambda: to_jpeg(images.load(source, review.store.settings).rgb, 92))


def _as_jpeg(made: Callable[[], bytes]) -> Response:
    """What was made; where it cannot be, nothing, and the log says why."""
    try:
        return Response(made(), media_type="image/jpeg", headers=KEPT)
    except AnonymizeError as e:
        log.info("%s", e)
        return PlainTextResponse(NOTHING, 404)


def preview(review: Review, path: str, size: int = PREVIEW) -> bytes:
    """A photo as an export would write it now, JPEG bytes.

    Args:
        size: px, at most, of its longer side.

    Raises:
        RecordsError: no such photo, or it cannot be read.
    """
    record, settings = review.store[path], review.store.settings
    with _few:
        try:
            photo = images.load(review.store.header.source(record), settings)
        except ImageError as e:
            raise RecordsError(f"{record.path}: {e}") from e
        hidden = replace(photo, pixels=hide_record(photo, record, settings))
        return to_jpeg(shrink(hidden.rgb, size)[0], 88)


def clean(review: Review, path: str) -> Response:
    """The same as an answer; its address names what it shows, so that a browser may keep it for a while."""
    if photo_file(review, f"{review.store.header.root.rstrip('/')}/{path}") is None:
        return PlainTextResponse(NOTHING, 404)
    return _as_jpeg(lambda: preview(review, path))
