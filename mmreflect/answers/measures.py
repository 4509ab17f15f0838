"""Answers that are one number: rounded to a precision, or scored by their relative error."""

import re
from dataclasses import dataclass
from fractions import Fraction

from mmreflect.answers.formulas import read_formula
from mmreflect.answers.parts import split_outside
from mmreflect.answers.quantities import linear, number_text, read_quantity
from mmreflect.answers.remote import evaluate_remotely
from mmreflect.answers.spec import AnswerSpec
from mmreflect.answers.statements import has_words, stated
from mmreflect.answers.units import read_unit, units_agree
from mmreflect.answers.values import constant
from mmreflect.answers.verdict import Verdict, judged, scored, ungraded

_FORMULA_PLACES = 6


@dataclass(frozen=True, slots=True)
class _Measure:
    value: Fraction
    unit: str
    places: int | None


def _read(text: str) -> _Measure | None:
    """Read a number or a formula without variables; of "x = 5" and "1/3 = 0.33" the last side counts."""
    text = re.split(r"=|≈|\\approx\b", text)[-1].strip() if not text.rstrip().endswith("=") else text
    quantity = read_quantity(text)
    if quantity:
        return _Measure(quantity.value, quantity.unit, quantity.places)
    number = constant(text)
    if number is None:
        match = re.match(r"(.*\S)\s+([a-zA-Z°%][\w°%/^{}]*)$", text)
        if match and (unit := read_unit(match.group(2))) and (inner := constant(match.group(1))) is not None:
            return _Measure(Fraction(inner), unit, None)
        formula = read_formula(text)
        if has_words(text) or (formula and formula.names) or not any(char.isalnum() for char in text):
            return None
        number = evaluate_remotely(text)
    return None if number is None else _Measure(Fraction(number), "", None)


def _several(text: str) -> bool:
    values = {quantity.value for part in split_outside(text) if (quantity := read_quantity(part))}
    return len(values) > 1 and read_quantity(text) is None


def grade_float(answer: str, gold: str, spec: AnswerSpec) -> Verdict:
    """Grade a number after rounding both sides to `precision` decimals; either side may be a formula.

    Without a precision the decimals of the reference count, and six for a formula. A tie such as 2.675 is rounded both
    up and as Python rounds the float, and either may agree: benchmarks were written with both.
    """
    wanted = _read(linear(gold))
    if wanted is None:
        return ungraded(linear(gold), "the reference is no number")
    shown = f"{number_text(wanted.value)} {wanted.unit}".strip()
    text = stated(answer)
    if _several(text):
        return judged(False, text, shown, "several answers")
    given = _read(text)
    if given is None:
        return judged(False, text, shown, "not a number")
    gold_unit = wanted.unit or (read_unit(spec.unit) if spec.unit else None) or ""
    parsed = f"{number_text(given.value)} {given.unit}".strip()
    percent = "%" in (given.unit, gold_unit) and given.unit != gold_unit
    if not percent and not units_agree(given.unit, gold_unit):
        return judged(False, parsed, shown, "another unit")
    places = spec.precision
    if places is None:
        places = _FORMULA_PLACES if wanted.places is None else wanted.places
    pairs = [(given.value, wanted.value)]
    if percent:
        hundred = Fraction(1, 100)
        pairs.append(
            (given.value * hundred, wanted.value) if given.unit == "%" else (given.value, wanted.value * hundred)
        )
    equal = any(_rounded_equal(one, other, places) for one, other in pairs)
    return judged(equal, parsed, shown, f"{'equal' if equal else 'different'} to {places} decimals")


def _rounded_equal(one: Fraction, other: Fraction, places: int) -> bool:
    if one == other:
        return True
    if abs(one - other) > Fraction(1, 10**places):
        return False
    return _half_up(one, places) == _half_up(other, places) or _as_float(one, places) == _as_float(other, places)


def _as_float(value: Fraction, places: int) -> float | Fraction:
    return round(float(value), places) if abs(value) < 10**300 else value


def _half_up(value: Fraction, places: int) -> int:
    scaled = abs(value) * 10**places
    whole = int(scaled + Fraction(1, 2))
    return -whole if value < 0 else whole


def grade_regression(answer: str, gold: str, spec: AnswerSpec) -> Verdict:
    """Score a number with 1 - |answer - reference| / |reference|, clipped to [0, 1].

    A reference of 0 has no relative error: only 0 itself scores then. What is no number scores 0.
    """
    wanted = _read(linear(gold))
    if wanted is None:
        return ungraded(linear(gold), "the reference is no number")
    shown = number_text(wanted.value)
    text = stated(answer)
    given = None if _several(text) else _read(text)
    if given is None:
        return scored(0.0, text, shown, "several answers" if _several(text) else "not a number")
    if not units_agree(given.unit, wanted.unit or read_unit(spec.unit or "") or ""):
        return scored(0.0, f"{number_text(given.value)} {given.unit}", shown, "another unit")
    # Nothing is relative to 0.
    error = abs(given.value - wanted.value) / abs(wanted.value) if wanted.value else Fraction(given.value != 0)
    score = float(max(Fraction(0), 1 - error))
    return scored(score, number_text(given.value), shown, f"relative error {float(min(error, Fraction(10**6))):.4g}")
