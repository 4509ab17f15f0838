"""What releases about pictures have in common: parquet files with pictures in them, and folders of small files."""

import glob
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmreflect.data.parquet import Embedded, column_names, embedded, read_parquet
from mmreflect.errors import UserError
from mmreflect.layouts import Box, UnusableError, box
from mmreflect.layouts._files import Row, check_columns, check_keys, optional_number, read_lines, text_at

SPLITS = ("train", "validation", "val", "test")


def parquet_files(annotations: str) -> list[str]:
    """Return the files that are meant by a file, a folder of them, or a pattern such as data/train-*.parquet.

    Raises:
        UserError: there are none, or a folder holds those of several splits.
    """
    place = Path(annotations)
    if place.is_file():
        return [annotations]
    found = sorted(glob.glob(str(place / "*.parquet") if place.is_dir() else annotations))
    if not found:
        raise UserError(f"no parquet files at {annotations}", "a file, a folder or a pattern", "check the path")
    splits = {split for split in SPLITS for file in found if Path(file).name.startswith((f"{split}-", f"{split}."))}
    if place.is_dir() and len(splits) > 1:
        raise UserError(
            f"{annotations} holds several splits: {', '.join(sorted(splits))}",
            "the files of one split",
            f"name them by a pattern, such as {place / 'train-*.parquet'}",
        )
    return found


def is_parquet(annotations: str) -> bool:
    """Tell whether annotations are parquet files; a release may also be published in another form."""
    return annotations.endswith(".parquet") or any(Path(annotations).glob("*.parquet"))


def parquet_rows(
    annotations: str, columns: Collection[str], layout: str, optional: Collection[str] = ()
) -> Iterator[tuple[str, int, Row]]:
    """Yield the rows of parquet files, each with its file and its place there, from 0.

    Args:
        columns: what every file must have; optional: what is read where it is there.

    Raises:
        UserError: there is no file, one cannot be read, or it has no such column.
    """
    for file in parquet_files(annotations):
        found = column_names(Path(file))
        check_columns(found, columns, file, layout)
        wanted = [name for name in (*columns, *optional) if name in found]
        for place, row in enumerate(read_parquet(Path(file), lambda _, wanted=wanted: wanted)):  # type: ignore[misc]
            yield file, place, row


def row_name(file: str, place: int) -> str:
    """Return an id for a row that has none."""
    return f"{Path(file).stem}-{place}"


def embedded_at(row: Row, column: str, file: str, place: int) -> tuple[Embedded, ...]:
    """Return the pictures that a cell holds: one, a list of them, or none.

    Raises:
        UnusableError: one of them is no picture.
    """
    value = row.get(column)
    if value is None:
        return ()
    try:
        if isinstance(value, list):
            return tuple(embedded(item, file, place, column, number) for number, item in enumerate(value))
        return (embedded(value, file, place, column),)
    except UserError:
        raise UnusableError(f"{column!r} holds something else than a picture") from None


def needed(pictures: Sequence[str | Embedded]) -> tuple[str | Embedded, ...]:
    """Return the pictures of a question that cannot be asked without.

    Raises:
        UnusableError: there are none.
    """
    if not pictures:
        raise UnusableError("no picture")
    return tuple(pictures)


def paths_at(row: Row, key: str, folder: str) -> tuple[str, ...]:
    """Return the paths of a row's pictures, which stand in it as one path or as a list; a leading / means the folder.

    Raises:
        UnusableError: it is something else.
    """
    value = row.get(key)
    if value is None or value == "":
        return ()
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) and item.strip() for item in values):
        raise UnusableError(f"{key!r} holds something else than paths")
    return tuple(str(Path(folder) / item.strip().lstrip("/")) for item in values)


def json_folder(folder: str, pattern: str, keys: Collection[str], layout: str) -> list[tuple[Path, Row]]:
    """Read a folder of JSON files, one mapping each, by the numbers in their names.

    Raises:
        UserError: there are none, one is no JSON, or none of them has one of the keys.
    """
    files = sorted(Path(folder).glob(pattern), key=lambda file: [_ordered(part) for part in file.parts])
    if not files:
        raise UserError(f"no files {pattern} in {folder}", f"the files of {layout}", "check the path")
    rows = [(file, _mapping(file)) for file in files]
    check_keys([row for _, row in rows], keys, folder, layout)
    return rows


def _mapping(file: Path) -> Row:
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except (RecursionError, ValueError) as error:
        raise UserError(f"{file} is not JSON ({error})", "a JSON file", "download it again") from None
    return tree if isinstance(tree, dict) else {}


def _ordered(part: str) -> tuple[int, str]:
    stem = part.split(".")[0]
    return (int(stem), part) if stem.isdecimal() and len(stem) < 20 else (-1, part)


def size_at(row: Row, width: str, height: str) -> tuple[int, int] | None:
    """Return the size of a row's picture in pixels, or None where the release does not say it."""
    sides = optional_number(row, width), optional_number(row, height)
    return None if sides[0] is None or sides[1] is None else (round(sides[0]), round(sides[1]))


def corners(value: Any, key: str, size: tuple[int, int] | None = None) -> Box:
    """Return a checked box of left, top, right, bottom.

    Raises:
        UnusableError: it is no list of four numbers, has no area, or does not lie in its picture.
    """
    return box(four_numbers(value, key), size)


def four_numbers(value: Any, key: str) -> list[float]:
    """Return the four numbers of a box.

    Raises:
        UnusableError: it is something else.
    """
    if not isinstance(value, list) or len(value) != 4:
        raise UnusableError(f"no list of four numbers in {key!r}")
    if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in value):
        raise UnusableError(f"no list of four numbers in {key!r}")
    return [float(item) for item in value]


def said(row: Row, *keys: str) -> dict[str, str | None]:
    """Return texts of a row that may be missing, as details; None stands for none."""
    return {key: _text(row, key) for key in keys}


def _text(row: Row, key: str) -> str | None:
    try:
        return text_at(row, key)
    except UnusableError:
        return None


def listed_ids(path: str) -> frozenset[str]:
    """Return the lines of a file with an id each, such as those of a test split; a suffix .png is left away.

    Raises:
        UserError: the file is missing, or holds none.
    """
    return frozenset(line.split(",")[0].removesuffix(".png") for line in read_lines(path))
