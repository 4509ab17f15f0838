"""Runners, one file each: what builds the shards of a dataset, or leaves them to the process that asks.

A module has `Config`; `check(options, builder, config)`, what can be known to be wrong before anything is built;
`describe(options, config)`, for the plan; and `create(options)`, which returns a `Runner`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from mmreflect.building.builder import Builder
from mmreflect.building.workers import Shard


class Runner(Protocol):
    """Builds shards apart from the process that asks for them."""

    def __call__(
        self, builder: Builder, config: Any, folder: Path, shards: Sequence[Shard], done: Callable[[Shard], None]
    ) -> dict[str, Any]:
        """Build these shards, or none of them, and return what that took, for the result.

        Args:
            done: hears of each one, in any order.
        """
