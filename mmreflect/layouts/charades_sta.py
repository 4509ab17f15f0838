"""Charades-STA: `charades_sta_train.txt` or `charades_sta_test.txt`, with the videos of Charades.

A line: "VID start end##sentence". Lengths are in Charades' own `Charades_v1_train.csv` (columns id and length). By the
repository jiyanggao/TALL, which links to the files, and loaders of others.
"""

import re
from collections.abc import Iterator
from functools import partial

from mmreflect.config import config
from mmreflect.errors import UserError
from mmreflect.layouts import Entry, Question, Release, UnusableError, converted, interval
from mmreflect.layouts._files import optional_number, read_lines, read_table, videos_by_stem

NAME = "Charades-STA"
FORM = "VID start end##sentence"
_LINE = re.compile(r"(\S+)\s+(\d+(?:\.\d+)?)\s+(\d+(?:\.\d+)?)\s*##(.+)")


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: charades_sta_train.txt or charades_sta_test.txt.
        videos: the folder of Charades' videos.
        lengths: Charades_v1_train.csv or Charades_v1_test.csv; None leaves the lengths open.
    """

    annotations: str
    videos: str
    lengths: str | None = None


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        find = videos_by_stem(options.videos)
        lines = read_lines(options.annotations)
        if not any(_LINE.fullmatch(line) for line in lines):
            raise UserError(
                f"{options.annotations}: no line is of the form {FORM!r} (the first: {lines[0][:80]!r})",
                f"the layout of {NAME}",
                "check that it is the right file of the release",
            )
        lengths = {}
        if options.lengths is not None:
            table = read_table(options.lengths, ("id", "length"), "Charades")
            lengths = {row["id"]: optional_number(row, "length") for row in table}

        def question(place: int, line: str) -> Question:
            found = _LINE.fullmatch(line)
            if found is None:
                raise UnusableError(f"the line is not of the form {FORM!r}")
            video, duration = found[1], lengths.get(found[1])
            return Question(
                id=f"charades-sta-{video}-{place}",
                media=(find(video),),
                text=found[4].strip(),
                source=NAME,
                task="grounding",
                gt_interval=interval(float(found[2]), float(found[3]), duration),
                duration=duration,
            )

        yield from converted((f"line {place}", partial(question, place, line)) for place, line in enumerate(lines, 1))

    return Release([file for file in (options.annotations, options.lengths) if file is not None], read)
