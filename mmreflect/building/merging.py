"""Putting the parts of a dataset together: what came of `shard=1/4` to `shard=4/4` becomes one dataset.

mmreflect build merge OUT PART PART ...

Its files are those of a build without parts, to the byte. Pictures and videos are linked where OUT lies on the same
file system, and copied elsewhere; the parts are left as they are. Killed and started again, it goes on.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.building.builder import Builder
from mmreflect.building.manifest import Tally, added, refuse_empty, say_rejected, write_manifest
from mmreflect.building.options import parse_build
from mmreflect.building.parts import Part, read_part
from mmreflect.building.running import open_maker
from mmreflect.building.shards import Beside, read_shard, room_on_disk, row_file, shards_of
from mmreflect.building.workers import Shard
from mmreflect.config import Keys, Tree, differences, free_keys, without
from mmreflect.errors import UserError
from mmreflect.files import read_jsonl, sync_folder, write_atomic
from mmreflect.runs import Run, finished_run, open_run

SOURCES = Path("rejects/sources.jsonl")


def part_names(folders: Sequence[str]) -> str:
    """Return the builder's name of the first folder, which its leaf is found by.

    Raises:
        UserError: no folder is named, or it holds no finished part.
    """
    if not folders:
        raise UserError("no parts are named", "the output folders of all parts", "name them behind OUT")
    return read_part(folders[0]).name


def merge_parts(builder: Builder, output: str, folders: Sequence[str]) -> Run:
    """Write the dataset that all parts are of, as a build without parts leaves it.

    Raises:
        UserError: a part is missing, stands twice, was made in another way (the keys that differ are named), or is not
            whole; a split has no row; or an id or a question stands in two splits.
    """
    parts = sorted((read_part(folder) for folder in folders), key=lambda part: part.number)
    first = parts[0]
    tree = {**first.config, "output": output, "shard": None}
    plain = {key: value for key, value in tree.items() if key != "builder"}
    config, options = parse_build(builder.Config, plain, str(first.path / "config.yaml"))
    free = free_keys(config) + free_keys(options)
    _check_whole(parts, free)
    known = finished_run(output, "build", first.name, tree, first.inputs, free)
    if known is not None:
        console.say(f"[green]{output}[/] is finished already; nothing to do")
        return known
    run = open_run(output, "build", first.name, tree, first.inputs, free)
    tally, moved = Tally(), Counter[str]()
    if (first.path / SOURCES).is_file():
        write_atomic(run.path / SOURCES, (first.path / SOURCES).read_bytes())
        tally.left_out = Counter(row["reason"] for row in read_jsonl(run.path / SOURCES))
    built = {entry["file"]: (part, entry) for part in parts for entries in part.shards.values() for entry in entries}
    for split, size in first.sizes.items():
        tally.shards[split] = [
            _take(*built[str(row_file(Path(), shard))], run.path, shard, tally, moved)
            for shard in shards_of(config, {split: size})
        ]
        refuse_empty(split, size, tally, run.path)
    with contextlib.closing(open_maker(builder, config)) as maker:
        write_manifest(run.path, first.name, config, tally, maker)
    say_rejected(tally, run.path)
    run.finish({**tally.found(), **_spent(parts), "parts": len(parts)})
    media = "".join(f", {number:,} media {how}" for how, number in sorted(moved.items()))
    console.say(f"{len(parts)} parts, {console.count(sum(tally.rows().values()), 'row')}{media}: {output}")
    return run


def _spent(parts: Sequence[Part]) -> dict[str, Any]:
    """Return what all parts took together, as their last starts have told it; seconds among it."""
    own = ("part", "rows", "rejected")
    results = [{key: value for key, value in part.result.items() if key not in own} for part in parts]
    found = functools.reduce(added, results)
    return {**found, "seconds": round(found["seconds"], 1)}


def _check_whole(parts: Sequence[Part], free: Sequence[Keys]) -> None:
    total, first = parts[0].total, parts[0]
    if any(part.total != total for part in parts) or [part.number for part in parts] != list(range(1, total + 1)):
        given = ", ".join(f"{part.number}/{part.total}" for part in parts)
        raise UserError(f"parts {given} are given", f"1/{total} to {total}/{total}, each once", "name all of them")
    for part in parts[1:]:
        changed = differences(_shared(first, free), _shared(part, free))
        if part.name != first.name:
            changed.insert(0, f"builder: {first.name} -> {part.name}")
        changed += [f"{key}: another one" for key, value in part.inputs.items() if first.inputs.get(key) != value]
        changed += differences(first.sizes, part.sizes, "rows")
        if changed:
            shown = "".join(f"\n    {item}" for item in changed)
            raise UserError(
                f"{first.path} and {part.path} are no parts of one dataset; they differ in:{shown}",
                "parts that differ in shard and output alone",
                "build them in the same way",
            )
        if others := differences(first.versions, part.versions):
            console.say(
                f"[yellow]{first.path} and {part.path} were built with other versions[/]: {'; '.join(others)}; "
                "the same rows may have come out otherwise"
            )


def _shared(part: Part, free: Sequence[Keys]) -> Tree:
    """Return the configuration without what tells parts apart, and what decides nothing."""
    shared: Tree = without(part.config, [("output",), ("shard",), *free])
    return shared


def _take(
    part: Part, entry: dict[str, Any], folder: Path, shard: Shard, tally: Tally, moved: Counter[str]
) -> dict[str, Any]:
    """Bring a shard into the whole, unless it is there, and return its entry in the manifest."""
    source, target = part.path / entry["file"], row_file(folder, shard)
    if not source.is_file():
        raise _not_whole(part, f"{source} is missing")
    content = source.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise _not_whole(part, f"{source} is not what was built: its checksum is another")
    if not target.is_file() or target.read_bytes() != content:
        split, number, _ = shard
        beside, own = Beside.of(part.path, split, number), Beside.of(folder, split, number)
        with room_on_disk(folder):
            own.clear()
            _bring_media(beside.media, own.media, moved)
            _check_media(part, content, folder)
            for here, there in ((beside.rejects, own.rejects), (beside.account, own.account)):
                if here.is_file():
                    write_atomic(there, here.read_bytes())
            write_atomic(target, content)
    return read_shard(folder, target, tally.reasons, tally.took)


def _bring_media(source: Path, target: Path, moved: Counter[str]) -> None:
    """Link the media of a shard, or copy them where the file system has no links to these."""
    if not source.is_dir():
        return
    target.mkdir(parents=True)
    for file in sorted(source.iterdir()):
        own = target / file.name
        if file.is_symlink():
            own.symlink_to(os.readlink(file))
            moved["linked"] += 1
            continue
        try:
            os.link(file, own)
            moved["linked"] += 1
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            shutil.copyfile(file, own)
            moved["copied"] += 1
    sync_folder(target)


def _check_media(part: Part, content: bytes, folder: Path) -> None:
    """Refuse a shard of which a medium has been lost on the way here."""
    for line in content.splitlines():
        row = json.loads(line)
        for item in [*row["images"], *row["videos"]]:
            path = item if isinstance(item, str) else item["path"]
            if not os.path.lexists(folder / path):
                raise _not_whole(part, f"{part.path / path} is missing")


def _not_whole(part: Part, found: str) -> UserError:
    return UserError(
        found,
        "the files of every part as its build has left them",
        f"copy {part.path} here again, or build part {part.number}/{part.total} anew",
    )
