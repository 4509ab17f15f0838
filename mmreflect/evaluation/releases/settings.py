"""Which questions of a benchmark are asked."""

import re
from typing import Annotated, Literal

from pydantic import Field

from mmreflect.config import config

_SHARD = re.compile(r"(\d+)/(\d+)")


@config
class ReleaseConfig:
    """Where a benchmark is read, and which part of it.

    Attributes:
        source: None for the benchmark's own dataset on the Hub; else the name of another one there, or a local folder
            or file of the same form (parquet, a folder of `save_to_disk`, JSONL, JSON, TSV, CSV).
        config: configurations by name, one or several; None takes those of the headline number.
        split: None takes the headline's.
        revision: of the dataset on the Hub: a branch, a tag or a commit.
        media: a folder of videos, pictures and subtitles, where they lie apart from the rows.
        style: a prompt of the benchmark by name; None takes the headline's.
        limit: only the first so many questions.
        shard: `2/4` asks the second of every four questions, after `limit`.
        check: `decode` opens every picture fully, and every video; `exists` only looks for the files.
        tolerate: the largest share of questions that may be set aside; above it nothing is asked. Also of answers that
            could not be asked for; above it nothing is scored, and starting again asks for those.
    """

    source: str | None = None
    config: str | list[str] | None = None
    split: str | None = None
    revision: str | None = None
    media: str | None = None
    style: str | None = None
    limit: Annotated[int, Field(gt=0)] | None = None
    shard: str | None = None
    check: Literal["decode", "exists"] = "decode"
    tolerate: Annotated[float, Field(ge=0, le=1)] = 0.01

    def __post_init__(self) -> None:
        """Check the shard.

        Raises:
            ValueError: it is no part of a whole.
        """
        if self.shard is not None:
            found = _SHARD.fullmatch(self.shard)
            if found is None or not 1 <= int(found[1]) <= int(found[2]):
                raise ValueError(f"shard={self.shard!r} is no part of a whole; write 1/4 for the first of four")

    def picks(self, place: int) -> bool:
        """Tell whether the question at a place, from 0, is asked."""
        if self.limit is not None and place >= self.limit:
            return False
        if self.shard is None:
            return True
        number, total = (int(word) for word in self.shard.split("/"))
        return place % total == number - 1

    def ends(self, place: int) -> bool:
        """Tell whether no question from this place on is asked."""
        return self.limit is not None and place >= self.limit
