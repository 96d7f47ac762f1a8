"""What an audit found: one finding a fault, a photo's findings, and the whole, ready for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..regions import Box

Level = Literal["leak", "look", "note"]
# Check -> what it is about, for people. The order is the report's.
CHECKS: Mapping[str, str] = {
    "memory": "The file is the one that was exported",
    "clips": "Clips: how much of them was looked at",
    "recognizable": "Nothing is recognizable to other networks",
    "open": "Nothing was left open that may be a face or plate",
    "destroyed": "Hidden pixels are destroyed",
    "unchanged": "Nothing else was changed",
    "metadata": "The file carries nothing but its pixels",
    "names": "No license plate in file or folder names",
    "faces": "Attack: a face recognizer",
    "plates": "Attack: a plate reader",
}
# What is to be done with what a person should look at; how it is hidden depends on where they are.
TO_DO = "look at each place that the report shows; if one is a face or a plate"
# Of a file of the operating system: one that only may name others, and one with pictures in it.
SYSTEM = "it may name files; do not publish it"
THUMBNAILS = "it holds small copies of photos, maybe of originals that once lay here; delete it"


@dataclass(frozen=True)
class Finding:
    """One thing that an audit has to say of a photo.

    Attributes:
        check: one of CHECKS.
        level: "leak": the photo fails. "look": a person should look; the photo does not fail for it. "note": said only.
        text: in words, one sentence without its point.
        box: where, px of the photo, or None: the whole file.
        kind: "face", "plate" or "". score: how sure, 0–1, or None where it is a fact.
        frame: of a clip, where the box is; None: of the whole file.
    """

    check: str
    level: Level
    text: str
    box: Box | None = None
    kind: str = ""
    score: float | None = None
    frame: int | None = None

    def to_dict(self) -> dict[str, Any]:
        out = {k: v for k, v in self.__dict__.items() if v not in (None, "")}
        if self.box:
            out["box"] = [round(v, 1) for v in self.box]
        if self.score is not None:
            out["score"] = round(self.score, 4)
        return out


@dataclass
class PhotoAudit:
    """One exported photo or clip and what was found.

    Attributes:
        path: as in the records; of a clip, its file.
        sha256: of the exported bytes, "" where there is none. source_sha256: of the original.
        findings: the worst first. hidden: kind -> regions that are hidden in it.
        quarantined: it was moved out of the output. error: why it could not be looked at, or None; then it fails, too.
        is_clip: it is a clip. frames: that it has. looked_at: how many of them.
        is_compared: a clip was compared with its original, sample by sample. is_lossy: it could not be, for its codec.
    """

    path: str
    sha256: str = ""
    source_sha256: str = ""
    findings: list[Finding] = field(default_factory=list)
    hidden: dict[str, int] = field(default_factory=dict)
    quarantined: bool = False
    error: str | None = None
    is_clip: bool = False
    frames: int = 0
    looked_at: int = 0
    is_compared: bool = False
    is_lossy: bool = False

    @property
    def why(self) -> str:
        """Why it failed, each reason once; "" where it did not."""
        return "; ".join(once(f.text for f in self.of("leak"))) or self.error or ""

    @property
    def ok(self) -> bool:
        return self.error is None and not any(f.level == "leak" for f in self.findings)

    def add(self, check: str, level: Level, *texts: str) -> None:
        """Findings of one check that are about the whole file."""
        self.findings += [Finding(check, level, text) for text in texts]

    def of(self, level: Level) -> list[Finding]:
        return [f for f in self.findings if f.level == level]

    @property
    def urgency(self) -> tuple[bool, float]:
        """Sorts what a person should look at: what the audit saw comes before what the detection left open."""
        looks = self.of("look")
        sure = max((1.0 if f.score is None else f.score for f in looks), default=0.0)
        return all(f.check == "open" for f in looks), -sure

    def to_dict(self) -> dict[str, Any]:
        out = {**self.__dict__, "ok": self.ok, "findings": [f.to_dict() for f in self.findings]}
        return {k: v for k, v in out.items() if v is not None}


@dataclass
class Audit:
    """The audit of one output folder.

    Attributes:
        name: what report and certificate call the output.
        output, records, against: the folders and the file that were looked at; `against` is "" without the originals.
        version: of this program. when: ISO 8601, UTC.
        checks: check -> how it was done, for people. skipped: check -> why it was not done.
        detectors: those that looked again -> their weights' hashes.
        photos: every photo of the output, in its order, then every clip.
        strays: files there that are none, and that no export wrote; with any of them it fails, since nothing looked at
            them.
        of_system: files there that an operating system or a network drive made; it names them, and does not fail.
        thumbnails: files of that kind that hold pictures, of which nobody knows what they show: with any it fails.
        seconds: wall time. stopped: not all were looked at.
    """

    name: str
    output: str
    records: str
    against: str
    version: str
    when: str
    checks: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    detectors: dict[str, Mapping[str, str]] = field(default_factory=dict)
    photos: list[PhotoAudit] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    of_system: list[str] = field(default_factory=list)
    thumbnails: list[str] = field(default_factory=list)
    seconds: float = 0.0
    stopped: bool = False

    @property
    def failed(self) -> list[PhotoAudit]:
        return [p for p in self.photos if not p.ok]

    @property
    def to_look_at(self) -> list[str]:
        """The files that passed or failed in which something is for a person to look at, the most urgent first."""
        return [p.path for p in sorted(self.photos, key=lambda p: p.urgency) if p.of("look")]

    @property
    def to_do(self) -> str:
        """What is to be done with what a person should look at, in words; of those who work with files."""
        of_clips = {p.is_clip for p in self.photos if p.of("look")}
        ways = [way for is_clip, way in ((False, "export"), (True, "write the clip")) if is_clip in of_clips]
        return f"{TO_DO}, hide it in review and {' or '.join(ways)} again"

    @property
    def not_done(self) -> list[tuple[str, str]]:
        """The checks that were not done, in words, and why: those with the same reason together."""
        by_reason: dict[str, list[str]] = {}
        for check, about in CHECKS.items():
            if check in self.skipped:
                by_reason.setdefault(self.skipped[check], []).append(about)
        return [("; ".join(checks), reason) for reason, checks in by_reason.items()]

    @property
    def ok(self) -> bool:
        return not (self.failed or self.strays or self.thumbnails or self.stopped)

    @property
    def counted(self) -> str:
        """How many photos and clips were looked at, in words."""
        return counted(self.photos)

    def to_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "ok": self.ok, "photos": [p.to_dict() for p in self.photos]}


def once(texts: Iterable[str]) -> list[str]:
    """Each text once, and how many times it was said."""
    return [text if n == 1 else f"{text} ({n} times)" for text, n in Counter(texts).items()]


def counted(found: Iterable[PhotoAudit]) -> str:
    """So many photos and clips, in words."""
    each = [p.is_clip for p in found]
    clips, photos = sum(each), len(each) - sum(each)
    said = [f"{photos} photo{'' if photos == 1 else 's'}"] if photos or not clips else []
    said += [f"{clips} clip{'' if clips == 1 else 's'}"] if clips else []
    return " and ".join(said)
