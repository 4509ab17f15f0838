"""Rows of a release as questions: an item to score, a sample to ask, and the row that scoring needs."""

import functools
import itertools
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.data.loading import Quarantined
from mmreflect.errors import UserError
from mmreflect.evaluation.benchmark import BadField, Column, Item, MissingField, Row
from mmreflect.evaluation.releases.release import Release, id_of
from mmreflect.evaluation.releases.samples import NOTHING, plain, sample_of
from mmreflect.files import write_jsonl
from mmreflect.records import Sample

BATCH_ROWS = 64
"""Rows that are in memory with their pictures at once."""
_FIRST = 3


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a benchmark.

    Attributes:
        id: unique in what is asked.
        item: as the benchmark states it.
        sample: what an environment asks: the turns up to the last one of the user, with their media.
        row: the release's row without its pictures, as plain JSON values, with `id`; with a `response` added, it is
            what `mmreflect eval rescore` reads.
        prefill: words that the benchmark puts in the model's mouth before it answers; empty for none. They are
            `sample.facts["prefill"]` as well.
    """

    id: str
    item: Item
    sample: Sample
    row: dict[str, Any]
    prefill: str = ""


@dataclass(frozen=True, slots=True)
class Questions:
    """What a release came to.

    Attributes:
        asked: in the release's order.
        aside: questions that cannot be shown, with the reason.
        left_out: records that are no questions, by reason.
    """

    asked: list[Question]
    aside: list[Quarantined] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


def questions(release: Release, report: Path | None = None) -> Questions:
    """Read the questions of a release; pictures are written into its cache.

    A question whose picture, video or subtitles are missing or cannot be read, or whose fields hold what the benchmark
    never has, is set aside, told and counted.

    Args:
        report: where those are written, as JSONL; only written when there are any.

    Raises:
        UserError: a row is not of this benchmark, an id stands twice, or more than `tolerate` was set aside.
    """
    asked: list[Question] = []
    aside: list[Quarantined] = []
    seen: Counter[str] = Counter()
    rows = release.rows()
    with ThreadPoolExecutor() as pool:
        while batch := list(itertools.islice(rows, BATCH_ROWS)):
            for found in pool.map(functools.partial(_tried, release), batch):
                if isinstance(found, Quarantined):
                    aside.append(found)
                else:
                    seen[found.id] += 1
                    asked.append(found)
    if twice := [name for name, number in seen.items() if number > 1]:
        listed = ", ".join(map(repr, twice[:_FIRST]))
        raise UserError(
            f"{release.where}: {len(twice):,} of the ids stand more than once, such as {listed}",
            "each id once",
            "remove the repeated rows, or ask one configuration at a time",
        )
    _tell(release, asked, aside, report)
    return Questions(asked, aside, dict(release.left_out))


def _tried(release: Release, row: Row) -> Question | Quarantined:
    try:
        return question_of(release, row)
    except (UserError, BadField, MissingField) as error:
        return Quarantined(id_of(release.benchmark, row), _reason(error))


def _reason(error: UserError | BadField | MissingField) -> str:
    if isinstance(error, MissingField):
        return f"no {' or '.join(map(repr, error.names))}"
    return error.given if isinstance(error, UserError) else str(error)


def question_of(release: Release, row: Row) -> Question:
    """Return the question of one row.

    Raises:
        UserError: a medium is missing or cannot be read.
        BadField, MissingField: the row holds what the benchmark never has, or lacks what its prompt needs.
    """
    item = release.benchmark.item(row, release.files, release.style)
    sample, prefill = sample_of(item)
    return Question(item.id, item, sample, plain_row(row, release.benchmark.columns, item.id), prefill)


def plain_row(row: Row, columns: Sequence[Column], name: str) -> dict[str, Any]:
    """Return a row as plain JSON values, without pictures, under its question's id."""
    pictures = {column.name for column in columns if column.kind == "picture"}
    made = {key: plain(value) for key, value in row.items() if key not in pictures}
    return {"id": name} | {key: value for key, value in made.items() if value is not NOTHING and key != "id"}


def _tell(release: Release, asked: Sequence[Question], aside: Sequence[Quarantined], report: Path | None) -> None:
    """Say what was left out and what was set aside.

    Raises:
        UserError: the share of questions set aside is above `tolerate`, or it is all of them.
    """
    for reason, number in release.left_out.items():
        console.say(f"[yellow]left out {console.count(number, 'record')}[/]: {reason}")
    if not aside:
        return
    if report is not None:
        write_jsonl(report, [{"id": item.id, "reason": item.reason} for item in aside])
    total = len(asked) + len(aside)
    first = "".join(f"\n    {item.id}: {item.reason}" for item in aside[:_FIRST])
    share, tolerate = len(aside) / total, release.settings.tolerate
    if share > tolerate or not asked:
        raise UserError(
            f"{len(aside)} of {total} questions of {release.where} cannot be shown ({share:.1%}); the first:{first}",
            f"at most {tolerate:.1%} (tolerate)",
            "add or repair the files, or raise tolerate",
        )
    where = f"; all in {report}" if report else ""
    shown = first.replace("[", "\\[")
    console.say(f"[yellow]set aside {console.count(len(aside), 'question')} of {total:,}[/]{where}{shown}")
