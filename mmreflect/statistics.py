"""How sure a number is: bootstrap intervals, paired differences, pass@k and capability.

Intervals are 95 % percentile bootstraps over the questions, seeded. Questions that share a video or a problem are not
independent: name what they share, and whole clusters are drawn.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
RESAMPLES = 2000
_AT_ONCE = 1 << 18
"""Draws in memory at once."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share or mean with its 95 % confidence interval; `value` is None when there is nothing to average."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better `b` is than `a` on the questions that both answered.

    Attributes:
        a, b: their means on those; `gain`: the mean of b - a with its interval.
        wins, losses: questions on which b is better, and worse.
        p_value: of the exact two-sided sign test on these (McNemar's where the values are 0 and 1); 1 without any.
    """

    n: int
    a: float | None
    b: float | None
    gain: Rate
    wins: int
    losses: int
    p_value: float


def draws(
    count: int, seed: int, clusters: Sequence[Hashable] | None = None, resamples: int = RESAMPLES
) -> npt.NDArray[np.int64]:
    """Return bootstrap counts (resamples, count): how often each item is drawn.

    Args:
        clusters: what each item belongs to; whole clusters are drawn, so that the items drawn vary in number.
    """
    if count == 0:
        return np.zeros((resamples, 0), dtype=np.int64)
    if clusters is None:
        return _counts(count, np.random.default_rng([seed, count, 0x1ED6E]), resamples)
    if len(clusters) != count:
        raise ValueError(f"{len(clusters)} clusters for {count} items")
    numbers: dict[Hashable, int] = {}
    members = np.array([numbers.setdefault(name, len(numbers)) for name in clusters])
    return draws(len(numbers), seed, None, resamples)[:, members]


def _counts(count: int, rng: np.random.Generator, resamples: int) -> npt.NDArray[np.int64]:
    """Draw `count` items with replacement, `resamples` times, and count them: a third of a multinomial draw's time."""
    counts = np.empty((resamples, count), dtype=np.int64)
    size = max(1, _AT_ONCE // count)
    for start in range(0, resamples, size):
        part = counts[start : start + size]
        chosen = rng.integers(0, count, size=part.shape)
        chosen += np.arange(len(part))[:, None] * count
        part[:] = np.bincount(chosen.ravel(), minlength=part.size).reshape(part.shape)
    return counts


def rate(numerator: Values, denominator: Values, drawn: npt.NDArray[np.int64]) -> Rate:
    """Return sum(numerator) / sum(denominator) with its interval; resamples without a denominator are left out."""
    if denominator.sum() == 0:
        return Rate(None, None, None)
    tops, bottoms = drawn @ numerator, drawn @ denominator
    ratios = tops[bottoms > 0] / bottoms[bottoms > 0]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Rate(float(numerator.sum() / denominator.sum()), float(low), float(high))


def mean(values: Sequence[float], seed: int = 0, clusters: Sequence[Hashable] | None = None) -> Rate:
    """Return the mean of some values with its interval."""
    array = np.array(values, dtype=float)
    return rate(array, np.ones_like(array), draws(len(array), seed, clusters))


def paired(
    a: Sequence[float], b: Sequence[float], seed: int = 0, clusters: Sequence[Hashable] | None = None
) -> Difference:
    """Compare two runs question by question.

    Args:
        a, b: the value of each question under either run, in the same order.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired")
    first, second = np.array(a, dtype=float), np.array(b, dtype=float)
    change = second - first
    wins, losses = int((change > 0).sum()), int((change < 0).sum())
    gain = rate(change, np.ones_like(change), draws(len(change), seed, clusters))
    means = [float(item.mean()) if len(item) else None for item in (first, second)]
    return Difference(len(change), means[0], means[1], gain, wins, losses, sign_test(wins, losses))


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of a fair coin falling at least so unevenly; 1 without any fall."""
    count, most = wins + losses, max(wins, losses)
    if wins == losses:
        return 1.0
    tail = sum(math.comb(count, place) for place in range(most, count + 1))
    return float(min(1.0, 2 * tail / 2**count))


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Return the unbiased chance that at least one of `k` answers is right: 1 - C(n - c, k) / C(n, k).

    For k = n it is 1 where any answer was right, the estimator of "RL vs Distillation" (arXiv 2505.14216).

    Raises:
        ValueError: `k` is not from 1 to `samples`, or `correct` not from 0 to `samples`.
    """
    if not 1 <= k <= samples or not 0 <= correct <= samples:
        raise ValueError(f"pass@{k} of {correct} right answers in {samples}")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def capability(
    samples: int, correct: Sequence[int], k: int, seed: int = 0, clusters: Sequence[Hashable] | None = None
) -> Rate:
    """Return Cap_k, the mean over the questions of pass@k (arXiv 2505.14216), with its interval.

    Args:
        samples: answers per question; `correct`: how many of them were right, per question.
    """
    return mean([pass_at_k(samples, count, k) for count in correct], seed, clusters)
