"""Items of a benchmark in the form of every other sample, so that any environment can ask them."""

import ast
import datetime
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmreflect.answers.spec import LETTERS, TYPES
from mmreflect.evaluation.benchmark import Item
from mmreflect.files import to_json
from mmreflect.records import Media, Message, Sample, Turn

NOTHING = object()
"""What a value without a plain form becomes."""
_CODED = re.compile(r"(?:data:image/[\w.+-]+;base64,)?[A-Za-z0-9+/]{128,}={0,2}")
"""A picture as text: no word of a question is that long."""
_OPTIONS = ("options", "candidates", "choices")
_OURS = (*_OPTIONS, "answer_type", "precision", "unit", "task", "gt_interval", "difficulty", "prefill")
"""Facts that environments and the grader read, in their own sense; a benchmark's field of such a name is in the row."""


def sample_of(item: Item) -> tuple[Sample, str]:
    """Return the sample of an item, and the words that are put in the model's mouth.

    Facts are the item's own, but for those that environments and the grader read: options by letter, a type of answer
    that the grader knows, precision and unit, and of a question for a part of the video `task` and `gt_interval`. The
    gold of an option that is given by its text is its letter.
    """
    turns, prefill = split_prefill(item.turns)
    messages, media = messages_of(turns)
    known = plain(item.facts)
    facts = {name: value for name, value in known.items() if name not in _OURS and value is not None}
    gold = item.gold if isinstance(item.gold, str) or item.gold is None else to_json(plain(item.gold))
    if options := lettered_options(known):
        facts["options"] = options
        named = [letter for letter, text in options.items() if text == gold]
        gold = named[0] if named and gold not in options else gold
    else:
        facts |= {name: known[name] for name in ("precision", "unit") if known.get(name) is not None}
        facts |= {"answer_type": known["answer_type"]} if known.get("answer_type") in TYPES else {}
    if isinstance(item.gold, list) and len(item.gold) == 2 and all(isinstance(end, int | float) for end in item.gold):
        facts |= {"answer_type": "temporal_iou", "task": "grounding", "gt_interval": list(item.gold)}
    if prefill:
        facts["prefill"] = prefill
    return Sample(item.id, messages, media, gold, facts=facts), prefill


def lettered_options(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return a question's options by letter, without the letters that a release writes in front; none: empty."""
    given = next((facts[name] for name in _OPTIONS if facts.get(name)), None)
    if isinstance(given, str):
        try:
            given = ast.literal_eval(given)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return {}
    if isinstance(given, dict):
        return {str(letter): str(text) for letter, text in given.items()}
    if not isinstance(given, list) or not 1 < len(given) <= len(LETTERS):
        return {}
    texts = [str(text) for text in given]
    if all(text.startswith(f"{letter}. ") for letter, text in zip(LETTERS, texts, strict=False)):
        texts = [text[3:].strip() for text in texts]
    return dict(zip(LETTERS, texts, strict=False))


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


def plain(value: Any) -> Any:
    """Return a value in the form that JSON has.

    NaN and infinity become None; bytes and pictures are left out, also those that are written as base64.
    """
    if isinstance(value, dict):
        if isinstance(value.get("bytes"), bytes):
            return NOTHING
        pairs = {str(key): plain(item) for key, item in value.items()}
        return {key: item for key, item in pairs.items() if item is not NOTHING}
    if isinstance(value, list | tuple):
        return [item for item in map(plain, value) if item is not NOTHING]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str) and _CODED.fullmatch(value):
        return NOTHING
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return NOTHING
