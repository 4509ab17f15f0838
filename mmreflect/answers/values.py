"""Comparing formulas by their values: what decides most expressions without computer algebra.

Two formulas are the same when they have the same value at every one of several points, and differ when they differ at
one. Rational arithmetic is exact, so polynomials and fractions are decided exactly; roots and functions are compared as
floats, and what is neither clearly equal nor clearly different is left undecided.
"""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import cast

from mmreflect.answers.formulas import Formula, Tree, read_formula

Number = Fraction | float

_MAX_BITS = 8192
_FLOAT_BITS = 1000
_EQUAL, _DIFFERENT = 1e-11, 1e-7

_CALLS: dict[str, Callable[[float], float]] = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh,
    "asin": math.asin, "acos": math.acos, "atan": math.atan, "ln": math.log, "exp": math.exp,
    "cot": lambda x: 1 / math.tan(x), "sec": lambda x: 1 / math.cos(x), "csc": lambda x: 1 / math.sin(x),
}  # fmt: skip


def value(tree: Tree, point: Mapping[str, Fraction]) -> Number:
    """Return the value of a tree at a point.

    Raises:
        ArithmeticError: it has none there (1/0), or only a huge one.
        ValueError: outside the real numbers.
    """
    kind = tree[0]
    if kind == "number":
        return cast(Number, tree[1])
    if kind == "name":
        return point[cast(str, tree[1])]
    if kind == "call":
        return _CALLS[cast(str, tree[1])](float(value(cast(Tree, tree[2]), point)))
    first = value(cast(Tree, tree[1]), point)
    if kind == "neg":
        return -first
    if kind == "abs":
        return first if first >= 0 else -first
    if kind == "!":
        if first != int(first) or not 0 <= first <= 100:
            raise OverflowError("a factorial")
        return Fraction(math.factorial(int(first)))
    second = value(cast(Tree, tree[2]), point)
    result: Number
    if kind == "+":
        result = first + second
    elif kind == "-":
        result = first - second
    elif kind == "*":
        result = first * second
    elif kind == "/":
        result = first / second
    else:
        result = _raise(first, second) if kind == "^" else _root(first, second)
    if isinstance(result, Fraction) and result.numerator.bit_length() + result.denominator.bit_length() > _MAX_BITS:
        raise OverflowError("a huge number")
    return result


def _raise(base: Number, exponent: Number) -> Number:
    if isinstance(exponent, Fraction) and exponent.denominator == 1 and isinstance(base, Fraction):
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(exponent) * bits > _MAX_BITS:
            raise OverflowError("a huge power")
        return Fraction(base ** int(exponent))
    if base < 0 and not (isinstance(exponent, Fraction) and exponent.denominator == 1):
        raise ValueError("a power of a negative number")
    if isinstance(exponent, Fraction) and exponent.denominator in (2, 3) and isinstance(base, Fraction):
        return _raise(_root(base, Fraction(exponent.denominator)), Fraction(exponent.numerator))
    return math.pow(float(base), float(exponent))


def _root(radicand: Number, index: Number) -> Number:
    if index != int(index) or not 2 <= index <= 10:
        raise ValueError("a root of another kind")
    if radicand < 0:
        raise ValueError("a root of a negative number")
    if isinstance(radicand, Fraction):
        order = int(index)
        top, bottom = (_whole_root(part, order) for part in (radicand.numerator, radicand.denominator))
        if top is not None and bottom is not None:
            return Fraction(top, bottom)
    return math.pow(float(radicand), 1 / float(index))


def _whole_root(number: int, order: int) -> int | None:
    root = math.isqrt(number) if order == 2 else round(math.pow(number, 1 / order))
    return root if root**order == number else None


def constant(text: str) -> Number | None:
    """Return the value of a formula without variables; None for all else."""
    formula = read_formula(text)
    return constant_value(formula) if formula else None


def constant_value(formula: Formula) -> Number | None:
    """Return the value of a formula; None when it has variables, or no finite value."""
    return None if formula.names else value_at(formula.tree, {})


def same_formula(one: Formula, other: Formula) -> bool | None:
    """Whether two formulas have the same value wherever they have one; None when that is not clear.

    Variables are real and of either sign, so that sqrt(x^2) is not x.
    """
    names = sorted(one.names | other.names)
    agreed = 0
    for point in points(names):
        values = [value_at(formula.tree, point) for formula in (one, other)]
        if values[0] is None or values[1] is None:
            if values[0] is not values[1]:
                return None
            continue
        same = same_value(values[0], values[1])
        if not same:
            return same
        agreed += 1
    return True if agreed >= (3 if names else 1) else None


def value_at(tree: Tree, point: Mapping[str, Fraction]) -> Number | None:
    """Return the value of a tree at a point, None where it has none."""
    try:
        result = value(tree, point)
    except (ArithmeticError, ValueError):
        return None
    if isinstance(result, Fraction):
        # Beyond this no float can hold it, and comparing with one would fail.
        return result if result.numerator.bit_length() - result.denominator.bit_length() < _FLOAT_BITS else None
    return result if math.isfinite(result) else None


def same_value(one: Number, other: Number) -> bool | None:
    """Compare two numbers: fractions exactly, floats with a gap between equal and different, None inside it."""
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    distance = abs(float(one) - float(other)) / max(1e-3, abs(float(one)), abs(float(other)))
    if distance <= _EQUAL:
        return True
    return False if distance >= _DIFFERENT else None


def points(names: list[str]) -> list[dict[str, Fraction]]:
    """Return points of unrelated fractions, first positive ones, below and above 1, then of mixed sign."""
    if not names:
        return [{}]
    seeds = (17, 41, 73, 89, 29, 61)
    return [
        {
            name: Fraction((seed * (7 * place + 11)) % 97 + 3, 53) * (-1 if row >= 3 and (row + place) % 2 else 1)
            for place, name in enumerate(names)
        }
        for row, seed in enumerate(seeds)
    ]
