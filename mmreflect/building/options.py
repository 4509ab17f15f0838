"""What every build has in common, whichever leaf makes its rows: keys that stand beside the leaf's own.

mmreflect build configs/build/chart.yaml shard=3/16 output=outputs/chart-3
"""

import re
from typing import Annotated

from pydantic import AfterValidator

from mmreflect.config import config

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
            parts together.
    """

    shard: Annotated[str, AfterValidator(_part_of_whole)] | None = None

    @property
    def part(self) -> tuple[int, int]:
        """Which part is built, counted from 1, and of how many: the first of one where all is."""
        if self.shard is None:
            return 1, 1
        number, total = self.shard.split("/")
        return int(number), int(total)
