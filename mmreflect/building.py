"""Running a builder: deterministic, sharded, resumable, with a rejects log and a manifest written last.

A builder leaf names its splits (`splits(config)`) and makes one row from its place (`make(config, split, index)`).
A row depends on nothing else, so that a killed build goes on at its first missing shard to the same bytes. A leaf may
also say what it builds from (`describe(config)`, for the plan) and which rows of its sources it leaves out
(`left_out(config)`, for the rejects log). One that makes its rows together, such as by asking a teacher about many at
once, has `open_maker(config)` in the place of `make`; a row of such a leaf may depend on its shard.
"""

import contextlib
import errno
import hashlib
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from mmreflect import console
from mmreflect.config import to_tree
from mmreflect.data.fingerprint import refuse_leakage
from mmreflect.data.store import MANIFEST, Row
from mmreflect.errors import UserError
from mmreflect.examples import Example, store_example
from mmreflect.files import read_json, read_jsonl, sync_folder, write_json, write_jsonl
from mmreflect.runs import Run
from mmreflect.shard_workers import Shard, build_shards, cores

__all__ = ["Builder", "Example", "Made", "Maker", "Rejected", "Workers", "build", "make_shard", "plan"]

Workers = Annotated[int, Field(gt=0)] | Literal["auto"]
"""How many processes build shards at the same time: for a leaf's Config to have, as `workers`."""


class Rejected(UserError):
    """Why a row is not made.

    Args:
        reason: what is counted: the same words for all such rows.
        detail: what tells this row apart; it stands in the rejects log, as do `facts`.
    """

    def __init__(self, reason: str, detail: str = "", **facts: Any) -> None:
        super().__init__(reason)
        self.facts: Row = ({"detail": detail} if detail else {}) | facts


@dataclass(frozen=True, slots=True)
class Made:
    """One row or why it is not made, and what it took: numbers by name, which are added up."""

    row: Example | UserError
    took: Counter[str] = field(default_factory=Counter)


class Maker(Protocol):
    """Makes rows together."""

    def make(self, split: str, places: Sequence[int]) -> Iterator[Made]:
        """Yield the rows of these places in order; `places` are whole shards, and work may go on ahead."""

    def account(self, took: Counter[str]) -> dict[str, Any]:
        """Return for the manifest what all rows took: the same, however often the build was killed."""

    def spent(self) -> dict[str, Any]:
        """Return what this start took, for the result."""

    def status(self) -> str:
        """Say the same in a few words, for the progress line."""

    def close(self) -> None:
        """Let go of everything; also after an error."""


class Builder(Protocol):
    """A leaf of `data_builders/`."""

    Config: Any

    def splits(self, config: Any) -> dict[str, int]:
        """Return how many rows each split has."""

    def make(self, config: Any, split: str, index: int) -> Example:
        """Make one row; a UserError quarantines it."""


def plan(builder: Builder, config: Any) -> dict[str, str]:
    """Say what will be built."""
    sizes = builder.splits(config)
    if not sizes:
        raise UserError("the dataset would have no split", "at least one split with rows", "name its splits")
    shards = sum(_shard_count(size, config.shard_rows) for size in sizes.values())
    rows = ", ".join(f"{split} {size:,}" for split, size in sizes.items())
    sources: dict[str, str] = builder.describe(config) if hasattr(builder, "describe") else {}
    shape = {"rows": rows, "shards": f"{shards} of at most {config.shard_rows:,} rows", "seed": str(config.seed)}
    return sources | shape


def build(builder: Builder, name: str, config: Any, run: Run) -> dict[str, Any]:
    """Build every missing shard, then write the manifest.

    Raises:
        UserError: a split is empty, or all of its rows were rejected.
    """
    sizes = builder.splits(config)
    manifest: dict[str, Any] = {"builder": name, "config": _content_of(config), "splits": {}, "rejects": {}}
    reasons: Counter[str] = Counter()
    left_out = _log_left_out(builder, config, run.path)
    maker = builder.open_maker(config) if hasattr(builder, "open_maker") else _OneByOne(builder, config)
    took, total = Counter[str](), sum(sizes.values())
    with contextlib.closing(maker), console.progress_bar("rows", total, status=maker.status) as bar:
        apart = _build_apart(builder, config, run.path, sizes, bar)
        for split, size in sizes.items():
            if size == 0:
                raise UserError(
                    f"split {split!r} would be empty",
                    "at least one row in every split",
                    "give it rows, or leave the split out",
                )
            shards = _shards(maker, config.shard_rows, run.path, (split, size), reasons, took, apart, bar)
            rows = sum(shard["rows"] for shard in shards)
            if rows == 0:
                raise UserError(
                    f"all {size} rows of split {split!r} were rejected: {_most_common(reasons)}",
                    "at least one good row",
                    f"see {run.path / 'rejects'}",
                )
            manifest["splits"][split] = {"rows": rows, "shards": shards}
    reasons.update(left_out)
    manifest["rejects"] = dict(sorted(reasons.items()))
    manifest |= maker.account(took)
    refuse_leakage(run.path, manifest)
    write_json(run.path / MANIFEST, manifest)
    rejected = sum(reasons.values())
    if rejected:
        where = run.path / "rejects"
        console.say(f"[yellow]rejected {console.count(rejected, 'row')}[/]: {_most_common(reasons)}; all in {where}")
    made = {split: entry["rows"] for split, entry in manifest["splits"].items()}
    return {"rows": made, "rejected": rejected, **maker.spent()}


