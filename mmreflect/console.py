"""What a person sees in the terminal: plans, tables, progress."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, Task

T = TypeVar("T")
_TAG = re.compile(r"(\\*)\[([a-z#/@][^[]*?)\]")


def escape(text: str) -> str:
    """Return text as markup that shows it as it is."""
    marked = _TAG.sub(r"\1\1\\[\2]", text)
    return f"{marked}\\" if marked.endswith("\\") and not marked.endswith("\\\\") else marked


def plain(markup: str) -> str:
    """Return what rich shows of markup, without its colours: tags go, escaped ones stay."""
    if "[" not in markup:
        return markup
    shown, position = list[str](), 0
    for tag in _TAG.finditer(markup):
        shown.append(markup[position : tag.start()].replace("\\[", "["))
        shown.append("\\" * (len(tag[1]) // 2) + (f"[{tag[2]}]" if len(tag[1]) % 2 else ""))
        position = tag.end()
    return "".join([*shown, markup[position:].replace("\\[", "[")])


def _is_terminal() -> bool:
    """Tell whether rich would take standard output for a terminal; where it is none, rich is not worth importing."""
    if (compatible := os.environ.get("TTY_COMPATIBLE")) in ("0", "1"):
        return compatible == "1"
    if (forced := os.environ.get("FORCE_COLOR")) is not None:
        return bool(forced)
    asked = getattr(sys.stdout, "isatty", None)  # what stands in for it may not tell
    try:
        return bool(asked is not None and asked())
    except ValueError:  # it is closed
        return False


def _console() -> "Console":
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False, emoji=False)


def _write(lines: Iterable[str]) -> None:
    """Write lines into a file or a pipe; where nobody reads any more, the command ends as it does with rich."""
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def say(text: str) -> None:
    """Print one line of rich markup."""
    if _is_terminal():
        _console().print(text)
    else:
        _write([plain(text)])


def complain(text: str) -> None:
    """Print an error to standard error, as plain text."""
    print(f"error: {text}", file=sys.stderr)


def show_plan(plan: dict[str, str]) -> None:
    """Print a run plan as two aligned columns."""
    if not _is_terminal():
        _write(_columns(list(plan.items()), "<"))
        return
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for label, text in plan.items():
        table.add_row(f"[bold]{label}[/]", text)
    _console().print(table)


def show_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    if not _is_terminal():
        _write([plain(title), *_columns([header, *rows], ">")])
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def _width(text: str) -> int:
    """Return how many places a text takes; most scripts of East Asia take two for a letter."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _columns(rows: Sequence[Sequence[str]], side: str) -> Iterator[str]:
    """Yield rows of markup as they stand in a file or a pipe: a line each however long, so that lines can be searched.

    Args:
        side: to which all columns but the first are aligned, `<` or `>`.
    """
    shown = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        fills = [" " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
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
    if not _is_terminal():
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
    with Progress(*columns, console=_console()) as progress:
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
