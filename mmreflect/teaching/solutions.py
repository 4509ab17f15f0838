"""Solutions by their steps: split, cut after one of them, and taken without the answer that they end on."""

import re
from typing import Literal

from mmreflect.answers.extract import boxes

By = Literal["lines", "sentences"]
_ENDS = {"lines": re.compile(r"\s*\n\s*"), "sentences": re.compile(r"(?<=[.!?])\s+|\s*\n\s*")}


def steps_of(text: str, by: By) -> list[str]:
    """Split a solution into its steps: lines, or sentences and lines."""
    return [piece for piece in _ENDS[by].split(text.strip()) if piece]


def numbered(steps: list[str]) -> str:
    """Return steps as a numbered list, from 1."""
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def kept_of(text: str, step: int, by: By) -> str | None:
    """Return a solution up to and with a step, counted from 1, as it stands; None where there is no such step."""
    text = text.strip()
    ends = [match.start() for match in _ENDS[by].finditer(text)] + [len(text)]
    return text[: ends[step - 1]] if 1 <= step <= len(ends) else None


def without_answer(text: str) -> str:
    """Return a solution without the sentence that holds its last box, and without what follows; all of it if none."""
    found = boxes(text)
    if not found:
        return text
    before = text[: found[-1].start]
    return before[: max((match.end() for match in _ENDS["sentences"].finditer(before)), default=0)]
