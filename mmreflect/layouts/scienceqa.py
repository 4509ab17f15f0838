"""ScienceQA: `problems.json` and the folder `images` of its authors, or the parquet files of derek-thomas/ScienceQA.

A problem: question, choices (texts), answer (a place from 0), hint, image ("image.png" or null), split (train, val,
test), grade, subject, topic, category, skill, lecture, solution; pictures are images/SPLIT/ID/image.png. The
parquet files have the same as columns, with the picture in the row, and neither id nor split. The hint is the context
that a question is asked in, and stands before it. The names are those that the repository lupantech/ScienceQA and
loaders of others read; the files themselves could not be seen.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from mmreflect.config import config
from mmreflect.data.parquet import Embedded
from mmreflect.errors import UserError
from mmreflect.layouts import Entry, Question, Release, UnaskedError, choice, converted
from mmreflect.layouts._files import Row, check_folder, check_keys, number_at, read_json_mapping, text_at, texts_at
from mmreflect.layouts._pictures import embedded_at, is_parquet, parquet_files, parquet_rows, row_name, said

NAME = "ScienceQA"
KEYS = ("question", "choices", "answer", "image")
DETAILS = ("grade", "topic", "skill", "hint", "lecture")
MORE = (*DETAILS, "subject", "category", "solution")


@config
class Config:
    """Where the release lies and what is asked for.

    Attributes:
        annotations: problems.json, or parquet files: one, a folder, or a pattern such as data/train-*.parquet.
        pictures: the folder images, of problems.json.
        split: which problems of problems.json; parquet files are one split each.
        text_only: take the questions without pictures too.
    """

    annotations: str
    pictures: str | None = None
    split: Literal["train", "val", "test"] = "train"
    text_only: bool = False


def create(options: Config) -> Release:
    """Create the release.

    Raises:
        UserError: problems.json is named without its pictures.
    """
    if is_parquet(options.annotations) or "*" in options.annotations:
        return Release(parquet_files(options.annotations), lambda: _from_parquet(options))
    if options.pictures is None:
        raise UserError("ScienceQA's problems.json holds no pictures", "pictures: the folder images", "name it")
    folder = options.pictures
    return Release([options.annotations], lambda: _from_json(options, folder))


def _from_parquet(options: Config) -> Iterator[Entry]:
    def question(file: str, place: int, row: Row) -> Question:
        return _question(row_name(file, place), row, embedded_at(row, "image", file, place), options.text_only)

    rows = parquet_rows(options.annotations, KEYS, NAME, MORE)
    yield from converted((row_name(file, place), partial(question, file, place, row)) for file, place, row in rows)


def _from_json(options: Config, folder: str) -> Iterator[Entry]:
    check_folder(folder, "pictures")
    problems = {
        name: row for name, row in read_json_mapping(options.annotations, NAME).items() if isinstance(row, dict)
    }
    check_keys(list(problems.values()), (*KEYS, "split"), options.annotations, NAME)

    def question(name: str, row: Row) -> Question:
        if row.get("split") != options.split:
            raise UnaskedError(f"split {row.get('split')!r}")
        picture = row.get("image")
        pictures = (str(Path(folder) / options.split / name / str(picture)),) if picture else ()
        return _question(name, row, pictures, options.text_only)

    yield from converted((name, partial(question, name, row)) for name, row in problems.items())


def _question(name: str, row: Row, pictures: tuple[str | Embedded, ...], text_only: bool) -> Question:
    if not pictures and not text_only:
        raise UnaskedError("a question without a picture")
    texts = texts_at(row, "choices")
    answer = choice(texts, int(number_at(row, "answer")))
    details, kinds = said(row, *DETAILS), said(row, "subject", "category", "solution")
    hint, solution = details["hint"], kinds["solution"]
    return Question(
        id=f"scienceqa-{name}",
        text="\n".join(part for part in (hint, text_at(row, "question")) if part),
        source=NAME,
        pictures=pictures,
        options=texts,
        answer=answer,
        answer_type="multiple_choice",
        response=f"{solution}\nThe answer is {answer}." if solution else None,
        category=kinds["subject"],
        details={key: value for key, value in details.items() if key != "hint"} | {"area": kinds["category"]},
    )
