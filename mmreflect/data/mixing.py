"""A weighted mixture of several sets: which row of which stands where."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mmreflect.errors import UserError

Stopping = Literal["first_exhausted", "all_exhausted"]
_BLOCK = 1000
LONGEST = 1 << 31


@dataclass(frozen=True, slots=True)
class Mixture:
    """The rows of a mixture in order, by arrays (N,): ten bytes a row.

    Attributes:
        source_N: uint16, from which source each row comes.
        draw_N: int64, how many rows of that source stand before it. Beyond the source's length it starts again.
    """

    source_N: npt.NDArray[np.uint16]
    draw_N: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.source_N)


def mixed(lengths: Sequence[int], weights: Sequence[float], seed: int, stop: Stopping, rows: int | None) -> Mixture:
    """Draw a mixture; without `rows` it is that of `datasets.interleave_datasets` to the row, for the same seed.

    Each row's source is drawn by the weights; a source gives its rows in order.

    Args:
        weights: of the sources, above 0; only their shares count.
        stop: end with the last row of the source that ends first, or when every source has been whole once; those that
            ended before start again.
        rows: length of the mixture; None: as long as `stop` lets it be. Sources of `all_exhausted` start again for it.

    Raises:
        UserError: a source is empty, the mixture ends before `rows`, or it would be longer than can be.
    """
    share = np.asarray(weights, np.float64) / np.sum(weights)
    if 0 in lengths:
        raise UserError("a source of the mixture is empty", "at least one row in every source", "leave it out")
    _check_length(lengths, share, stop, rows)
    rng, blocks = np.random.default_rng(seed), []
    counts, drawn = np.zeros(len(lengths), np.int64), 0
    least = rows or 0
    done = np.any if stop == "first_exhausted" else np.all
    while drawn < least or (rows is None and not done(counts >= lengths)):
        block = rng.choice(len(lengths), size=_BLOCK, p=share)
        blocks.append(block.astype(np.uint16))
        counts += np.bincount(block, minlength=len(lengths))
        drawn += _BLOCK
    source_N = np.concatenate(blocks)
    draw_N = np.empty(len(source_N), np.int64)
    ends: list[int] = []
    for number, length in enumerate(lengths):
        own = np.flatnonzero(source_N == number)
        draw_N[own] = np.arange(len(own))
        if len(own) >= length:
            ends.append(int(own[length - 1]) + 1)
    if rows is None:
        end = min(ends) if stop == "first_exhausted" else max(ends)
        return Mixture(source_N[:end], draw_N[:end])
    if stop == "first_exhausted" and ends and min(ends) < rows:
        raise UserError(
            f"the mixture ends after {min(ends):,} rows, with the first source that does, and rows={rows:,}",
            "sources that are long enough",
            "lower rows, or set stop=all_exhausted, which begins sources anew",
        )
    return Mixture(source_N[:rows], draw_N[:rows])


def _check_length(lengths: Sequence[int], share: Any, stop: Stopping, rows: int | None) -> None:
    reach = [length / part for length, part in zip(lengths, share, strict=True)]
    expected = min(reach) if stop == "first_exhausted" else max(reach)
    if rows is None and expected > LONGEST:
        raise UserError(
            f"the mixture would have about {expected:,.0f} rows ({stop})",
            f"at most {LONGEST:,}",
            "set rows, or raise the smallest weight",
        )
