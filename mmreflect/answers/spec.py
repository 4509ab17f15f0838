"""What is known about a sample's answer before anyone answers: its type, options, precision and unit."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmreflect.answers.formulas import MAX_LENGTH
from mmreflect.answers.markup import plain, tidy
from mmreflect.answers.quantities import read_quantity
from mmreflect.errors import UserError, unknown_name

TYPES = ("multiple_choice", "math", "float", "list", "yes_no", "text", "ocr", "regression", "temporal_iou")
"""The answer types, by the names that `facts["answer_type"]` uses."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_ONE_LETTER = re.compile(r"[(\[]?\s*[A-Z]\s*[)\].:]?", re.IGNORECASE)
_MATHS = re.compile(r"[\\^=<>≤≥√π∞∪×÷]|\d\s*[-+*/]|[-+*/]\s*\d|^[(\[].*,.*[)\]]$|^\\?\{.*\}$")


@dataclass(frozen=True, slots=True)
class AnswerSpec:
    """How an answer is to be read.

    Attributes:
        type: one of `TYPES`, or None: decided from the reference (and from `options`, when there are some).
        options: letters with their texts, in order; None where the letters are not known.
        precision: decimals that a `float` is rounded to; None takes as many as the reference shows.
        unit: the unit of a reference that is written without one.
    """

    type: str | None = None
    options: tuple[tuple[str, str], ...] | None = None
    precision: int | None = None
    unit: str | None = None

    def resolved(self, gold: str | None) -> "AnswerSpec":
        """Return the spec with its type decided."""
        return self if self.type or gold is None else replace(self, type=type_of(gold, self.options))


def type_of(gold: str, options: tuple[tuple[str, str], ...] | None = None) -> str:
    """Decide the type of a reference: option, yes or no, number, list, formula, and text for all else.

    "[2007, 2008]" is a list, while "(1, 2)" is mathematics: a point or an open interval.
    """
    reference = tidy(gold)
    if len(reference) > MAX_LENGTH:
        return "text"
    if options or _ONE_LETTER.fullmatch(reference):
        return "multiple_choice"
    if plain(reference) in ("yes", "no"):
        return "yes_no"
    if read_quantity(reference):
        return "math"
    if reference.startswith("[") and reference.endswith("]"):
        return "list"
    return "math" if _MATHS.search(reference) else "text"


def spec_of(facts: Mapping[str, Any]) -> AnswerSpec:
    """Read the spec out of a sample's facts: `answer_type`, `options`, `precision`, `unit`, each of them optional.

    Options are a mapping from letter to text, or a list of texts, lettered from A.

    Raises:
        UserError: an unknown type (the nearest one is named), or options or a precision of the wrong shape.
    """
    kind, precision, unit = facts.get("answer_type"), facts.get("precision"), facts.get("unit")
    if kind is not None and kind not in TYPES:
        raise unknown_name("answer_type", str(kind), TYPES)
    if precision is not None and (isinstance(precision, bool) or not _is_count(precision)):
        raise UserError(f"precision={precision!r}", "a number of decimals from 0 to 15", "correct it or remove the key")
    return AnswerSpec(
        type=kind,
        options=_options(facts.get("options")),
        precision=None if precision is None else int(precision),
        unit=str(unit) if unit else None,
    )


def _is_count(value: Any) -> bool:
    # MathVista stores its precision as a float64 column.
    return isinstance(value, int | float) and 0 <= value <= 15 and int(value) == value


def _options(given: Any) -> tuple[tuple[str, str], ...] | None:
    if not given:
        return None
    if isinstance(given, Mapping):
        pairs = [(str(letter).strip().strip("().:").upper(), str(text)) for letter, text in given.items()]
        if all(len(letter) == 1 and letter in LETTERS for letter, _ in pairs):
            return tuple(pairs)
    elif isinstance(given, Sequence) and not isinstance(given, str) and len(given) <= len(LETTERS):
        return tuple((LETTERS[index], str(text)) for index, text in enumerate(given))
    raise UserError(
        f"options={str(given)[:80]!r}",
        "a mapping such as {A: 12, B: 15}, or a list of at most 26 texts",
        "correct the sample's options",
    )
