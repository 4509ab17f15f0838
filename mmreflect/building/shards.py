"""One shard of a dataset on disk: rows, media, rejects and what it took. The row file is written last."""

import contextlib
import errno
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.building.builder import Builder, Made, OneByOne, Rejected
from mmreflect.building.examples import Example, store_example
from mmreflect.building.inspecting import Inspector, marks_file
from mmreflect.building.rejecting import texts_of_rejected
from mmreflect.building.workers import Shard
from mmreflect.data.store import Row
from mmreflect.errors import UserError
from mmreflect.files import read_json, read_jsonl, sync_folder, write_json, write_jsonl

ARRIVING = Path("arriving")
"""Where makers lay media that came as bytes until they are stored; it is gone when all shards are there."""


def shards_of(config: Any, sizes: Mapping[str, int], part: tuple[int, int] = (1, 1)) -> list[Shard]:
    """Return a part of a dataset's shards, in order: those of all splits go to the parts in turns.

    Args:
        sizes: rows of each split.
        part: which one, from 1, and of how many; a part beyond the number of shards has none.
    """
    counts = {split: -(-size // config.shard_rows) for split, size in sizes.items()}
    every = [(split, number, sizes[split]) for split, count in counts.items() for number in range(count)]
    number, total = part
    return every[number - 1 :: total]


def places_of(config: Any, shard: Shard) -> range:
    """Return the places of a shard's rows in its split."""
    _, number, size = shard
    return range(number * config.shard_rows, min(size, (number + 1) * config.shard_rows))


def row_file(folder: Path, shard: Shard) -> Path:
    """Return where the rows of a shard are; they are there once all else of it is."""
    return folder / shard[0] / f"{shard[1]:05}.jsonl"


@dataclass(frozen=True, slots=True)
class Beside:
    """What lies beside the rows of a shard: each of them is there only where it has anything to hold."""

    media: Path
    rejects: Path
    account: Path
    marks: Path
    compared: Path

    @classmethod
    def of(cls, folder: Path, split: str, number: int) -> "Beside":
        """Return the places of one shard."""
        name = f"{split}-{number:05}"
        media = folder / "media" / split / f"{number:05}"
        rejects = folder / "rejects"
        account, marks = folder / "account" / f"{name}.json", marks_file(folder, split, number)
        return cls(media, rejects / f"{name}.jsonl", account, marks, rejects / f"{name}-compared.jsonl")

    def clear(self) -> None:
        """Remove what a shard that was not finished has left."""
        shutil.rmtree(self.media, ignore_errors=True)
        self.rejects.unlink(missing_ok=True)
        self.account.unlink(missing_ok=True)
        self.marks.unlink(missing_ok=True)
        self.compared.unlink(missing_ok=True)


@contextlib.contextmanager
def room_on_disk(folder: Path) -> Iterator[None]:
    """Say it in plain words when the disk is full.

    Raises:
        UserError: it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"the disk of {folder} is full",
            "room for the dataset",
            "make room and start the same again; finished shards stay as they are",
        ) from None


@contextlib.contextmanager
def _all_or_nothing(beside: Beside, rows: Path) -> Iterator[None]:
    """Remove what lies beside rows that were not written, half-written files among it."""
    try:
        yield
    except BaseException:
        if not rows.is_file():
            beside.clear()
            for file in (rows, beside.rejects, beside.account, beside.marks, beside.compared):
                file.with_name(f".{file.name}.partial").unlink(missing_ok=True)
        raise


def make_shard(builder: Builder, config: Any, folder: Path, shard: Shard) -> None:
    """Build one shard from the places of its rows alone: what a worker process does."""
    split, number, _ = shard
    places = places_of(config, shard)
    build_shard(OneByOne(builder, config).make(split, places), folder, split, number, places)


def build_shard(
    made: Iterator[Made],
    folder: Path,
    split: str,
    number: int,
    places: range,
    bar: console.ProgressBar | None = None,
) -> None:
    """Build one shard. The row file is written last; whatever ends the work before that leaves nothing of the shard.

    Raises:
        UserError: the disk is full.
    """
    beside = Beside.of(folder, split, number)
    beside.clear()
    inspector = Inspector.of(folder)
    with room_on_disk(folder), _all_or_nothing(beside, row_file(folder, (split, number, 0))):
        rows, rejects, took = _take_rows(made, folder, beside.media, split, places, inspector, bar)
        if rejects:
            write_jsonl(beside.rejects, rejects)
        if took:
            write_json(beside.account, dict(sorted(took.items())))
        if beside.media.is_dir():
            sync_folder(beside.media)
        inspector.write(beside.marks)
        write_jsonl(row_file(folder, (split, number, 0)), rows)


def read_shard(folder: Path, file: Path, reasons: Counter[str], took: Counter[str]) -> dict[str, Any]:
    """Return a shard's entry in the manifest; count its rejects and what it took."""
    beside = Beside.of(folder, file.parent.name, int(file.stem))
    content = file.read_bytes()
    for log in (beside.rejects, beside.compared):
        if log.is_file():
            reasons.update(row["reason"] for row in read_jsonl(log))
    if beside.account.is_file():
        took.update(read_json(beside.account))
    return {
        "file": str(file.relative_to(folder)),
        "rows": content.count(b"\n"),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _take_rows(
    made: Iterator[Made],
    folder: Path,
    media: Path,
    split: str,
    places: range,
    inspector: Inspector,
    bar: console.ProgressBar | None,
) -> tuple[list[Row], list[Row], Counter[str]]:
    rows: list[Row] = []
    rejects: list[Row] = []
    took: Counter[str] = Counter()
    stored: dict[str, Path] = {}
    for index in places:
        reject: Row = {"split": split, "index": index}
        one = next(made)
        took.update(one.took)
        try:
            if isinstance(one.row, UserError):
                raise one.row
            reject["id"] = one.row.id
            inspector.check(one.row)
            row = store_example(one.row, folder, media, index, stored)
            inspector.mark(row, folder, index)
            rows.append(row)
        except UserError as error:
            rejects.append(texts_of_rejected(one.row) | reject | _why(error, one.row, folder))
        if bar is not None:
            bar.advance()
    return rows, rejects, took


def _why(error: UserError, row: Example | UserError, folder: Path) -> Row:
    """Return the reason and all else that a reject says; a dataset's own place is no part of either."""
    own = () if isinstance(row, UserError) else [item for item in row.images if isinstance(item, Path)]
    clips = () if isinstance(row, UserError) else [getattr(clip, "path", clip) for clip in row.videos]
    found = Rejected.of(error, own=[*own, *clips])
    said: Row = {"reason": found.given, **found.facts}
    return {key: value.replace(f"{folder}/", "") if isinstance(value, str) else value for key, value in said.items()}