class _OneByOne:
    """Makes every row from its place alone, by the leaf's `make`."""

    def __init__(self, builder: Builder, config: Any) -> None:
        self._builder, self._config = builder, config

    def make(self, split: str, places: Sequence[int]) -> Iterator[Made]:
        for place in places:
            try:
                made: Example | UserError = self._builder.make(self._config, split, place)
            except UserError as error:
                made = error
            yield Made(made)

    def account(self, took: Counter[str]) -> dict[str, Any]:
        return {}

    def spent(self) -> dict[str, Any]:
        return {}

    def status(self) -> str:
        return ""

    def close(self) -> None:
        pass


def _log_left_out(builder: Builder, config: Any, folder: Path) -> Counter[str]:
    """Write the rows that a leaf takes no question from, and count them by reason."""
    rows: list[Row] = builder.left_out(config) if hasattr(builder, "left_out") else []
    if rows:
        write_jsonl(folder / "rejects" / "sources.jsonl", rows)
    return Counter(row["reason"] for row in rows)


def _content_of(config: Any) -> dict[str, Any]:
    """The settings that decide what is in the dataset; where it lies and who builds it are no part of that."""
    return {key: value for key, value in to_tree(config).items() if key not in ("output", "workers")}


def _shard_count(size: int, shard_rows: int) -> int:
    return -(-size // shard_rows)


def _most_common(reasons: Counter[str]) -> str:
    return "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))


def _shards(
    maker: Maker,
    shard_rows: int,
    folder: Path,
    sized: tuple[str, int],
    reasons: Counter[str],
    took: Counter[str],
    apart: Collection[Shard],
    bar: console.ProgressBar,
) -> list[dict[str, Any]]:
    """Build the missing shards of a split and read the others back; those built `apart` moved the bar already."""
    split, size = sized
    places = [range(start, min(size, start + shard_rows)) for start in range(0, size, shard_rows)]
    files = [folder / split / f"{number:05}.jsonl" for number in range(len(places))]
    missing = [place for file, own in zip(files, places, strict=True) if not file.is_file() for place in own]
    made = maker.make(split, missing)
    shards = []
    for number, (file, own) in enumerate(zip(files, places, strict=True)):
        if file.is_file():
            bar.advance(0 if (split, number, size) in apart else len(own))
        else:
            _build_shard(made, folder, split, number, own, bar)
        shards.append(_read_shard(folder, file, reasons, took))
    return shards


def _build_apart(
    builder: Builder, config: Any, folder: Path, sizes: dict[str, int], bar: console.ProgressBar
) -> set[Shard]:
    """Build the missing shards in worker processes, where more than one is asked for, and return which those were."""
    given = getattr(config, "workers", 1)
    workers = cores() if given == "auto" else given
    counts = {split: _shard_count(size, config.shard_rows) for split, size in sizes.items()}
    every = [(split, number, sizes[split]) for split, count in counts.items() for number in range(count)]
    missing = [shard for shard in every if not (folder / shard[0] / f"{shard[1]:05}.jsonl").is_file()]
    if workers < 2 or len(missing) < 2:
        return set()
    build_shards(builder, config, folder, missing, workers, lambda shard: bar.advance(len(_places(config, shard))))
    return set(missing)


def _places(config: Any, shard: Shard) -> range:
    _, number, size = shard
    return range(number * config.shard_rows, min(size, (number + 1) * config.shard_rows))


def make_shard(builder: Builder, config: Any, folder: Path, shard: Shard) -> None:
    """Build one shard from the places of its rows alone: what a worker process does."""
    split, number, _ = shard
    places = _places(config, shard)
    _build_shard(_OneByOne(builder, config).make(split, places), folder, split, number, places)


def _build_shard(
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


def _read_shard(folder: Path, file: Path, reasons: Counter[str], took: Counter[str]) -> dict[str, Any]:
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
