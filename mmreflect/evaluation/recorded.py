"""Rows as they were recorded: read from a file, told apart, and searched for a response and a reference."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmreflect.data.store import read_rows
from mmreflect.errors import UserError, nearest
from mmreflect.evaluation.benchmark import BadField, Benchmark, MissingField, Response, Row
from mmreflect.evaluation.rules.reduction import final_text

ABSENT = object()


MAX_DEPTH = 100
"""Lists and mappings inside others that a row may have."""
_FORMS = "a list of rows, or a mapping from id to row"


def read_responses(path: Path, benchmark: str = "") -> list[Row]:
    """Read the rows of a JSONL file, of a JSON file with a list of rows or a mapping from id to row, or of a TSV.

    A TSV is VLMEvalKit's table of predictions, as `mmreflect export` writes it. A row that holds `questions`, as in
    Video-MME's official file, is a video: its questions are the rows, each with the video's own fields. Of a JSON file
    with sections (`{"mlvu_dev": {"rows": [...]}, ...}`) the one of this benchmark is read.

    Raises:
        UserError: it is missing, holds no rows, is not of that form, or holds what no JSON file can (NaN, infinity).
    """
    if path.suffix == ".tsv" and path.is_file():
        from mmreflect.evaluation.exchange.vlmevalkit import read_predictions

        return list(read_predictions(path))
    if path.suffix == ".json" and path.is_file():
        found = _rows_of_json(path, benchmark)
    else:
        found = [Row(row) for row in read_rows(path)]
    rows = [row for video in found for row in _questions(video)]
    if not rows:
        raise UserError(f"{path} has no rows", "one recorded response a line", "check the path")
    for place, row in enumerate(rows):
        _check_values(row, f"{path}, row {place + 1}")
    return rows


def _rows_of_json(path: Path, benchmark: str) -> list[Row]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise UserError(f"{path} is nested too deep to be read", _FORMS, "correct it") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})", _FORMS) from None
    if isinstance(tree, dict):
        tree = _section(tree, benchmark, path)
    if isinstance(tree, dict):
        tree = [{"id": name, **row} if isinstance(row, dict) else row for name, row in tree.items()]
    if not isinstance(tree, list) or not all(isinstance(row, dict) for row in tree):
        raise UserError(f"{path} holds something else", _FORMS, "correct it")
    return [Row(row) for row in tree]


def _section(tree: dict[str, Any], benchmark: str, path: Path) -> Any:
    """Return the rows of the benchmark's section; the tree itself where it has no sections."""
    sections = {name: part["rows"] for name, part in tree.items() if isinstance(part, dict) and "rows" in part}
    if not sections or len(sections) != len(tree):
        return tree
    names = [name for name in sections if name == benchmark or name.startswith(f"{benchmark}_")]
    if len(names) != 1:
        raise UserError(
            f"{path} has the sections {', '.join(sections)}",
            f"one section of {benchmark or 'the benchmark'}",
            "name the benchmark of one of them, or give its rows a file of their own",
        )
    return sections[names[0]]


def _questions(row: Row) -> Iterator[Row]:
    """Yield a row, or the questions of a video with its own fields beside theirs."""
    questions = row.get("questions")
    if not isinstance(questions, list) or not all(isinstance(asked, dict) for asked in questions):
        yield row
        return
    video = {name: value for name, value in row.items() if name != "questions"}
    for asked in questions:
        yield Row({**video, **asked})


def _check_values(row: Row, where: str) -> None:
    """Refuse what could not be written again.

    Raises:
        UserError: a field holds a number that is not finite, or is nested too deep.
    """
    for name, field in row.items():
        waiting = [(field, 0)]
        while waiting:
            value, depth = waiting.pop()
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(
                    f"{where}: {name!r} is {value}",
                    "JSON, in which a missing value is null",
                    "write null (pandas: DataFrame.to_json, which does)",
                )
            if depth > MAX_DEPTH:
                raise UserError(
                    f"{where}: {name!r} is nested too deep", f"lists in lists at most {MAX_DEPTH} deep", "correct it"
                )
            if isinstance(value, dict | list):
                waiting += [(item, depth + 1) for item in (value.values() if isinstance(value, dict) else value)]


