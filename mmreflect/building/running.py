"""Running a builder: deterministic, sharded, resumable, with a rejects log and a manifest written last."""

import contextlib
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.building.builder import Builder, Maker, OneByOne
from mmreflect.building.inspecting import exemptions, write_asked
from mmreflect.building.manifest import Tally, refuse_empty, say_rejected, write_manifest
from mmreflect.building.options import BuildOptions
from mmreflect.building.parts import write_part
from mmreflect.building.shards import ARRIVING, build_shard, places_of, read_shard, row_file, shards_of
from mmreflect.building.sifting import sifted
from mmreflect.building.workers import Shard
from mmreflect.config import Component, parts_of
from mmreflect.data.store import Row
from mmreflect.errors import BuildInterrupted, UserError
from mmreflect.files import write_jsonl
from mmreflect.quality.foreign import check_foreign
from mmreflect.remote.settings import ServerConfig
from mmreflect.runs import Run


def plan(builder: Builder, config: Any, options: BuildOptions) -> dict[str, str]:
    """Say what will be built.

    Raises:
        UserError: a split is empty, an evaluation set cannot be read, or the runner cannot build this.
    """
    sizes = _sizes(builder, config)
    exemptions(builder)
    for path in options.quality.against:
        check_foreign(path)
    options.runner.module.check(options.runner.options, builder, config)
    shards = len(shards_of(config, sizes))
    rows = ", ".join(f"{split} {size:,}" for split, size in sizes.items())
    sources: dict[str, str] = builder.describe(config) if hasattr(builder, "describe") else {}
    shape = {"rows": rows, "shards": f"{shards} of at most {config.shard_rows:,} rows", "seed": str(config.seed)}
    if options.shard:
        own = len(shards_of(config, sizes, options.part))
        alone = "; a server's limits hold for this part alone" if _has_limits(config) else ""
        shape["part"] = f"{options.shard}: {own} of the {console.count(shards, 'shard')}{alone}"
    if runner := options.runner.module.describe(options.runner.options, config):
        shape["runner"] = runner
    if options.quality.against:
        shape["against"] = ", ".join(options.quality.against)
    return sources | shape


def build(builder: Builder, name: str, config: Any, options: BuildOptions, run: Run) -> dict[str, Any]:
    """Build every missing shard, then write the manifest; of a part, what tells it apart in the place of that.

    Raises:
        UserError: a split is empty, or all of its rows were rejected.
        BuildInterrupted: SIGTERM came; a shard that was not finished has left nothing.
    """
    sizes, tally = _sizes(builder, config), Tally()
    own = shards_of(config, sizes, options.part)
    write_asked(run.path, builder, options.quality)
    if options.part[0] == 1:
        tally.left_out = _log_left_out(builder, config, run.path)
    maker = open_maker(builder, config)
    with _ended_by_signal(), contextlib.closing(maker), _progress(own, config, maker) as bar:
        if hasattr(maker, "watch"):
            maker.watch(bar.ahead)
        apart, spent = _build_apart(options.runner, builder, config, run.path, own, bar)
        for split, size in sizes.items():
            shards = [shard for shard in own if shard[0] == split]
            tally.shards[split] = _shards(maker, config, run.path, shards, tally, apart, bar)
            if options.shard is None:
                refuse_empty(split, size, tally, run.path)
    shutil.rmtree(run.path / ARRIVING, ignore_errors=True)
    if options.shard is None:
        tally, quality = sifted(run.path, sizes, tally, options.quality)
        write_manifest(run.path, name, config, tally, maker, quality)
    else:
        write_part(run.path, options.shard, sizes, tally)
    say_rejected(tally, run.path)
    part = {} if options.shard is None else {"part": options.shard}
    return {**part, **tally.found(), **spent, **maker.spent()}


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C: what is under way at a server is waited for and kept; a second one ends at once.

    Raises:
        BuildInterrupted: SIGTERM came.
    """

    class Asked(KeyboardInterrupt):
        """SIGTERM came; not an Exception, so that nobody takes it for a failure of a row."""

    def end(number: int, frame: object) -> None:
        raise Asked

    if threading.current_thread() is not threading.main_thread():  # only there signals can be handled
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except Asked:
        raise BuildInterrupted from None
    finally:
        signal.signal(signal.SIGTERM, before)


def open_maker(builder: Builder, config: Any) -> Maker:
    """Return what makes a leaf's rows."""
    maker: Maker = builder.open_maker(config) if hasattr(builder, "open_maker") else OneByOne(builder, config)
    return maker


def _sizes(builder: Builder, config: Any) -> dict[str, int]:
    """Return how many rows each split shall have, none of them empty."""
    sizes = builder.splits(config)
    if not sizes:
        raise UserError("the dataset would have no split", "at least one split with rows", "name its splits")
    for split, size in sizes.items():
        if size == 0:
            raise UserError(
                f"split {split!r} would be empty",
                "at least one row in every split",
                "give it rows, or leave the split out",
            )
    return sizes


def _has_limits(config: Any) -> bool:
    servers = [part for _, part in parts_of(config) if isinstance(part, ServerConfig)]
    limits = [(server.requests_per_minute, server.max_tokens_total, server.max_cost) for server in servers]
    return any(limit is not None for three in limits for limit in three)


def _progress(
    own: Sequence[Shard], config: Any, maker: Maker
) -> "contextlib.AbstractContextManager[console.ProgressBar]":
    if not own:
        console.say("this part has no shard: the dataset has fewer of them than parts; nothing is built for it")
    return console.progress_bar("rows", sum(len(places_of(config, shard)) for shard in own), status=maker.status)


def _log_left_out(builder: Builder, config: Any, folder: Path) -> Counter[str]:
    """Write the rows that a leaf takes no question from, and count them by reason."""
    rows: list[Row] = builder.left_out(config) if hasattr(builder, "left_out") else []
    if rows:
        write_jsonl(folder / "rejects" / "sources.jsonl", rows)
    return Counter(row["reason"] for row in rows)


def _shards(
    maker: Maker,
    config: Any,
    folder: Path,
    shards: Sequence[Shard],
    tally: Tally,
    apart: Collection[Shard],
    bar: console.ProgressBar,
) -> list[dict[str, Any]]:
    """Build the missing shards of a split and read the others back; those built `apart` moved the bar already."""
    missing = [shard for shard in shards if not row_file(folder, shard).is_file()]
    places = [place for shard in missing for place in places_of(config, shard)]
    made = maker.make(shards[0][0], places) if shards else iter(())
    entries = []
    for shard in shards:
        own = places_of(config, shard)
        if row_file(folder, shard).is_file():
            bar.advance(0 if shard in apart else len(own))
        else:
            build_shard(made, folder, shard[0], shard[1], own, bar)
        entries.append(read_shard(folder, row_file(folder, shard), tally.reasons, tally.took))
    return entries


def _build_apart(
    runner: Component, builder: Builder, config: Any, folder: Path, own: Sequence[Shard], bar: console.ProgressBar
) -> tuple[set[Shard], dict[str, Any]]:
    """Let the runner build the missing shards, and return which it has built, and what that took."""
    missing = [shard for shard in own if not row_file(folder, shard).is_file()]
    if not missing:
        return set(), {}
    build_missing = runner.module.create(runner.options)
    spent = build_missing(builder, config, folder, missing, lambda shard: bar.advance(len(places_of(config, shard))))
    return {shard for shard in missing if row_file(folder, shard).is_file()}, spent
