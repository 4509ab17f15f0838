"""Selections, one file each: from the rows of a round to the rows that are trained on."""

from collections.abc import Sequence
from typing import Any, Protocol

from mmreflect.rl.rows import Row
from mmreflect.rollouts.tools import Tools


class Selection(Protocol):
    """Chooses what is trained on, after the advantages are known."""

    def __call__(self, rows: Sequence[Row], n: int, tools: Tools) -> list[Row]:
        """Return `n` rows, or none when there is nothing to learn from."""

    def state(self) -> tuple[dict[str, Any], list[Row]]:
        """Return plain values and rows that a checkpoint must hold."""

    def restore(self, values: dict[str, Any], rows: list[Row]) -> None:
        """Take back what `state` returned."""
