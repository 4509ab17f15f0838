"""A row of a dataset to read: its media, its question, its target or both sides of a pair, and what its facts say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreflect.answers.intervals import interval_of
from mmreflect.data.store import Row, sample_from_row
from mmreflect.records import Sample, text_of
from mmreflect.report.album import Album
from mmreflect.report.boxes import annotated, boxes_of
from mmreflect.report.data import Choice, whole_of, word
from mmreflect.report.layout import Example, Reply
from mmreflect.report.looks import titles
from mmreflect.report.text import Block, Chip, Segment, blocks
from mmreflect.report.timeline import timeline

_LONGEST_FACT = 160
_REJECT_KEYS = ("split", "index", "id", "reason")
_REJECT_TEXTS = {"question": "", "response": "rejected", "losing": "shall lose"}
"""Texts that the log keeps, and what a reply is called that is one."""
_KIND = ("kind", "regime", "skill", "error_kind")
_DRAWN = ("chart", "boxes")
_JUDGED = ("first_answer", "first_correct", "final_answer", "final_correct")


def row_example(row: Row, folder: Path, album: Album) -> Example:
    """Return a row as the page shows it.

    Raises:
        UserError: it does not fit the layout of a dataset.
    """
    sample = sample_from_row(row, folder)
    event, whole = interval_of(sample.facts.get("gt_interval")), whole_of(sample.facts, sample.media)
    drawn = timeline(Choice(None, event, whole))
    media = album.show(sample.media, titles(sample.media))
    picture = next((item for item in sample.media if item.kind == "image" and item.crop is None), None)
    boxes = boxes_of(sample.facts)
    if picture is not None and boxes and (noted := annotated(picture, boxes)):
        media = [*media, noted]
    return Example(
        sample.id, _asked(sample), sample.gold, media, _replies(row, sample), _kind(row), drawn, _facts(sample)
    )


def reject_words(row: Row) -> tuple[str, str]:
    """Return where a rejected row stood, and what the log says of it beside the reason."""
    place = " ".join(str(row[key]) for key in ("split", "index") if key in row)
    name = f"{place} {row['id']}".strip() if "id" in row else place
    told = "; ".join(f"{key}: {_said(value)}" for key, value in row.items() if key not in _REJECT_KEYS)
    return name, told or "nothing more"


def reject_example(row: Row) -> Example:
    """Return a rejected row whose texts the log keeps, with its reason and what the log says beside it."""
    name, told = reject_words({key: value for key, value in row.items() if key not in _REJECT_TEXTS})
    reason = Chip(str(row.get("reason", "")), "wrong")
    sides = [(label, row[key]) for key, label in _REJECT_TEXTS.items() if isinstance(row.get(key), str) and label]
    replies = [
        Reply(label, [reason], blocks([Segment("model", "target", text)]), [_length(text)]) for label, text in sides
    ]
    if not replies:
        replies = [Reply("", [reason], [], ["no response"])]
    return Example(name, str(row["question"]), None, [], replies, facts=[("the log says", told)])


def _replies(row: Row, sample: Sample) -> list[Reply]:
    if "rejected" in row:
        lost = "\n".join(text_of(turn["content"]) for turn in row["rejected"])
        sides = (
            ("chosen", Chip("shall win", "right"), sample.response or ""),
            ("rejected", Chip("shall lose", "wrong"), lost),
        )
        return [
            Reply(name, [chip], blocks([Segment("model", "target", text)]), [_length(text)])
            for name, chip, text in sides
        ]
    if sample.response is None:
        return []
    return [Reply("target", _chips(sample.facts), _target(sample), [_length(sample.response)])]


def _length(text: str) -> str:
    return f"{len(text.split()):,} words, {len(text):,} characters"


def _chips(facts: Mapping[str, Any]) -> list[Chip]:
    """Say of the first and the final answer what they are and whether they are right."""
    found = []
    for name in ("first", "final"):
        answer, correct = facts.get(f"{name}_answer"), facts.get(f"{name}_correct")
        if answer is None and correct is None:
            continue
        said = "" if answer is None else f" {_said(answer, 40)}"
        if correct is None:
            found.append(Chip(f"{name}{said}: not graded", "quiet"))
        else:
            found.append(Chip(f"{name}{said} {'✓ right' if correct else '✗ wrong'}", "right" if correct else "wrong"))
    return found


def _target(sample: Sample) -> list[Block]:
    """Return everything after the first user turn: what SFT learns, and what is shown in between.

    Where facts say how long the wrong beginning is, what follows it is the reflection.
    """
    first = next((place for place, turn in enumerate(sample.messages) if turn["role"] == "user"), -1)
    turns = [(turn["role"], text_of(turn["content"])) for turn in sample.messages[first + 1 :]]
    authors = {"assistant": "model"}
    before = [Segment(authors.get(role, "environment"), "target", text) for role, text in turns]
    response, wrong = sample.response or "", sample.facts.get("error_prefix")
    found = blocks([*before, Segment("model", "target", response)])
    if not isinstance(wrong, int) or not 0 < wrong < len(response) or any(block.kind != "plain" for block in found):
        return found
    start = blocks([*before, Segment("model", "target", response[:wrong])])
    rest = blocks([Segment("model", "target", response[wrong:])])
    return [*start, *(Block("reflection", block.pieces) for block in rest)]


def _asked(sample: Sample) -> str:
    """Return the text of the first user turn: what a conversation begins with."""
    return next((text_of(turn["content"]) for turn in sample.messages if turn["role"] == "user"), "")


def _kind(row: Row) -> str:
    facts = row.get("facts") or {}
    return " · ".join(str(facts[key]) for key in _KIND if isinstance(facts.get(key), str))


def _facts(sample: Sample) -> list[tuple[str, str]]:
    system = [text_of(turn["content"]) for turn in sample.messages if turn["role"] == "system"]
    found = [("system prompt", _said(text)) for text in system]
    seen = {*_KIND, *(_JUDGED if sample.response is not None else ()), *(_DRAWN if boxes_of(sample.facts) else ())}
    for key, value in sample.facts.items():
        if value in (None, "", [], {}) or key in seen:
            continue
        found.append((key.replace("_", " "), _said(value)))
    return found


def _said(value: Any, most: int = _LONGEST_FACT) -> str:
    text = _words(value)
    return text if len(text) <= most else f"{text[: most - 1]}… ({len(text):,} characters)"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(_words(item) for item in value)
    return word(value)
