"""What is thrown away of what a teacher writes: leaks of the reference, repetition, other scripts, doubled texts."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from mmreflect.answers.extract import boxes
from mmreflect.answers.markup import sentences

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

_WORD = re.compile(r"\w+")


def check_patterns(patterns: Sequence[str]) -> None:
    """Check that all are regular expressions.

    Raises:
        ValueError: one is none.
    """
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"leaks holds {pattern!r}, which is no regular expression: {error}") from None


def leak_in(text: str, patterns: Sequence[str]) -> str | None:
    """Return the words by which a text gives away that it was written with the answer in view, or None."""
    for pattern in patterns:
        found = re.search(pattern, text, re.IGNORECASE)
        if found:
            return found.group()
    return None


def repetition_in(text: str, length: int = 8, most: int = 4) -> str | None:
    """Return a run of `length` words that a text holds more than `most` times, or None."""
    counts = Counter(grams(text, length))
    gram, count = max(counts.items(), key=lambda item: item[1], default=((), 0))
    return " ".join(gram) if count > most else None


def grams(text: str, length: int) -> list[tuple[str, ...]]:
    """Return the runs of `length` words of a text, in small letters."""
    words = [word.lower() for word in _WORD.findall(text)]
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]


def likeness(left: str, right: str, length: int = 5) -> float:
    """Return the Jaccard likeness of two texts: runs of words in both over runs in either; 1 where neither has any."""
    one, other = set(grams(left, length)), set(grams(right, length))
    return len(one & other) / len(one | other) if one | other else 1.0


def latin_share(text: str) -> float:
    """Return the share of a text's letters that are Latin or Greek (as in formulas); 1 where it has none."""
    letters = [character for character in text if character.isalpha()]
    known = sum(unicodedata.name(character, "").startswith(("LATIN", "GREEK")) for character in letters)
    return known / len(letters) if letters else 1.0


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
