"""Grading mathematics: numbers, formulas, equations, points, intervals and sets.

Most pairs are decided here without computer algebra; the rest goes to math-verify in a worker process.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mmreflect.answers.formulas import Formula, read_formula
from mmreflect.answers.parts import Parts, read_parts, split_outside
from mmreflect.answers.quantities import NEAR_DECIMALS, Quantity, linear, read_quantity, same_quantity
from mmreflect.answers.relations import same_relation
from mmreflect.answers.remote import compare_remotely
from mmreflect.answers.spec import AnswerSpec
from mmreflect.answers.statements import has_words, stated, understood
from mmreflect.answers.units import read_unit, units_agree
from mmreflect.answers.values import constant, constant_value, same_formula
from mmreflect.answers.verdict import Verdict, judged, ungraded
from mmreflect.answers.words import grade_text

CLOCK = re.compile(r"(?<![\d.:])\d+(?:\.\d+)?(?:\s*:\s*\d+(?:\.\d+)?)+(?:\s*[ap]\.?m\b\.?)?", re.IGNORECASE)
"""A clock time or a ratio: compared as text, because 12:30 is neither 12 nor a fraction."""

_EQUALS = re.compile(r"(?<![<>!:\\])=(?!=)|\\(?:approx|simeq|equiv)\b|≈|≡")
_SYMBOL = re.compile(r"(?:[A-Za-z\\∠△][A-Za-z\\_{}\d' ^*∠△]*(?:\([A-Za-z, ]*\))?|\([A-Za-z](?:\s*,\s*[A-Za-z])+\))")
_MEMBER = re.compile(r"^\s*[a-zA-Z]\s*(?:\\in\b|∈)\s*")
_UNIT_WORD = r"[a-zA-Zµ°%][a-zA-Z°%./^\d{}\-·]*"
_TAIL = re.compile(rf"^(.*[^\s\\])\s+({_UNIT_WORD}(?:\s+{_UNIT_WORD}){{0,4}})$")
_TAIL_CLOSE = re.compile(r"^(.*[\w})\]])\s*(°|\^\s*\{?\s*\\circ\s*\}?|%)$")


@dataclass(frozen=True, slots=True)
class _Sides:
    left: str | None
    right: str

    @property
    def is_assignment(self) -> bool:
        return self.left is not None and _SYMBOL.fullmatch(self.left) is not None


def grade_math(answer: str, gold: str, spec: AnswerSpec) -> Verdict:
    """Grade by value: numbers exactly, formulas by identity, sets without order, intervals with their brackets.

    A unit on both sides must agree; two different answers are wrong; clock times and ratios compare as text, and so
    does a reference in words. What cannot be decided here is decided by math-verify.
    """
    wanted = linear(gold)
    if not any(char.isalnum() or char in "∞∅π√" for char in wanted):
        return ungraded(wanted, "the reference does not parse")
    if CLOCK.fullmatch(wanted):
        return _grade_clock(answer, wanted)
    if has_words(wanted) and not read_quantity(wanted) and not understood(wanted):
        return grade_text(answer, gold)
    given = stated(answer)
    if _squeeze(given) == _squeeze(wanted):
        return judged(True, given, wanted, "same expression")
    if CLOCK.fullmatch(given):
        return judged(False, given, wanted, "a ratio or clock time")
    one, other = read_quantity(given), read_quantity(wanted)
    if one and other:
        equal, reason = same_quantity(one, _with_unit(other, spec))
        return judged(equal, str(one), str(other), reason)
    several = len(split_outside(given)) > 1 and read_parts(wanted) is None
    equal_or_unclear = same_expression(given, wanted)
    if equal_or_unclear is None:
        equal_or_unclear = same_relation(given, wanted)
    if equal_or_unclear is None and not has_words(given):
        return compare_remotely(given, wanted)
    if equal_or_unclear:
        return judged(True, given, str(other or wanted), "equal expressions")
    if other and (has_words(given) or not given):
        return judged(False, given, str(other), "not a number")
    return judged(False, given, str(other or wanted), "several answers" if several else "another expression")


def reference_problem(gold: str) -> str | None:
    """Say why mathematics cannot be graded against a reference; None when it can.

    What is read here needs no more; the rest must parse in math-verify.

    Raises:
        NotGradedError: no worker starts here.
    """
    wanted = linear(gold)
    if has_words(wanted) or CLOCK.fullmatch(wanted) or _is_known(wanted):
        return None
    verdict = compare_remotely(wanted, wanted)
    return verdict.reason if verdict.score is None else None


def _is_known(text: str) -> bool:
    parts = _parts(text)
    if parts and parts.items:
        return all(_is_known(item) for item in parts.items)
    return read_quantity(text) is not None or read_formula(_sides(text).right) is not None


def _grade_clock(answer: str, wanted: str) -> Verdict:
    given = {_squeeze(match).casefold().strip(".") for match in CLOCK.findall(linear(answer))}
    if not given:
        return judged(False, linear(answer), wanted, "no ratio or clock time")
    correct = given == {_squeeze(wanted).casefold().strip(".")}
    return judged(correct, " or ".join(sorted(given)), wanted, "same text" if correct else "another text")


def _with_unit(quantity: Quantity, spec: AnswerSpec) -> Quantity:
    unit = quantity.unit or (read_unit(spec.unit) if spec.unit else None) or ""
    return Quantity(quantity.value, unit, quantity.places)


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", "", text)


def same_expression(given: str, wanted: str) -> bool | None:
    """Compare two texts in the form of `linear`; None when it takes computer algebra to tell."""
    if _squeeze(given) == _squeeze(wanted):
        return True
    one, other = read_quantity(given), read_quantity(wanted)
    if one and other:
        return same_quantity(one, other)[0]
    given, wanted = _MEMBER.sub("", given), _MEMBER.sub("", wanted)
    many, several = _parts(given), _parts(wanted)
    if many or several:
        return _same_parts(many, several, given, wanted)
    return _same_sides(_sides(given), _sides(wanted))


def _parts(text: str) -> Parts | None:
    """Read a collection; an equation such as (x,y)=(1,2) and a number such as 1,234 are none."""
    if read_quantity(text):
        return None
    if (sides := _sides(text)).is_assignment and sides.left is not None and "," in sides.left:
        text = sides.right
    return read_parts(text)


def _same_parts(many: Parts | None, several: Parts | None, given: str, wanted: str) -> bool | None:
    if many is None or several is None:
        single, parts = (given, several) if several else (wanted, many)
        assert parts is not None
        if parts.ordered or not parts.items:
            return None if "\\cup" in single or "∪" in single or "<" in single or ">" in single else False
        return _all(
            same_expression(item, wanted) if several is None else same_expression(given, item) for item in parts.items
        )
    if many.ordered or several.ordered:
        if many.brackets != several.brackets:
            return False
        if len(many.items) != len(several.items):
            return False
        return _all(same_expression(one, other) for one, other in zip(many.items, several.items, strict=True))
    return _same_sets(list(many.items), list(several.items))


def _all(outcomes: Iterable[bool | None]) -> bool | None:
    unclear = False
    for outcome in outcomes:
        if outcome is False:
            return False
        unclear |= outcome is None
    return None if unclear else True


def _same_sets(many: list[str], several: list[str]) -> bool | None:
    """Compare without order and repetition; every element of one must be in the other."""
    if len(many) * len(several) > 400:
        return None
    table = [[same_expression(one, other) for other in several] for one in many]
    if any(outcome is None for row in table for outcome in row):
        return None
    return all(any(row) for row in table) and all(any(column) for column in zip(*table, strict=True))


def _sides(text: str) -> _Sides:
    """Split an equation; of a chain, keep the first left and the last right side."""
    pieces = [piece.strip() for piece in _EQUALS.split(text)]
    if len(pieces) < 2 or not pieces[-1] or not pieces[0]:
        return _Sides(None, text.strip())
    left, right = pieces[0], pieces[-1]
    if _SYMBOL.fullmatch(right) and not _SYMBOL.fullmatch(left) and len(pieces) == 2:
        left, right = right, left
    return _Sides(left, right)


def _same_sides(given: _Sides, wanted: _Sides) -> bool | None:
    """Compare equations and formulas: "x=5" is 5, but "2x=5" is not, and "x=2" is not "y=2"."""
    if given.left is not None and wanted.left is not None:
        if not (given.is_assignment and wanted.is_assignment):
            return None
        if _squeeze(given.left) != _squeeze(wanted.left):
            return False
    elif given.left is not None and not given.is_assignment:
        left, right = constant(given.left), constant(given.right)
        if left is None or right is None:
            return False
        if abs(float(left) - float(right)) > 0.01 * max(1.0, abs(float(left))):
            return False
        # "sqrt(2) = 1.41" states one number twice, once exactly.
        return same_expression(given.left, wanted.right) or same_expression(given.right, wanted.right)
    elif wanted.left is not None and not wanted.is_assignment:
        return None
    return _same_values(given.right, wanted.right)


def _same_values(given: str, wanted: str) -> bool | None:
    """Compare two formulas without relation signs, each with or without a unit."""
    one, other = read_quantity(given), read_quantity(wanted)
    if one and other:
        return same_quantity(one, other)[0]
    first, second = _read(given, wanted), _read(wanted, given)
    if first is None or second is None:
        return None
    (left, unit), (right, gold_unit) = first, second
    if not units_agree(unit, gold_unit):
        return False
    same = same_formula(left, right)
    if same or left.names or right.names:
        return same
    return _near(one, right) or _near(other, left) or same


def _read(text: str, other: str) -> tuple[Formula, str] | None:
    """Read a formula and the unit behind it; a single letter is a unit only when the other side does not use it."""
    for pattern in (_TAIL, _TAIL_CLOSE):
        match = pattern.match(text)
        if match and (unit := read_unit(match.group(2))):
            alone = match.group(2).strip()
            if (len(alone) > 1 or not alone.isalpha() or alone not in other) and (
                formula := read_formula(match.group(1))
            ):
                return formula, unit
    formula = read_formula(text)
    return (formula, "") if formula else None


def _near(quantity: Quantity | None, formula: Formula) -> bool:
    """Whether a long decimal is the rounding of a constant: 3.141593 is π, 3.14 is not."""
    if quantity is None or quantity.places < NEAR_DECIMALS:
        return False
    number = constant_value(formula)
    return number is not None and round(float(number), NEAR_DECIMALS) == round(float(quantity.value), NEAR_DECIMALS)
