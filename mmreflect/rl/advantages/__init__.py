"""Advantage functions, one file each: a scored group in, an array per rollout out."""

from collections.abc import Sequence

FLAT = 1e-6
"""A group whose rewards spread by no more than this carries no signal: equal sums of floats differ by rounding."""


def relative(values: Sequence[float | None], epsilon: float | None = None) -> list[float]:
    """Return each value minus the mean of the group.

    What could not be graded (None) is left out of the mean and gets 0; a flat group gets zeros.

    Args:
        epsilon: divide by the sample deviation (over G - 1) plus this; None does not divide.
    """
    graded = [value for value in values if value is not None]
    if not graded or max(graded) - min(graded) <= FLAT:
        return [0.0] * len(values)
    mean = sum(graded) / len(graded)
    scale = 1.0
    if epsilon is not None:
        scale = (sum((value - mean) ** 2 for value in graded) / (len(graded) - 1)) ** 0.5 + epsilon
    return [0.0 if value is None else (value - mean) / scale for value in values]
