"""Rows of other people's sets, a few at a time: Parquet files, and sets on the Hub through `datasets`.

Rows are asked for by their places. In order that is one pass; a jump back, or ahead, begins a new one.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mmreflect.data.store import Row, read_rows
from mmreflect.errors import UserError
from mmreflect.limits import met

Open = Callable[[int], Iterator[Row]]
"""From a place to the rows from there on."""
_LOOKED_AT, _LONGEST = 1000, 400


class Passing:
    """Rows by their places, of something that can only be read forwards."""

    def __init__(self, start: Open, name: str) -> None:
        self._start, self._name = start, name
        self._next = -1
        self._rows: Iterator[Row] = iter(())
        self._end: int | None = None

    def __getitem__(self, place: int) -> Row:
        """Read a row.

        Raises:
            UserError: there are not so many rows.
        """
        if self._end is None or place < self._end:
            if place != self._next:
                self._rows = self._start(place)
            for row in self._rows:
                self._next = place + 1
                return row
            self._next, self._end = -1, place  # it is not opened again for what cannot be there
        raise UserError(f"{self._name} has fewer rows than its limit", "a smaller limit")


def parquet_length(path: Path) -> int:
    """Return how many rows a Parquet file has, by its footer.

    Raises:
        UserError: it is missing, or no Parquet file.
    """
    return int(_parquet(path).metadata.num_rows)


def parquet_rows(path: Path) -> Passing:
    """Return the rows of a Parquet file; a batch of 64 is held, and what its reader buffers of one row group."""

    def start(place: int) -> Iterator[Row]:
        file, group = _parquet(path), 0
        while group < file.num_row_groups and place >= file.metadata.row_group(group).num_rows:
            place -= file.metadata.row_group(group).num_rows
            group += 1
        for batch in file.iter_batches(64, row_groups=range(group, file.num_row_groups)):
            if place < batch.num_rows:
                yield from batch.slice(place).to_pylist()
            place = max(0, place - batch.num_rows)

    return Passing(start, str(path))


def _parquet(path: Path) -> Any:
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    if not path.is_file():
        raise UserError(f"no such file: {path}", "a Parquet file", "check the path")
    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{path} is no Parquet file ({error})", "a whole Parquet file", "download it again") from None


def hub_rows(name: str, config: str | None, split: str, revision: str | None) -> Passing:
    """Return the rows of a set on the Hub, or in a local folder that `datasets` reads; nothing is stored.

    Pictures come as the bytes that they are stored as.
    """

    def start(place: int) -> Iterator[Row]:
        import datasets

        try:
            found = datasets.load_dataset(name, config, split=split, revision=revision, streaming=True)
            rows = iter((found if found.features is None else found.decode(False)).skip(place))
        except Exception as error:  # datasets raises whatever its parts raise; the reason is what counts
            if met(error) is not None:
                raise
            raise _unreachable(name, error) from None
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except Exception as error:
                if met(error) is not None:
                    raise
                raise _unreachable(name, error) from None
            yield dict(row)

    return Passing(start, f"{name} ({split})")


class UnreachableError(UserError):
    """A set on the Hub cannot be read now: no fault of a row."""


def _unreachable(name: str, error: Exception) -> UnreachableError:
    lines = [line for line in str(error).splitlines() if not line.startswith(" ")]  # parts of columns are indented
    cast = bool(lines) and lines[0].startswith("Couldn't cast")
    reason = (" ".join(lines) if cast else lines[0])[:_LONGEST] if lines else type(error).__name__
    if cast and (odd := odd_file(Path(name))):
        return UnreachableError(
            f"{name} cannot be read: {odd}",
            "files that all have the same columns of the same types",
            "correct that file, or name the files by path, each a source of its own; then start the same again",
        )
    return UnreachableError(
        f"{name} cannot be read: {reason}",
        "files that all have the same columns of the same types"
        if cast
        else "the name of a dataset on the Hub that can be reached, its configuration and split",
        "choose another configuration or revision, or correct the set"
        if cast
        else "check the name and the network, and start the same again: finished shards stay as they are",
    )


def odd_file(folder: Path) -> str | None:
    """Name the first file of a local folder whose columns are not those of the first one, and these columns."""
    first: tuple[Path, dict[str, str]] | None = None
    for file in sorted(path for path in folder.rglob("*") if path.suffix in (".jsonl", ".parquet")):
        columns = _columns(file)
        if not columns:
            continue
        if first is None:
            first = file, columns
        more, less = ([key for key in one if key not in other] for one, other in _both_ways(columns, first[1]))
        other = [
            f"{key} ({first[1][key]} there, {columns[key]} here)"
            for key in columns
            if first[1].get(key, columns[key]) != columns[key]
        ]
        told = [("has further", more), ("lacks", less), ("has others", other)]
        if words := [f"{what}: {', '.join(keys)}" for what, keys in told if keys]:
            return f"the columns of {file} are not those of {first[0]}: it {'; it '.join(words)}"
    return None


def _both_ways(one: dict[str, str], other: dict[str, str]) -> list[tuple[dict[str, str], dict[str, str]]]:
    return [(one, other), (other, one)]


def _columns(file: Path) -> dict[str, str]:
    """Return the columns of a file's first rows by the kinds of their values; empty where it cannot be read."""
    try:
        if file.suffix == ".parquet":
            return {column.name: str(column.type) for column in _parquet(file).schema_arrow}
        found: dict[str, str] = {}
        for row in islice(read_rows(file), _LOOKED_AT):
            found |= {key: type(value).__name__ for key, value in row.items() if value is not None or key not in found}
        return found
    except UserError:
        return {}
