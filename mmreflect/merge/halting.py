"""Ending the threads of a merge early: what takes long asks whether anybody still waits for it."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_own = threading.local()


class Halted(Exception):
    """Nobody waits for this task any more: one before it failed, or the user interrupted the merge."""


class Halt:
    """Ends numbered tasks: all of them, or those behind one that failed.

    Those before it go on, so that of two errors the same is told however the threads run.
    """

    def __init__(self) -> None:
        self._last: float = float("inf")
        self._lock = threading.Lock()

    def behind(self, number: int) -> None:
        """End the tasks behind one."""
        with self._lock:
            self._last = min(self._last, number)

    def all(self) -> None:
        """End every task."""
        self.behind(-1)

    def run(self, number: int, task: Callable[[], T]) -> T:
        """Run a task in this thread, unless it has ended.

        Raises:
            Halted: it has, before or meanwhile.
        """
        _own.halt, _own.number = self, number
        try:
            check()
            return task()
        finally:
            _own.halt = None

    def check(self, number: int) -> None:
        """Raise Halted where a task has ended."""
        if number > self._last:
            raise Halted


def check() -> None:
    """Go on, unless the task that this thread runs has ended.

    Raises:
        Halted: it has.
    """
    halt: Halt | None = getattr(_own, "halt", None)
    if halt is not None:
        halt.check(_own.number)
