"""ReXTime: `rextime_val.json`, with videos of ActivityNet and QVHighlights.

A row: qid, vid, duration, question, options, span [start, end], ans (a letter), source ("qvhighlights_val",
"ActivityNet_val_2"), category, answer (a template). The keys are those that the repository ReXTime/ReXTime reads
(README), and those of rows that others quote. Its `data/rextime_val.jsonl` holds no options and is not this file.
REVISOR drops spans shorter than 4 seconds.
"""

from collections.abc import Iterator
from functools import partial
from typing import Annotated

from pydantic import Field

from mmreflect.config import config
from mmreflect.layouts import Entry, Question, Release, Task, UnusableError, choice, converted, interval, place_of
from mmreflect.layouts._files import (
    Row,
    named,
    number_at,
    pair,
    read_json_rows,
    text_at,
    texts_at,
    videos_by_stem,
)

NAME = "ReXTime"


@config
class Config:
    """Where the release lies and what is asked for.

    Attributes:
        annotations: rextime_val.json.
        activitynet, qvhighlights: the folders of the videos.
        task: `grounding` asks for the span, with the question and its options as the query; `qa` for the option.
        min_span: seconds; shorter spans are dropped.
    """

    annotations: str
    activitynet: str
    qvhighlights: str
    task: Task = "grounding"
    min_span: Annotated[float, Field(ge=0)] = 4.0


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        find = {"activitynet": videos_by_stem(options.activitynet), "qvh": videos_by_stem(options.qvhighlights)}
        keys = ("qid", "vid", "duration", "question", "options", "span", "ans", "source")
        rows = read_json_rows(options.annotations, keys, NAME)

        def question(row: Row) -> Question:
            duration = number_at(row, "duration")
            start, end = pair(row.get("span"), "span")
            if end - start < options.min_span:
                raise UnusableError(f"the span is shorter than {options.min_span:g} s")
            texts = texts_at(row, "options")
            folder = "qvh" if "qvhighlights" in text_at(row, "source").lower() else "activitynet"
            return Question(
                id=f"rextime-{text_at(row, 'qid')}",
                media=(find[folder](text_at(row, "vid")),),
                text=text_at(row, "question"),
                source=NAME,
                task=options.task,
                options=texts,
                answer=choice(texts, place_of(text_at(row, "ans"))),
                answer_type="multiple_choice",
                gt_interval=interval(start, end, duration),
                duration=duration,
                category=str(row.get("category") or "") or None,
            )

        yield from converted((name, partial(question, row)) for name, row in named(rows, "qid"))

    return Release([options.annotations], read)
