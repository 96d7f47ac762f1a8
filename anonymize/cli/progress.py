"""What the terminal shows of work: progress bars, and the table at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from ..summary import Counts
    from ..weights import Progress


@contextmanager
def fetching() -> Iterator[Progress]:
    """A progress bar for weights on their way; it appears with the first byte. A log gets a line for each instead."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    bar = Progress(*columns, console=console)
    tasks: dict[str, TaskID] = {}

    def progress(what: str, done: int, total: int | None) -> None:
        bar.start()
        if what not in tasks and not console.is_terminal:
            console.print(f"fetching {what} …", highlight=False)
        if what not in tasks:
            tasks[what] = bar.add_task(f"fetching {what}", total=total)
        bar.update(tasks[what], completed=done, total=total)

    try:
        yield progress
    finally:
        if tasks:
            bar.stop()


def bar(*columns: str, quiet: bool = False) -> Bar:
    """A progress bar on stderr, with the time that is left. Where nothing ever began, none stays: the error says it.

    Args:
        columns: what stands behind it, as rich's texts ("{task.fields[found]}"); "n/m" is how many are done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    class Shown(Progress):
        def stop(self) -> None:
            for task in self.tasks:
                self.update(task.id, visible=task.total is not None)
            if any(task.visible for task in self.tasks):
                super().stop()
            else:
                self.live.stop()  # no line's end in a log either

    known = {"n/m": MofNCompleteColumn, "left": TimeRemainingColumn}
    parts = [known[c]() if c in known else TextColumn(c) for c in columns]
    return Shown(TextColumn("{task.description}"), BarColumn(), *parts, console=Console(stderr=True), disable=quiet)


def hidden_text(hidden: Mapping[str, int]) -> str:
    """`2 faces, 1 plate`; empty: nothing was hidden."""
    return ", ".join(f"{n} {kind}{'s' * (n != 1)}" for kind, n in sorted(hidden.items()))


def print_counts(what: str, total: int, done: Counts, more: Mapping[str, object], of_kind: str = "") -> None:
    """The table at the end of a run.

    Args:
        what, total: "photos", and how many there were to do. done: what became of them.
        more: rows that only these have, below those of the kinds; empty ones are left out.
        of_kind: what is counted of a kind, where that has to be said.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    skipped = {f"skipped .{ext}" if ext else "skipped (no extension)": n for ext, n in sorted(done.skipped.items())}
    rows: list[tuple[str, object]] = [(what, total), ("done", done.done)]
    rows += [("of those unchanged", done.unchanged)] if done.unchanged else []
    rows += [(f"{kind}s{of_kind}", n) for kind, n in sorted(done.hidden.items())]  # "photos", too, may be of a kind
    rows += [row for row in more.items() if row[1]] + list(skipped.items())
    table = Table(show_header=False, box=None)
    for name, value in (*rows, ("failed", len(done.failures)), ("seconds", f"{done.seconds:.1f}")):
        table.add_row(escape(name), str(value))  # a kind or an extension may look like markup
    Console().print(table)
