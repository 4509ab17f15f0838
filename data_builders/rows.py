"""Your own questions as a dataset: a JSONL file and its pictures, checked, copied and split.

    mmreflect build configs/build/rows.yaml source=questions.jsonl

A row is `{"id", "messages", "images", "videos", "answer", "facts"}`, or the short form
`{"question", "images", "answer", "response"}`. Bad rows are quarantined with their reason.
"""

import functools
import random
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mmreflect.building import Example
from mmreflect.config import config as config_class
from mmreflect.data.store import Row, read_rows
from mmreflect.errors import UserError


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


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split has."""
    return {split: len(rows) for split, rows in _split_rows(config.source, config.seed, config.validation).items()}


def make(config: Config, split: str, index: int) -> Example:
    """Turn one source row into an example.

    Raises:
        UserError: the row misses a key or has no question.
    """
    place, row = _split_rows(config.source, config.seed, config.validation)[split][index]
    folder = Path(config.source).parent
    images = _paths(row, "images", folder)
    videos = _paths(row, "videos", folder)
    messages = row.get("messages") or _messages(row, place, len(images), len(videos))
    answer = row.get("answer")
    return Example(
        id=str(row.get("id", f"row-{place:06}")),
        messages=messages,
        images=images,
        videos=videos,
        answer=None if answer is None else str(answer),
        facts=row.get("facts") or {},
    )


@functools.lru_cache(maxsize=4)
def _split_rows(source: str, seed: int, validation: float) -> dict[str, list[tuple[int, Row]]]:
    rows = list(enumerate(read_rows(Path(source))))
    if not rows:
        raise UserError(f"{source} holds no rows", "at least one JSON object per line", "check the file")
    held_out = max(1, round(len(rows) * validation)) if validation else 0
    places = list(range(len(rows)))
    random.Random(f"{seed}/split").shuffle(places)
    chosen = set(places[:held_out])
    parts = {
        "train": [row for row in rows if row[0] not in chosen],
        "validation": [row for row in rows if row[0] in chosen],
    }
    return {split: part for split, part in parts.items() if part}


def _paths(row: Row, key: str, folder: Path) -> list[Path]:
    given = row.get(key) or []
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        raise UserError(f"{key!r} is {given!r}", "a list of paths")
    return [folder / item for item in given]


def _messages(row: Row, place: int, images: int, videos: int) -> list[dict[str, Any]]:
    if not isinstance(row.get("question"), str) or not row["question"].strip():
        raise UserError(f"row {place} has neither 'messages' nor a 'question'", "one of both", "add it")
    media = [{"type": "image"}] * images + [{"type": "video"}] * videos
    turns = [{"role": "user", "content": [*media, {"type": "text", "text": row["question"]}]}]
    if row.get("response"):
        turns.append({"role": "assistant", "content": [{"type": "text", "text": row["response"]}]})
    return turns


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
