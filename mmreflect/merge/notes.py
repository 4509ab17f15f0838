"""What a merge remembers while it runs, in a JSONL file that survives a kill but does not wait for the disk.

Waiting for it (fsync) would, on common file systems, wait for all that was written to the shards so far. Instead every
line ends with its own CRC-32: one that a machine going down has changed is not believed, whatever it says.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.console import escape
from mmreflect.files import named_when_full, to_json, write_atomic

IsSound = Callable[[dict[str, Any]], bool]
"""Tells whether a row is one of a file's; a KeyError, TypeError or ValueError says no."""
_MARK = "line"
"""The key of a line's own CRC-32."""


def read_notes(path: Path, is_sound: IsSound) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of a file of notes, if there is one, and how many of its lines are damaged.

    A line that a kill cut in half was never believed; one that a machine going down has damaged counts as well: nothing
    waits for the disk here.
    """
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    rows = [_row(line, is_sound) for line in lines if line.strip()]
    sound = [row for row in rows if row is not None]
    return sound, len(rows) - len(sound)


def _row(line: bytes, is_sound: IsSound) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
        mark = row.pop(_MARK)
        return row if mark == _mark_of(row) and is_sound(row) else None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError):
        return None


def _mark_of(row: dict[str, Any]) -> str:
    return f"{zlib.crc32(to_json(row).encode()):08x}"


def marked(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as it stands in a file of notes, with its own CRC-32 at the end."""
    return {**row, _MARK: _mark_of(row)}


def _line(row: dict[str, Any]) -> str:
    return to_json(marked(row)) + "\n"


def write_notes(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a file of notes anew, at once or not at all."""
    write_atomic(path, "".join(map(_line, rows)))


class Notes:
    """Rows of a file, whole lines only; what damaged lines noted is done again, and that is said."""

    def __init__(self, path: Path, is_sound: IsSound) -> None:
        self._path = path
        self.rows, damaged = read_notes(path, is_sound)
        if damaged:
            lines = f"{console.count(damaged, 'line')} of '{escape(str(path))}'"
            console.say(f"[yellow]damaged: {lines}[/]; what stood there is done again")
            write_notes(path, self.rows)
        elif path.is_file():
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)

    def replace(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write other rows in the place of all.

        Raises:
            OSError: they cannot be written; then the old ones stand.
        """
        rows = list(rows)
        write_notes(self._path, rows)
        self.rows = rows

    def add(self, row: dict[str, Any]) -> None:
        """Append a row.

        Raises:
            OSError: it cannot be written; then no half of it is left, on which a later row would follow.
        """
        data = memoryview(_line(row).encode())
        with named_when_full(self._path), open(self._path, "ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                while data:
                    data = data[file.write(data) :]
            except OSError:
                file.truncate(size)
                raise
        self.rows.append(row)
