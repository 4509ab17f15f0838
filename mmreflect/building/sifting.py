"""Comparing all rows of a dataset, and taking out those that are one too many.

What goes is a function of the marks that were written with the shards, which nothing here changes. So it can be done
again after a kill, however far it came, and ends at the same bytes: rejects first, then the row file, at last the media
that no row names any more.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.building.inspecting import marks_file, read_marks
from mmreflect.building.manifest import Tally, most_common, refuse_empty
from mmreflect.building.rejecting import texts_of_row
from mmreflect.building.shards import read_shard, room_on_disk
from mmreflect.config import to_tree
from mmreflect.data.store import Row
from mmreflect.errors import UserError
from mmreflect.files import read_json, read_jsonl, write_atomic, write_json, write_jsonl
from mmreflect.quality.checks import CHECKS
from mmreflect.quality.config import QualityConfig
from mmreflect.quality.foreign import foreign_content, read_foreign
from mmreflect.quality.marks import Mark
from mmreflect.quality.repeats import Repeat, Repeats, find_repeats

BEGUN = Path("marks/against.json")
"""Marks of the evaluation sets, written before the first row is taken out."""


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard and the span of its marks among all."""

    split: str
    file: Path
    start: int
    end: int


def sifted(folder: Path, sizes: Mapping[str, int], tally: Tally, config: QualityConfig) -> tuple[Tally, dict[str, Any]]:
    """Sift a dataset whose shards are all there; return what is known of them now, and the account of quality.

    Raises:
        UserError: as `sift`, or all rows of a split were dropped.
    """
    files = {split: [folder / shard["file"] for shard in shards] for split, shards in tally.shards.items()}
    account, fresh = sift(folder, files, config), Tally(left_out=tally.left_out)
    for split, own in files.items():
        fresh.shards[split] = [read_shard(folder, file, fresh.reasons, fresh.took) for file in own]
        refuse_empty(split, sizes[split], fresh, folder)
    return fresh, account


def sift(folder: Path, files: Mapping[str, Sequence[Path]], config: QualityConfig) -> dict[str, Any]:
    """Take out rows that repeat others or stand in an evaluation set, and return the account of quality.

    100,000 rows take about a quarter of a minute, most of it for reading marks, and 6 KB of memory each.

    Args:
        files: the row files of each split, in order; all there.

    Raises:
        UserError: an evaluation set cannot be read or has changed since, a shard and its marks do not fit, or the disk
            is full.
    """
    states: dict[str, Counter[str]] = {}
    dropped = Counter[str]()
    marks: list[Mark] = []
    shards: list[_Shard] = []
    for split, own in files.items():
        for file in own:
            counts, found = read_marks(_marks_of(folder, split, file))
            for check, numbers in counts["checks"].items():
                states.setdefault(check, Counter()).update(numbers)
            dropped.update(counts["dropped"])
            start = len(marks)
            marks.extend(found)
            shards.append(_Shard(split, file, start, len(marks)))
    account: dict[str, Any] = {
        "checks": {check: dict(sorted(states[check].items())) for check in CHECKS if check in states}
    }
    compared: dict[str, Any] = {}
    if config.compares:
        repeats = _find(folder, marks, shards, config)
        with room_on_disk(folder):
            for shard in shards:
                _take_out(folder, shard, marks, repeats)
        compared = repeats.account
        dropped.update(compared["dropped"])
        _tell_counted(folder, compared)
    return account | {"compared": compared, "dropped": dict(sorted(dropped.items())), "settings": to_tree(config)}


def _tell_counted(folder: Path, compared: Mapping[str, Any]) -> None:
    """Say what was found and stays."""
    counted = {reason: count - compared["dropped"].get(reason, 0) for reason, count in compared["found"].items()}
    told = "; ".join(f"{reason} ({count})" for reason, count in counted.items() if count)
    if told:
        console.say(f"[yellow]kept, and only counted[/]: {told}; see {folder / 'marks'}")
    if shared := compared["media_in_two_splits"]:
        console.say(f"[yellow]{shared:,} pictures or videos are shown in more than one split[/], under other questions")


def _marks_of(folder: Path, split: str, file: Path) -> Path:
    marks = marks_file(folder, split, file.stem)
    if not marks.is_file():
        raise UserError(f"{file} has no {marks}", "the marks of every shard", f"remove {file}; it is built again")
    return marks


