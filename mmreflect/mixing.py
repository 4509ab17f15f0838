"""Published datasets as one: their questions drawn, mixed, and split so that what they show stands in one split.

A source is a layout (`mmreflect/layouts/`) with where its files lie. What becomes no question is counted by reason, and
named row by row. All of it depends on the seed and on ids alone: another source, or another limit, changes nobody
else's draw.
"""

import functools
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mmreflect.components import LayoutOption
from mmreflect.config import Component, config, parse, to_tree
from mmreflect.errors import UserError
from mmreflect.files import content_mark, to_json
from mmreflect.layouts import Dropped, Question

ENDS = 1 << 20
"""Bytes at both ends of a parquet file that stand for it, with its size: the last ones hold an index of all others."""

Shown = Callable[[Question], Sequence[str]]
"""Names what a question shows: two questions that show one thing stand in the same split."""


@config
class Source:
    """One source of the mixture.

    Attributes:
        layout: the release, with where its files lie.
        share: the share of its questions that is drawn.
        limit: at most so many questions; of more, they are drawn by the seed.
    """

    layout: LayoutOption
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    limit: Annotated[int, Field(gt=0)] | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """What all sources give together.

    Attributes:
        splits: the questions of each split, in order.
        lines: what became of each source, for the plan.
        dropped: the rows that became no question, with their reasons.
        details: the names of the details of all drawn questions, each with None: rows of one dataset have the same
            facts, whatever their source, so that tools with fixed columns load them.
    """

    splits: dict[str, list[Question]]
    lines: dict[str, str]
    dropped: list[dict[str, Any]]
    details: dict[str, None]


def annotation_marks(sources: Sequence[Source]) -> dict[str, str]:
    """Return marks of the annotation files, so that a changed one is another dataset."""
    return {file: _mark(file) for file in _files(sources)}


def collect(sources: Sequence[Source], seed: int, validation: float, shown: Shown) -> Collected:
    """Read, draw, mix and split all sources, once for a state of their annotation files.

    Args:
        validation: the share of the questions in the validation split; one thing shown at least stays in train.

    Raises:
        UserError: a file is not laid out as its layout says, or a source gives no question.
    """
    tree = to_json([to_tree(source) for source in sources])
    return _collect(tree, tuple(_state(file) for file in _listed(tree)), seed, validation, shown)


@functools.lru_cache(maxsize=8)
def _listed(tree: str) -> tuple[str, ...]:
    """Return the annotation files of sources; once, as it is asked for every row, and a folder may be large."""
    return tuple(_files(_sources(tree)))


def _sources(tree: str) -> list[Source]:
    return parse(_Sources, {"sources": json.loads(tree)}, "the sources").sources


def _files(sources: Sequence[Source]) -> list[str]:
    return list(dict.fromkeys(file for source in sources for file in _release(source.layout).files))


def _release(layout: Component) -> Any:
    return layout.module.create(layout.options)


def _mark(file: str) -> str:
    if Path(file).is_dir():
        listed = [(str(path.relative_to(file)), content_mark(str(path))) for path in _inside(file)]
        return hashlib.sha256(to_json(listed).encode()).hexdigest()
    if not file.endswith(".parquet") or not Path(file).is_file():
        return content_mark(file)
    size = os.stat(file).st_size
    with open(file, "rb") as opened:
        head = opened.read(ENDS)
        opened.seek(max(0, size - ENDS))
        return hashlib.sha256(head + opened.read(ENDS) + str(size).encode()).hexdigest()


def _state(file: str) -> tuple[str, int, int]:
    """Return what tells that a file has changed since it was read; of a folder, that files came or went."""
    if not Path(file).exists():
        return file, 0, 0
    status = os.stat(file)
    return file, status.st_mtime_ns, status.st_size


def _inside(folder: str) -> list[Path]:
    """Return the annotations in a folder of them, which lie beside pictures in some releases."""
    return sorted(Path(folder).rglob("*.json"))


