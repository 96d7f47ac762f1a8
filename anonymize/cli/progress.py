"""What the terminal shows of work: progress bars, and the table at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

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
    """A progress bar on stderr, with the time that is left.

    Args:
        columns: what stands behind it, as rich's texts ("{task.fields[found]}"); "n/m" is how many are done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    known = {"n/m": MofNCompleteColumn, "left": TimeRemainingColumn}
    parts = [known[c]() if c in known else TextColumn(c) for c in columns]
    return Progress(TextColumn("{task.description}"), BarColumn(), *parts, console=Console(stderr=True), disable=quiet)


def print_table(rows: Iterable[tuple[str, object]]) -> None:
    """Names and values; a kind or an extension may look like markup."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name, value in rows:
        table.add_row(escape(name), str(value))
    Console().print(table)


def skipped_rows(skipped: dict[str, int]) -> list[tuple[str, object]]:
    """The files that were left alone, by their extensions."""
    return [(f"skipped .{ext}" if ext else "skipped (no extension)", n) for ext, n in sorted(skipped.items())]
