"""Train on the rows as they are: plain GRPO."""

from collections.abc import Sequence
from typing import Any

from mmreflect.config import config
from mmreflect.rl.rows import Row
from mmreflect.rollouts.tools import Tools


@config
class Config:
    """Options of the selection: none."""


class KeepAll:
    """Returns what it is given."""

    def __call__(self, rows: Sequence[Row], n: int, tools: Tools) -> list[Row]:
        """Return the rows."""
        return list(rows)

    def state(self) -> tuple[dict[str, Any], list[Row]]:
        """Return nothing: there is no state."""
        return {}, []

    def restore(self, values: dict[str, Any], rows: list[Row]) -> None:
        """Take nothing back."""


def create(options: Config) -> KeepAll:
    """Create the selection."""
    return KeepAll()
