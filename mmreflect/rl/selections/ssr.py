"""Selective Sample Replay (VL-Rethinker, arXiv 2504.08837, section 3.2, algorithm 1).

Rows whose advantage is zero teach nothing. SSR drops them and refills the batch from its own past, drawing row j
with probability |A_j|^alpha / sum |A|^alpha, so that every row of the update carries a gradient.

We follow the paper; `variant: code` gives what the released code differs in. (The released trainer, as published, does
not apply SSR at all: its switch is off.) Replayed rows keep the log-probs and the advantage of the time they were
collected, as in the paper's tuple (x, y, A) and in the code; the ratio against them is clipped as usual. Set
`trainer.delta` for TRL's upper bound on the ratio of rows with a negative advantage, which the loss leaves unbounded.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mmreflect.config import config
from mmreflect.rl.rows import Row
from mmreflect.rl.selections import More, effective_rows, log_selection
from mmreflect.rollouts.tools import Tools

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@config
class Config:
    """Options of the selection; None takes the variant's value.

    Attributes:
        variant: `paper` is algorithm 1; `code` is what the released code would do if its switch were on: half of the
            batch as the target, the fresh rows themselves resampled, draws always with replacement and with 1e-4
            added to |A|, a buffer of half the first batch that is never emptied.
        alpha: exponent of the draw; 1 in paper and code, 0 draws uniformly.
        clear_every: gradient steps after which the buffer is emptied; the paper's episode is 1024 x 8 / 512 = 16.
            0 never empties it.
        max_items: rows kept, the oldest dropped first; ours: 8 times the batch.
        max_staleness: optimizer steps after which a row is dropped: its stored log-probs are too far from the policy. 0
            sets no limit.
        target: rows trained on, as a share of the batch.
        replacement: draw with replacement only `when_needed` (the buffer is too small), or `always`.
        importance_beta: exponent of the correction for the uneven draw, (1 / (n P))^beta scaled to a largest weight of
            1, on the advantages of replayed rows, as in prioritised replay; 0, as in paper and code, makes none.
        signal: the score part in which a useful group differs; None chooses, see `effective_rows`.
    """

    variant: Literal["paper", "code"] = "paper"
    alpha: Annotated[float, Field(ge=0)] = 1.0
    clear_every: Annotated[int, Field(ge=0)] | None = None
    max_items: Annotated[int, Field(gt=0)] | None = None
    max_staleness: Annotated[int, Field(ge=0)] = 16
    target: Annotated[float, Field(gt=0, le=1)] | None = None
    replacement: Literal["when_needed", "always"] | None = None
    importance_beta: Annotated[float, Field(ge=0, le=1)] = 0.0
    signal: str | None = None


@dataclass(frozen=True, slots=True)
class _Rules:
    """The options with the variant's values filled in."""

    clear_every: int
    target: float
    always_replace: bool
    resample_fresh: bool
    weight_floor: float


def _rules(options: Config) -> _Rules:
    code = options.variant == "code"
    return _Rules(
        clear_every=options.clear_every if options.clear_every is not None else 0 if code else 16,
        target=options.target if options.target is not None else 0.5 if code else 1.0,
        always_replace=(options.replacement or ("always" if code else "when_needed")) == "always",
        resample_fresh=code,
        weight_floor=1e-4 if code else 0.0,
    )


