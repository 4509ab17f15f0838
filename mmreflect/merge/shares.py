"""What each picture gave, kept for all merges of a user; losing it costs measuring again, and never a merge."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.console import escape
from mmreflect.errors import UserError
from mmreflect.files import append_jsonl
from mmreflect.merge.notes import marked, read_notes, write_notes

ROUNDING = 1e-9
"""A share may be so much above 1: its two masses are summed in another order."""


def checked_shares(attention_L: Sequence[float], name: str) -> list[float]:
    """Return what a picture gave, without what rounding put above 1.

    Raises:
        UserError: a number is no share.
    """
    wrong = [share for share in attention_L if not 0 <= share <= 1 + ROUNDING]
    if wrong:
        raise UserError(f"{name}: a share of {wrong[0]:g} of the attention", "from 0 to 1", "check the model")
    return [min(share, 1.0) for share in attention_L]


class Shares:
    """A file of marks of pictures with a_l of each, one line with a checksum per picture.

    Args:
        file: made where it is missing; None keeps nothing.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.known: dict[str, list[float]] = {}
        self._try(self._read)

    def add(self, key: str, attention_L: list[float]) -> None:
        """Keep what a picture gave."""
        self.known[key] = attention_L
        self._try(lambda file: append_jsonl(file, [marked({"key": key, "a": attention_L})]))

    def _read(self, file: Path) -> None:
        rows, damaged = read_notes(file, _is_sound)
        self.known = {row["key"]: row["a"] for row in rows}
        if damaged:
            lines = f"{console.count(damaged, 'line')} of '{escape(str(file))}'"
            console.say(f"[yellow]damaged: {lines}[/]; their pictures are measured again")
            write_notes(file, rows)

    def _try(self, work: Callable[[Path], None]) -> None:
        """Work on the file; one that cannot be had is said once, and let be."""
        if self._file is None:
            return
        try:
            work(self._file)
        except OSError as error:
            tell_not_kept(f"'{self._file}': {error.strerror or error}")
            self._file = None


def tell_not_kept(reason: str) -> None:
    """Say that what is measured is not kept for later merges."""
    console.say(f"[yellow]what pictures give is not kept for later merges[/]: {escape(reason)}")


def _is_sound(row: dict[str, Any]) -> bool:
    key, attention = row["key"], row["a"]
    shares = bool(attention) and all(type(share) is float and 0 <= share <= 1 for share in attention)
    return shares and type(key) is str
