"""DVQA: `train_qa.json`, `val_easy_qa.json` or `val_hard_qa.json`, and the folder of its pictures.

A row: image, question, answer, question_id, template_id (structure, data, reasoning), answer_bbox ([x, y, width,
height] in pixels where the answer is a text of the chart, else []). The authors' README names the last two
question_type and bbox_answer; rows of the files that others quote have the names above, and both are read. Counts are
answered in words ("two"), values in digits. The files themselves could not be seen.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmreflect.config import config
from mmreflect.layouts import Box, Entry, Question, Release, box, converted
from mmreflect.layouts._files import Row, check_folder, named, read_json_rows, text_at
from mmreflect.layouts._pictures import four_numbers, said

NAME = "DVQA"


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: a JSON file.
        pictures: the folder of the pictures.
    """

    annotations: str
    pictures: str


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        check_folder(options.pictures, "pictures")
        rows = read_json_rows(options.annotations, ("image", "question", "answer", "question_id"), NAME)
        stem = Path(options.annotations).stem.removesuffix("_qa")
        yield from converted(
            (name, partial(_question, row, stem, options.pictures)) for name, row in named(rows, "question_id")
        )

    return Release([options.annotations], read)


def _question(row: Row, stem: str, pictures: str) -> Question:
    kinds = said(row, "template_id", "question_type")
    return Question(
        id=f"dvqa-{stem}-{text_at(row, 'question_id')}",
        text=text_at(row, "question"),
        source=NAME,
        pictures=(str(Path(pictures) / text_at(row, "image")),),
        answer=text_at(row, "answer"),
        category=kinds["template_id"] or kinds["question_type"],
        boxes=_boxes(row.get("answer_bbox") or row.get("bbox_answer")),
    )


def _boxes(value: object) -> tuple[Box, ...]:
    if not value:
        return ()
    left, top, width, height = four_numbers(value, "answer_bbox")
    return (box((left, top, left + width, top + height)),)