class SelectiveSampleReplay:
    """The buffer and its draws."""

    def __init__(self, options: Config) -> None:
        self.options, self.rules = options, _rules(options)
        self.buffer: deque[Row] = deque()
        self._limit: int | None = options.max_items

    def __call__(self, rows: Sequence[Row], n: int, tools: Tools, more: More) -> list[Row]:
        """Return the effective rows and as many replayed ones as are missing to the target.

        The buffer takes the fresh rows in before the draw, so that they can be drawn again at once. Nothing effective
        and an empty buffer return no rows: the step is then skipped.
        """
        effective = effective_rows(rows, self.options.signal)
        self._remember(effective, n, tools.step)
        target = round(n * self.rules.target)
        if self.rules.resample_fresh:
            fresh = self._draw(effective, min(target, len(effective)), tools, "fresh")
        else:
            fresh = effective
        drawn = self._replayed(max(0, target - len(fresh)), tools)
        if self.rules.resample_fresh:  # a row that is not trained on now would get its log-probs from a later policy
            trained = {id(row) for row in (*fresh, *drawn)}
            self.buffer = deque(row for row in self.buffer if row.old_logps_T is not None or id(row) in trained)
        self._log(rows, effective, fresh, drawn, tools)
        every = self.rules.clear_every
        if every and (tools.step + tools.steps) // every > tools.step // every:
            self.buffer.clear()
        return [*fresh, *drawn]

    def _remember(self, effective: Sequence[Row], n: int, step: int) -> None:
        """Drop stale rows, take the new ones in, and keep to the limit."""
        if self._limit is None:
            self._limit = max(1, n // 2) if self.options.variant == "code" else 8 * n
        if self.options.max_staleness:
            self.buffer = deque(
                row for row in self.buffer if step - row.rollout.policy_step <= self.options.max_staleness
            )
        self.buffer.extend(effective)
        while len(self.buffer) > self._limit:
            self.buffer.popleft()

    def _replayed(self, need: int, tools: Tools) -> list[Row]:
        drawn = self._draw(list(self.buffer), need, tools, "replay")
        if not self.options.importance_beta or not drawn:
            return drawn
        chances = draw_probabilities(
            [row.magnitude for row in self.buffer], self.options.alpha, self.rules.weight_floor
        )
        chance_of = {id(row): chance for row, chance in zip(self.buffer, chances, strict=True)}
        weights = [(1 / (len(self.buffer) * chance_of[id(row)])) ** self.options.importance_beta for row in drawn]
        largest = max((1 / (len(self.buffer) * chance)) ** self.options.importance_beta for chance in chances)
        return [row.weighted(weight / largest) for row, weight in zip(drawn, weights, strict=True)]

    def _draw(self, pool: Sequence[Row], need: int, tools: Tools, purpose: str) -> list[Row]:
        if need == 0 or not pool:
            return []
        chances = draw_probabilities([row.magnitude for row in pool], self.options.alpha, self.rules.weight_floor)
        replace = self.rules.always_replace or need > len(pool)
        places = tools.numpy_rng("ssr", purpose).choice(len(pool), size=need, replace=replace, p=chances)
        return [pool[place] for place in places]

    def _log(self, rows: Sequence[Row], effective: list[Row], fresh: list[Row], drawn: list[Row], tools: Tools) -> None:
        trained = [*fresh, *drawn]
        log_selection(rows, effective, trained, tools)
        tools.log("replay/replayed_share", len(drawn) / len(trained) if trained else 0.0)
        tools.log("replay/buffer", len(self.buffer))
        if drawn:
            tools.log("replay/staleness", sum(tools.step - row.rollout.policy_step for row in drawn) / len(drawn))

    def state(self) -> tuple[dict[str, Any], list[Row]]:
        """Return the buffer and its limit; its draws are seeded by step and need no state."""
        return {"limit": self._limit}, list(self.buffer)

    def restore(self, values: dict[str, Any], rows: list[Row]) -> None:
        """Take the buffer back."""
        self.buffer, self._limit = deque(rows), values["limit"]


def draw_probabilities(magnitudes: Sequence[float], alpha: float, floor: float = 0.0) -> "npt.NDArray[np.float64]":
    """Return P(j) = |A_j|^alpha / sum_k |A_k|^alpha (algorithm 1) over a buffer without zeros.

    Args:
        floor: added to every |A|, as the released code does.
    """
    import numpy as np

    weights = (np.asarray(magnitudes, dtype=np.float64) + floor) ** alpha
    probabilities: npt.NDArray[np.float64] = weights / weights.sum()
    return probabilities


def create(options: Config) -> SelectiveSampleReplay:
    """Create the selection."""
    return SelectiveSampleReplay(options)
