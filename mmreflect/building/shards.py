"""One shard of a dataset on disk: rows, media, rejects and what it took. The row file is written last."""

import errno
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.building.builder import Builder, Made, OneByOne, Rejected
from mmreflect.building.examples import store_example
from mmreflect.building.workers import Shard
from mmreflect.data.store import Row
from mmreflect.errors import UserError
from mmreflect.files import read_json, read_jsonl, sync_folder, write_json, write_jsonl


def places_of(config: Any, shard: Shard) -> range:
    """Return the places of a shard's rows in its split."""
    _, number, size = shard
    return range(number * config.shard_rows, min(size, (number + 1) * config.shard_rows))


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
    """Build one shard. The row file is written last.

    Raises:
        UserError: the disk is full.
    """
    name = f"{split}-{number:05}"
    media, rejects_file, took_file = (
        folder / "media" / split / f"{number:05}",
        folder / "rejects" / f"{name}.jsonl",
        folder / "account" / f"{name}.json",
    )
    shutil.rmtree(media, ignore_errors=True)
    rejects_file.unlink(missing_ok=True)
    took_file.unlink(missing_ok=True)
    try:
        rows, rejects, took = _take_rows(made, folder, media, split, places, bar)
        if rejects:
            write_jsonl(rejects_file, rejects)
        if took:
            write_json(took_file, dict(sorted(took.items())))
        if media.is_dir():
            sync_folder(media)
        write_jsonl(folder / split / f"{number:05}.jsonl", rows)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"the disk of {folder} is full",
            "room for the dataset",
            "make room and start the same again; finished shards stay as they are",
        ) from None


def read_shard(folder: Path, file: Path, reasons: Counter[str], took: Counter[str]) -> dict[str, Any]:
    """Return a shard's entry in the manifest; count its rejects and what it took."""
    name = f"{file.parent.name}-{file.stem}"
    rejects_file, took_file = folder / "rejects" / f"{name}.jsonl", folder / "account" / f"{name}.json"
    content = file.read_bytes()
    if rejects_file.is_file():
        reasons.update(row["reason"] for row in read_jsonl(rejects_file))
    if took_file.is_file():
        took.update(read_json(took_file))
    return {
        "file": str(file.relative_to(folder)),
        "rows": content.count(b"\n"),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _take_rows(
    made: Iterator[Made], folder: Path, media: Path, split: str, places: range, bar: console.ProgressBar | None
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
            rows.append(store_example(one.row, folder, media, index, stored))
        except UserError as error:
            reject["reason"] = error.given
            expected: Row = {"expected": error.expected} if error.expected else {}
            rejects.append(reject | (error.facts if isinstance(error, Rejected) else expected))
        if bar is not None:
            bar.advance()
    return rows, rejects, took
