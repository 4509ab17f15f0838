"""Your own questions as a dataset: a JSONL file and its pictures, checked, copied and split.

    mmreflect build configs/build/rows.yaml source=questions.jsonl

A row is `{"id", "messages", "images", "videos", "answer", "facts"}`, or the short form
`{"question", "images", "answer", "response"}`. Bad rows are quarantined with their reason. ShareGPT's roles, human and
gpt, are read as user and assistant; other ones are refused.
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mmreflect.answers.lists import reference_text
from mmreflect.building import Example, Rejected
from mmreflect.config import config as config_class
from mmreflect.data.roles import with_our_roles
from mmreflect.data.store import Row, shown, try_rows
from mmreflect.errors import UserError
from mmreflect.files import content_mark, problem_of_name, to_json


@config_class
class Config:
    """What to build.

    Attributes:
        source: a JSONL file; media paths are relative to its folder.
        validation: share of the questions that becomes the validation split, at least one row when above 0.
    """

    output: str
    source: str
    seed: int = 0
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.05
    shard_rows: Annotated[int, Field(gt=0)] = 1000


def inputs(config: Config) -> dict[str, str]:
    """Return what the dataset is made from, so that a changed source is another dataset."""
    return {"source": content_mark(config.source)}


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split has."""
    return {split: len(rows) for split, rows in _split_rows(config.source, config.seed, config.validation).items()}


def make(config: Config, split: str, index: int) -> Example:
    """Turn one source row into an example.

    Raises:
        UserError: the line is no JSON object, the row misses a key or has no question, or its id stands before.
    """
    place, row = _split_rows(config.source, config.seed, config.validation)[split][index]
    if isinstance(row, UserError):
        raise row
    try:
        return _example(row, place, Path(config.source).parent)
    except UserError as error:
        raise Rejected.of(error, _id(row, place)) from None


def _example(row: Row, place: int, folder: Path) -> Example:
    images, videos = _paths(row, "images", folder), _paths(row, "videos", folder)
    messages = with_our_roles(row.get("messages")) or _messages(row, place, len(images), len(videos))
    facts = row.get("facts") or {}
    if not isinstance(facts, dict):
        raise UserError(f"row {place}: facts is no mapping ({shown(facts)})", "a mapping", "fix the row")
    answer = reference_text(row.get("answer"))
    return Example(id=_id(row, place), messages=messages, images=images, videos=videos, answer=answer, facts=facts)


def _id(row: Row, place: int) -> str:
    return str(row.get("id", f"row-{place:06}"))


Place = tuple[int, Row | UserError]


@functools.lru_cache(maxsize=4)
def _split_rows(source: str, seed: int, validation: float) -> dict[str, list[Place]]:
    """Split the rows; rows that ask the same with the same media stay together."""
    rows = list(enumerate(_unique(try_rows(Path(source)))))
    if not rows:
        raise UserError(f"{source} holds no rows", "at least one JSON object per line", "check the file")
    wanted = max(1, round(len(rows) * validation)) if validation else 0
    keys = {place: _key(row, Path(source).parent) for place, row in rows}
    held_out: set[str] = set()
    sound = {keys[place] for place, row in rows if isinstance(row, dict)}
    candidates = sorted(sound, key=lambda key: hashlib.sha256(f"{seed}/{key}".encode()).digest())
    for key in candidates[:-1]:  # the last one stays in train, which must not be empty
        if sum(keys[place] in held_out for place, _ in rows) < wanted:
            held_out.add(key)
    parts = {
        "train": [row for row in rows if keys[row[0]] not in held_out],
        "validation": [row for row in rows if keys[row[0]] in held_out],
    }
    return {split: part for split, part in parts.items() if part}


def _unique(rows: Iterable[Row | UserError]) -> Iterator[Row | UserError]:
    """Put an error in the place of every row whose id stands before."""
    seen: set[str] = set()
    for place, row in enumerate(rows):
        name = _id(row, place) if isinstance(row, dict) else f"line-{place}"
        twice = Rejected("an id stands more than once", id=name, expected="each id once")
        yield row if name not in seen else twice
        seen.add(name)


def _key(row: Row | UserError, folder: Path) -> str:
    """Return a hash of what a row asks and of its media's content; a broken row is a question of its own."""
    if isinstance(row, UserError):
        return row.given
    asked = row.get("question") or [turn for turn in row.get("messages") or [] if turn != row["messages"][-1]]
    digest = hashlib.sha256(to_json(asked).encode())
    for item in [*_listed(row.get("images")), *_listed(row.get("videos"))]:
        path = folder / str(item)
        known = _is_name(str(item)) and path.is_file()
        digest.update(
            hashlib.sha256(path.read_bytes()).digest() if known else str(item).encode(errors="backslashreplace")
        )
    return digest.hexdigest()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _paths(row: Row, key: str, folder: Path) -> list[Path]:
    given = row.get(key) or []
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        raise UserError(f"{key!r} is no list of paths ({shown(given)})", "a list of paths")
    for item in given:
        if not _is_name(item):
            raise UserError(f"{key!r} holds a name that no file can have", ascii(item)[:200])
    return [folder / item for item in given]


def _is_name(path: str) -> bool:
    """Tell whether a file may have a path: where none can, systems raise instead of finding none."""
    return problem_of_name(path) is None


def _messages(row: Row, place: int, images: int, videos: int) -> list[dict[str, Any]]:
    if not isinstance(row.get("question"), str) or not row["question"].strip():
        raise UserError(f"row {place} has neither 'messages' nor a 'question'", "one of both", "add it")
    media = [{"type": "image"}] * images + [{"type": "video"}] * videos
    turns = [{"role": "user", "content": [*media, {"type": "text", "text": row["question"]}]}]
    if row.get("response") is not None:
        if row["response"] == "":
            raise UserError("the response is empty", "text, or no 'response' for a row without one", "remove the key")
        turns.append({"role": "assistant", "content": [{"type": "text", "text": row["response"]}]})
    return turns


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
