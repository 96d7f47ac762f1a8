"""The terminal's progress bar for weights on their way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
