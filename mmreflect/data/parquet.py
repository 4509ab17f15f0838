"""Parquet files: rows in batches, and the pictures in their cells by their place, brought to disk when they are needed.

Importing this module imports no pyarrow.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreflect.errors import UserError
from mmreflect.media.pictures import bytes_of, picture_name, written_picture

BATCH_ROWS = 32
"""Rows of a table that are in memory at once: one of them can hold several pictures."""


def column_names(path: Path) -> list[str]:
    """Return the names of a file's columns; no row is read.

    Raises:
        UserError: it cannot be read.
    """
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        return list(pyarrow.parquet.read_schema(path).names)
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def read_parquet(path: Path, choose: Callable[[Any], Sequence[str]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file.

    Args:
        choose: returns from a file's schema the columns that are read.

    Raises:
        UserError: it cannot be read.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            names = list(choose(table.schema_arrow))
            for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=names):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read ({error})", f"a whole {path.suffix} file", "download it again")


@dataclass(frozen=True, slots=True)
class Embedded:
    """A picture in a cell of a parquet file, which is read again when the picture is needed.

    Attributes:
        row: from 0.
        place: in the cell's list, from 0; None where the cell is the picture.
        name: where it lies in a folder of pictures that are named by their content.
    """

    file: str
    row: int
    column: str
    place: int | None
    name: str


def embedded(value: Any, file: str, row: int, column: str, place: int | None = None) -> Embedded:
    """Return the place of a picture whose bytes are at hand: bytes, `{bytes, path}`, or base64 text.

    Raises:
        UserError: it is none of these, or empty.
    """
    return Embedded(file, row, column, place, picture_name(bytes_of(value, column)))


def bring(pictures: Iterable[Embedded], folder: Path) -> None:
    """Write pictures that are not there yet into a folder, in one pass over each file that holds some.

    Raises:
        UserError: a file cannot be read, or has changed since the places were taken.
    """
    missing: defaultdict[str, defaultdict[int, list[Embedded]]] = defaultdict(lambda: defaultdict(list))
    for picture in pictures:
        if not (folder / picture.name).is_file():
            missing[picture.file][picture.row].append(picture)
    for file, wanted in missing.items():
        columns = sorted({picture.column for pictures_of_row in wanted.values() for picture in pictures_of_row})
        for number, row in enumerate(read_parquet(Path(file), lambda _, columns=columns: columns)):  # type: ignore[misc]
            for picture in wanted.get(number, ()):
                _write(row[picture.column], picture, folder)


def _write(cell: Any, picture: Embedded, folder: Path) -> None:
    content = bytes_of(cell if picture.place is None else cell[picture.place], picture.column)
    if written_picture(content, folder) != folder / picture.name:
        raise UserError(f"{picture.file} has changed while it was read", "a file that stays as it is", "start again")
