"""The order of training: a function of seed and epoch alone, so that a resumed run sees what it would have seen."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch.utils.data

from mmreflect.seeds import numpy_rng


class SeededOrder(torch.utils.data.Sampler[int]):
    """Yields every index once per epoch, repeated for groups and reused batches.

    Args:
        size: number of samples.
        group: how often an index stands in a row (rollouts of one sample).
        batch: distinct samples per generation batch; the last incomplete batch is dropped.
        repeats: how often each generation batch is yielded, once per micro-step that reuses it.
    """

    def __init__(self, size: int, seed: int, group: int = 1, batch: int = 1, repeats: int = 1) -> None:
        self.size, self.seed, self.group, self.batch, self.repeats = size, seed, group, batch, repeats
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; transformers calls it before each."""
        self.epoch = epoch

    def order(self) -> list[int]:
        """Return this epoch's permutation."""
        return [int(place) for place in self._permutation()]

    def _permutation(self) -> "npt.NDArray[np.int64]":
        return numpy_rng(self.seed, "order", self.epoch).permutation(self.size)

    def __iter__(self) -> Iterator[int]:
        """Yield the indices."""
        order = self._permutation()  # as an array: a list would hold several times as much of a large set
        for start in range(0, self.size - self.batch + 1, self.batch):
            chunk = [int(index) for index in order[start : start + self.batch] for _ in range(self.group)]
            for _ in range(self.repeats):
                yield from chunk

    def __len__(self) -> int:
        """Return how many indices an epoch yields."""
        return self.size // self.batch * self.batch * self.group * self.repeats
