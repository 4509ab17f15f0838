"""Reading the files of a release, with a check that they are laid out as its layout says."""

import csv
import functools
import io
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreflect.data.store import read_rows
from mmreflect.errors import UserError, nearest
from mmreflect.layouts import UnusableError
from mmreflect.records import Media

Row = dict[str, Any]

_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")


def read_json_rows(path: str, keys: Collection[str], layout: str) -> list[Row]:
    """Read a JSON list of rows, or a `.jsonl` file.

    Args:
        keys: what at least one row must have each.
        layout: the release, for the message.

    Raises:
        UserError: the file is missing, not of that form, or none of its rows has one of the keys.
    """
    if path.endswith(".jsonl"):
        rows: Any = list(read_rows(Path(path)))
    else:
        rows = _json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _other_form(path, rows, "a list of rows", layout)
    check_keys(rows, keys, path, layout)
    return rows


def read_json_mapping(path: str, layout: str) -> Row:
    """Read a JSON mapping.

    Raises:
        UserError: the file is missing, or holds something else.
    """
    tree = _json(path)
    if not isinstance(tree, dict):
        raise _other_form(path, tree, "a mapping", layout)
    return tree


def read_table(path: str, columns: Collection[str], layout: str) -> list[Row]:
    """Read a CSV file with a header.

    Raises:
        UserError: the file is missing, no table, or has no such column.
    """
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    try:
        rows = list(reader)
        _check_quotes(_text(path))
    except csv.Error as error:
        given = f"{path} is no table (line {reader.line_num}: {error})"
        raise UserError(given, f"the table of {layout}", "is a quote not closed? download it again") from None
    if not rows:
        raise UserError(f"{path} holds no rows", f"the table of {layout}", "check the file")
    check_keys(rows, columns, path, layout)
    return rows


def _check_quotes(text: str) -> None:
    """Refuse a table whose last quote is never closed: all that follows it would be one cell.

    Raises:
        csv.Error: it is one. Other sloppy quotes are read as they are.
    """
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), strict=True):
            pass
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise


def read_lines(path: str) -> list[str]:
    """Read the lines of a text file that are not blank.

    Raises:
        UserError: the file is missing, or holds none.
    """
    lines = [line.strip() for line in _text(path).splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path} holds no lines", "at least one", "check the file")
    return lines


def check_keys(rows: Sequence[Mapping[str, Any]], keys: Collection[str], path: str, layout: str) -> None:
    """Check that each key stands in one row at least: a single row without it is that row's fault, not the file's.

    Raises:
        UserError: a key stands in none; the keys that were found are named.
    """
    if not rows:
        raise UserError(f"{path} holds no rows", f"the rows of {layout}", "check the file")
    for key in keys:
        if not any(key in row for row in rows):
            raise _missed(f"{path}: no row has the key {key!r}", key, [str(name) for name in rows[0]], layout)


def check_columns(found: Sequence[str], columns: Collection[str], path: str, layout: str) -> None:
    """Check that a file has columns.

    Raises:
        UserError: it has not; those that were found are named.
    """
    for column in columns:
        if column not in found:
            raise _missed(f"{path} has no column {column!r}", column, found, layout)


def _missed(given: str, name: str, found: Sequence[str], layout: str) -> UserError:
    close = nearest(name, found)
    hint = f"did its name change to {close!r}? " if close else ""
    return UserError(
        f"{given} (found: {', '.join(found)})",
        f"the layout of {layout}",
        f"{hint}check that it is the right file of the release",
    )


def _json(path: str) -> Any:
    _need(path)
    status = os.stat(path)
    return _parsed(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1)  # several sources may read parts of one large file, one after the other
def _parsed(path: str, changed: int, size: int) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        given = f"{path} is not JSON (line {error.lineno}: {error.msg})"
        raise UserError(given, "a JSON file", "download it again") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason})", "a JSON file", "download it again") from None
    except (RecursionError, ValueError):  # Python reads no number of thousands of digits
        given = f"{path}: nested too deep, or a number too long, to be read"
        raise UserError(given, "a JSON file", "download it again") from None


def _text(path: str) -> str:
    _need(path)
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason})", "a text file", "download it again") from None


def _need(path: str) -> None:
    if not Path(path).is_file():
        raise UserError(f"no such annotation file: {path}", "a file of the release", "download it, or check the path")


def _other_form(path: str, found: Any, expected: str, layout: str) -> UserError:
    kind = "a mapping" if isinstance(found, dict) else type(found).__name__
    if isinstance(found, list):
        odd = next((type(row).__name__ for row in found if not isinstance(row, dict)), None)
        kind = f"a list with {odd} in it" if odd else "a list"
    return UserError(
        f"{path} holds {kind}", f"{expected}, the layout of {layout}", "check that it is the right file of the release"
    )


def videos_by_stem(folder: str) -> Callable[[str], Media]:
    """Return a function from a video's name without its suffix to the video: releases differ in the container.

    Raises:
        UserError: there is no such folder.
    """
    check_folder(folder)
    names = {Path(name).stem: name for name in sorted(os.listdir(folder)) if Path(name).suffix.lower() in _SUFFIXES}
    return lambda stem: Media("video", str(Path(folder) / names.get(stem, f"{stem}.mp4")))


def check_folder(folder: str, kind: str = "videos") -> None:
    """Check that the folder of a release's videos or pictures is there.

    Raises:
        UserError: it is not.
    """
    if not Path(folder).is_dir():
        raise UserError(f"no such folder of {kind}: {folder}", f"the unpacked {kind} of the release", "check the path")


def text_at(row: Mapping[str, Any], key: str) -> str:
    """Return a row's text without blanks at its ends; a number is read as text.

    Raises:
        UnusableError: it is missing, null or blank.
    """
    value = row.get(key)
    if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
        return str(value).strip()
    raise UnusableError(f"no {key!r}")


def texts_at(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return a row's list of texts; a null in it becomes an empty text.

    Raises:
        UnusableError: it is missing or no list.
    """
    value = row.get(key)
    if not isinstance(value, list):
        raise UnusableError(f"no list {key!r}")
    return tuple("" if item is None else str(item).strip() for item in value)


def number_at(row: Mapping[str, Any], key: str) -> float:
    """Return a row's number, which some releases write as text.

    Raises:
        UnusableError: it is missing or no number.
    """
    found = _number(row.get(key))
    if found is None:
        raise UnusableError(f"no number {key!r}")
    return found


def optional_number(row: Mapping[str, Any], key: str) -> float | None:
    """Return a row's number above 0, or None where the release does not say it."""
    found = _number(row.get(key))
    return found if found is not None and found > 0 else None


def pair(value: Any, key: str) -> tuple[float, float]:
    """Return the two numbers of an interval.

    Raises:
        UnusableError: it is no list of two numbers.
    """
    if isinstance(value, list | tuple) and len(value) == 2:
        start, end = _number(value[0]), _number(value[1])
        if start is not None and end is not None:
            return start, end
    raise UnusableError(f"no interval {key!r}")


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):  # JSON may hold an integer of hundreds of digits
        return None
    return found if abs(found) < float("inf") else None


def named(rows: Iterable[Row], key: str) -> list[tuple[str, Row]]:
    """Name each row by one of its keys, or by its place where it has none."""
    return [(str(row[key]) if row.get(key) is not None else f"row {place}", row) for place, row in enumerate(rows, 1)]
