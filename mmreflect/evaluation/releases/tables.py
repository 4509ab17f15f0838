"""Files of rows as records: parquet and arrow with their own types, JSON, and TSV and CSV by the columns' kinds."""

import ast
import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreflect.data.parquet import BATCH_ROWS, read_parquet
from mmreflect.data.store import read_rows
from mmreflect.errors import UserError
from mmreflect.evaluation.benchmark import Column
from mmreflect.files import wide_cells

Record = dict[str, Any]
Keyed = Iterator[tuple[str, Record]]

_WRITTEN_BY_DATASETS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")


def is_table(path: Path) -> bool:
    """Tell whether a file can hold rows, by its name."""
    return path.suffix in _READERS and path.name not in _WRITTEN_BY_DATASETS and path.is_file()


def read_records(path: Path, columns: Sequence[Column], *, bare: bool = False) -> Keyed:
    """Yield the records of a file with their keys; only the entries of a JSON mapping have one.

    Args:
        columns: the kinds that cells of TSV and CSV files, which are text, are read as.
        bare: leave out the columns of parquet and arrow files that hold bytes.

    Raises:
        UserError: the file cannot be read, or holds something else than rows.
    """
    if path.suffix not in _READERS:
        known = ", ".join(sorted(_READERS))
        raise UserError(
            f"{path} is no table that can be read", f"a file of type {known}", "convert it, or name another"
        )
    for key, record in _READERS[path.suffix](path, columns, bare):
        yield key, {name: _known(value) for name, value in record.items()}


def _known(value: Any) -> Any:
    """Return None for NaN, which pandas writes for a missing number."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read ({error})", f"a whole {path.suffix} file", "download it again")


def _parquet(path: Path, columns: Sequence[Column], bare: bool) -> Keyed:
    return (("", record) for record in read_parquet(path, lambda schema: _names(schema, bare)))


def _arrow(path: Path, columns: Sequence[Column], bare: bool) -> Keyed:
    """Read what `save_to_disk` writes: a stream of batches; files of the other arrow form are read as well."""
    import pyarrow  # type: ignore[import-untyped]

    try:
        with pyarrow.memory_map(str(path)) as source:
            try:
                batches = iter(pyarrow.ipc.open_stream(source))
            except pyarrow.ArrowInvalid:
                opened = pyarrow.ipc.open_file(source)
                batches = (opened.get_batch(place) for place in range(opened.num_record_batches))
            for whole in batches:
                kept = whole.select(_names(whole.schema, bare))
                for start in range(0, kept.num_rows, BATCH_ROWS):
                    yield from (("", record) for record in kept.slice(start, BATCH_ROWS).to_pylist())
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _names(schema: Any, bare: bool) -> list[str]:
    """Return the columns that are read; the text of a type names the bytes in it, however deep."""
    return [field.name for field in schema if not (bare and "binary" in str(field.type))]


def _jsonl(path: Path, columns: Sequence[Column], bare: bool) -> Keyed:
    return (("", record) for record in read_rows(path))


def read_tree(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from None


def _json(path: Path, columns: Sequence[Column], bare: bool) -> Keyed:
    """Read a list of rows, a mapping from key to row, or a mapping in which one key holds the list."""
    tree = read_tree(path)
    if isinstance(tree, dict):
        lists = [value for value in tree.values() if isinstance(value, list)]
        tree = lists[0] if len(lists) == 1 and _all_rows(lists[0]) else tree
    if isinstance(tree, dict) and _all_rows(tree.values()):
        return iter(tree.items())
    if isinstance(tree, list) and _all_rows(tree):
        return (("", record) for record in tree)
    raise UserError(f"{path} holds something else", "a list of rows, or a mapping from key to row", "name another file")


def _all_rows(values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def _tsv(path: Path, columns: Sequence[Column], bare: bool) -> Keyed:
    """Read VLMEvalKit's form, in which a row may name another one's `index` in place of the same picture."""
    records = list(_separated(path, "\t", columns))
    pictures = {record.get("index"): record.get("image") for record in records}
    for record in records:
        if record.get("image") in pictures and record.get("image"):
            record["image"] = pictures[record["image"]]
        yield "", record


def _csv(path: Path, columns: Sequence[Column], bare: bool) -> Keyed:
    return (("", record) for record in _separated(path, ",", columns))


def _separated(path: Path, separator: str, columns: Sequence[Column]) -> Iterator[Record]:
    kinds = {column.name: column for column in columns}
    try:
        text = path.read_text(encoding="utf-8-sig")
        with wide_cells():
            records = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))
        for number, record in enumerate(records, 1):
            if None in record or None in record.values():
                given = f"{path}, row {number} has another number of cells than the header"
                raise UserError(given, "a cell for every column", "repair the row, or export the table again")
            yield {name: _typed(cell, kinds.get(name)) for name, cell in record.items()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from None


def _typed(cell: str, column: Column | None) -> Any:
    """Return a cell as its column's kind; what does not fit stays text, which the check of the rows then names."""
    if column is None or (column.kind in ("text", "picture", "any") and (cell or not column.null)):
        return cell
    if not cell:
        return None
    try:
        return _KINDS[column.kind](cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return cell


def _literal(cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        return ast.literal_eval(cell)


def _flag(cell: str) -> bool:
    return {"true": True, "false": False, "1": True, "0": False}.get(cell.lower(), bool(cell))


def _whole(cell: str) -> int | float:
    number = float(cell)  # pandas writes a whole column with gaps as 1.0
    return int(number) if number.is_integer() else number


_KINDS: Mapping[str, Callable[[str], Any]] = {
    "integer": _whole,
    "number": float,
    "flag": _flag,
    "list": _literal,
    "mapping": _literal,
}
SUFFIXES = (".parquet", ".arrow", ".jsonl", ".json", ".tsv", ".csv")
"""The types of files with rows; where several hold the same rows, the first keeps the most of their types."""
_READERS: Mapping[str, Callable[[Path, Sequence[Column], bool], Keyed]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".jsonl": _jsonl,
    ".json": _json,
    ".tsv": _tsv,
    ".csv": _csv,
}
