"""Train on the rows as they are: plain GRPO."""

from collections.abc import Sequence

from mmreflect.config import config
from mmreflect.rl.rows import Row
from mmreflect.rl.selections import More, Stateless, effective_rows, log_selection
from mmreflect.rollouts.tools import Tools


@config
class Config:
    """Options of the selection. `signal`: the score part that counts a group as flat in the log; None chooses."""

    signal: str | None = None


class KeepAll(Stateless):
    """Returns what it is given."""

    def __init__(self, options: Config) -> None:
        self.options = options

    def __call__(self, rows: Sequence[Row], n: int, tools: Tools, more: More) -> list[Row]:
        """Return the rows."""
        log_selection(rows, effective_rows(rows, self.options.signal), rows, tools)
        return list(rows)


def create(options: Config) -> KeepAll:
    """Create the selection."""
    return KeepAll(options)
