"""Perception Test, multiple choice: `mc_question_train.json` or `mc_question_valid.json`, or the file of all tasks.

A mapping from video to {metadata: {frame_rate, num_frames, ...}, mc_question: [{id, question, options, answer_id, area,
reasoning, tag}]}. The fields are those of the repository google-deepmind/perception_test (README); the form of the file
is that of loaders that others published.
"""

from collections.abc import Iterator
from functools import partial

from mmreflect.config import config
from mmreflect.layouts import Dropped, Entry, Question, Release, choice, converted
from mmreflect.layouts._files import (
    Row,
    check_keys,
    number_at,
    optional_number,
    read_json_mapping,
    text_at,
    texts_at,
    videos_by_stem,
)
from mmreflect.records import Media

NAME = "PerceptionTest"


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: a file that maps videos to their questions; the answers of the test file are not published.
        videos: the folder of the videos, named by their ids.
    """

    annotations: str
    videos: str


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        find = videos_by_stem(options.videos)
        entries = read_json_mapping(options.annotations, NAME)
        videos = {name: entry if isinstance(entry, dict) else {} for name, entry in entries.items()}
        check_keys(list(videos.values()), ("mc_question",), options.annotations, NAME)
        rows = [row for entry in videos.values() for row in _asked(entry)]
        check_keys(rows, ("id", "question", "options", "answer_id"), options.annotations, NAME)
        for name, entry in videos.items():
            asked = _asked(entry)
            if not asked:
                yield Dropped(name, "no questions of this kind about the video", asked=False)
            video, duration = find(name), _duration(entry.get("metadata"))
            yield from converted(
                (f"{name}-{row.get('id')}", partial(_question, name, row, video, duration)) for row in asked
            )

    return Release([options.annotations], read)


def _asked(entry: Row) -> list[Row]:
    rows = entry.get("mc_question")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _duration(metadata: object) -> float | None:
    if not isinstance(metadata, dict):
        return None
    frames, rate = optional_number(metadata, "num_frames"), optional_number(metadata, "frame_rate")
    return frames / rate if frames and rate else None


def _question(name: str, row: Row, video: Media, duration: float | None) -> Question:
    texts = texts_at(row, "options")
    return Question(
        id=f"perception-test-{name}-{text_at(row, 'id')}",
        media=(video,),
        text=text_at(row, "question"),
        source=NAME,
        options=texts,
        answer=choice(texts, int(number_at(row, "answer_id"))),
        answer_type="multiple_choice",
        duration=duration,
        category=str(row.get("area") or "") or None,
    )
