"""Video-R1-data: `Video-R1-260k.json` and the folders of pictures and videos beside it.

A row: problem_id, problem, data_type (image, video), problem_type (multiple choice, numerical, free-form, OCR,
regression), options ("A. ..." or "A) ..."), solution ("<answer>A</answer>"), path ("./STAR/..."), data_source, and in
some copies duration. The form was seen in rows that the Video-R1 repository and converters of others quote
(hexuan21/Video-R1, r1_data_eg.json). REVISOR trains on a share of 0.2 of its multiple-choice videos.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mmreflect.answers.spec import LETTERS
from mmreflect.config import config
from mmreflect.errors import unknown_name
from mmreflect.layouts import Entry, Question, Release, UnaskedError, UnusableError, choice, converted, place_of
from mmreflect.layouts._files import (
    Row,
    check_folder,
    named,
    optional_number,
    read_json_rows,
    text_at,
    texts_at,
)
from mmreflect.records import Media

NAME = "Video-R1-data"
ProblemType = Literal["multiple choice", "numerical", "free-form", "OCR", "regression"]
ANSWER_TYPES = {
    "multiple choice": "multiple_choice",
    "numerical": "math",
    "free-form": "text",
    "OCR": "ocr",
    "regression": "regression",
}
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_LETTERED = re.compile(r"\(?([A-Z])[).:]\s*(.*)", re.DOTALL)


@config
class Config:
    """Where the release lies and which part of it is asked for.

    Attributes:
        annotations: Video-R1-260k.json.
        videos: the folder that the rows' paths start from.
        part: one of the datasets in it, by the first folder of the paths, such as STAR; None takes all.
        types: kinds of problem.
    """

    annotations: str
    videos: str
    part: str | None = None
    types: Annotated[list[ProblemType], Field(min_length=1)] = Field(default_factory=lambda: ["multiple choice"])  # type: ignore[arg-type]


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        check_folder(options.videos)
        keys = ("problem_id", "problem", "data_type", "problem_type", "options", "solution", "path")
        rows = read_json_rows(options.annotations, keys, NAME)
        parts = {_part(row) for row in rows if row.get("data_type") == "video"}
        if options.part is not None and options.part not in parts:
            raise unknown_name(f"part of {options.annotations}", options.part, sorted(parts - {""}))
        yield from converted((name, partial(_question, row, options)) for name, row in named(rows, "problem_id"))

    return Release([options.annotations], read)


def _question(row: Row, options: Config) -> Question:
    if row.get("data_type") != "video":
        raise UnaskedError(f"data_type {row.get('data_type')!r}")
    if options.part is not None and _part(row) != options.part:
        raise UnaskedError("another part")
    kind = row.get("problem_type")
    if kind not in options.types:
        raise UnaskedError(f"problem_type {kind!r}")
    found = _ANSWER.search(text_at(row, "solution"))
    if found is None or not found[1].strip():
        raise UnusableError("no <answer> in 'solution'")
    answer, texts = found[1].strip(), _bare(texts_at(row, "options"))
    if kind == "multiple choice":
        answer = choice(texts, place_of(answer))
    return Question(
        id=f"video-r1-{text_at(row, 'problem_id')}",
        media=(Media("video", str(Path(options.videos) / text_at(row, "path"))),),
        text=text_at(row, "problem"),
        source=_part(row),
        options=texts if kind == "multiple choice" else (),
        answer=answer,
        answer_type=ANSWER_TYPES[kind],
        duration=optional_number(row, "duration"),
        category=str(row.get("data_source") or "") or None,
    )


def _part(row: Row) -> str:
    """Return the first folder of a row's path; `data_source` is empty in some rows."""
    first, slash, _ = str(row.get("path") or "").removeprefix("./").partition("/")
    return first if slash else ""


def _bare(options: tuple[str, ...]) -> tuple[str, ...]:
    """Take the letters off options that all bear their own; the row's form puts them on again."""
    found = [_LETTERED.fullmatch(option) for option in options]
    if all(match is not None and match[1] == letter for match, letter in zip(found, LETTERS, strict=False)):
        return tuple(match[2].strip() for match in found if match is not None)
    return options