def names_of(benchmark: Benchmark, rows: Sequence[Row], source: str) -> tuple[list[str], int]:
    """Return a name for every row, its id or its line, and how many have no id.

    Raises:
        UserError: an id stands twice.
    """
    names, seen, without = [], dict[str, int](), 0
    for place, row in enumerate(rows):
        key = next((key for key in benchmark.recorded.id if row.get(key) is not None), None)
        if key is None:
            without += 1
            names.append(f"row {place + 1}")
            continue
        name = f"{row[key]}, draw {row['draw']}" if row.get("draw") else str(row[key])
        if name in seen:
            raise UserError(
                f"{source}: {key} {name!r} stands twice (rows {seen[name] + 1} and {place + 1})",
                "each id once",
                "remove one of the two, or give the rows of several runs an 'id' of their own",
            )
        seen[name] = place
        names.append(f"{key} {name!r}")
    return names, without


def keyed(benchmark: Benchmark, rows: Sequence[Row], source: str) -> list[bool]:
    """Tell for each row whether its reference is known; a file without any reference is read, and not scored.

    Raises:
        UserError: some rows have a field for it and others have none.
    """
    recorded = benchmark.recorded
    fields = [next((key for key in recorded.key if key in row), None) for row in rows]
    verdicts = [any(key in row for key in recorded.verdict) and given(benchmark, row) is ABSENT for row in rows]
    known = [place for place, key in enumerate(fields) if key is not None]
    for place, key in enumerate(fields):
        if known and key is None and not verdicts[place]:
            raise UserError(
                f"{source}, row {place + 1}: no {recorded.key[0]!r}, which row {known[0] + 1} has",
                f"{' or '.join(recorded.key)} in every row, or in none",
                "add it, or set it to null where the reference is not known",
            )
    return [verdicts[place] or has_key(benchmark, row) for place, row in enumerate(rows)]


def has_key(benchmark: Benchmark, row: Row) -> bool:
    """Tell whether one of the row's fields for the reference holds one."""
    recorded = benchmark.recorded
    return any(
        key in row and not any(row[key] is item or row[key] == item for item in recorded.hidden) for key in recorded.key
    )


def given(benchmark: Benchmark, row: Row) -> Any:
    """Return the recorded response, or the extraction that stands in for it; ABSENT where a row has neither.

    The first one that is not null counts; None where all are.
    """
    return _first(row, (*benchmark.recorded.response, *benchmark.recorded.extraction))


def _first(row: Row, keys: Sequence[str]) -> Any:
    found = [row[key] for key in keys if key in row]
    return next((value for value in found if value is not None), None if found else ABSENT)


def response_of(benchmark: Benchmark, row: Row) -> Response:
    """Return a row's response; one that is no text is none, and a missing one is empty where there is an extraction."""
    said = _first(row, benchmark.recorded.response)
    said = None if said is ABSENT else said
    whole = said if isinstance(said, str) else "" if said is None else str(said)
    return Response(said, whole, final_text(whole))


def unusable(error: MissingField | BadField, row: Row, where: str, benchmark: Benchmark) -> UserError:
    """Build the error for a row that a rule cannot use.

    Args:
        where: the file, and the row's name.
    """
    if isinstance(error, BadField):
        return UserError(f"{where}: {error}", f"a row of {benchmark.name}", "correct the row")
    wanted = error.names[0]
    close = nearest(wanted, list(row))
    others = f" (nor {', '.join(map(repr, error.names[1:]))})" if len(error.names) > 1 else ""
    return UserError(
        f"{where}: no {wanted!r}{others}",
        f"the fields of {benchmark.name}'s own release or result files",
        f"did you mean {wanted!r} where it says {close!r}?" if close else f"add it; the row has {', '.join(row)}",
    )
