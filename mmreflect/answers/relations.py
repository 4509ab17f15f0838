"""Equations and inequalities that are the same up to a factor: 2x+2y=4 is x+y=2, and 3x<6 is x<2."""

import re

from mmreflect.answers.formulas import Formula, read_formula
from mmreflect.answers.values import points, same_value, value_at

_SIGN = re.compile(r"\\(?:leqslant|geqslant|leq|geq|le|ge|lt|gt)(?![a-zA-Z])|<=|>=|[<>≤≥]|(?<![!:])=")
_FORMS = {
    **dict.fromkeys(("<", r"\lt"), ("<", False)),
    **dict.fromkeys((">", r"\gt"), ("<", True)),
    **dict.fromkeys(("<=", "≤", r"\le", r"\leq", r"\leqslant"), ("<=", False)),
    **dict.fromkeys((">=", "≥", r"\ge", r"\geq", r"\geqslant"), ("<=", True)),
    "=": ("=", False),
}


def same_relation(given: str, wanted: str) -> bool | None:
    """Whether two relations of one sign each differ only by a factor; else None, and never False.

    Both are brought to a difference that is below, at most or equal to 0; the quotient of the differences must be the
    same at every point, and positive for inequalities. Relations that are no multiples of each other can still have
    the same solutions.
    """
    one, other = _difference(given), _difference(wanted)
    if one is None or other is None or one[0] != other[0]:
        return None
    names = sorted({name for formula in (*one[1:], *other[1:]) for name in formula.names})
    quotients = []
    for point in points(names) if names else ():
        values = [value_at(formula.tree, point) for formula in (*one[1:], *other[1:])]
        low, high, gold_low, gold_high = values
        if low is None or high is None or gold_low is None or gold_high is None:
            return None
        if low == high or gold_low == gold_high:
            return None
        quotients.append((gold_low - gold_high) / (low - high))
    if len(quotients) < 3 or not all(same_value(quotients[0], quotient) for quotient in quotients[1:]):
        return None
    return True if one[0] == "=" or quotients[0] > 0 else None


def _difference(text: str) -> tuple[str, Formula, Formula] | None:
    """Return the sign, the side that is below and the side that is above; for an equation left and right."""
    signs = _SIGN.findall(text)
    if len(signs) != 1:
        return None
    left, right = (read_formula(side.strip()) for side in _SIGN.split(text))
    if left is None or right is None:
        return None
    sign, turned = _FORMS[signs[0]]
    return (sign, right, left) if turned else (sign, left, right)
