"""ChartQA: `train_human.json` and `train_augmented.json` of its authors, or the parquet files of HuggingFaceM4/ChartQA.

A JSON row: imgname, query, label; pictures are in `png` beside it. Columns of the parquet files: image, query, label (a
list with one text), human_or_machine (0: human). An answer such as "[2007, 2008]" is a list. JSON files of the
repository vis-nlp/ChartQA were read, and the columns of the parquet files in loaders of others.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmreflect.config import config
from mmreflect.data.parquet import Embedded
from mmreflect.errors import UserError
from mmreflect.files import to_json
from mmreflect.layouts import Entry, Question, Release, UnusableError, converted
from mmreflect.layouts._files import Row, check_folder, read_json_rows, text_at, texts_at
from mmreflect.layouts._pictures import embedded_at, is_parquet, needed, parquet_files, parquet_rows, row_name

NAME = "ChartQA"


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: a JSON file, or parquet files: one, a folder, or a pattern such as data/train-*.parquet.
        pictures: the folder png, of a JSON file.
    """

    annotations: str
    pictures: str | None = None


def create(options: Config) -> Release:
    """Create the release.

    Raises:
        UserError: a JSON file is named without its pictures.
    """
    if is_parquet(options.annotations) or "*" in options.annotations:
        return Release(parquet_files(options.annotations), lambda: _from_parquet(options.annotations))
    if options.pictures is None:
        raise UserError("ChartQA's JSON holds no pictures", "pictures: the folder png", "name it")
    pictures = options.pictures
    return Release([options.annotations], lambda: _from_json(options.annotations, pictures))


def _from_parquet(annotations: str) -> Iterator[Entry]:
    def question(file: str, place: int, row: Row) -> Question:
        made_by = row.get("human_or_machine")
        pictures = needed(embedded_at(row, "image", file, place))
        return _question(row_name(file, place), row, pictures, None if made_by is None else made_by == 0)

    rows = parquet_rows(annotations, ("image", "query", "label"), NAME, ("human_or_machine",))
    yield from converted((row_name(file, place), partial(question, file, place, row)) for file, place, row in rows)


def _from_json(annotations: str, folder: str) -> Iterator[Entry]:
    check_folder(folder, "pictures")
    stem = Path(annotations).stem
    human = "human" in stem if "human" in stem or "augmented" in stem else None

    def question(name: str, row: Row) -> Question:
        return _question(name, row, (str(Path(folder) / text_at(row, "imgname")),), human)

    rows = read_json_rows(annotations, ("imgname", "query", "label"), NAME)
    yield from converted(
        (f"{stem}-{place}", partial(question, f"{stem}-{place}", row)) for place, row in enumerate(rows)
    )


def _question(name: str, row: Row, pictures: tuple[str | Embedded, ...], human: bool | None) -> Question:
    return Question(
        id=f"chartqa-{name}",
        text=text_at(row, "query"),
        source=NAME,
        pictures=pictures,
        answer=_answer(row),
        details={"human": human},
    )


def _answer(row: Row) -> str:
    if not isinstance(row.get("label"), list):
        return text_at(row, "label")
    labels = [text for text in texts_at(row, "label") if text]
    if not labels:
        raise UnusableError("no 'label'")
    return labels[0] if len(labels) == 1 else to_json(labels)
