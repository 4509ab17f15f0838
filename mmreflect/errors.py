"""Errors that a user can act on.

A `UserError` says what was given, what was expected and what to do next, and is printed without a traceback.
Everything else is a bug and keeps its traceback.
"""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path


class UserError(Exception):
    """A mistake in what was given to mmreflect; never a mistake inside it.

    Args:
        given: what was found, with the offending value.
        expected: what would have been right; empty when `given` already says it.
        do: the next action; empty only when there is no choice of action.
    """

    def __init__(self, given: str, expected: str = "", do: str = "") -> None:
        self.given, self.expected, self.do = given, expected, do
        lines = [given]
        if expected:
            lines.append(f"  expected: {expected}")
        if do:
            lines.append(f"  to do: {do}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str]]:
        """Rebuild from the three parts, so that the error survives a trip between processes."""
        return type(self), (self.given, self.expected, self.do)


class Interrupted(Exception):
    """A run was asked to end (SIGTERM) and has saved its state."""

    def __init__(self, step: int) -> None:
        super().__init__(f"asked to end; step {step} is saved, start the same command again to go on")


class BuildInterrupted(Interrupted):
    """A build was asked to end (SIGTERM); finished shards and everything that a server has answered are kept."""

    def __init__(self) -> None:
        kept = "finished shards and all answers are kept"
        Exception.__init__(self, f"asked to end; {kept}, start the same command again to go on")


def told(error: BaseException) -> str:
    """Say what an error in somebody's own code was, and where: `ValueError: no segment (mine.py, line 12)`.

    That is the innermost line that belongs to no installed package; Python's own and theirs only where there is none.
    """
    import sysconfig
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    installed = tuple(sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib"))
    own = [frame for frame in frames if not frame.filename.startswith((*installed, "<"))]
    where = "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in (own or frames)[-1:])
    return f"{type(error).__name__}: {error}{where}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to a misspelt one, or None when nothing is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def unknown_name(what: str, name: str, known: Sequence[str]) -> UserError:
    """Build the error for a name that is not in a closed list, naming the nearest one."""
    close = nearest(name, known)
    hint = f"did you mean {close!r}?" if close else f"choose one of: {', '.join(sorted(known))}"
    return UserError(f"unknown {what} {name!r}", f"one of: {', '.join(sorted(known))}", hint)
