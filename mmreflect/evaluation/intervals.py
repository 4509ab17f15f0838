"""How sure a benchmark's numbers are: 95 % intervals of its main numbers, and of every group.

Percentile bootstraps as in `statistics`; questions that share what `Benchmark.cluster` names are drawn together.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmreflect.evaluation.benchmark import Benchmark, Measure, Row, Scored
from mmreflect.evaluation.rules.tables import MISSING, field_of, labels
from mmreflect.statistics import RESAMPLES, draws

Values = npt.NDArray[np.float64]
_BLOCK = 250
"""Resamples that are summed at once, so that a large benchmark's need no second copy of all draws."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A number with its 95 % confidence interval.

    Attributes:
        low, high: None where it stands on a single cluster, which says nothing of how the next one will be.
        n: questions; `clusters`: what is drawn: videos, problems, or the questions themselves.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    clusters: int


def intervals(
    benchmark: Benchmark, rows: Sequence[Scored]
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, dict[str, Any]]]]:
    """Return the intervals of the main numbers, and those of the groups, from the same draws.

    Returns:
        name -> {value, low, high, n, clusters}, without the numbers that these rows do not give; and
        facet -> label -> {value, low, high, n}.
    """
    if not rows:
        return {}, {}
    sums = _Sums(_clusters(benchmark, rows))
    mains = {name: _columns(sums, measure, rows) for name, measure in benchmark.measures.items()}
    each = benchmark.each or next(iter(benchmark.measures.values()))
    values = _values(each, rows)
    grouped = {
        facet: {label: sums.add(places, values) for label, places in _members(rows, read).items()}
        for facet, read in _groupings(benchmark).items()
    }
    sums.draw()
    scores = {name: sums.interval(mains[name], item.scale) for name, item in benchmark.measures.items() if mains[name]}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for facet, columns in grouped.items():
        made = {label: sums.interval([column], each.scale) for label, column in columns.items() if column is not None}
        if made:
            found[facet] = {
                label: {"value": item.value, "low": item.low, "high": item.high, "n": item.n}
                for label, item in made.items()
            }
    return {name: asdict(item) for name, item in scores.items()}, found


def rows_without_cluster(benchmark: Benchmark, rows: Sequence[Scored]) -> int:
    """Return how many rows lack what they share with others: each is drawn as if it shared nothing."""
    return sum(_shared(benchmark, item.row) is None for item in rows) if benchmark.cluster else 0


def _shared(benchmark: Benchmark, row: Row) -> Hashable | None:
    found = (field_of(row, name) for name in benchmark.cluster)
    return next((str(value) for value in found if value is not MISSING and value is not None), None)


def _clusters(benchmark: Benchmark, rows: Sequence[Scored]) -> list[int]:
    """Number what each row belongs to."""
    numbers: dict[Hashable, int] = {}
    names = ((_shared(benchmark, item.row), place) for place, item in enumerate(rows))
    return [numbers.setdefault(place if name is None else name, len(numbers)) for name, place in names]


class _Sums:
    """Sums of values and of rows by cluster, a pair of columns for each mean, and their resamples."""

    def __init__(self, clusters: Sequence[int]) -> None:
        self._clusters, self._count = np.array(clusters), max(clusters) + 1
        self._tops: list[Values] = []
        self._bottoms: list[Values] = []

    def add(self, places: Sequence[int], values: Values) -> int | None:
        """Take up the mean of the values at some places, and return its column; None where none has a value."""
        chosen = np.array(places, dtype=np.int64)
        chosen = chosen[~np.isnan(values[chosen])]
        if not len(chosen):
            return None
        members = self._clusters[chosen]
        self._tops.append(np.bincount(members, values[chosen], self._count).astype(float))
        self._bottoms.append(np.bincount(members, minlength=self._count).astype(float))
        return len(self._tops) - 1

    def draw(self) -> None:
        """Resample all means, if there are any."""
        if not self._tops:
            return
        sums, drawn = np.array([*self._tops, *self._bottoms]).T, draws(self._count, 0)
        blocks = [drawn[start : start + _BLOCK].astype(float) @ sums for start in range(0, RESAMPLES, _BLOCK)]
        self._drawn = np.concatenate(blocks).T.copy()

    def interval(self, columns: Sequence[int], scale: float) -> Interval:
        """Return the interval of the unweighted mean of some means; resamples that lack one of them are left out."""
        tops, bottoms = self._drawn[columns], self._drawn[[len(self._tops) + column for column in columns]]
        whole = (bottoms > 0).all(axis=0)
        means = (tops[:, whole] / bottoms[:, whole]).mean(axis=0)
        value = float(np.mean([self._tops[column].sum() / self._bottoms[column].sum() for column in columns]))
        held = np.array([self._bottoms[column] for column in columns]).sum(axis=0)
        n, clusters = int(held.sum()), int((held > 0).sum())
        if clusters < 2 or not len(means):
            return Interval(scale * value, None, None, n, clusters)
        low, high = np.quantile(means, [0.025, 0.975])
        return Interval(scale * value, scale * float(low), scale * float(high), n, clusters)


def _values(measure: Measure, rows: Sequence[Scored]) -> Values:
    """Return what each row adds; not a number where it is no part of the measure."""
    found = (measure.value(item) for item in rows)
    return np.array([math.nan if value is None else value for value in found], dtype=float)


def _columns(sums: _Sums, measure: Measure, rows: Sequence[Scored]) -> list[int]:
    """Take up the means that a main number is the mean of; none where a group is missing or has no value."""
    parts = {"": list(range(len(rows)))} if measure.over is None else _members(rows, measure.over)
    if any(name not in parts for name in measure.groups):
        return []
    values = _values(measure, rows)
    kept = measure.groups or tuple(parts)
    columns = [sums.add(parts[name], values) for name in kept]
    return [column for column in columns if column is not None] if None not in columns else []


def _groupings(benchmark: Benchmark) -> dict[str, Callable[[Row], Any]]:
    """Return what labels a row has, by name: of a facet with dots, the last."""
    return dict(benchmark.groupings) or {path.rpartition(".")[2]: labels(path) for path in benchmark.facets}


def _members(rows: Sequence[Scored], read: Callable[[Row], Any]) -> dict[str, list[int]]:
    """Return the places of the rows of each label; a row stands in the group of each of its labels."""
    found: dict[str, list[int]] = {}
    for place, item in enumerate(rows):
        given = read(item.row)
        for label in given if isinstance(given, list | tuple) else [] if given is None else [given]:
            found.setdefault(str(label), []).append(place)
    return found


__all__ = ["Interval", "intervals", "rows_without_cluster"]
