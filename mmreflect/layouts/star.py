"""STAR: `STAR_train.json` or `STAR_val.json`, with the videos of Charades.

A row: question_id, question, answer (the option's text), video_id, start, end, choices ([{choice_id, choice, ...}]).
The question is about the part of the video from start to end. The keys are those that the repository
csbobby/STAR_Benchmark reads (code/visualization_tools); the file itself could not be seen.
"""

from collections.abc import Iterator
from functools import partial

from mmreflect.config import config
from mmreflect.layouts import Entry, Question, Release, UnusableError, choice, converted, interval
from mmreflect.layouts._files import (
    Row,
    named,
    number_at,
    read_json_rows,
    text_at,
    videos_by_stem,
)
from mmreflect.records import Media

NAME = "STAR"


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: STAR_train.json or STAR_val.json; the answers of the test file are not published.
        videos: the folder of Charades' videos, uncut.
    """

    annotations: str
    videos: str


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        find = videos_by_stem(options.videos)
        keys = ("question_id", "question", "answer", "video_id", "start", "end", "choices")
        rows = read_json_rows(options.annotations, keys, NAME)

        def question(row: Row) -> Question:
            span = interval(number_at(row, "start"), number_at(row, "end"), None)
            texts = _texts(row)
            answer = text_at(row, "answer")
            if answer not in texts:
                raise UnusableError("the answer is none of the options")
            return Question(
                id=f"star-{text_at(row, 'question_id')}",
                media=(Media("video", find(text_at(row, "video_id")).path, span=span),),
                text=text_at(row, "question"),
                source=NAME,
                options=texts,
                answer=choice(texts, texts.index(answer)),
                answer_type="multiple_choice",
                duration=span[1] - span[0],
                category=text_at(row, "question_id").partition("_")[0],
            )

        yield from converted((name, partial(question, row)) for name, row in named(rows, "question_id"))

    return Release([options.annotations], read)


def _texts(row: Row) -> tuple[str, ...]:
    choices = row.get("choices")
    if not isinstance(choices, list) or not all(isinstance(item, dict) for item in choices):
        raise UnusableError("no list 'choices'")
    ordered = sorted(choices, key=lambda item: number_at(item, "choice_id"))
    return tuple(str(item.get("choice") or "").strip() for item in ordered)
