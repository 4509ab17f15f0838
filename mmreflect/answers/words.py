"""Answers in words: yes or no, plain text, and text read off a picture (OCR)."""

import re
import unicodedata

from mmreflect.answers.markup import after_phrase, plain, straighten, tidy
from mmreflect.answers.verdict import Verdict, judged, scored, ungraded

_FIRST = re.compile(r"[\W_]*([^\W_]+(?:['’][a-z]+)?)(?:\s*(?:/|,?\s*\bor\b|\band\b)\s*(yes|no)\b)?", re.IGNORECASE)


_WRAPPED = re.compile(r"\s*\\(?:text|mathrm|texttt)\s*\{([^{}]*)\}\s*")


def first_word(text: str) -> str | None:
    """Return "yes" or "no" when that is the whole first word of a text, else None; "yes or no" is neither."""
    match = _FIRST.match(plain(text))
    if match is None or match.group(1) not in ("yes", "no"):
        return None
    return match.group(1) if match.group(2) in (None, match.group(1)) else None


def grade_yes_no(answer: str, gold: str) -> Verdict:
    """Grade by the whole first word, so that "Not sure" and "I do not know" are no answer at all."""
    wanted = first_word(gold)
    if wanted is None:
        return ungraded(tidy(gold), "the reference is neither yes nor no")
    given = first_word(answer)
    if given is None and (said := after_phrase(answer)):
        given = first_word(said)
    if given is None:
        return judged(False, tidy(answer), wanted, "neither yes nor no")
    return judged(given == wanted, given, wanted, "same word" if given == wanted else "the other word")


def grade_text(answer: str, gold: str) -> Verdict:
    """Grade a text without regard to case, outer punctuation, markup and repeated blanks."""
    wanted = plain(gold) or " ".join(gold.split())
    given = plain(answer) or " ".join(answer.split())
    if given != wanted and (said := after_phrase(answer)) and plain(said) == wanted:
        given = wanted
    return judged(given == wanted, given, wanted, "same text" if given == wanted else "another text")


def grade_ocr(answer: str, gold: str) -> Verdict:
    """Score a transcript with 1 - WER, clipped to 0: words are what blanks separate, case and punctuation count."""
    wanted, given = _words(gold), _words(answer)
    if not wanted:
        return ungraded(None, "no reference answer")
    errors = word_errors(given, wanted)
    score = max(0.0, 1 - errors / len(wanted))
    return scored(score, " ".join(given), " ".join(wanted), f"{errors} of {len(wanted)} words wrong")


def _words(text: str) -> list[str]:
    wrapped = _WRAPPED.fullmatch(text)
    return unicodedata.normalize("NFC", straighten(wrapped.group(1) if wrapped else text)).split()


def word_errors(given: list[str], wanted: list[str]) -> int:
    """Return the least number of words to insert, delete or replace: Levenshtein's distance over words.

    The columns of the table are kept as bit vectors in big integers (Myers 1999, in Hyyrö's form), so that two texts
    of a thousand words take a millisecond.
    """
    places: dict[str, int] = {}
    for index, word in enumerate(wanted):
        places[word] = places.get(word, 0) | 1 << index
    ones, last = (1 << len(wanted)) - 1, 1 << max(0, len(wanted) - 1)
    plus, minus, distance = ones, 0, len(wanted)
    if not wanted:
        return len(given)
    for word in given:
        equal = places.get(word, 0)
        vertical = equal | minus
        horizontal = (((equal & plus) + plus) ^ plus) | equal
        up, down = minus | ~(horizontal | plus) & ones, plus & horizontal
        distance += bool(up & last) - bool(down & last)
        up, down = (up << 1 | 1) & ones, down << 1 & ones
        plus, minus = down | ~(vertical | up) & ones, up & vertical
    return distance
