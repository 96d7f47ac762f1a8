"""From a photo to pixels in which its regions are hidden, or an error: there is no other public way to hide."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import effects, images, labels
from .disk import AnyPath
from .errors import ChangedSourceError, DetectionError, SettingsError
from .masks import changed
from .named import about
from .predictor import DETECTION_VERSION, Predictor
from .records import Record, Reviewed
from .regions import Region
from .risk import moved_off
from .settings import UNLIKELY, Kind, Settings

OLDER, MOVED, FLAGGED = "older-detection", "moved-off", "flagged"
# Code of a warning -> what it says of a photo
WARNINGS: Mapping[str, str] = {
    **images.WARNINGS,
    MOVED: "a box was moved off a face or plate that was found there, which is in the open now",
    Record.FORGOTTEN: "a photo is another file than the one that people decided on; nothing of what they decided holds",
    FLAGGED: "a person or an audit flagged it, to be kept back, which only an export of the review does",
    OLDER: "an earlier version of this program, which may find less, looked for what is hidden; detect again",
}
_HELPERS = ("vehicle", "person")  # kinds that help to find others, and that nobody expects to be hidden


def hide(
    image: AnyPath | NDArray[Any] | Image.Image,
    settings: Settings | str | None = None,
    *,
    predictor: Predictor | None = None,
) -> tuple[Any, list[Region]]:
    """Hide the faces and license plates of one photo in memory.

    Args:
        image: a photo's path; or an upright array, uint8 RGB (H, W, 3) (also grayscale, RGBA or uint16); or a Pillow
            image, which is turned upright as its EXIF says.
        settings: what to find and how to hide it, or a preset's name. Default: the predictor's.
        predictor: finds; its detectors stay loaded. Default: one of these settings, kept for the next call.

    Returns:
        The image, a new array for an array, else a Pillow image without any metadata (of a path, RGB); and the regions
        that are hidden in it.

    Raises:
        ImageError: it cannot be read. DetectionError: a detector failed, or some regions may have been left out.
        WeightsError: a detector's weights cannot be had. SettingsError: not an image, wrong settings, or no detector
            looks for what is to be hidden.
    """
    if not isinstance(image, (np.ndarray, Image.Image, str, os.PathLike)):
        raise SettingsError(
            "hide takes a path, a Pillow image, or a NumPy array (of bytes or an open file: PIL.Image.open makes a "
            f"Pillow image); received {type(image).__name__}"
        )
    if isinstance(settings, str):
        settings = Settings().with_preset(settings)
    if predictor is None:
        predictor = _predictor(json.dumps((settings or Settings()).to_dict()))
    settings = settings or predictor.settings
    predictor.check_hides(settings)
    most = min(settings.max_regions, predictor.settings.max_regions)
    is_file = not isinstance(image, (np.ndarray, Image.Image))
    with about(image) if is_file else nullcontext():  # type: ignore[arg-type]
        photo = _photo(image, settings)
        record = predictor.record(photo, "image")
        hidden = replace(photo, pixels=hide_record(photo, record, settings.replace(max_regions=most)))
    if isinstance(image, np.ndarray):
        clean: Any = np.require(hidden.pixels, requirements="W")
    else:
        clean = images.to_pillow(hidden) if isinstance(image, Image.Image) else Image.fromarray(hidden.rgb)
    return clean, record.hidden(settings)


def _photo(image: AnyPath | NDArray[Any] | Image.Image, settings: Settings) -> images.Photo:
    if isinstance(image, np.ndarray):
        return images.from_array(image.copy())  # a camera may write its next frame into it meanwhile, or afterwards
    return images.from_pillow(image) if isinstance(image, Image.Image) else images.load(image, settings)


@lru_cache(maxsize=2)
def _predictor(settings: str) -> Predictor:
    return Predictor(Settings.from_dict(json.loads(settings)))


def hide_record(photo: images.Photo, record: Record, settings: Settings) -> images.Pixels:
    """A photo's pixels with its record's regions hidden: what `export` writes, in memory.

    Raises:
        DetectionError: the detection failed; no detector looked, and no person; the record has another name for a kind
            that is hidden; of a kind there are as many likely regions as are kept, so that some may have been left
            out; or a person's box lies outside of the photo.
        ChangedSourceError: the record is of another photo.
    """
    check_detected(record)
    if photo.sha256 != record.sha256:
        raise ChangedSourceError("the photo changed after it was detected; detect it again")
    if (photo.width, photo.height) != (record.width, record.height):
        raise ChangedSourceError(
            f"the regions are of a picture of {record.width} x {record.height} pixels, the photo has "
            f"{photo.width} x {photo.height}; detect it again"
        )
    check_names(record, settings)
    if reason := max_regions_reached(record.regions, settings):
        raise DetectionError(reason)
    if not (hidden := record.hidden(settings)):
        return photo.pixels  # read-only, so no copy is needed
    if any(r.status == "manual" and not _is_inside(r, photo) for r in hidden):
        raise DetectionError("a box that a person drew lies outside of the photo, so it hides nothing; draw it again")
    return effects.apply(photo.pixels, hidden, settings, mode=photo.mode)


def _is_inside(region: Region, photo: images.Photo) -> bool:
    """Whether any of a region's box lies in the photo."""
    x1, y1, x2, y2 = region.box
    return x1 < photo.width and y1 < photo.height and x2 > 0 and y2 > 0


