"""Rows of JSONL files by their places, read when they are wanted: for sets that do not fit into memory."""

import json
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from mmreflect.data.store import Row, open_dataset
from mmreflect.errors import UserError, unknown_name

_MARK = b"\xef\xbb\xbf"
"""Some editors write it before the first line."""


class RowIndex(Sequence[Row]):
    """The rows of some JSONL files in order, of which only the places are held: eight bytes a row.

    The files must not change while it is open. Empty lines are no rows.

    Raises:
        UserError: a file is missing.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files, self._starts, self._offsets = list(files), [0], array("q")
        for file in self._files:
            if not file.is_file():
                raise UserError(f"no such file: {file}", "a JSONL file", "check the path")
            self._offsets.extend(_places_of(file))
            self._starts.append(len(self._offsets))

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self._offsets)

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...

    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        """Read a row, or several.

        Raises:
            IndexError: there is no such place.
            UserError: the line is no JSON object; file and row are named.
        """
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        place = place + len(self) if place < 0 else place
        if not 0 <= place < len(self):
            raise IndexError(f"row {place} of {len(self)}")
        number = bisect_right(self._starts, place) - 1
        file = self._files[number]
        with open(file, "rb") as opened:
            opened.seek(self._offsets[place])
            line = opened.readline()
        return _row(line, f"{file}, row {place - self._starts[number] + 1}")


def index_of(path: str, split: str) -> RowIndex:
    """Return the rows of a dataset's split.

    Raises:
        UserError: there is no such dataset or split, or a shard is missing.
    """
    dataset = open_dataset(path)
    if split not in dataset.splits():
        raise unknown_name("split", split, dataset.splits())
    return RowIndex([dataset.path / shard["file"] for shard in dataset.manifest["splits"][split]["shards"]])


def _places_of(file: Path) -> "array[int]":
    places, offset = array("q"), 0
    with open(file, "rb") as opened:
        for line in opened:
            if line.removeprefix(_MARK).strip():
                places.append(offset)
            offset += len(line)
    return places


def _row(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line.removeprefix(_MARK).decode())
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 text ({error.reason})", "a JSONL file", "save it as UTF-8") from None
    except (RecursionError, ValueError) as error:
        raise UserError(f"{where}: not JSON ({error})", "one JSON object per line", "fix that line") from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: {type(row).__name__}", "one JSON object per line", "fix that line")
    return row
