"""Record: what is known of one photo; and records.jsonl, the file that joins detecting, review and export.

The first line is a header (schema, input root, settings, detectors); each further line is one record. Lines are only
ever appended, so a killed run loses at most a torn last line, which reading drops; a path's later line wins.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import chain, compress
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from .disk import AnyPath
from .errors import RecordsError, SettingsError
from .json_lines import JsonLines, read_lines, to_line, write_lines
from .json_lines import lock as lock
from .regions import NEARLY_ALL, Region, areas, boxes, intersections, iou
from .settings import Settings

SCHEMA = 2
Review = Literal["pending", "approved", "flagged"]
_DECIDED = ("who", "when", "what")
_SHORT = ("path", "sha256", "width", "height", "detection", "review", "approved_hash", "error")


def escape(path: AnyPath) -> str:
    """A file name as text that JSON, BSON and terminals take: bytes that are not UTF-8 become \\xNN, a backslash \\\\.

    `unescape` is the exact inverse. A name that needs no escape stays as it is.
    """
    raw = os.fsencode(path)
    text = raw.decode("utf-8", "backslashreplace") if b"\\" not in raw else None
    if text is not None and "\\" not in text and text.isprintable():
        return text
    out = []
    for char in raw.decode("utf-8", "surrogateescape"):
        code = ord(char)
        if 0xDC80 <= code <= 0xDCFF:
            out.append(f"\\x{code - 0xDC00:02x}")
        elif char == "\\":
            out.append("\\\\")
        elif not char.isprintable():
            out += [f"\\x{b:02x}" for b in char.encode()]
        else:
            out.append(char)
    return "".join(out)


def first_of(paths: Sequence[str]) -> str:
    """Some paths, for people: the first five."""
    return ", ".join(paths[:5]) + (f", and {len(paths) - 5} more" if len(paths) > 5 else "")


def unescape(text: str) -> str:
    """The file name that `escape` was given, as `os.fsdecode` writes it."""
    raw, i = bytearray(), 0
    while i < len(text):
        if text[i] == "\\" and text[i + 1 : i + 2] == "x":
            raw.append(int(text[i + 2 : i + 4], 16))
            i += 4
        else:
            i += text[i] == "\\"
            raw += text[i : i + 1].encode()
            i += 1
    return os.fsdecode(bytes(raw))


def is_canonical(path: str) -> bool:
    """Whether a path is written in its one form, so that no two records are of one photo ("a.jpg", "./a.jpg")."""
    try:
        name = unescape(path)
        return escape(name) == path and PurePosixPath(name).as_posix() == name
    except ValueError:  # no escape at all, or a character that no file name has
        return False


@dataclass(frozen=True)
class Reviewed:
    """What people review as a whole, and what is known of it: a photo's `Record`, or a clip's (`anonymize.video`).

    Attributes:
        path: POSIX, relative to the input root, escaped (`escape`); never only a basename.
        sha256: of the source's bytes; an export refuses a file whose bytes are others.
        width, height: px, as displayed.
        detectors: the detectors that ran -> their weights (name -> sha256). Empty: none ran.
        detection: hash of the settings and weights that detected it; where that differs, it is detected again.
        review: "pending" | "approved" | "flagged".
        decisions: who, when (ISO 8601, UTC), what; undo is one more decision. Oldest first.
        approved_hash: `approval_hash` at the approval; when it differs now, it is pending again.
        error: why it could not be processed, or None.
        warnings: what is to be said of it; of a photo, codes (`hiding.WARNINGS`).
    """

    PART: ClassVar[str]  # what people decide on one by one: "region" or "track"
    NAME: ClassVar[str]  # of such a record, in errors
    FORGOTTEN: ClassVar[str]  # the warning that people decided on another file of this name

    path: str
    sha256: str = ""
    width: int = 0
    height: int = 0
    _: KW_ONLY
    detectors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    detection: str = ""
    review: Review = "pending"
    decisions: tuple[Mapping[str, Any], ...] = ()
    approved_hash: str = ""
    error: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[Any, ...]:
        """The regions or tracks."""
        return getattr(self, f"{self.PART}s")

    def replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)

    def with_parts(self, parts: Iterable[Any]) -> Self:
        """With these regions or tracks, in their order."""
        raise NotImplementedError

    def hidden(self, settings: Settings) -> list[Any]:
        """The regions or tracks that an export with these settings hides."""
        raise NotImplementedError

    def distinct(self, settings: Settings) -> list[Any]:
        """Of each thing that is hidden one region or track."""
        return self.hidden(settings)

    def count_hidden(self, settings: Settings) -> Counter[str]:
        """Kind -> how many things an export with these settings hides."""
        return Counter(part.kind for part in self.distinct(settings))

    def put(self, before: Any, after: Any) -> Self:
        """One part replaced (`before` by `after`), added (no `before`) or taken away (no `after`)."""
        raise NotImplementedError

    def describe_part(self, part: Any, other: Any) -> dict[str, Any] | None:
        """A part as a decision has it. `other`: what it became, or what it was."""
        return None if part is None else part.to_dict()

    def restore_part(self, said: Mapping[str, Any] | None, there: Any) -> Any:
        """The inverse of `describe_part`. `there`: the part of this id that is there now."""
        raise NotImplementedError

    def content_hash(self) -> str:
        """A hash of the file and all its parts; a decision names it, so that a stale one is refused."""
        raise NotImplementedError

    def approval_hash(self, settings: Settings) -> str:
        """What an approval binds to: the file, its parts, and the settings that decide its pixels."""
        return f"{self.content_hash()}-{settings.export_hash()}"

    def is_approved(self, settings: Settings) -> bool:
        return self.review == "approved" and self.approved_hash == self.approval_hash(settings) and self.error is None

    def is_settled(self, fresh: Sequence[Any], decided: Sequence[Any]) -> NDArray[np.bool_]:
        """Which of the new parts need not stay, as bool (new, decided): what people decided holds for them."""
        raise NotImplementedError

    def answering_for(self, part: Any, gone: Sequence[Any]) -> Any:
        """A part that people decided on, with the best score of what goes because of it: a reset hides that again."""
        raise NotImplementedError

    def keep_decisions(self, earlier: Self | None) -> Self:
        """This new detection, with what people decided on `earlier`, the path's last record.

        Of another file nothing stays, and a warning says so: what a person drew in it is no longer hidden. What a
        person drew, accepted or rejected stays. A new automatic region goes where one that was rejected is the same
        thing, or where one that is hidden covers nearly all of it (what it leaves open, in place or time, is hidden,
        too); a reset hides by its score. An approval's hash no longer fits: the photo is pending.
        """
        if earlier is None:
            return self
        if earlier.sha256 != self.sha256:
            is_decided = any(p.status != "auto" for p in earlier.parts) or self.FORGOTTEN in earlier.warnings
            return self.replace(warnings=(*self.warnings, self.FORGOTTEN)) if is_decided else self
        decided, fresh = [p for p in earlier.parts if p.status != "auto"], list(self.parts)
        if decided and fresh:
            settled = self.is_settled(fresh, decided)
            for n in np.flatnonzero(settled.any(axis=0)):
                decided[n] = self.answering_for(decided[n], list(compress(fresh, settled[:, n])))
            fresh = [f for f, because in zip(fresh, settled, strict=True) if not because.any()]
        # One that a person moved keeps its id, and what is found anew where it was would have the same.
        taken = {d.id for d in decided}
        while any(f.id in taken for f in fresh):
            fresh = [f.replace(id=f"{f.id}-again") if f.id in taken else f for f in fresh]
        kept = self.with_parts([*decided, *fresh])
        return kept.replace(review=earlier.review, decisions=earlier.decisions, approved_hash=earlier.approved_hash)

    @classmethod
    def check_values(cls, data: Any, **types: Any) -> dict[str, Any]:
        """The values of a record as JSON has them, with the types that all have, and these.

        Raises:
            RecordsError: it is none.
        """
        if not isinstance(data, Mapping) or "path" not in data:
            raise RecordsError(f"not a {cls.NAME}: {data!r:.80}")
        if unknown := set(data) - {f.name for f in dataclasses.fields(cls)}:
            raise RecordsError(f"a {cls.NAME} has no field {sorted(unknown)[0]!r}")
        types |= dict.fromkeys(("path", "sha256", "detection", "review", "approved_hash"), str)
        types |= {"width": int, "height": int, "detectors": dict, "warnings": list, "error": (str, type(None))}
        for name, of in types.items():
            if name in data and not isinstance(data[name], of):
                raise RecordsError(f"the {name} of a {cls.NAME} cannot be {data[name]!r}")
        if not is_canonical(data["path"]):
            raise RecordsError(f"{data['path']!r} is no path as records write it")
        warnings = tuple(map(str, data.get("warnings", ())))
        return {**data, "warnings": warnings, "decisions": check_decisions(data.get("decisions", ()))}


def check_decisions(decisions: Iterable[Any]) -> tuple[Mapping[str, Any], ...]:
    """Decisions as JSON has them. Raises RecordsError: one lacks who, when or what."""
    found = tuple(decisions)
    for decision in found:
        if not isinstance(decision, Mapping) or not all(isinstance(decision.get(k), str) for k in _DECIDED):
            raise RecordsError(f"a decision has {', '.join(_DECIDED)}; received {decision!r:.80}")
    return found


@dataclass(frozen=True)
class Record(Reviewed):
    """One photo: where it is, what was found, what people decided.

    Attributes:
        regions: candidates down to the floor score, by descending score; regions that a person drew too.
    """

    PART, NAME, FORGOTTEN = "region", "record", "decided-on-another-file"

    regions: tuple[Region, ...] = ()

    def with_parts(self, parts: Iterable[Region]) -> Self:
        return self.replace(regions=tuple(sorted(parts, key=lambda r: -r.score)))

    def put(self, before: Region | None, after: Region | None) -> Self:
        if before is None:  # drawn: score 1
            return self.replace(regions=(after, *self.regions))
        kept = [after if r.id == before.id else r for r in self.regions]
        return self.replace(regions=tuple(r for r in kept if r is not None))

    def restore_part(self, said: Mapping[str, Any] | None, there: Region | None) -> Region | None:
        region = Region.from_dict(said) if said else None
        if region is None or there is None or "manual" in (region.status, there.status):
            return region  # else: scores are the last detection's, no decision
        return region.replace(score=there.score, detector_scores=there.detector_scores)

    def hidden(self, settings: Settings) -> list[Region]:
        return [r for r in self.regions if settings.hides(r)]

    def content_hash(self) -> str:
        text = json.dumps([self.sha256, [r.to_dict() for r in self.regions]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def is_settled(self, fresh: Sequence[Region], decided: Sequence[Region]) -> NDArray[np.bool_]:
        found, kept = boxes(fresh), boxes(decided)
        covered = intersections(found, kept) >= NEARLY_ALL * areas(found)[:, None]
        is_rejected = np.array([d.status == "rejected" for d in decided])
        is_same = np.where(is_rejected, iou(found, kept) > 0.5, covered)
        return np.asarray(is_same & np.array([[f.kind == d.kind for d in decided] for f in fresh]))

    def answering_for(self, part: Region, gone: Sequence[Region]) -> Region:
        surest = part if part.status == "manual" else max(gone, key=lambda r: r.score)
        return part.replace(score=surest.score, detector_scores=surest.detector_scores)

    def to_dict(self) -> dict[str, Any]:
        # Its path comes first, its decisions last: a million lines are only glanced at.
        out: dict[str, Any] = {name: getattr(self, name) for name in _SHORT}
        out["warnings"], out["detectors"] = list(self.warnings), self.detectors
        out["regions"] = [r.to_dict() for r in self.regions]
        return {**out, "decisions": list(self.decisions)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        values = cls.check_values(data)
        values["regions"] = tuple(Region.from_dict(r) for r in data.get("regions", ()))
        for decision in values["decisions"]:
            for name in ("before", "after"):
                if decision.get(name) is not None:
                    Region.from_dict(decision[name])  # raises
        return cls(**values)


@dataclass(frozen=True)
class Header:
    """The first line of a records file.

    Attributes:
        root: the input folder, absolute, escaped; records' paths are relative to it.
        settings: those of the detection; an export may use others.
        detectors: name -> its weights' (name -> sha256).
        review: thresholds and effects that people chose in a review since; approvals bind to them. None: `settings`.
    """

    root: str
    settings: Settings = field(default_factory=Settings)
    detectors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    schema: int = SCHEMA
    review: Settings | None = None

    def to_dict(self) -> dict[str, Any]:
        out = {"schema": self.schema, "root": self.root, "settings": self.settings.to_dict()}
        chosen = {"review": self.review.to_dict()} if self.review else {}
        return {**out, "detectors": self.detectors, **chosen}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Header:
        if not isinstance(data, Mapping):
            raise RecordsError(f"not the head of records: {data!r:.80}")
        if data.get("schema") != SCHEMA:
            raise RecordsError(
                f"records have schema {SCHEMA}, this file has {data.get('schema')!r}: it was written by another "
                "version; detect again into a new file"
            )
        if not isinstance(data["root"], str):
            raise RecordsError(f"the root of records cannot be {data['root']!r}")
        detectors = data.get("detectors", {})
        if not isinstance(detectors, dict):
            raise RecordsError(f"the detectors of records cannot be {detectors!r:.80}")
        chosen = Settings.from_dict(data["review"]) if data.get("review") else None
        return cls(data["root"], Settings.from_dict(data["settings"]), detectors, review=chosen)

    def source(self, record: Record) -> Path:
        """Where a record's photo is."""
        return Path(unescape(self.root)) / unescape(record.path)


