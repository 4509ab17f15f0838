"""Dynamic sampling (DAPO, arXiv 2503.14476, section 3.2): flat groups are replaced by groups of new questions.

Where replay fills the batch from the past, this fills it from further questions, at the price of more rollouts.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from mmreflect.config import config
from mmreflect.rl.rows import Row
from mmreflect.rl.selections import More, Stateless, effective_rows, log_selection
from mmreflect.rollouts.tools import Tools


@config
class Config:
    """Options of the selection.

    Attributes:
        max_rounds: further rollout rounds at most; what is missing then stays missing.
        signal: the score part in which a useful group differs; None chooses.
    """

    max_rounds: Annotated[int, Field(ge=0)] = 4
    signal: str | None = None


class DynamicSampling(Stateless):
    """Asks new questions until the batch is full."""

    def __init__(self, options: Config) -> None:
        self.options = options

    def __call__(self, rows: Sequence[Row], n: int, tools: Tools, more: More) -> list[Row]:
        """Return `n` effective rows, fewer when `max_rounds` did not suffice."""
        fresh = effective_rows(rows, self.options.signal)
        effective = list(fresh)
        group_size = max(1, len(rows) // max(1, len({row.group for row in rows})))
        rounds = 0
        while len(effective) < n and rounds < self.options.max_rounds:
            missing = -(-(n - len(effective)) // group_size)
            effective += effective_rows(more(missing), self.options.signal)
            rounds += 1
        log_selection(rows, fresh, effective[:n], tools)
        tools.log("replay/extra_rounds", rounds)
        tools.log("replay/filled_share", min(1.0, len(effective) / n) if n else 0.0)
        return effective[:n]


def create(options: Config) -> DynamicSampling:
    """Create the selection."""
    return DynamicSampling(options)
