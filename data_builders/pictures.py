"""Published datasets about pictures as one dataset: read from local files, mixed, checked, and split by picture.

    mmreflect build configs/build/pictures_virl39k.yaml
    python -m data_builders.pictures configs/build/pictures_cold_start.yaml --plan

A source is a layout (`mmreflect/layouts/`) with where its files lie. The sources are mixed picture by picture, by the
seed (`mmreflect/mixing.py`); questions that share a picture stay together, and in one split. What becomes no question
is counted by reason in the plan and in the manifest, and named row by row in `rejects/sources.jsonl`; a row whose
picture is missing or broken, or whose reference answer nothing can be graded against, is quarantined like that of any
builder.

Pictures that parquet files hold are read for the plan and not kept; those of the questions that are drawn are written
into the user's cache when the dataset is built, named by their content, and copied from there.
"""

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mmreflect.answers.grade import reference_problem
from mmreflect.answers.spec import LETTERS, spec_of
from mmreflect.building import Example, Rejected
from mmreflect.config import config as config_class
from mmreflect.data.parquet import Embedded, bring
from mmreflect.errors import UserError
from mmreflect.layouts import PLACEHOLDER, Question, UnusableError, box
from mmreflect.media.images import load_image
from mmreflect.media.pictures import cache_folder, picture_name
from mmreflect.mixing import Collected, Source, annotation_marks, collect

Part = dict[str, Any]


@config_class
class Config:
    """What to build.

    Attributes:
        validation: share of the questions in the validation split; a picture stands in one split only, by its bytes, so
            that every picture that is drawn is read for the plan too.
        responses: `published` keeps the solutions of the releases that have some as the assistant's turn, as they are;
            `none` leaves them out, for reinforcement learning and for teachers.
        ungradable: what becomes of a question whose reference answer nothing can be graded against.
    """

    output: str
    sources: Annotated[list[Source], Field(min_length=1)]
    seed: int = 0
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    responses: Literal["published", "none"] = "published"
    ungradable: Literal["reject", "keep"] = "reject"
    shard_rows: Annotated[int, Field(gt=0)] = 1000


def inputs(config: Config) -> dict[str, str]:
    """Return what the dataset is made from, so that a changed annotation file is another dataset."""
    return annotation_marks(config.sources)


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split has."""
    return {split: len(questions) for split, questions in _collected(config).splits.items()}


def describe(config: Config) -> dict[str, str]:
    """Return what each source gives, a line per source."""
    return _collected(config).lines


def left_out(config: Config) -> list[dict[str, Any]]:
    """Return the rows of the sources that became no question, with their reasons."""
    return _collected(config).dropped


def make(config: Config, split: str, index: int) -> Example:
    """Turn a question into an example.

    Raises:
        Rejected: a picture is missing, broken, or not as large as the annotation says, a box does not lie in it, or
            nothing can be graded against the reference answer.
    """
    collected = _collected(config)
    question = collected.splits[split][index]
    try:
        return _example(config, collected, question)
    except UserError as error:
        raise Rejected(error.given, error.expected, id=question.id) from None


def _example(config: Config, collected: Collected, question: Question) -> Example:
    facts = _facts(question) | collected.details | dict(question.details)
    problem = reference_problem(question.answer, spec_of(facts))
    if problem is not None and config.ungradable == "reject":
        raise UserError(
            f"{question.source}: nothing can be graded against the reference answer", f"{question.answer!r}: {problem}"
        )
    paths = _paths(question, collected)
    sizes = [_size(path) for path in paths]
    if question.boxes and sizes:
        facts["boxes"] = _boxes(question, sizes[0])
    messages: list[dict[str, Any]] = [{"role": "user", "content": list(_parts(question))}]
    if question.response is not None and config.responses == "published":
        messages.append({"role": "assistant", "content": [{"type": "text", "text": question.response}]})
    return Example(
        id=question.id,
        messages=messages,
        images=paths,
        answer=question.answer,
        facts=facts,
        exempt=("reference", "answer") if problem is not None else (),
        decode=False,  # they are decoded above, so that all broken ones have one reason
    )


def _facts(question: Question) -> dict[str, Any]:
    return {
        "answer_type": question.answer_type,
        "options": list(question.options),
        "option": question.answer if question.options else None,
        "precision": question.precision,
        "boxes": [],
        "source": question.source,
        "category": question.category,
    }


def _parts(question: Question) -> Iterator[Part]:
    """Yield the parts of the user's turn, with the pictures in the places that the text has for them."""
    text = question.text if PLACEHOLDER in question.text else PLACEHOLDER + question.text
    pieces = text.split(PLACEHOLDER)
    for letter, option in zip(LETTERS, question.options, strict=False):
        pieces[-1] = f"{pieces[-1].rstrip()}\n{letter}. {option}"
    together = len(question.pictures) if len(pieces) == 2 else 1
    for place, piece in enumerate(pieces):
        if place > 0:
            yield from ({"type": "image"} for _ in range(together))
        if not "".join(pieces[:place]).strip():
            piece = piece.lstrip()
        if not "".join(pieces[place + 1 :]).strip():
            piece = piece.rstrip()
        if piece:
            yield {"type": "text", "text": piece}


def _paths(question: Question, collected: Collected) -> list[Path]:
    """Return the files of a question's pictures; those in parquet files are brought to disk, for all rows at once."""
    folder = cache_folder() / "pictures"
    held = [picture for picture in question.pictures if isinstance(picture, Embedded)]
    if any(not (folder / picture.name).is_file() for picture in held):
        everyone = (item for part in collected.splits.values() for item in part)
        bring((picture for item in everyone for picture in item.pictures if isinstance(picture, Embedded)), folder)
    return [folder / picture.name if isinstance(picture, Embedded) else Path(picture) for picture in question.pictures]


def _size(path: Path) -> tuple[int, int]:
    """Return width and height of a picture that can be decoded.

    Raises:
        UserError: it is missing or broken.
    """
    if not path.is_file():
        raise UserError("a picture file is missing", str(path))
    try:
        picture = load_image(path)
    except UserError as error:
        raise UserError("a picture cannot be opened", error.given, error.do) from None
    return picture.width, picture.height


def _boxes(question: Question, size: tuple[int, int]) -> list[list[float]]:
    """Return a question's boxes, compared with the picture they are meant for: one that was scaled shows other parts.

    Raises:
        UserError: the picture has another size, or a box does not lie in it.
    """
    if question.size is not None and question.size != size:
        raise UserError(
            f"{question.source}: a picture is not as large as its annotation says",
            f"{question.size[0]}x{question.size[1]}, and {question.pictures[0]} has {size[0]}x{size[1]}",
        )
    try:
        return [[round(side, 3) for side in box(item, size)] for item in question.boxes]
    except UnusableError as error:
        raise UserError(f"{question.source}: {error}", f"{question.id}: {size[0]}x{size[1]} pixels") from None


def _collected(config: Config) -> Collected:
    shown = _by_content if config.validation else _by_file
    return collect(config.sources, config.seed, config.validation, shown)


def _by_content(question: Question) -> list[str]:
    """Name what stands in one split only: a question's pictures by their bytes, as releases hold others' pictures."""
    return [item.name if isinstance(item, Embedded) else _content_of(item) for item in question.pictures]


def _by_file(question: Question) -> list[str]:
    return [item.name if isinstance(item, Embedded) else os.path.realpath(item) for item in question.pictures]


@functools.cache
def _content_of(path: str) -> str:
    try:
        return picture_name(Path(path).read_bytes())
    except (OSError, ValueError, UserError):  # it is missing or empty, and its row will be rejected
        return path


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
