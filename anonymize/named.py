"""The public `load` and `save`: those of `images`, with the file's name in what they raise.

Inside, the name stays out of it: a photo's failure stands beside its path already, and a server's visitors may not
learn where files lie.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps

from . import images
from .disk import AnyPath
from .errors import ChangedSourceError, DetectionError, ImageError
from .settings import Settings


@contextmanager
def about(path: AnyPath) -> Iterator[None]:
    """Name a photo's file in what is raised of it."""
    try:
        yield
    except (ImageError, DetectionError, ChangedSourceError) as e:
        raise type(e)(f"{os.fspath(path)}: {e}") from e


@wraps(images.load)
def load(path: AnyPath, settings: Settings) -> images.Photo:
    with about(path):
        return images.load(path, settings)


@wraps(images.save)
def save(
    photo: images.Photo,
    pixels: images.Pixels,
    target: AnyPath,
    settings: Settings | None = None,
    changed: Sequence[images.Piece] | None = None,
) -> tuple[str, ...]:
    with about(target):
        if changed is not None and pixels.shape == photo.pixels.shape:
            # What was changed in fact is written, whatever the caller says.
            differs = (pixels != photo.pixels).reshape(photo.height, photo.width, -1).any(axis=2)
            changed = [*changed, ((0, 0, photo.width, photo.height), differs)]
        return images.save(photo, pixels, target, settings, changed)
