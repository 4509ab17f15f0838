r"""MathV360K, the set of Math-LLaVA: `train_samples_all_tuning.json` and the folder `data_images`.

A row: id, image (a path that starts with its dataset, such as TabMWP/images/0.png), and conversations: turns {from:
human | gpt, value}. Some questions begin with a hint of MathVista's form ("Hint: Please answer the question requiring
an integer answer ..."), "Question:", and may end with "Choices:" and lines "(A) ..."; the hint becomes the type of the
answer, and the choices become options. The answer is "The answer is B". By loaders of others and texts that they
quote; the file itself could not be seen. Ids are the rows' places: that the published ones are unique is not known.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmreflect.config import config
from mmreflect.layouts import Entry, Question, Release, UnusableError, converted
from mmreflect.layouts._files import Row, check_folder, read_json_rows
from mmreflect.layouts._pictures import needed, paths_at
from mmreflect.layouts._turns import read_question, turns_at

NAME = "MathV360K"
_HINTED = re.compile(r"(?P<before>(?:<image>\s*)?)Hint:(?P<hint>.*?)\n\s*Question:\s*(?P<question>.*)", re.DOTALL)
_CHOICES = re.compile(r"\s*\n?Choices:\s*", re.IGNORECASE)
_SAID = re.compile(r"\s*the answer is:?\s*(.*)", re.IGNORECASE | re.DOTALL)
_DECIMALS = (("one decimal place", 1), ("two decimal places", 2))


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: train_samples_all_tuning.json.
        pictures: the folder data_images.
    """

    annotations: str
    pictures: str


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        check_folder(options.pictures, "pictures")
        rows = read_json_rows(options.annotations, ("image", "conversations"), NAME)
        yield from converted(
            (f"row {place} ({row.get('id')})", partial(_question, place, row, options.pictures))
            for place, row in enumerate(rows)
        )

    return Release([options.annotations], read)


def _question(place: int, row: Row, folder: str) -> Question:
    asked, answered = turns_at(row, "conversations", "from", "value", ("human", "gpt"))[0]
    stated = _SAID.fullmatch(answered)
    answer = (stated[1] if stated else answered).strip()
    if not answer:
        raise UnusableError("no answer in the turn")
    hint, whole = _without_hint(asked)
    text, options, answer, kind = read_question(_CHOICES.sub("\n", whole), answer)
    kind, precision = (kind, None) if options else _type(hint)
    pictures = needed(paths_at(row, "image", folder))
    return Question(
        id=f"mathv360k-{place}",
        text=text if options else whole,
        source=NAME,
        pictures=pictures,
        options=options,
        answer=answer,
        answer_type=kind,
        precision=precision,
        category=_dataset(str(pictures[0]), folder),
    )


def _dataset(picture: str, folder: str) -> str | None:
    """Return the folder that a picture lies in, which is named after its dataset; None where it lies in none."""
    parts = Path(picture).relative_to(folder).parts
    return parts[0] if len(parts) > 1 else None


def _without_hint(text: str) -> tuple[str, str]:
    found = _HINTED.fullmatch(text)
    return ("", text) if found is None else (found["hint"], found["before"] + found["question"])


def _type(hint: str) -> tuple[str | None, int | None]:
    if "Python list" in hint:
        return "list", None
    for words, places in _DECIMALS:
        if words in hint:
            return "float", places
    return ("math" if "integer answer" in hint else None), None
