"""Edit distance between texts, and the scores made of it."""

from collections.abc import Sequence

from mmreflect.answers.words import word_errors


def distance(left: str, right: str) -> int:
    """Return Levenshtein's distance in characters."""
    return word_errors(list(left), list(right))


def nearest_text(text: str, options: Sequence[str]) -> str:
    """Return the option with the least distance, the first of equal ones."""
    return min(options, key=lambda option: distance(text, option))


def anls(left: str, right: str, threshold: float = 0.5) -> float:
    """Return 1 minus the distance over the longer length; 0 where that share is `threshold` or more.

    Case and repeated blanks do not count; two empty texts are the same.
    """
    one, two = (" ".join(text.lower().split()) for text in (left, right))
    longest = max(len(one), len(two))
    share = distance(one, two) / longest if longest else 0.0
    return 1.0 - share if share < threshold else 0.0
