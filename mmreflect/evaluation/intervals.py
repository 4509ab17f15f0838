"""How sure a benchmark's numbers are: 95 % intervals of its main numbers, and of every group.

Percentile bootstraps as in `statistics`; questions that share what `Benchmark.cluster` names are drawn together.
"""

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
    first = benchmark.each or next(iter(benchmark.measures.values()))
    grouped = {
        facet: {label: sums.add(members, first) for label, members in _members(rows, read).items()}
        for facet, read in _groupings(benchmark).items()
    }
    sums.draw()
    scores = {
        name: asdict(sums.interval(columns, benchmark.measures[name].scale))
        for name, columns in mains.items()
        if columns
    }
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for facet, columns_of in grouped.items():
        made = {
            label: sums.interval([column], first.scale) for label, column in columns_of.items() if column is not None
        }
        if made:
            found[facet] = {
                label: {"value": item.value, "low": item.low, "high": item.high, "n": item.n}
                for label, item in made.items()
            }
    return scores, found


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

    def add(self, members: Sequence[tuple[int, Scored]], measure: Measure) -> int | None:
        """Take up the mean of a measure's value over some rows, and return its place; None where none has the value."""
        values = [(place, value) for place, item in members if (value := measure.value(item)) is not None]
        if not values:
            return None
        places = self._clusters[[place for place, _ in values]]
        self._tops.append(np.bincount(places, [value for _, value in values], self._count).astype(float))
        self._bottoms.append(np.bincount(places, minlength=self._count).astype(float))
        return len(self._tops) - 1

    def draw(self) -> None:
        """Resample all means."""
        tops, bottoms = np.array(self._tops).T, np.array(self._bottoms).T
        drawn = draws(self._count, 0)
        blocks = [drawn[start : start + _BLOCK].astype(float) for start in range(0, RESAMPLES, _BLOCK)]
        self._drawn = [np.concatenate([block @ sums for block in blocks]) for sums in (tops, bottoms)]

    def interval(self, columns: Sequence[int], scale: float) -> Interval:
        """Return the interval of the unweighted mean of some means; resamples that lack one of them are left out."""
        tops, bottoms = self._drawn
        whole = (bottoms[:, columns] > 0).all(axis=1)
        means = (tops[whole][:, columns] / bottoms[whole][:, columns]).mean(axis=1)
        value = float(np.mean([self._tops[place].sum() / self._bottoms[place].sum() for place in columns]))
        held = np.array([self._bottoms[place] for place in columns]).sum(axis=0)
        n, clusters = int(held.sum()), int((held > 0).sum())
        if clusters < 2 or not len(means):
            return Interval(scale * value, None, None, n, clusters)
        low, high = np.quantile(means, [0.025, 0.975])
        return Interval(scale * value, scale * float(low), scale * float(high), n, clusters)


def _columns(sums: _Sums, measure: Measure, rows: Sequence[Scored]) -> list[int]:
    """Take up the means that a main number is the mean of; none where these rows do not give it."""
    everything = list(enumerate(rows))
    parts = {"": everything} if measure.over is None else _members(rows, measure.over)
    if any(name not in parts for name in measure.groups):
        return []
    kept = measure.groups or tuple(parts)
    return [column for name in kept if (column := sums.add(parts[name], measure)) is not None]


def _groupings(benchmark: Benchmark) -> dict[str, Callable[[Row], Any]]:
    """Return what labels a row has, by name: of a facet with dots, the last."""
    return dict(benchmark.groupings) or {path.rpartition(".")[2]: labels(path) for path in benchmark.facets}


def _members(rows: Sequence[Scored], read: Callable[[Row], Any]) -> dict[str, list[tuple[int, Scored]]]:
    """Return the rows of each label with their places; a row stands in the group of each of its labels."""
    found: dict[str, list[tuple[int, Scored]]] = {}
    for place, item in enumerate(rows):
        given = read(item.row)
        for label in given if isinstance(given, list | tuple) else [] if given is None else [given]:
            found.setdefault(str(label), []).append((place, item))
    return found


__all__ = ["Interval", "intervals", "rows_without_cluster"]
