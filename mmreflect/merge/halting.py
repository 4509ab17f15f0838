"""Ending the threads of a merge early: what takes long asks whether anybody still waits for it."""

import threading

_own = threading.local()


class Halted(Exception):
    """Nobody waits for this task any more: another one failed, or the user interrupted the merge."""


def watch(halt: threading.Event) -> None:
    """Have `check` in this thread look at an event."""
    _own.halt = halt


def check() -> None:
    """Go on, unless the merge that this thread works for has ended.

    Raises:
        Halted: it has.
    """
    halt: threading.Event | None = getattr(_own, "halt", None)
    if halt is not None and halt.is_set():
        raise Halted
