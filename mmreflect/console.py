"""What a person sees in the terminal: plans, tables, progress."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, Task

T = TypeVar("T")


def _console() -> "Console":
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = 120  # a file or a pipe has no width of its own
    return console


def say(text: str) -> None:
    """Print one line of rich markup."""
    _console().print(text)


def complain(text: str) -> None:
    """Print an error to standard error, as plain text."""
    print(f"error: {text}", file=sys.stderr)


def show_plan(plan: dict[str, str]) -> None:
    """Print a run plan as two aligned columns."""
    console = _console()
    if not console.is_terminal:
        console.out("\n".join(_columns(list(plan.items()), "<")))
        return
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for label, text in plan.items():
        table.add_row(f"[bold]{label}[/]", text)
    console.print(table)


def show_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    console = _console()
    if not console.is_terminal:
        console.out("\n".join([title, *_columns([header, *rows], ">")]))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _columns(rows: Sequence[Sequence[str]], side: str) -> Iterator[str]:
    """Yield rows of markup as they stand in a file or a pipe: a line each however long, so that lines can be searched.

    Args:
        side: to which all columns but the first are aligned, `<` or `>`.
    """
    from rich.cells import cell_len
    from rich.text import Text

    plain = [[Text.from_markup(cell).plain if "[" in cell else cell for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*plain, strict=True)]
    for row in plain:
        fills = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        others = [fill + cell if side == ">" else cell + fill for cell, fill in zip(row[1:], fills[1:], strict=True)]
        yield "  ".join([row[0] + fills[0], *others]).rstrip()


@contextmanager
def progress_bar(
    label: str, total: int, done: int = 0, status: Callable[[], str] | None = None
) -> Iterator["ProgressBar"]:
    """Show a progress bar with the time left; silent where the output is no terminal.

    Args:
        status: what stands at its end, asked for again and again.
    """
    console = _console()
    if not console.is_terminal:
        yield ProgressBar(None, 0, done)
        return
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
    from rich.text import Text

    class StatusColumn(ProgressColumn):
        def render(self, task: "Task") -> Text:
            return Text(status() if status is not None else "", no_wrap=True, overflow="ellipsis")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20 if status is not None else 40),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        StatusColumn(table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, console=console) as progress:
        yield ProgressBar(progress, progress.add_task(label, total=total, completed=done), done)


class ProgressBar:
    """A handle that moves one progress bar on, or none where nobody would see it."""

    def __init__(self, progress: "Progress | None", task: "int", done: int = 0) -> None:
        self._progress, self._task = progress, task
        self._done, self._shown = done, float(done)

    def advance(self, count: int = 1) -> None:
        """Move on by `count`."""
        self._done += count
        self._show(self._done)

    def ahead(self, count: float) -> None:
        """Show so much beyond what is done; it is counted again as it is done, and the bar never goes back."""
        self._show(self._done + count)

    def _show(self, completed: float) -> None:
        if completed > self._shown:
            self._shown = completed
            if self._progress is not None:
                from rich.progress import TaskID

                self._progress.update(TaskID(self._task), completed=completed)


def count(number: int, noun: str) -> str:
    """Write `1 row`, `2 rows`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