def read(path: AnyPath) -> tuple[Header, dict[str, Record]]:
    """A records file as its header and the last record of each path, in order of first appearance.

    Raises:
        RecordsError: no such file, not a records file, another schema, a broken line that is not the last.
    """
    parsed = read_lines(path)
    if not parsed:
        raise RecordsError(f"{path} is not a records file: it has no header")
    try:
        header = Header.from_dict(parsed[0])
        return header, {r.path: r for r in map(Record.from_dict, parsed[1:])}
    except RecordsError as e:
        raise RecordsError(f"{path}: {e}") from e
    except (KeyError, TypeError, ValueError) as e:
        what = e if isinstance(e, SettingsError) else repr(e)
        raise RecordsError(f"{path} is not a records file: {what}") from e


def write(path: AnyPath, header: Header, records: Iterable[Record]) -> None:
    """Write a whole records file: a temporary file, then a rename. The caller holds its lock."""
    rewrite(path, header, (to_line(r.to_dict()) for r in records))


def rewrite(path: AnyPath, header: Header, lines: Iterable[bytes]) -> None:
    """A records file of this header and of lines that another one had, byte for byte; through to the disk.

    Whole or not at all. The caller holds the file's lock.
    """
    lines_beside(path).unlink(missing_ok=True)
    write_lines(path, chain([to_line(header.to_dict())], lines), is_locked=True)


def lines_beside(path: AnyPath) -> Path:
    """Where `records_file` keeps what it knows of a records file."""
    path = Path(path)
    return path.with_name(f".{path.name}.lines")


def queue_beside(path: AnyPath) -> Path:
    """Where the review keeps its queue's numbers."""
    path = Path(path)
    return path.with_name(f".{path.name}.queue")


class Writer(JsonLines):
    """Appends records to a file.

    Args:
        path: the records file; created with its header when it is not there or empty.
        header: written when the file is new; else only compared by the caller.
    """

    def __init__(self, path: AnyPath, header: Header) -> None:
        super().__init__(path)
        if self.empty:
            self.append(header.to_dict())

    def write(self, record: Record) -> None:
        self.append(record.to_dict())
