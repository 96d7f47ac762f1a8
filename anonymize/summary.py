"""What a run did, of photos or of clips, counted while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from .hiding import WARNINGS, not_hidden, warnings_of
from .records import Record, first_of
from .risk import worth_a_look
from .settings import Settings

MOST_NAMED = 20  # photos that are worth a look, by name


@dataclass
class Counts:
    """What a run did; grows while it runs, so that a progress bar can look at it.

    Attributes:
        done: photos or clips that were detected or written. unchanged: of those, left as an earlier run left them.
        failures: path -> why it has no output (or no detection).
        warnings: path -> what is to be said of one that was done; of a photo, codes (`hiding.WARNINGS`).
        left_over: output of earlier runs that was not looked at now -> what is to be said of it.
        hidden: kind -> regions or tracks hidden (or, without an output, that would be hidden).
        skipped: extension -> files that are none by their extension. seconds: wall time.
    """

    done: int = 0
    unchanged: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    left_over: dict[str, str] = field(default_factory=dict)
    hidden: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    stopped: bool = False

    @property
    def ok(self) -> bool:
        return not self.failures and not self.stopped

    def to_dict(self) -> dict[str, Any]:
        return {**{k: dict(v) if isinstance(v, Counter) else v for k, v in self.__dict__.items()}, "ok": self.ok}

    def lose(self, paths: Collection[str]) -> None:
        """Photos or clips whose output somebody took away or changed after it was counted."""
        self.done -= len(paths)
        self.failures |= dict.fromkeys(paths, "another program removed or changed its output meanwhile; run again")


@dataclass
class Summary(Counts):
    """What a run did with photos.

    Attributes:
        photos: to be done. withheld: path -> why a gate kept it back.
        gone: paths in the records whose photo is no longer in the input; nothing to fail at, so not a failure.
        not_hidden: kind -> likely regions of a kind that these settings do not hide at all.
        worth_a_look: photos in which something may have been missed, and that nobody approved (`risk.worth_a_look`).
        riskiest: the first of these, the riskiest first: path, risk, why.
    """

    photos: int = 0
    withheld: dict[str, str] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    not_hidden: Counter[str] = field(default_factory=Counter)
    worth_a_look: int = 0
    riskiest: list[dict[str, Any]] = field(default_factory=list)

    def to_file(self, settings: Settings, records: str) -> dict[str, Any]:
        """What its file says: also the settings of what was written, and where the records are."""
        return {**self.to_dict(), "settings": settings.to_dict(), "records": records}

    def warning_texts(self) -> list[str]:
        """What a person should know before the photos go out, in sentences without their point."""
        out = []
        for code in dict.fromkeys(code for codes in self.warnings.values() for code in codes):
            paths = [path for path, codes in self.warnings.items() if code in codes]
            out.append(f"{WARNINGS.get(code, code)} ({len(paths)}): {first_of(paths)}")
        if self.not_hidden:
            kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.not_hidden.items()))
            out.append(f"found, and not hidden: {kinds}")
        return out

    def count(
        self,
        record: Record,
        settings: Settings,
        *,
        is_changed: bool,
        withheld: str | None = None,
        is_gone: bool = False,
    ) -> None:
        """One photo: its record as it is now; why it was withheld, or that it is gone."""
        if withheld is not None and is_gone:
            self.gone.append(record.path)
        elif withheld is not None:
            self.withheld[record.path] = withheld
        elif record.error is not None:
            self.failures[record.path] = record.error
        else:
            self.unchanged += not is_changed
            self.add(record.path, **counts_of(record, settings))

    def add(
        self,
        path: str,
        hidden: Mapping[str, int],
        not_hidden: Mapping[str, int],
        warnings: list[str],
        look: Mapping[str, Any] | None = None,
    ) -> None:
        """One photo that is done, and what `counts_of` says of it."""
        self.done += 1
        self.hidden.update(hidden)
        self.not_hidden.update(not_hidden)
        if warnings:
            self.warnings[path] = warnings
        if look:
            self.worth_a_look += 1
            self.riskiest.append({"path": path, **look})
            self.riskiest.sort(key=lambda photo: -photo["risk"])
            del self.riskiest[MOST_NAMED:]  # of a million photos, half may be worth a look


def counts_of(record: Record, settings: Settings) -> dict[str, Any]:
    """What a summary has to know of a photo that is done, ready for JSON."""
    counts = {"hidden": record.count_hidden(settings), "not_hidden": not_hidden(record, settings)}
    found = worth_a_look(record, settings)
    look = {"risk": round(found[0], 4), "why": found[1][0].sentence} if found else None
    return {**counts, "warnings": warnings_of(record, settings), "look": look}


Progress = Callable[[Summary], None]
