"""What among many marks is like a given one, without comparing all pairs.

Two hashes of pictures that differ in at most n of 64 bits agree in one of n + 1 bands of them. Two sketches whose texts
are J alike agree in one of 21 bands of 6 places with probability 1 - (1 - J^6)^21: 0.998 at 0.8, 0.93 at 0.7, 0.28 at
0.5. What agrees in a band is a candidate, and is compared.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mmreflect.quality.pictures import Look
from mmreflect.quality.sketches import Sketch

BANDS, ROWS = 21, 6
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))

Keys = npt.NDArray[np.uint64]
"""(N, bands)"""


class Buckets:
    """Which of some items agree with others in one band at least.

    Args:
        items: keys of what is found, (N, bands); about 8 bytes a band and item are held.
        queries: keys of what is looked for, (M, bands); the items themselves where none are given.
    """

    def __init__(self, items: Keys, queries: Keys | None = None) -> None:
        queries = items if queries is None else queries
        self._orders: list[npt.NDArray[np.int32]] = []
        self._spans: list[npt.NDArray[np.int32]] = []
        self.crowd = np.zeros(len(queries), dtype=np.int64)
        for band in range(items.shape[1]):
            order = np.argsort(items[:, band], kind="stable")
            ordered = items[order, band]
            start, end = (np.searchsorted(ordered, queries[:, band], side) for side in ("left", "right"))
            self._orders.append(order.astype(np.int32))
            self._spans.append(np.stack([start, end], axis=1).astype(np.int32))
            self.crowd = np.maximum(self.crowd, end - start)

    def candidates(self, query: int, among: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64]:
        """Return the items that agree with a query in a band, in order.

        Args:
            among: (N,): which items count; all where it is not given.
        """
        spans = zip(self._orders, self._spans, strict=True)
        found = np.concatenate([order[span[query, 0] : span[query, 1]] for order, span in spans])
        return np.unique(found if among is None else found[among[found]]).astype(np.int64)


def picture_keys(looks: Sequence[Look], bits: int, groups: npt.NDArray[np.int64] | None = None) -> Keys:
    """Return keys of pictures, (N, bits + 1), in which two of a group agree once if they differ in at most `bits`."""
    hashes = np.array([look.bits for look in looks], dtype=np.uint64)
    edges = np.linspace(0, 64, bits + 2).astype(int)
    columns = []
    for low, high in itertools.pairwise(edges):
        mask = np.uint64(((1 << int(high - low)) - 1) << int(low))
        columns.append((hashes & mask) * _MIX[0] + np.uint64(low))
    return np.stack(columns, axis=1) + _group_keys(groups, len(looks))


def text_keys(sketches: npt.NDArray[np.uint32], groups: npt.NDArray[np.int64] | None = None) -> Keys:
    """Return keys of texts, (N, BANDS), from their sketches, (N, PLACES)."""
    wide = sketches[:, : BANDS * ROWS].reshape(len(sketches), BANDS, ROWS).astype(np.uint64)
    mixed = wide[:, :, 0]
    for place in range(1, ROWS):
        mixed = mixed * _MIX[0] + wide[:, :, place]
    return mixed + _group_keys(groups, len(sketches))


def _group_keys(groups: npt.NDArray[np.int64] | None, count: int) -> Keys:
    """Return what keeps the keys of items of different groups, (N,), apart."""
    numbers = np.zeros(count, np.uint64) if groups is None else groups.astype(np.uint64)
    return numbers[:, None] * _MIX[1]


def joint_sketch(*sketches: Sketch | None) -> Sketch:
    """Return the sketch of several texts together: the least of each place."""
    given = [sketch for sketch in sketches if sketch is not None]
    joined: Sketch = np.minimum.reduce(given)
    return joined
