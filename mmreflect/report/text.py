"""A model's answer as coloured text: blocks by tag, pieces by author, and the verdicts beside it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

from mmreflect.reflection.ledger import Entry
from mmreflect.report.pictures import Shown

Kind = Literal["plain", "think", "answer", "reflection", "interval", "shown"]

Tone = Literal["right", "wrong", "quiet"]

_KINDS: dict[str, Kind] = {
    "think": "think",
    "answer": "answer",
    "reflection": "reflection",
    "rethink": "reflection",
    "reflect": "reflection",
    "revise": "answer",
    "time_interval": "interval",
}
_TAG = re.compile(rf"</?(?:{'|'.join(_KINDS)})>")
_LONGEST = 12_000
"""Characters of one answer that are shown; what is cut is said."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Text of one author in one stage, as the run recorded it."""

    author: str
    stage: str
    text: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of one author inside a block; `tag`: it is one of the layout's tags."""

    text: str
    author: str
    stage: str
    tag: bool


@dataclass(slots=True)
class Block:
    """A think, answer, reflection or interval block with its tags, text outside of any, or what the environment showed.

    `media` are the pictures and film strips of the latter, below its words.
    """

    kind: Kind
    pieces: list[Piece] = field(default_factory=list)
    media: list[Shown] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Chip:
    """A verdict in words; `tone` colours it."""

    text: str
    tone: Tone


def blocks(segments: Sequence[Segment]) -> list[Block]:
    """Cut an answer into blocks; a block may run over several authors, as a forced reflection does."""
    found: list[Block] = []
    for shown, run in groupby(_shortened(segments), key=lambda segment: segment.author == "environment"):
        listed = list(run)
        if shown:
            found.append(Block("shown", [Piece(item.text, item.author, item.stage, False) for item in listed]))
        else:
            found.extend(_tagged(listed))
    return found


def _tagged(segments: Sequence[Segment]) -> list[Block]:
    whole = "".join(segment.text for segment in segments)
    found: list[Block] = []
    kind: Kind = "plain"
    for start, end, tag in _regions(whole):
        opening = tag and whole[start + 1] != "/"
        if opening:
            kind = _KINDS[whole[start + 1 : end - 1]]
            found.append(Block(kind))
        elif not found or (not tag and kind == "plain" and whole[start:end].strip()):
            found.append(Block("plain"))
        found[-1].pieces.extend(_pieces(segments, start, end, tag))
        if tag and not opening:
            kind = "plain"
    return found


def _regions(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield start and end of each tag and of the text between tags."""
    last = 0
    for match in _TAG.finditer(text):
        if match.start() > last:
            yield last, match.start(), False
        yield *match.span(), True
        last = match.end()
    if last < len(text):
        yield last, len(text), False


def _pieces(segments: Sequence[Segment], start: int, end: int, tag: bool) -> Iterator[Piece]:
    """Cut a region where its author changes."""
    place = 0
    for segment in segments:
        low, high = max(start, place) - place, min(end, place + len(segment.text)) - place
        if low < high:
            yield Piece(segment.text[low:high], segment.author, segment.stage, tag)
        place += len(segment.text)


def _shortened(segments: Sequence[Segment]) -> Iterator[Segment]:
    left = _LONGEST
    for segment in segments:
        if len(segment.text) > left:
            cut = len(segment.text) - left
            yield Segment(segment.author, segment.stage, f"{segment.text[:left]} [... {cut:,} more characters]")
            return
        left -= len(segment.text)
        yield segment


def verdicts(
    first: str | None, final: str | None, first_correct: bool | None, final_correct: bool | None, stop: str = "eos"
) -> list[Chip]:
    """Return the chips of an answer: the first try, the final answer, and what became of the first."""
    chips = [verdict_chip("first", first, first_correct), verdict_chip("final", final, final_correct)]
    outcome = outcome_of(first_correct, final_correct)
    if outcome in ("fixed", "harmed"):
        chips.append(Chip(outcome, "right" if outcome == "fixed" else "wrong"))
    if stop != "eos":
        chips.append(Chip(f"stopped by {stop}", "quiet"))
    return chips


def verdict_chip(name: str, answer: str | None, correct: bool | None) -> Chip:
    """Return the chip of one answer: what it is called, the answer, and whether it is right."""
    shown = "no answer" if answer is None else answer if len(answer) <= 40 else answer[:39] + "…"
    if correct is None:
        return Chip(f"{name} {shown}: not graded", "quiet")
    return Chip(f"{name} {shown} {'✓ right' if correct else '✗ wrong'}", "right" if correct else "wrong")


Outcome = Literal["fixed", "harmed", "stayed right", "stayed wrong", "not graded"]
OUTCOMES: tuple[Outcome, ...] = ("fixed", "harmed", "stayed right", "stayed wrong", "not graded")


def outcome_of(first_correct: bool | None, final_correct: bool | None) -> Outcome:
    """Say what became of a first answer."""
    if first_correct is None or final_correct is None:
        return "not graded"
    if final_correct:
        return "stayed right" if first_correct else "fixed"
    return "harmed" if first_correct else "stayed wrong"


TRANSITIONS = (
    *("fixed", "harmed", "confirmed right", "confirmed wrong", "changed, still wrong", "right without reflection"),
    *("wrong without reflection", "right, no first try", "wrong, no first try", "not graded"),
)


def transition_of(known: Entry) -> str:
    """Say what reflecting did to an answer, one of `TRANSITIONS`."""
    outcome = outcome_of(known.first_correct, known.final_correct)
    if outcome not in ("stayed right", "stayed wrong"):
        return outcome
    word = "right" if outcome == "stayed right" else "wrong"
    if not known.reflected:
        return f"{word} without reflection"
    return "changed, still wrong" if known.corrective and word == "wrong" else f"confirmed {word}"
