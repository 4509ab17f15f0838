"""Rows of a release as questions: an item to score, a sample to ask, and the row that scoring needs."""

import datetime
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.data.loading import Quarantined
from mmreflect.errors import UserError
from mmreflect.evaluation.benchmark import BadField, Column, Item, MissingField, Row
from mmreflect.evaluation.releases.release import Release, name_of
from mmreflect.files import to_json, write_jsonl
from mmreflect.records import Media, Message, Sample, Turn

_FIRST = 3
_NOTHING = object()


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
    for row in release.rows():
        name = name_of(release.benchmark, row)
        try:
            found = question_of(release, row)
        except (UserError, BadField) as error:
            reason = error.given if isinstance(error, UserError) else str(error)
            aside.append(Quarantined(name.partition(" ")[2].strip("'"), reason))
            continue
        except MissingField as error:
            aside.append(Quarantined(name.partition(" ")[2].strip("'"), f"no {' or '.join(map(repr, error.names))}"))
            continue
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


def question_of(release: Release, row: Row) -> Question:
    """Return the question of one row.

    Raises:
        UserError: a medium is missing or cannot be read.
        BadField, MissingField: the row holds what the benchmark never has, or lacks what its prompt needs.
    """
    item = release.benchmark.item(row, release.files, release.style)
    turns, prefill = split_prefill(item.turns)
    facts = {key: value for key, value in plain(item.facts).items() if value is not None}
    if prefill:
        facts["prefill"] = prefill
    messages, media = messages_of(turns)
    gold = item.gold if isinstance(item.gold, str) or item.gold is None else to_json(plain(item.gold))
    sample = Sample(item.id, messages, media, gold, facts=facts)
    return Question(item.id, item, sample, plain_row(row, release.benchmark.columns, item.id), prefill)


def split_prefill(turns: Sequence[Turn]) -> tuple[Sequence[Turn], str]:
    """Return the turns without an assistant's turn at their end, and its text."""
    *before, last = turns
    if last.role != "assistant":
        return turns, ""
    return before, "".join(part for part in last.content if isinstance(part, str))


def messages_of(turns: Sequence[Turn]) -> tuple[list[Message], list[Media]]:
    """Return turns as messages, with their media in the order of the placeholders."""
    media = [part for turn in turns for part in turn.content if isinstance(part, Media)]
    messages = [
        {
            "role": turn.role,
            "content": [
                {"type": part.kind} if isinstance(part, Media) else {"type": "text", "text": part}
                for part in turn.content
            ],
        }
        for turn in turns
    ]
    return messages, media


def plain_row(row: Row, columns: Sequence[Column], name: str) -> dict[str, Any]:
    """Return a row as plain JSON values, without pictures, under its question's id."""
    pictures = {column.name for column in columns if column.kind == "picture"}
    made = {key: plain(value) for key, value in row.items() if key not in pictures}
    return {"id": name} | {key: value for key, value in made.items() if value is not _NOTHING and key != "id"}


def plain(value: Any) -> Any:
    """Return a value in the form that JSON has; NaN and infinity become None, and bytes and pictures are left out."""
    if isinstance(value, dict):
        if isinstance(value.get("bytes"), bytes):
            return _NOTHING
        pairs = {str(key): plain(item) for key, item in value.items()}
        return {key: item for key, item in pairs.items() if item is not _NOTHING}
    if isinstance(value, list | tuple):
        return [item for item in map(plain, value) if item is not _NOTHING]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return _NOTHING


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
