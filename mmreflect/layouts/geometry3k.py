"""Geometry3K: the folders of its authors (one a problem, by split), or the parquet files of hiyouga/geometry3k.

A folder holds data.json: id, problem_text, choices (texts), answer (a letter), problem_type_graph, problem_type_goal;
img_diagram.png; and logic_form.json: text_logic_form, diagram_logic_form. The parquet files have the columns images,
problem ("<image>Find x.") and answer, and no options. Folders of the repository lupantech/InterGPS were read, and the
columns in the card of the parquet files.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmreflect.config import config
from mmreflect.errors import UserError
from mmreflect.layouts import Entry, Question, Release, UnusableError, choice, converted, place_of
from mmreflect.layouts._files import Row, read_json_mapping, text_at, texts_at
from mmreflect.layouts._pictures import is_parquet, json_folder, parquet_files
from mmreflect.layouts._problems import problems

NAME = "Geometry3K"
LOGIC = ("text_logic_form", "diagram_logic_form")


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: the folder of a split with a folder for every problem, or parquet files: one, a folder, or a
            pattern such as data/train-*.parquet.
    """

    annotations: str


def create(options: Config) -> Release:
    """Create the release."""
    if is_parquet(options.annotations):
        return Release(
            parquet_files(options.annotations), lambda: problems(options.annotations, NAME, "geometry3k-hub")
        )

    def read() -> Iterator[Entry]:
        keys = ("problem_text", "choices", "answer")
        rows = json_folder(options.annotations, "*/data.json", keys, NAME)
        yield from converted((file.parent.name, partial(_question, file.parent, row)) for file, row in rows)

    return Release([options.annotations], read)


def _question(folder: Path, row: Row) -> Question:
    texts = texts_at(row, "choices")
    forms = _forms(folder / "logic_form.json")
    return Question(
        id=f"geometry3k-{folder.name}",
        text=text_at(row, "problem_text"),
        source=NAME,
        pictures=(str(folder / "img_diagram.png"),),
        options=texts,
        answer=choice(texts, place_of(text_at(row, "answer"))),
        answer_type="multiple_choice",
        category=", ".join(_listed(row, "problem_type_graph")) or None,
        details={"goal": _listed(row, "problem_type_goal")} | {name: _listed(forms, name) for name in LOGIC},
    )


def _forms(file: Path) -> Row:
    """Return the logic forms of a problem, which not every one has.

    Raises:
        UnusableError: the file holds something else.
    """
    if not file.is_file():
        return {}
    try:
        return read_json_mapping(str(file), NAME)
    except UserError:
        raise UnusableError("logic_form.json holds no mapping") from None


def _listed(row: Row, key: str) -> list[str]:
    value = row.get(key)
    return [str(item) for item in value] if isinstance(value, list) else []