def save_hidden(photo: images.Photo, record: Record, target: AnyPath, settings: Settings) -> tuple[str, ...]:
    """Write a photo with its record's regions hidden. Errors as `hide_record`; errors and warnings as `images.save`."""
    where = changed(record.regions, settings, photo.width, photo.height)
    return images.save(photo, hide_record(photo, record, settings), target, settings, where)


def check_detected(record: Record) -> None:
    """Raise DetectionError for a record that says nothing of its photo: no regions are not the same as none found."""
    if record.error is not None:
        raise DetectionError(record.error)
    if not record.detectors and not record.decisions:
        raise DetectionError("no detector looked at this photo, and no person")


def check_names(record: Reviewed, settings: Settings) -> None:
    """Raise DetectionError where a record has another name for a kind that is hidden, as other programs write it."""
    for name in {part.kind for part in record.parts if part.status == "auto"} - settings.kinds.keys():
        if (kind := labels.meant(name, settings.kinds)) in settings.kinds:
            raise DetectionError(f"its record calls a {kind} {name!r}, which would be left in the open; detect again")


def max_regions_reached(regions: Iterable[Region], settings: Settings) -> str | None:
    """Why these regions may not be all of a photo's: as many likely ones of a kind as are kept. None where they are."""
    # Those that are too small to be hidden, or that a person rejected, took places too; what a person drew did not.
    least = {name: max(kind.threshold, UNLIKELY) for name, kind in settings.kinds.items()}
    likely = Counter(r.kind for r in regions if r.status != "manual" and r.score >= least.get(r.kind, math.inf))
    for kind, count in likely.items():
        if count >= settings.max_regions:
            return f"{count} regions of kind {kind} are as many as are kept; raise max_regions"
    return None


def warnings_of(record: Record, settings: Settings) -> list[str]:
    """Codes of what is to be said of a photo, of WARNINGS."""
    out = list(record.warnings)
    if moved_off(record, settings) and not record.is_approved(settings):
        out.append(MOVED)
    if record.review == "flagged":
        out.append(FLAGGED)
    if record.detectors and record.detection.partition("-")[0] != str(DETECTION_VERSION):
        out.append(OLDER)
    return out


def not_hidden(record: Record, settings: Settings) -> Counter[str]:
    """Kind -> likely regions of kinds that these settings do not hide at all. What a person rejected is decided."""
    others = (r for r in record.regions if r.status == "auto" and r.kind not in (*settings.kinds, *_HELPERS))
    return Counter(r.kind for r in others if r.score >= Kind().threshold)


def warning_texts(record: Record, settings: Settings) -> list[str]:
    """What a person should know of a photo before it goes out, in sentences."""
    out = [WARNINGS.get(code, code) for code in warnings_of(record, settings)]
    if others := not_hidden(record, settings):
        out.append("found, and not hidden: " + ", ".join(f"{n} {kind}" for kind, n in sorted(others.items())))
    return [f"{text[:1].upper()}{text[1:]}." for text in out]
