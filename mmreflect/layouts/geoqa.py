"""GeoQA: the folders `json` and `image` of the authors' archive (GeoQA3), in Chinese.

A file json/0.json: id, subject (the question), choices (texts), label (the place of the right one, from 0),
formal_point (what it needs to know), and a program; its picture is image/0.png. The names are those that loaders of
others read, and that the label counts from 0 is by the repository chen-judge/GeoQA; the files could not be seen. Which
problem is in which split is said by its pickles alone, which are not read: a pickle runs code. GeoQA+ is published as
pickles, and in this form only as it is said in its README.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmreflect.config import config
from mmreflect.layouts import Entry, Question, Release, UnaskedError, choice, converted
from mmreflect.layouts._files import Row, check_folder, number_at, text_at, texts_at
from mmreflect.layouts._pictures import json_folder, listed_ids

NAME = "GeoQA"


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: the folder json.
        pictures: the folder image.
        test_ids: a file with the ids of the test split, one a line, which are left out; None asks everything.
    """

    annotations: str
    pictures: str
    test_ids: str | None = None


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        check_folder(options.pictures, "pictures")
        test = listed_ids(options.test_ids) if options.test_ids is not None else frozenset()
        rows = json_folder(options.annotations, "*.json", ("subject", "choices", "label"), NAME)
        yield from converted(
            (file.stem, partial(_question, file.stem, row, options.pictures, test)) for file, row in rows
        )

    return Release([name for name in (options.annotations, options.test_ids) if name is not None], read)


def _question(name: str, row: Row, pictures: str, test: frozenset[str]) -> Question:
    if name in test or str(row.get("id")) in test:
        raise UnaskedError("of the test split")
    texts = texts_at(row, "choices")
    points = row.get("formal_point")
    return Question(
        id=f"geoqa-{name}",
        text=text_at(row, "subject"),
        source=NAME,
        pictures=(str(Path(pictures) / f"{name}.png"),),
        options=texts,
        answer=choice(texts, int(number_at(row, "label"))),
        answer_type="multiple_choice",
        details={"points": [str(point) for point in points] if isinstance(points, list) else []},
    )
