"""CLEVRER: `train.json` or `validation.json`, with the videos in folders of a thousand.

A row per video: scene_index, video_filename, questions. A descriptive question is {question_id, question,
question_type, question_subtype, answer}; explanatory, predictive and counterfactual ones have choices in place of the
answer: [{choice_id, choice, answer: correct | wrong}]. By the release's README (data.csail.mit.edu/clevrer) and
converters of others; the file itself could not be seen. Several options of a question may be right: such a question has
no letter and is dropped.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mmreflect.config import config
from mmreflect.layouts import Dropped, Entry, Question, Release, UnaskedError, UnusableError, choice, converted
from mmreflect.layouts._files import Row, check_folder, check_keys, read_json_rows, text_at
from mmreflect.records import Media

NAME = "CLEVRER"
Kind = Literal["descriptive", "explanatory", "predictive", "counterfactual"]
KINDS: tuple[Kind, ...] = ("descriptive", "explanatory", "predictive", "counterfactual")


@config
class Config:
    """Where the release lies and what is asked for.

    Attributes:
        annotations: the questions of a split; the answers of the test split are not published.
        videos: the folder with `video_00000-01000` and so on, or with the videos themselves.
        types: kinds of question; descriptive ones are open, answered by a word or a number.
    """

    annotations: str
    videos: str
    types: Annotated[list[Kind], Field(min_length=1)] = Field(default_factory=lambda: list(KINDS))


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        check_folder(options.videos)
        rows = read_json_rows(options.annotations, ("video_filename", "questions"), NAME)
        lists = [row.get("questions") for row in rows]
        asked = [item for items in lists if isinstance(items, list) for item in items if isinstance(item, dict)]
        check_keys(asked, ("question_id", "question", "question_type"), options.annotations, NAME)
        for place, (row, items) in enumerate(zip(rows, lists, strict=True), 1):
            name = row.get("video_filename")
            if not isinstance(name, str) or not isinstance(items, list):
                yield Dropped(f"row {place}", "no video or no list of questions")
                continue
            media, stem = _video(options.videos, name), Path(name).stem
            yield from converted(
                (f"{stem}-{item.get('question_id')}", partial(_question, item, media, stem, options.types))
                for item in items
                if isinstance(item, dict)
            )

    return Release([options.annotations], read)


def _video(folder: str, name: str) -> Media:
    number = Path(name).stem.rpartition("_")[2]
    if re.fullmatch(r"[0-9]{1,9}", number):
        first = int(number) // 1000 * 1000
        grouped = Path(folder) / f"video_{first:05}-{first + 1000:05}" / name
        if grouped.is_file():
            return Media("video", str(grouped))
    return Media("video", str(Path(folder) / name))


def _question(row: Row, media: Media, stem: str, types: list[Kind]) -> Question:
    kind = text_at(row, "question_type")
    if kind not in types:
        raise UnaskedError(f"question_type {kind!r}")
    texts, right = ((), None) if kind == "descriptive" else _choices(row)
    return Question(
        id=f"clevrer-{stem.removeprefix('video_')}-{text_at(row, 'question_id')}",
        media=(media,),
        text=text_at(row, "question"),
        source=NAME,
        options=texts,
        answer=text_at(row, "answer") if right is None else choice(texts, right),
        answer_type=None if right is None else "multiple_choice",
        category=kind,
    )


def _choices(row: Row) -> tuple[tuple[str, ...], int]:
    items = row.get("choices")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UnusableError("no list 'choices'")
    if any(item.get("answer") not in ("correct", "wrong") for item in items):
        raise UnusableError("no 'answer' of a choice")
    right = [place for place, item in enumerate(items) if item["answer"] == "correct"]
    if len(right) != 1:
        raise UnusableError("several right options" if right else "no right option")
    return tuple(str(item.get("choice") or "").strip() for item in items), right[0]
