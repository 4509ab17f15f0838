"""What is thrown away of what a teacher writes: leaks of the reference, repetition, other scripts, doubled texts."""

import re

from mmreflect.answers.extract import boxes
from mmreflect.answers.markup import sentences
from mmreflect.quality.texts import check_patterns, grams, latin_share, leak_in, likeness, repetition_in

__all__ = [
    "LEAKS",
    "check_patterns",
    "grams",
    "latin_share",
    "leak_in",
    "likeness",
    "repetition_in",
    "says",
    "sentence_count",
    "unboxed",
]

LEAKS = (
    r"ground[- ]?truth",
    r"\bgold(en)? (answer|label|solution|standard)\b",
    r"\b(reference|standard|official|model) (answer|solution)s?\b",
    r"\b(answer|solution) key\b",
    r"\b(given|provided|supplied|expected|known|stated|target) (correct |right |true )?(answer|solution)\b",
    r"\b(answer|solution) (is|was|has been) (already )?(given|provided|supplied|told|stated|known)\b",
    r"\b(I|we) (was|were|am|are|have been) (given|told|provided with|shown) the\b[^.]{0,20}\b(answer|solution)\b",
    r"\baccording to the (key|reference|solution|label)\b",
    r"\b(matches|match|agrees|agree|consistent) with the (reference|key|label|given|provided)\b",
)
"""Ways of saying that the answer was given; matched whatever the case."""


def sentence_count(text: str) -> int:
    """Return how many sentences and lines with a letter a text has."""
    return sum(any(character.isalpha() for character in piece) for piece in sentences(text))


def unboxed(text: str) -> str:
    r"""Return a text with what its boxes hold in their places, so that none of it is marked as the answer."""
    for box in reversed(boxes(text)):
        text = text[: box.start] + unboxed(box.text) + text[box.end :]
    return text


def says(text: str, value: str) -> bool:
    """Tell whether a text holds a value as a word or number of its own, whatever the case."""
    return re.search(rf"(?<![\w.]){re.escape(value)}(?![\w]|\.\d)", text, re.IGNORECASE) is not None
