"""Running a builder: deterministic, sharded, resumable, with a rejects log and a manifest written last."""

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.building.builder import Builder, Maker, OneByOne
from mmreflect.building.inspecting import Inspector, exemptions
from mmreflect.building.options import BuildOptions
from mmreflect.building.shards import build_shard, places_of, read_shard
from mmreflect.building.sifting import sift
from mmreflect.building.workers import Shard, build_shards, cores
from mmreflect.config import to_tree
from mmreflect.data.fingerprint import refuse_leakage
from mmreflect.data.store import MANIFEST, Row
from mmreflect.errors import UserError
from mmreflect.files import write_json, write_jsonl
from mmreflect.quality.foreign import check_foreign
from mmreflect.runs import Run


def plan(builder: Builder, config: Any, options: BuildOptions) -> dict[str, str]:
    """Say what will be built."""
    sizes = builder.splits(config)
    if not sizes:
        raise UserError("the dataset would have no split", "at least one split with rows", "name its splits")
    exemptions(builder)
    for path in options.quality.against:
        check_foreign(path)
    shards = sum(_shard_count(size, config.shard_rows) for size in sizes.values())
    rows = ", ".join(f"{split} {size:,}" for split, size in sizes.items())
    sources: dict[str, str] = builder.describe(config) if hasattr(builder, "describe") else {}
    shape = {"rows": rows, "shards": f"{shards} of at most {config.shard_rows:,} rows", "seed": str(config.seed)}
    part = {"part": options.shard} if options.shard else {}
    against = {"against": ", ".join(options.quality.against)} if options.quality.against else {}
    return sources | shape | part | against


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
    took, total, files = Counter[str](), sum(sizes.values()), dict[str, list[Path]]()
    with contextlib.closing(maker), console.progress_bar("rows", total, status=maker.status) as bar:
        apart = _build_apart(builder, config, options, run.path, sizes, bar)
        for split, size in sizes.items():
            if size == 0:
                raise UserError(
                    f"split {split!r} would be empty",
                    "at least one row in every split",
                    "give it rows, or leave the split out",
                )
            inspect = functools.partial(Inspector, options.quality, exemptions(builder))
            files[split] = _shards(maker, config.shard_rows, run.path, (split, size), apart, inspect, bar)
            _read_split(run.path, size, files[split], Counter(), Counter())
    quality = sift(run.path, files, options.quality)
    for split, size in sizes.items():
        manifest["splits"][split] = _read_split(run.path, size, files[split], reasons, took)
    manifest["quality"] = quality
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
    apart: Collection[Shard],
    inspect: Callable[[], Inspector],
    bar: console.ProgressBar,
) -> list[Path]:
    """Build the missing shards of a split and return all; those built `apart` moved the bar already."""
    split, size = sized
    places = [range(start, min(size, start + shard_rows)) for start in range(0, size, shard_rows)]
    files = [folder / split / f"{number:05}.jsonl" for number in range(len(places))]
    missing = [place for file, own in zip(files, places, strict=True) if not file.is_file() for place in own]
    made = maker.make(split, missing)
    for number, (file, own) in enumerate(zip(files, places, strict=True)):
        if file.is_file():
            bar.advance(0 if (split, number, size) in apart else len(own))
        else:
            build_shard(made, folder, split, number, own, inspect(), bar)
    return files


def _read_split(
    folder: Path, size: int, files: Sequence[Path], reasons: Counter[str], took: Counter[str]
) -> dict[str, Any]:
    """Return a split's entry in the manifest; count its rejects and what it took.

    Raises:
        UserError: all of its rows were rejected.
    """
    shards = [read_shard(folder, file, reasons, took) for file in files]
    rows = sum(shard["rows"] for shard in shards)
    if rows == 0:
        raise UserError(
            f"all {size} rows of split {files[0].parent.name!r} were rejected: {_most_common(reasons)}",
            "at least one good row",
            f"see {folder / 'rejects'}",
        )
    return {"rows": rows, "shards": shards}


def _build_apart(
    builder: Builder,
    config: Any,
    options: BuildOptions,
    folder: Path,
    sizes: dict[str, int],
    bar: console.ProgressBar,
) -> set[Shard]:
    """Build the missing shards in worker processes, where more than one is asked for, and return which those were."""
    given = getattr(config, "workers", 1)
    workers = cores() if given == "auto" else given
    counts = {split: _shard_count(size, config.shard_rows) for split, size in sizes.items()}
    every = [(split, number, sizes[split]) for split, count in counts.items() for number in range(count)]
    missing = [shard for shard in every if not (folder / shard[0] / f"{shard[1]:05}.jsonl").is_file()]
    if workers < 2 or len(missing) < 2:
        return set()

    def done(shard: Shard) -> None:
        bar.advance(len(places_of(config, shard)))

    build_shards(builder, config, options, folder, missing, workers, done)
    return set(missing)
