"""A live line of a run that asks a server: rows, tokens, cost, rejects, time left."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mmreflect import console
from mmreflect.remote.client import Client

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID
    from rich.text import Text


class Line:
    """A handle that moves the line on."""

    def __init__(self, progress: "Progress", task: "TaskID") -> None:
        self._progress, self._task = progress, task

    def advance(self, rows: int = 1) -> None:
        """Count rows as done."""
        self._progress.advance(self._task, rows)


@contextmanager
def progress_line(client: Client, label: str, total: int, done: int = 0) -> Iterator[Line]:
    """Show the line while this is open, and what was spent in one line at its end, also after an error.

    Where the output is no terminal, only the last line is printed.

    Args:
        total: rows in all; `done`: those that an earlier start has made.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    class SpentColumn(ProgressColumn):
        def render(self, task: "Task") -> "Text":
            from rich.text import Text

            return Text(client.spent.text(), no_wrap=True, overflow="ellipsis")

    out = Console(soft_wrap=True, highlight=False)
    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        SpentColumn(table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=out,
        disable=not out.is_terminal,
    )
    try:
        with shown:
            yield Line(shown, shown.add_task(label, total=total, completed=done))
    finally:
        console.say(f"{label}: {client.spent.text()}")
