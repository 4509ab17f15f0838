"""Drop the rows that teach nothing, and train on fewer ("GRPO-Filter", arXiv 2504.08837, table 3)."""

from collections.abc import Sequence

from mmreflect.config import config
from mmreflect.rl.rows import Row
from mmreflect.rl.selections import More, Stateless, effective_rows, log_selection
from mmreflect.rollouts.tools import Tools


@config
class Config:
    """Options of the selection. `signal`: the score part in which a useful group differs; None chooses."""

    signal: str | None = None


class Filter(Stateless):
    """Returns the effective rows."""

    def __init__(self, options: Config) -> None:
        self.options = options

    def __call__(self, rows: Sequence[Row], n: int, tools: Tools, more: More) -> list[Row]:
        """Return the rows that carry a gradient; the batch shrinks."""
        effective = effective_rows(rows, self.options.signal)
        log_selection(rows, effective, effective, tools)
        return effective


def create(options: Config) -> Filter:
    """Create the selection."""
    return Filter(options)