@functools.lru_cache(maxsize=2)
def _collect(
    tree: str, state: tuple[tuple[str, int, int], ...], seed: int, validation: float, shown: Shown
) -> Collected:
    sources = _sources(tree)
    kept: list[Question] = []
    lines: dict[str, str] = {}
    dropped: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, source in enumerate(sources, 1):
        label = f"source {number} {source.layout.name}"
        questions, rows = _read(source, seen)
        drawn = _drawn(questions, source, seed)
        lines[label] = _line(source, len(drawn), len(questions), rows)
        if not drawn:
            raise UserError(
                f"{label} gives no question ({lines[label]})", "at least one", "check its files and options"
            )
        kept += drawn
        named = source.layout.name
        dropped += [{"source": named, "row": row.row, "reason": f"{named}: {row.reason}"} for row in rows if row.asked]
    details = dict.fromkeys(sorted({name for question in kept for name in question.details}))
    return Collected(_split(kept, seed, validation, shown), lines, dropped, details)


@config
class _Sources:
    """A list of sources, to be read as one."""

    sources: list[Source]


def _read(source: Source, seen: set[str]) -> tuple[list[Question], list[Dropped]]:
    """Return the questions of a source whose ids stand in no source before it, and the rows that become none."""
    questions: list[Question] = []
    rows: list[Dropped] = []
    for entry in _release(source.layout).read():
        if isinstance(entry, Dropped):
            rows.append(entry)
        elif entry.id in seen:
            rows.append(Dropped(entry.id, "its id stands before"))
        else:
            seen.add(entry.id)
            questions.append(entry)
    return questions, rows


def _drawn(questions: Sequence[Question], source: Source, seed: int) -> list[Question]:
    """Draw by a hash of each question's id: another source, or another limit, changes nobody else's draw."""
    count = min(round(len(questions) * source.share), source.limit or len(questions))
    ranked = sorted(range(len(questions)), key=lambda place: _rank(seed, "draw", questions[place].id))
    return [questions[place] for place in sorted(ranked[:count])]


def _rank(seed: int, purpose: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{purpose}/{name}".encode()).digest()


def _line(source: Source, drawn: int, found: int, rows: Sequence[Dropped]) -> str:
    asked = f", {source.limit:,} asked for" if source.limit is not None and drawn < source.limit else ""
    parts = [f"{drawn:,} of {found:,} questions{asked}"]
    for word, wanted in (("dropped", True), ("not asked for", False)):
        reasons = Counter(row.reason for row in rows if row.asked is wanted)
        if reasons:
            shown = "; ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common())
            parts.append(f"{word} {sum(reasons.values()):,}: {shown}")
    return ". ".join(parts)


def _split(questions: Sequence[Question], seed: int, validation: float, shown: Shown) -> dict[str, list[Question]]:
    """Mix and split by what is shown; one thing at least stays in train.

    Mixed, the first rows are like all of them, for whoever takes a part, and `datasets`, which reads types off them.
    """
    groups = _groups(questions, shown)
    wanted = max(1, round(len(questions) * validation)) if validation else 0
    parts: dict[str, list[Question]] = {"train": [], "validation": []}
    for group in sorted(groups, key=lambda group: _rank(seed, "order", group[0].id)):
        missing = len(parts["validation"]) < wanted and len(parts["train"]) > 0
        parts["validation" if missing else "train"] += group
    return {split: part for split, part in parts.items() if part}


def _groups(questions: Sequence[Question], shown: Shown) -> list[list[Question]]:
    """Return questions that show one thing together, also by way of a third one; each group in the given order."""
    leader: dict[str, str] = {}

    def first(name: str) -> str:
        while leader.setdefault(name, name) != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    names = [list(shown(question)) or [f"question {question.id}"] for question in questions]
    for own in names:
        for other in own[1:]:
            leader[first(other)] = first(own[0])
    groups: defaultdict[str, list[Question]] = defaultdict(list)
    for question, own in zip(questions, names, strict=True):
        groups[first(own[0])].append(question)
    return list(groups.values())