def _find(folder: Path, marks: Sequence[Mark], shards: Sequence[_Shard], config: QualityConfig) -> Repeats:
    foreign = [read_foreign(path) for path in config.against]
    for each in foreign:
        if told := each.problems():
            console.say(f"[yellow]not compared, or not wholly[/] of {each.path}: {told}")
    splits = [shard.split for shard in shards for _ in range(shard.start, shard.end)]
    repeats = find_repeats(marks, splits, foreign, config)
    _refuse_none_left(splits, repeats)
    _remember(folder / BEGUN, {path: foreign_content(path) for path in config.against})
    return repeats


def _refuse_none_left(splits: Sequence[str], repeats: Repeats) -> None:
    """Refuse to take out all rows of a split, while another setting can still be chosen."""
    gone = [(split, repeats.dropped(place)) for place, split in enumerate(splits)]
    for split in dict.fromkeys(splits):
        why = [found for own, found in gone if own == split]
        reasons = Counter(found.reason for found in why if found is not None)
        if reasons.total() == len(why):
            raise UserError(
                f"all {len(why)} rows of split {split!r} were rejected: {most_common(reasons)}",
                "at least one good row",
                "correct quality.against, or how rows are compared, and start again; nothing has been taken out yet",
            )


def _remember(file: Path, content: dict[str, str]) -> None:
    """Refuse an evaluation set that has changed since rows were first taken out: those rows are gone."""
    known = read_json(file) if file.is_file() else content
    changed = [path for path, mark in content.items() if known.get(path) != mark]
    if changed:
        raise UserError(
            f"the evaluation set {changed[0]} has changed since this dataset was compared with it",
            "the same one until the build has finished",
            "put it back, or build into another output",
        )
    write_json(file, content)


def _take_out(folder: Path, shard: _Shard, marks: Sequence[Mark], repeats: Repeats) -> None:
    name = f"{shard.split}-{shard.file.stem}"
    _write(folder / "marks" / f"{name}-found.jsonl", _lines(shard, marks, repeats, dropped=False))
    gone = {place - shard.start for place in range(shard.start, shard.end) if repeats.dropped(place) is not None}
    rejects = folder / "rejects" / f"{name}-compared.jsonl"
    lines = shard.file.read_bytes().splitlines(keepends=True)
    whole = len(lines) == shard.end - shard.start
    if whole or not rejects.is_file():  # else they were written, with their texts, before the rows were taken out
        _write(rejects, _lines(shard, marks, repeats, dropped=True, rows=lines if whole else ()))
    if not gone:
        rejects.unlink(missing_ok=True)
        return
    if whole:
        lines = [line for place, line in enumerate(lines) if place not in gone]
        write_atomic(shard.file, b"".join(lines))
    rows = list(read_jsonl(shard.file))
    wanted = [marks[place].id for place in range(shard.start, shard.end) if place - shard.start not in gone]
    if [str(row["id"]) for row in rows] != wanted:
        raise UserError(
            f"{shard.file} does not hold the rows of its marks",
            "the shard as it was built",
            f"remove {shard.file}; it is built again",
        )
    _sweep(folder, folder / "media" / shard.split / shard.file.stem, rows)


def _write(file: Path, lines: Sequence[Row]) -> None:
    if lines:
        write_jsonl(file, lines)
    else:
        file.unlink(missing_ok=True)


def _lines(
    shard: _Shard, marks: Sequence[Mark], repeats: Repeats, *, dropped: bool, rows: Sequence[bytes] = ()
) -> list[Row]:
    """Return why rows of a shard are dropped, or what was found and only counted, a line each.

    Args:
        rows: all rows of the shard as JSON, of which the beginnings of the texts are kept; none where they are gone.
    """

    def line(place: int, why: Repeat) -> Row:
        mark = marks[place]
        texts = texts_of_row(json.loads(rows[place - shard.start])) if rows else {}
        return {**texts, "split": shard.split, "index": mark.place, "id": mark.id, "reason": why.reason, **why.facts}

    return [
        line(place, why)
        for place in range(shard.start, shard.end)
        for why in repeats.rows[place]
        if why.dropped == dropped
    ]


def _sweep(folder: Path, media: Path, rows: Sequence[Row]) -> None:
    """Remove the media of a shard that none of its rows names."""
    items = [item for row in rows for kind in ("images", "videos") for item in row[kind]]
    named = {folder / (item if isinstance(item, str) else item["path"]) for item in items}
    for file in sorted(media.glob("*")):
        if file not in named:
            file.unlink()
