"""Every error that this package raises on purpose.

    AnonymizeError
    ├── SettingsError              a setting or a value is wrong; the message says what was expected and received
    │   └── UnknownNameError       a name that is not in its table; the message lists the valid ones
    ├── MissingExtraError          an optional package is not installed; the message says the command that adds it
    │       └── DetectorSpecError  a detector's spec that cannot be read; the message points at the place
    ├── PathError                  an input that is not there, an output that would touch its source
    ├── ImageError                 one photo cannot be read or written; the others go on
    │   ├── UnreadableImageError   empty, truncated, not an image, or not permitted
    │   ├── UnsupportedImageError  an image whose form cannot be kept (several pages, an unknown mode)
    │   ├── ImageTooLargeError     more pixels than the limit; nothing was decoded
    │   └── WriteError             the output could not be written whole; nothing was left in its place
    ├── ClipError                  one clip cannot be read or written; the others go on
    │   ├── UnsupportedClipError   a clip whose form cannot be kept (transparency, a codec that is not here)
    │   └── DamagedClipError       a part of it could not be read; the frames before and after it were given
    ├── StoppedError               a stop was asked for; what is done is kept
    ├── WorkerError                a process that worked for this one crashed or hung; the message says how
    ├── DetectionError             a detector failed on a photo (never the same as "found nothing")
    ├── WeightsError               a model's weights
    │   ├── WeightsUnavailableError  no source could deliver them; the message names each and what to do by hand
    │   ├── HashMismatchError      they are not the bytes that the registry names
    │   └── UntrustedWeightsError  a pickle from outside the registry, without --trust
    ├── RecordsError               a records file that is not one, or of another schema
    │   ├── ChangedSourceError     a photo is no longer the one that was detected
    │   └── StaleDecisionError     a review decision on a photo that changed meanwhile
    ├── ReviewError                FiftyOne or its database cannot start or fails; the message says why
    │   └── ReadOnlyError          a review that is only to be looked at
    ├── ClusterError               no cluster, or one that failed
    ├── AnnotationError            ground truth that cannot be read
    └── AuditError                 an audit that cannot be done, a photo that one holds back, a bad certificate

Errors are caught at the edges only: the engine turns those of one photo into its record's `error`, the command
line into one line on stderr, the web app into a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable


class AnonymizeError(Exception):
    """The root: `except AnonymizeError` catches all that is ours and nothing else."""


class SettingsError(AnonymizeError, ValueError): ...


class UnknownNameError(SettingsError):
    """A name that is not in its table.

    Args:
        what: what was looked up ("detector", "effect", "setting").
        name: the name that was given.
        valid: the names that exist.
    """

    def __init__(self, what: str, name: object, valid: object) -> None:
        names = ", ".join(sorted(str(v) for v in valid))  # type: ignore[attr-defined]
        super().__init__(f"unknown {what} {name!r}; valid: {names}")


class MissingExtraError(AnonymizeError): ...


class DetectorSpecError(UnknownNameError):
    """A detector's spec that cannot be read.

    Args:
        problem: what is wrong.
        text: the whole spec.
        start: index in `text` where it is wrong.
        end: index in `text` where that ends.
        valid: the names and forms that exist.
    """

    def __init__(self, problem: str, text: str, start: int, end: int, valid: Iterable[str]) -> None:
        line = "".join(c if c.isprintable() else " " for c in text)
        pointer = " " * start + "^" * max(end - start, 1)
        message = f"{problem}, at column {start + 1} of a detector:\n  {line}\n  {pointer}\nvalid: {', '.join(valid)}"
        super(UnknownNameError, self).__init__(message)


class PathError(AnonymizeError, ValueError): ...


class ImageError(AnonymizeError): ...


class UnreadableImageError(ImageError): ...


class UnsupportedImageError(ImageError): ...


class ImageTooLargeError(ImageError): ...


class WriteError(ImageError): ...


class ClipError(AnonymizeError): ...


class UnsupportedClipError(ClipError): ...


class DamagedClipError(ClipError):
    """Raised after the last frame of a clip of which a part is missing, so that nobody takes the rest for all."""


class WorkerError(AnonymizeError): ...


class StoppedError(AnonymizeError): ...


class DetectionError(AnonymizeError): ...


class WeightsError(AnonymizeError): ...


class WeightsUnavailableError(WeightsError): ...


class HashMismatchError(WeightsError): ...


class UntrustedWeightsError(WeightsError): ...


class RecordsError(AnonymizeError): ...


class ChangedSourceError(RecordsError): ...


class StaleDecisionError(RecordsError): ...


class ReviewError(AnonymizeError):
    """The review's App cannot be had; everything but it works without."""


class ReadOnlyError(ReviewError): ...


class ClusterError(AnonymizeError): ...


class AnnotationError(AnonymizeError): ...


class AuditError(AnonymizeError): ...
