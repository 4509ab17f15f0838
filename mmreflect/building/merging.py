"""Putting the parts of a dataset together: what came of `shard=1/4` to `shard=4/4` becomes one dataset.

mmreflect build merge OUT PART PART ... [quality.against=[FILE]]

How rows are compared is decided here, where all of them are there: `quality.against` and what else is of the comparison
can be given, and takes the place of what the parts were built with.

Its files are those of a build without parts, to the byte. Pictures and videos are linked where OUT lies on the same
file system, and copied elsewhere; the parts are left as they are. Killed and started again, it goes on.
"""

import contextlib
import errno
import functools
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.building.builder import Builder
from mmreflect.building.changes import comparison_keys, marks_alike, open_settings, unanswered_keys
from mmreflect.building.inspecting import write_asked
from mmreflect.building.manifest import Tally, added, refuse_empty, say_rejected, write_manifest
from mmreflect.building.options import BuildOptions, parse_build
from mmreflect.building.parts import SOURCES, Part, read_part
from mmreflect.building.running import open_maker
from mmreflect.building.shards import Beside, read_shard, room_on_disk, row_file, shards_of
from mmreflect.building.sifting import sifted
from mmreflect.building.workers import Shard
from mmreflect.config import Keys, Tree, apply_overrides, differences, free_keys, without
from mmreflect.data.checksums import changed_media, sha256_of
from mmreflect.errors import UserError
from mmreflect.files import read_jsonl, sync_folder, write_atomic
from mmreflect.runs import Run, finished_run, open_run


def part_names(folders: Sequence[str]) -> str:
    """Return the builder's name of the first folder, which its leaf is found by.

    Raises:
        UserError: no folder is named, or it holds no finished part.
    """
    if not folders:
        raise UserError("no parts are named", "the output folders of all parts", "name them behind OUT")
    return read_part(folders[0]).name


def merge_parts(builder: Builder, output: str, folders: Sequence[str], settings: Sequence[str] = ()) -> Run:
    """Write the dataset that all parts are of, as a build without parts leaves it.

    Args:
        settings: of the comparison, as `quality.against=[FILE]`, in the place of the parts' own.

    Raises:
        UserError: a part is missing, stands twice, was made in another way (the keys that differ are named), or is not
            whole; a setting is not one of the comparison; a split has no row; or an id or a question stands in two
            splits.
    """
    parts = sorted((read_part(folder) for folder in folders), key=lambda part: part.number)
    first = parts[0]
    tree = _whole_tree(builder, parts, output, settings)
    config, options = _parsed(builder, tree, first)
    free = free_keys(config) + free_keys(options)
    _check_whole(parts, free + unanswered_keys(config) + _given(settings))
    free += open_settings(Path(output), options.quality)
    known = finished_run(output, "build", first.name, tree, first.inputs, free)
    if known is not None:
        console.say(f"[green]{output}[/] is finished already; nothing to do")
        return known
    run = open_run(output, "build", first.name, tree, first.inputs, free)
    write_asked(run.path, builder, options.quality)
    tally, moved = Tally(), Counter[str]()
    _check_beside(first, first.sources)
    if first.sources:
        write_atomic(run.path / SOURCES, (first.path / SOURCES).read_bytes())
        tally.left_out = Counter(row["reason"] for row in read_jsonl(run.path / SOURCES))
    built = {entry["file"]: (part, entry) for part in parts for entries in part.shards.values() for entry in entries}
    for split, size in first.sizes.items():
        tally.shards[split] = [
            _take(*built[str(row_file(Path(), shard))], run.path, shard, tally, moved)
            for shard in shards_of(config, {split: size})
        ]
        refuse_empty(split, size, tally, run.path)
    tally, quality = sifted(run.path, first.sizes, tally, options.quality)
    with contextlib.closing(open_maker(builder, config)) as maker:
        write_manifest(run.path, first.name, config, tally, maker, quality)
    say_rejected(tally, run.path)
    run.finish({**tally.found(), **_spent(parts), "parts": len(parts)})
    media = "".join(f", {number:,} media {how}" for how, number in sorted(moved.items()))
    console.say(f"{len(parts)} parts, {console.count(sum(tally.rows().values()), 'row')}{media}: {output}")
    return run


def _whole_tree(builder: Builder, parts: Sequence[Part], output: str, settings: Sequence[str]) -> Tree:
    """Return the whole's configuration: that of its parts, and what is given of the comparison.

    Where one part leaves out what a server did not answer, so does the whole.
    """
    first, given = parts[0], _given(settings)
    tree = apply_overrides({**first.config, "output": output, "shard": None}, settings)
    config, options = _parsed(builder, tree, first)
    _, own = _parsed(builder, first.config, first)
    if given and not marks_alike(own.quality, options.quality):
        raise UserError(
            f"{', '.join(settings)} asks for what the parts have not noted of their rows",
            "a comparison by what was noted: all of them looked for repeats in the same way, or for none",
            "remove it, or build the parts anew with it",
        )
    for *above, last in unanswered_keys(config):
        if any(_at(part.config, [*above, last]) == "reject" for part in parts):
            _at(tree, above)[last] = "reject"
    return tree


def _parsed(builder: Builder, tree: Tree, first: Part) -> tuple[Any, BuildOptions]:
    plain = {key: value for key, value in tree.items() if key != "builder"}
    return parse_build(builder.Config, plain, str(first.path / "config.yaml"))


def _at(tree: Any, keys: Sequence[str | int]) -> Any:
    for key in keys:
        tree = tree[key]
    return tree


def _given(settings: Sequence[str]) -> list[Keys]:
    """Return where the settings stand that are given.

    Raises:
        UserError: one is not of the comparison.
    """
    known = {".".join(map(str, keys)): keys for keys in comparison_keys()}
    for word in settings:
        if word.split("=")[0] not in known:
            raise UserError(
                f"cannot use {word!r} here",
                f"OUT and the folders of all parts, and how rows are compared: {', '.join(known)}",
                "remove it",
            )
    return [known[word.split("=")[0]] for word in settings]


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
                "build them in the same way, or where only the comparison differs, say it here: quality.against=[FILE]",
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
    _check_beside(part, entry["beside"])
    if found := changed_media(part.path, source, entry["media"]):
        raise _not_whole(part, found)
    there = all((folder / name).is_file() for name in entry["beside"])
    if not there or not target.is_file() or target.read_bytes() != content:
        split, number, _ = shard
        own = Beside.of(folder, split, number)
        with room_on_disk(folder):
            own.clear()
            _bring_media(Beside.of(part.path, split, number).media, own.media, moved)
            for name in entry["beside"]:
                write_atomic(folder / name, (part.path / name).read_bytes())
            write_atomic(target, content)
    return read_shard(folder, target, tally.reasons, tally.took)


def _check_beside(part: Part, beside: dict[str, str]) -> None:
    """Compare what lies beside the rows of a shard with its checksums.

    Raises:
        UserError: a file is missing or was changed.
    """
    for name, mark in beside.items():
        if not (part.path / name).is_file():
            raise _not_whole(part, f"{part.path / name} is missing")
        if sha256_of(part.path / name) != mark:
            raise _not_whole(part, f"{part.path / name} is not what was built: its checksum is another")


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


def _not_whole(part: Part, found: str) -> UserError:
    return UserError(
        found,
        "the files of every part as its build has left them",
        f"copy {part.path} here again, or delete that folder and build part {part.number}/{part.total} anew",
    )
