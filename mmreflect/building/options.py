"""What every build has in common, whichever leaf makes its rows: keys that stand beside the leaf's own.

mmreflect build configs/build/chart.yaml shard=3/16 output=outputs/chart-3
"""

import dataclasses
import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from mmreflect.components import RunnerOption, default
from mmreflect.config import FREE, Tree, config, parse

_SHARD = re.compile(r"([1-9]\d*)/([1-9]\d*)")


def _part_of_whole(text: str) -> str:
    found = _SHARD.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        raise ValueError(f"shard={text!r} is no part of a whole; write 1/4 for the first of four")
    return text


@config
class BuildOptions:
    """How a dataset is built. A leaf whose own Config has a key of the same name keeps it.

    Attributes:
        shard: `3/16` builds the third of sixteen parts, into an output of its own; `mmreflect build merge` puts all
            parts together. Each has limits of its own: of requests per minute, tokens and cost.
        runner: what builds the shards: `local`, or `ray` on a cluster.
    """

    shard: Annotated[str, AfterValidator(_part_of_whole)] | None = None
    runner: Annotated[RunnerOption, FREE] = Field(default_factory=lambda: default("runner", "local"))

    @property
    def part(self) -> tuple[int, int]:
        """Which part is built, counted from 1, and of how many: the first of one where all is."""
        if self.shard is None:
            return 1, 1
        number, total = self.shard.split("/")
        return int(number), int(total)


def parse_build(leaf: type, tree: Tree, where: str) -> tuple[Any, BuildOptions]:
    """Check the keys of a leaf and those of every build as one configuration, and tell the two apart.

    Raises:
        UserError: lists every problem, with the nearest key of both for unknown ones.
    """
    own = {field.name for field in dataclasses.fields(leaf)}
    shared = {field.name for field in dataclasses.fields(BuildOptions)} - own
    both: type[Any] = config(type("Config", (leaf, BuildOptions), {}))
    parse(both, tree, where)
    options = parse(BuildOptions, {key: value for key, value in tree.items() if key in shared}, where)
    return parse(leaf, {key: value for key, value in tree.items() if key not in shared}, where), options
