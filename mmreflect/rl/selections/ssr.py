"""Selective Sample Replay (VL-Rethinker, arXiv 2504.08837, section 3.2, algorithm 1).

Rows whose advantage is zero teach nothing. SSR drops them and refills the batch from its own past, drawing row j
with probability |A_j|^alpha / sum |A|^alpha, so that every row of the update carries a gradient.

Where the released code differs we follow the paper: the whole effective batch is trained on (the code resamples it),
the target is the batch size (the code: half of it), and the buffer is emptied after each episode (the code never
does). The released trainer, as published, does not apply SSR at all.
"""

from collections import deque
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmreflect.config import config
from mmreflect.rl.rows import Row
from mmreflect.rollouts.tools import Tools

EFFECTIVE = 1e-8
"""A row with |A| at most this is not effective."""


@config
class Config:
    """Options of the selection.

    Attributes:
        alpha: exponent of the draw; 1 in the paper, 0 draws uniformly.
        clear_every: gradient steps after which the buffer is emptied: one episode, 1024 x 8 / 512 = 16 in the paper.
        max_items: rows kept, the oldest dropped first; None keeps 8 times the batch.
        max_staleness: optimizer steps after which a row is dropped: its stored log-probs are too far from the policy.
    """

    alpha: Annotated[float, Field(ge=0)] = 1.0
    clear_every: Annotated[int, Field(gt=0)] | None = 16
    max_items: Annotated[int, Field(gt=0)] | None = None
    max_staleness: Annotated[int, Field(gt=0)] | None = 16


class SelectiveSampleReplay:
    """The buffer and its draws."""

    def __init__(self, options: Config) -> None:
        self.options = options
        self.buffer: deque[Row] = deque()

    def __call__(self, rows: Sequence[Row], n: int, tools: Tools) -> list[Row]:
        """Return the effective rows and as many replayed ones as are missing to `n`.

        The buffer takes the fresh rows in before the draw, so that they can be drawn again at once. Draws are without
        replacement while the buffer is large enough, else with replacement. Nothing effective and an empty buffer
        return no rows: the step is then skipped.
        """
        effective = [row for row in rows if row.magnitude > EFFECTIVE]
        self._drop_stale(tools.step)
        self.buffer.extend(effective)
        limit = self.options.max_items or 8 * n
        while len(self.buffer) > limit:
            self.buffer.popleft()
        drawn = self._draw(max(0, n - len(effective)), tools)
        self._log(rows, effective, drawn, tools)
        if (
            self.options.clear_every
            and (tools.step + tools.steps) // self.options.clear_every > tools.step // self.options.clear_every
        ):
            self.buffer.clear()
        return effective[:n] + drawn if len(effective) <= n else effective

    def _drop_stale(self, step: int) -> None:
        if self.options.max_staleness is not None:
            fresh = [row for row in self.buffer if step - row.rollout.policy_step <= self.options.max_staleness]
            self.buffer = deque(fresh)

    def _draw(self, need: int, tools: Tools) -> list[Row]:
        if need == 0 or not self.buffer:
            return []
        rng = tools.numpy_rng("ssr")
        probabilities = draw_probabilities([row.magnitude for row in self.buffer], self.options.alpha)
        enough = need <= len(self.buffer)
        places = rng.choice(len(self.buffer), size=need, replace=not enough, p=probabilities)
        return [self.buffer[place] for place in places]

    def _log(self, rows: Sequence[Row], effective: list[Row], drawn: list[Row], tools: Tools) -> None:
        trained = effective + drawn
        tools.log("replay/effective_ratio_raw", len(effective) / len(rows) if rows else 0.0)
        tools.log("replay/replayed_share", len(drawn) / len(trained) if trained else 0.0)
        tools.log("replay/buffer", len(self.buffer))
        if trained:
            useful = sum(row.magnitude > EFFECTIVE for row in trained)
            tools.log("replay/effective_ratio_trained", useful / len(trained))
            tools.log("replay/mean_abs_advantage", float(np.mean([row.magnitude for row in trained])))
        if drawn:
            tools.log("replay/staleness", float(np.mean([tools.step - row.rollout.policy_step for row in drawn])))

    def state(self) -> tuple[dict[str, Any], list[Row]]:
        """Return the buffer; its draws are seeded by step and need no state."""
        return {}, list(self.buffer)

    def restore(self, values: dict[str, Any], rows: list[Row]) -> None:
        """Take the buffer back."""
        self.buffer = deque(rows)


def draw_probabilities(magnitudes: Sequence[float], alpha: float) -> npt.NDArray[np.float64]:
    """Return P(j) = |A_j|^alpha / sum_k |A_k|^alpha (algorithm 1) over a buffer without zeros."""
    weights = np.asarray(magnitudes, dtype=np.float64) ** alpha
    probabilities: npt.NDArray[np.float64] = weights / weights.sum()
    return probabilities


def create(options: Config) -> SelectiveSampleReplay:
    """Create the selection."""
    return SelectiveSampleReplay(options)
