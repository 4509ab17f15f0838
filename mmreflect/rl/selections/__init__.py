"""Selections, one file each: from the rows of a round to the rows that are trained on."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mmreflect.records import Score
from mmreflect.rl.rows import Row
from mmreflect.rollouts.tools import Tools

EFFECTIVE = 1e-8
"""A row with |A| at most this is not effective."""

FLAT = 1e-6
"""A group whose signal spreads by no more than this teaches nothing: equal sums of floats differ by rounding."""

More = Callable[[int], list[Row]]
"""Rolls out a number of further questions and returns their rows."""


class Selection(Protocol):
    """Chooses what is trained on, after the advantages are known."""

    def __call__(self, rows: Sequence[Row], n: int, tools: Tools, more: More) -> list[Row]:
        """Return `n` rows, fewer where it says so, or none when there is nothing to learn from."""

    def state(self) -> tuple[dict[str, Any], list[Row]]:
        """Return plain values and rows that a checkpoint must hold."""

    def restore(self, values: dict[str, Any], rows: list[Row]) -> None:
        """Take back what `state` returned."""


class Stateless:
    """A selection that remembers nothing between rounds."""

    def state(self) -> tuple[dict[str, Any], list[Row]]:
        """Return nothing."""
        return {}, []

    def restore(self, values: dict[str, Any], rows: list[Row]) -> None:
        """Take nothing back."""


def effective_rows(rows: Sequence[Row], signal: str | None) -> list[Row]:
    """Return the rows that carry a gradient: not of a flat group, and with |A| above 1e-8.

    Args:
        signal: the score part that a group must differ in, or `total`. None takes `accuracy` where a bonus for
            reflecting words is among the parts, else the total: eight right answers of which one says "wait" differ
            in their total, and would be kept and replayed although there is nothing to learn from them.
    """
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    kept = {id(row) for group in groups.values() if not _is_flat(group, signal) for row in group}
    return [row for row in rows if id(row) in kept and row.magnitude > EFFECTIVE]


def _is_flat(group: Sequence[Row], signal: str | None) -> bool:
    values = [value for row in group if (value := _signal(row.rollout.score, signal)) is not None]
    return bool(values) and max(values) - min(values) <= FLAT


def _signal(score: Score | None, signal: str | None) -> float | None:
    if score is None:
        return None
    name = signal or ("accuracy" if {"accuracy", "native_wait_bonus"} <= score.parts.keys() else "total")
    if name == "total":
        return score.value
    return score.parts[name].value if name in score.parts else None


def log_selection(rows: Sequence[Row], effective: Sequence[Row], trained: Sequence[Row], tools: Tools) -> None:
    """Log what every selection is compared by: useful shares before and after, and the mean |A| of what is trained."""
    useful = {id(row) for row in effective}
    tools.log("replay/effective_ratio_raw", len(effective) / len(rows) if rows else 0.0)
    if trained:
        carrying = sum(id(row) in useful or row.magnitude > EFFECTIVE for row in trained)
        tools.log("replay/effective_ratio_trained", carrying / len(trained))
        tools.log("replay/mean_abs_advantage", sum(row.magnitude for row in trained) / len(trained))
