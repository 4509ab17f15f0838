"""What a dataset holds, in one pass over its rows: counts, shares, lengths, and rows to look at drawn by seed.

Nothing here asks whether the build is finished: a survey of the shards so far is one too.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmreflect.data.store import MANIFEST, Row, read_rows
from mmreflect.files import read_json
from mmreflect.records import text_of

MOST_VALUES = 12
"""A fact with more different values than this has no shares."""
LONGEST_VALUE = 40
"""Characters; a fact with a longer value has none either."""
ROWS_PER_KIND = 12
"""Rows of one kind of one split that are drawn at most, unless another number is asked for."""
KINDS = ("kind", "regime")
"""Facts that together tell kinds of rows apart."""


@dataclass(slots=True)
class Lengths:
    """How long some texts are; exact, however many there are."""

    words: Counter[int] = field(default_factory=Counter)
    characters: Counter[int] = field(default_factory=Counter)

    def add(self, text: str) -> None:
        """Count one text; words are what stands between blanks."""
        self.words[len(text.split())] += 1
        self.characters[len(text)] += 1


def quantile(counts: Counter[int], share: float) -> int | None:
    """Return the smallest value that at least this share of the values does not exceed; None where there are none."""
    total, seen = sum(counts.values()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= share * total:
            return value
    return None


def mean(counts: Counter[int]) -> float | None:
    """Return the mean of counted values; None where there are none."""
    total = sum(counts.values())
    return sum(value * count for value, count in counts.items()) / total if total else None


@dataclass(slots=True)
class SplitSurvey:
    """A split.

    Attributes:
        shapes: how many rows are a conversation with its target (`sft`), a pair (`pairs`) or a question (`prompts`).
        facts: how often each fact has each value, for facts with few and short values; over `rows`.
        varied: the facts that have no such values.
        lengths: by what it is: question, response, chosen, rejected.
        media: how many pictures and videos the rows show, by `image` and `video`.
        with_media: how many rows show any.
        drawn: rows to look at, by kind, in the order in which they were drawn.
    """

    name: str
    shards: int
    rows: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    facts: dict[str, Counter[str]] = field(default_factory=dict)
    lengths: dict[str, Lengths] = field(default_factory=dict)
    media: Counter[str] = field(default_factory=Counter)
    with_media: int = 0
    answered: int = 0
    drawn: dict[str, list[Row]] = field(default_factory=dict)
    varied: set[str] = field(default_factory=set)

    def sample(self, most: int) -> list[Row]:
        """Return at most so many of the drawn rows: one of every kind in turn, so that each kind has its share."""
        rounds = max((len(rows) for rows in self.drawn.values()), default=0)
        turns = [rows[place] for place in range(rounds) for _, rows in sorted(self.drawn.items()) if place < len(rows)]
        return sorted(turns[:most], key=lambda row: kind_of(row))


def survey_split(
    folder: Path, name: str, shards: Sequence[str], seed: int = 0, each: int = ROWS_PER_KIND
) -> SplitSurvey:
    """Read every row of a split once.

    Args:
        shards: its files, relative to the folder.
        seed: which rows are drawn; the same seed and rows give the same ones.
        each: how many of each kind.

    Raises:
        UserError: a shard is missing, or a line of it is no JSON object.
    """
    found = SplitSurvey(name, len(shards))
    draws: dict[str, list[tuple[int, int, Row]]] = {}
    for shard in shards:
        for row in read_rows(folder / shard):
            _count(found, row)
            _draw(draws.setdefault(kind_of(row), []), row, seed, found.rows, each)
    found.varied = {key for key, values in found.facts.items() if not _few(values)}
    found.facts = {key: values for key, values in found.facts.items() if key not in found.varied}
    found.drawn = {
        kind: [row for _, _, row in sorted(heap, key=lambda item: (-item[0], item[1]))] for kind, heap in draws.items()
    }
    return found


def shared_facts(splits: Sequence[SplitSurvey]) -> list[tuple[str, str]]:
    """Return the facts and values that have shares.

    Left out is a fact that has too many values in some split, or that nearly names every row of the dataset.
    """
    varied = {key for split in splits for key in split.varied}
    values: dict[str, set[str]] = {}
    for split in splits:
        for key, counts in split.facts.items():
            values.setdefault(key, set()).update(counts)
    rows = sum(split.rows for split in splits)
    kept = [key for key, found in values.items() if key not in varied and (len(found) <= 2 or 2 * len(found) <= rows)]
    return [(key, value) for key in sorted(kept) for value in sorted(values[key])]


def _few(values: Counter[str]) -> bool:
    return 0 < len(values) <= MOST_VALUES and all(len(value) <= LONGEST_VALUE for value in values)


def shape_of(row: Row) -> str:
    """Say what a row trains: `pairs`, `sft`, or (`prompts`) it is a question without a target."""
    if "rejected" in row:
        return "pairs"
    messages = row.get("messages") or []
    return "sft" if messages and messages[-1].get("role") == "assistant" else "prompts"


def kind_of(row: Row) -> str:
    """Return the kind of a row by its facts, empty where they name none."""
    facts = row.get("facts") or {}
    return " · ".join(str(facts[key]) for key in KINDS if isinstance(facts.get(key), str))


def texts_of(row: Row) -> dict[str, str]:
    """Return the texts of a row whose length counts: what is asked, and what is to be learnt."""
    if shape_of(row) == "pairs":
        told = {side: _joined(row.get(side) or []) for side in ("chosen", "rejected")}
        return {"question": _asked(row.get("prompt") or []), **told}
    messages = row.get("messages") or []
    found = {"question": _asked(messages)}
    return found | ({"response": text_of(messages[-1]["content"])} if shape_of(row) == "sft" else {})


def said(value: object) -> str | None:
    """Return a fact's value as it is counted; None for what is no plain value."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, str | int) else None


def _count(found: SplitSurvey, row: Row) -> None:
    found.rows += 1
    found.shapes[shape_of(row)] += 1
    found.answered += row.get("answer") is not None
    media = {kind: len(row.get(f"{kind}s") or []) for kind in ("image", "video")}
    found.media.update(media)
    found.with_media += any(media.values())
    for key, value in (row.get("facts") or {}).items():
        word = said(value)
        known = found.facts.setdefault(key, Counter())
        if word is not None and (word in known or len(known) <= MOST_VALUES):  # one more than is shown tells enough
            known[word] += 1
    for name, text in texts_of(row).items():
        found.lengths.setdefault(name, Lengths()).add(text)


def _draw(heap: list[tuple[int, int, Row]], row: Row, seed: int, place: int, most: int) -> None:
    """Keep the rows whose mark is smallest: a draw without knowing how many there will be."""
    mark = hashlib.sha256(f"{seed}\0{place}\0{row.get('id')}".encode(errors="replace")).digest()
    item = (-int.from_bytes(mark[:8], "big"), place, row)
    if len(heap) < most:
        heapq.heappush(heap, item)
    elif heap and item > heap[0]:
        heapq.heapreplace(heap, item)


def _asked(messages: Iterable[Any]) -> str:
    return "\n".join(text_of(turn["content"]) for turn in messages if turn["role"] == "user")


def _joined(messages: Iterable[Any]) -> str:
    return "\n".join(text_of(turn["content"]) for turn in messages)


def holds_dataset(folder: Path) -> bool:
    """Say whether a folder is a dataset, or a build of one that is not finished."""
    mark = folder / "run.json"
    return (folder / MANIFEST).is_file() or (mark.is_file() and read_json(mark).get("verb") == "build")
