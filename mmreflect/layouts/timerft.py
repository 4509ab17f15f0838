"""TimeRFT, the RL set of Time-R1: `train_2k5.json`.

A row: video (a path that starts with ./dataset/), duration, timestamp [start, end], sentence, qid, video_start,
video_end, difficulty, pred. video_start and video_end name the part of a longer video that the clip was cut from;
timestamp and duration belong to the clip. A file that was not cut is longer than the row says. The annotations of the
repository xiaomi-research/time-r1 were read, in both of their versions.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmreflect.config import config
from mmreflect.layouts import Entry, Question, Release, converted, interval
from mmreflect.layouts._files import (
    Row,
    check_folder,
    named,
    number_at,
    pair,
    read_json_rows,
    text_at,
)
from mmreflect.records import Media

NAME = "TimeRFT"


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: train_2k5.json.
        videos: the folder of the clips; of a row's path only the file's name is used.
    """

    annotations: str
    videos: str


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        check_folder(options.videos)
        rows = read_json_rows(options.annotations, ("video", "duration", "timestamp", "sentence", "qid"), NAME)

        def question(row: Row) -> Question:
            duration = number_at(row, "duration")
            name = text_at(row, "qid")
            return Question(
                id=f"timerft-{name}",
                media=(Media("video", str(Path(options.videos) / Path(text_at(row, "video")).name)),),
                text=text_at(row, "sentence"),
                source=NAME,
                task="grounding",
                gt_interval=interval(*pair(row.get("timestamp"), "timestamp"), duration),
                duration=duration,
                category=name.split("|")[1] if name.count("|") >= 2 else None,
            )

        yield from converted((name, partial(question, row)) for name, row in named(rows, "qid"))

    return Release([options.annotations], read)
