"""Running a builder: deterministic, sharded, resumable, with a rejects log and a manifest written last."""

import contextlib
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.building.builder import Builder, Maker, OneByOne
from mmreflect.building.options import BuildOptions
from mmreflect.building.shards import build_shard, places_of, read_shard
from mmreflect.building.workers import Shard, build_shards, cores
from mmreflect.config import free_keys, to_tree, without
from mmreflect.data.fingerprint import refuse_leakage
from mmreflect.data.store import MANIFEST, Row
from mmreflect.errors import UserError
from mmreflect.files import write_json, write_jsonl
from mmreflect.runs import Run


def plan(builder: Builder, config: Any, options: BuildOptions) -> dict[str, str]:
    """Say what will be built."""
    sizes = builder.splits(config)
    if not sizes:
        raise UserError("the dataset would have no split", "at least one split with rows", "name its splits")
    shards = sum(_shard_count(size, config.shard_rows) for size in sizes.values())
    rows = ", ".join(f"{split} {size:,}" for split, size in sizes.items())
    sources: dict[str, str] = builder.describe(config) if hasattr(builder, "describe") else {}
    shape = {"rows": rows, "shards": f"{shards} of at most {config.shard_rows:,} rows", "seed": str(config.seed)}
    part = {"part": options.shard} if options.shard else {}
    return sources | shape | part


def build(builder: Builder, name: str, config: Any, options: BuildOptions, run: Run) -> dict[str, Any]:
    """Build every missing shard, then write the manifest.

    Raises:
        UserError: a split is empty, or all of its rows were rejected.
    """
    sizes = builder.splits(config)
    manifest: dict[str, Any] = {"builder": name, "config": _content_of(config), "splits": {}, "rejects": {}}
    reasons: Counter[str] = Counter()
    left_out = _log_left_out(builder, config, run.path)
    maker = builder.open_maker(config) if hasattr(builder, "open_maker") else OneByOne(builder, config)
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


def _log_left_out(builder: Builder, config: Any, folder: Path) -> Counter[str]:
    """Write the rows that a leaf takes no question from, and count them by reason."""
    rows: list[Row] = builder.left_out(config) if hasattr(builder, "left_out") else []
    if rows:
        write_jsonl(folder / "rejects" / "sources.jsonl", rows)
    return Counter(row["reason"] for row in rows)


def _content_of(config: Any) -> dict[str, Any]:
    """The settings that decide what is in the dataset; where it lies and who builds it are no part of that."""
    content: dict[str, Any] = without(to_tree(config), [("output",), *free_keys(config)])
    return content


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
            build_shard(made, folder, split, number, own, bar)
        shards.append(read_shard(folder, file, reasons, took))
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
    build_shards(builder, config, folder, missing, workers, lambda shard: bar.advance(len(places_of(config, shard))))
    return set(missing)
