"""Breaking scores down: groups by a field, and the cells that official score files hold."""

from collections.abc import Callable, Sequence
from typing import Any

from mmreflect.evaluation.benchmark import Row, Scored

MISSING = object()


def field_of(row: Row, path: str) -> Any:
    """Return a field by its name, or a nested one by names with dots between; `MISSING` where the row has none.

    "metadata.task" also finds a `task` beside: some result files are flat.
    """
    if "." not in path:
        return row.get(path, MISSING)
    value: Any = row
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return row.get(path.rpartition(".")[2], MISSING)
        value = value[name]
    return value


def labels(path: str) -> Callable[[Row], Any]:
    """Return what reads a field as the labels of a row; None where the row has none."""
    return lambda row: None if (value := field_of(row, path)) is MISSING else value


def groups(rows: Sequence[Scored], path: str, split: str = "") -> dict[str, list[Scored]]:
    """Group rows by a field, in order of first appearance; rows without the field are in no group.

    A row stands in the group of each item of a list, or of each part of a text cut at `split`.
    """
    found: dict[str, list[Scored]] = {}
    for item in rows:
        value = field_of(item.row, path)
        if value is MISSING or value is None:
            continue
        if split and isinstance(value, str):
            value = [part.strip() for part in value.split(split) if part.strip()]
        for label in value if isinstance(value, list | tuple) else [value]:
            found.setdefault(str(label), []).append(item)
    return found


def correct(rows: Sequence[Scored]) -> int:
    """Return how many verdicts are right."""
    return sum(item.reading.correct is True for item in rows)


def mean(rows: Sequence[Scored]) -> float:
    """Return the mean value; 0 for no rows."""
    return sum(item.value for item in rows) / len(rows) if rows else 0.0


def percent(rows: Sequence[Scored]) -> float:
    """Return the mean value in percent."""
    return 100 * mean(rows)


def cell(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return `{accuracy, correct, total}`, the accuracy as a fraction."""
    return {"accuracy": mean(rows), "correct": correct(rows), "total": len(rows)}


def cells(rows: Sequence[Scored], path: str, split: str = "") -> dict[str, Any]:
    """Return a cell for each group of a field, the best first, as score files have them."""
    made = {label: cell(items) for label, items in groups(rows, path, split).items()}
    return dict(sorted(made.items(), key=lambda pair: -pair[1]["accuracy"]))


def means(rows: Sequence[Scored], path: str, split: str = "") -> dict[str, float]:
    """Return the mean value of each group of a field."""
    return {label: mean(items) for label, items in groups(rows, path, split).items()}
