"""Grading one answer against one reference: option letters, numbers, plain text.

"Could not grade" is a verdict of its own (`correct` None): it says that the reference is unusable, and never counts
as right or wrong.
"""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction

MAX_LENGTH = 300
"""Characters of an answer that are looked at; a longer one is no final answer."""
MAX_DIGITS = 60

_WRAPPERS = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}")
_LETTER = re.compile(r"[(\[]?\s*([A-Z])\s*[)\].:]?", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?")
_FRACTION = re.compile(r"([-+]?\d+)\s*/\s*(\d+)")
_LATEX_FRACTION = re.compile(r"([-+]?)\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of grading.

    Attributes:
        correct: None when the reference cannot be graded against.
        answer: the answer as it was understood.
        gold: the reference as it was understood.
        reason: why, in a few words.
    """

    correct: bool | None
    answer: str | None
    gold: str | None
    reason: str


def grade(answer: str | None, gold: str | None) -> Verdict:
    """Grade an answer against a reference of the kind letter, number or text.

    The reference decides the kind. Numbers are compared as exact fractions, so "0.50", "1/2" and "50e-2" are equal;
    text is compared without case, outer punctuation, quotes and repeated blanks.
    """
    if gold is None or not tidy(gold):
        return Verdict(None, None, None, "no reference answer")
    reference = tidy(gold)
    if answer is None or not tidy(answer):
        return Verdict(False, None, reference, "no answer found")
    if len(answer) > MAX_LENGTH:
        return Verdict(False, None, reference, f"answer longer than {MAX_LENGTH} characters")
    given = tidy(answer)
    wanted_letter = _LETTER.fullmatch(reference)
    if wanted_letter:
        return _grade_letter(given, wanted_letter.group(1).upper())
    wanted = number(reference)
    if wanted is not None:
        value = number(given)
        if value is None:
            return Verdict(False, given, str(wanted), "not a number")
        return Verdict(
            value == wanted, str(value), str(wanted), "equal numbers" if value == wanted else "another number"
        )
    same = _plain(given) == _plain(reference)
    return Verdict(same, _plain(given), _plain(reference), "same text" if same else "another text")


def _grade_letter(given: str, wanted: str) -> Verdict:
    match = _LETTER.fullmatch(given) or re.match(r"[(\[]?([A-Z])[)\].:]\s", given)
    letter = match.group(1).upper() if match else None
    if letter is None:
        return Verdict(False, given, wanted, "no option letter")
    return Verdict(letter == wanted, letter, wanted, "same option" if letter == wanted else "another option")


def tidy(text: str) -> str:
    """Remove markup that carries no meaning: math dollars, text wrappers, bold, quotes, a last full stop."""
    text = text.replace("−", "-").replace("\u00a0", " ").strip()
    while True:
        smaller = _WRAPPERS.sub(r"\1", text).strip().strip("$*`\"'").strip()
        if smaller == text:
            break
        text = smaller
    return text[:-1].rstrip() if text.endswith(".") and not text.endswith("..") else text


def number(text: str) -> Fraction | None:
    """Read an integer, decimal, scientific number or fraction, with thousands separators or without; else None."""
    compact = text.replace("{,}", ",").replace("\\,", "").replace("\\$", "").replace("$", "").strip()
    if re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?", compact):
        compact = compact.replace(",", "")
    latex = _LATEX_FRACTION.fullmatch(compact)
    if latex:
        compact = f"{latex.group(1)}{latex.group(2)}/{latex.group(3)}"
    if len(compact) > MAX_DIGITS:
        return None
    if _NUMBER.fullmatch(compact):
        try:
            return Fraction(Decimal(compact))
        except InvalidOperation:
            return None
    fraction = _FRACTION.fullmatch(compact)
    if fraction and int(fraction.group(2)):
        return Fraction(int(fraction.group(1)), int(fraction.group(2)))
    return None


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).strip(" .,;:!?\"'()[]")
