r"""The value of a LaTeX formula, as MATH-Vision's and EMMA's scripts compute it with latex2sympy2.

Their oddities are kept: juxtaposition multiplies and binds tighter than division, so that `6\frac{1}{4}` is 1.5 and
`8/2\pi` is 8/(2 pi); "12:30" is a ratio; "1,000" is a thousand and "1,2" nothing; what follows a closed formula behind
a dot or a stray bracket is not read. Formulas with variables are compared by their values at several points, where the
scripts simplify the difference. Nothing is executed, and every formula ends in bounded time.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Literal

from mmreflect.answers import values

Flavour = Literal["math", "sympy"]
"""`math`: names of Python's math module alone are known, so a bare e, ln and |x| have no value; `sympy`: all have."""

Number = int | Fraction | float

_GREEK = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau|upsilon"
    "|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Sigma|Phi|Psi|Omega"
)
_VARIABLE = rf"(?:[a-df-zA-Z]|\\(?:{_GREEK})(?![a-zA-Z]))(?:_(?:\{{[^{{}}]*\}}|[a-zA-Z0-9]))?'*"
_TOKEN = re.compile(
    r"(?P<blank>[\s$~]+|\\(?:,|left|right|quad|qquad|displaystyle|thinspace)(?![a-zA-Z]))"
    rf"|(?P<number>\d+(?:,\d{{3}})*(?:\.\d+)?|\.\d+)|(?P<variable>{_VARIABLE})"
    r"|(?P<name>\\[a-zA-Z]+|\\[{}%\\]|[a-zA-Z])|(?P<sign>.)",
    re.DOTALL,
)
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{4,}")
_STOPS = frozenset((")", "]", "}", "\\}", "\\\\", "&", ".", "_"))
_TIMES = frozenset(("*", "\\times", "\\cdot"))
_OVER = frozenset(("/", ":", "\\div"))
_BRACKETS = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}
_FRACTIONS = frozenset(("\\frac", "\\dfrac", "\\tfrac"))
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    **{f"\\{name}": getattr(math, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp")},
    **{f"\\arc{name}": getattr(math, f"a{name}") for name in ("sin", "cos", "tan")},
    "\\log": math.log10,
    "\\ln": math.log,
}
_INVERSES = {"\\sin": math.asin, "\\cos": math.acos, "\\tan": math.atan}
_MAX_LENGTH = 1000
_MAX_SYMBOLIC = 200
_MAX_NAMES = 12
_POINTS = (0, 1, 3, 4)
"""Of `values.points`: two with all variables positive, two of mixed signs."""
_ENOUGH = 2
_MAX_DEPTH = 30
_MAX_BITS = 1 << 16
_MAX_FACTORIAL = 1000


class _NoValue(Exception):
    """The formula does not parse, holds a variable without a value, or is too big."""


def value_of(text: str, flavour: Flavour, point: Mapping[str, Number] | None = None) -> float | int | None:
    """Return the value of a formula, or None where the scripts get none.

    A value that is no whole number is the nearest float, which is what they round.

    Args:
        point: the values of variables; with them the whole text must be a formula, without a rest that is not read.
    """
    if len(text) > _MAX_LENGTH:
        return None
    try:
        value = _Parser(text, flavour, point).formula()
        if isinstance(value, Fraction):
            value = float(value) if value.denominator != 1 else int(value)
        return None if isinstance(value, float) and math.isnan(value) else value
    except (_NoValue, ArithmeticError, ValueError, RecursionError):
        return None


def same_value(left: str, right: str, flavour: Flavour) -> bool:
    """Tell whether two formulas have values that are equal when both are rounded to two decimals."""
    one = value_of(left, flavour)
    two = None if one is None else value_of(right, flavour)
    return one is not None and two is not None and round(one, 2) == round(two, 2)


def same_expression(left: str, right: str) -> bool:
    """Tell whether the difference of two formulas with variables is 0: at every one of several points, to 11 digits.

    Words are no products of their letters, and relations, matrices and what else this parser does not read are no
    formulas: no verdict is no equality. A formula without variables that has a value can equal one with variables.
    """
    left, right = left.strip().rstrip("."), right.strip().rstrip(".")
    if any(len(text) > _MAX_SYMBOLIC or not text or _WORD.search(text) for text in (left, right)):
        return False
    names = sorted({token for text in (left, right) for kind, token in _tokens(text) if kind == "variable"})
    if not 0 < len(names) <= _MAX_NAMES:
        return False
    agreed = 0
    points = values.points(names)
    for place in _POINTS:
        point = {name: float(value) for name, value in points[place].items()}  # floats cannot grow
        one, other = (_finite(value_of(text, "sympy", point)) for text in (left, right))
        if one is not None and other is not None:
            if not values.same_value(one, other):
                return False
            agreed += 1
        elif one is not other:
            return False
    return agreed >= _ENOUGH


def _finite(value: float | int | None) -> float | None:
    try:
        return float(value) if value is not None and math.isfinite(value) else None
    except OverflowError:
        return None


@functools.lru_cache(maxsize=256)
def _tokens(text: str) -> tuple[tuple[str, str], ...]:
    """Return the kinds and the texts of what a formula consists of, blanks left out."""
    found = _TOKEN.finditer(text)
    return tuple((str(match.lastgroup), match[0]) for match in found if match.lastgroup != "blank")


class _Parser:
    def __init__(self, text: str, flavour: Flavour, point: Mapping[str, Number] | None = None) -> None:
        self.tokens = _tokens(text)
        self.point = point
        self.place = 0
        self.depth = 0
        self.flavour = flavour
        self.fences = 0
        self.plain = 0

    def peek(self) -> str:
        return self.tokens[self.place][1] if self.place < len(self.tokens) else ""

    def kind(self) -> str:
        return self.tokens[self.place][0] if self.place < len(self.tokens) else "end"

    def take(self, wanted: str | None = None) -> str:
        token = self.peek()
        if not token or wanted not in (None, token):
            raise _NoValue
        self.place += 1
        return token

    def formula(self) -> Number:
        if self.peek().isalpha() and self.tokens[1:2] and self.tokens[1][1] == "=":
            self.place = 2
        value = self.sum()
        if self.peek() and (self.point is not None or self.peek() not in _STOPS):
            raise _NoValue
        return value

    def sum(self) -> Number:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _NoValue
        value = self.product()
        while self.peek() in ("+", "-"):
            sign = self.take()
            other = self.product()
            value = value + other if sign == "+" else value - other
        self.depth -= 1
        return value

    def product(self) -> Number:
        value = self.signed()
        while self.peek() in _TIMES or self.peek() in _OVER:
            sign = self.take()
            other = self.signed()
            value = _bounded(value * other) if sign in _TIMES else _divide(value, other)
        return value

    def signed(self) -> Number:
        sign = 1
        while self.peek() in ("+", "-"):
            sign = -sign if self.take() == "-" else sign
        return sign * self.juxtaposed()

    def juxtaposed(self) -> Number:
        value = self.powered()
        while self.starts():
            value = _bounded(value * self.powered())
        return value

    def starts(self) -> bool:
        """Tell whether another factor follows; in an argument without brackets no function and no root does."""
        token = self.peek()
        if self.kind() == "number" or token in _BRACKETS or (token == "|" and not self.fences):
            return True
        if self.plain and (token in _FUNCTIONS or token in ("\\sqrt", "e")):
            return False
        return self.kind() in ("name", "variable") and token not in _TIMES | _OVER | _STOPS

    def powered(self) -> Number:
        value = self.natural() if self.peek() == "e" else self.postfixed(self.atom())
        while self.peek() == "^":
            self.take()
            value = self.postfixed(_power(value, self.operand()))
        return value

    def natural(self) -> Number:
        """Read Euler's number, which only as the base of a power is known to Python's math module."""
        self.take()
        if self.peek() == "^":
            self.take()
            return self.postfixed(math.exp(self.operand()))
        if self.flavour == "math":
            raise _NoValue
        return math.e

    def postfixed(self, value: Number) -> Number:
        while self.peek() in ("!", "'"):
            if self.take() == "!":
                value = self.factorial(value)
        return value

    def factorial(self, value: Number) -> Number:
        if isinstance(value, float) or value.denominator != 1:
            if self.flavour == "math":
                raise _NoValue
            return math.gamma(float(value) + 1)
        if not 0 <= value <= _MAX_FACTORIAL:
            raise _NoValue
        return math.factorial(int(value))

    def operand(self) -> Number:
        """Read an exponent or index: a group, or one thing; a bare sign is none."""
        return self.group("{") if self.peek() == "{" else self.atom()

    def group(self, opening: str) -> Number:
        self.take(opening)
        value = self.sum()
        self.take(_BRACKETS[opening])
        return value

    def atom(self) -> Number:
        token = self.peek()
        if self.kind() == "number":
            digits = self.take().replace(",", "")
            number: int | Fraction = int(digits) if digits.isdecimal() else Fraction(digits)
            if self.peek() == "\\%":
                self.take()
                return Fraction(number, 100)
            return number
        if token in _BRACKETS:
            return self.group(token)
        if token in ("|", "\\lvert", "\\lfloor", "\\lceil"):
            return self.fenced()
        self.take()
        if token == "\\pi":
            return math.pi
        if token == "\\infty" and self.flavour == "sympy":
            return math.inf
        if token in _FRACTIONS:
            return _divide(self.group("{"), self.group("{"))
        if token == "\\sqrt":
            degree: Number = self.group("[") if self.peek() == "[" else 2
            return _root(self.group("{"), degree)
        if token == "\\binom":
            return math.comb(_whole(self.group("{")), _whole(self.group("{")))
        if token in _FUNCTIONS:
            return self.function(token)
        if self.point is not None and token in self.point:
            return self.point[token]
        raise _NoValue

    def fenced(self) -> Number:
        """Read an absolute value, floor or ceiling; of these the math module knows the floor alone by sympy's name."""
        token = self.take()
        self.fences += token == "|"
        value = self.sum()
        self.fences -= token == "|"
        self.take({"|": "|", "\\lvert": "\\rvert", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}[token])
        if token == "\\lfloor":
            return math.floor(value)
        if self.flavour == "math":
            raise _NoValue
        if token == "\\lceil":
            return math.ceil(value)
        return -value if value < 0 else value

    def function(self, name: str) -> Number:
        function, power = _FUNCTIONS[name], None
        base: Number | None = None
        if name == "\\log" and self.peek() == "_":
            self.take()
            base = self.operand()
        if self.peek() == "^":
            self.take()
            power = self.operand()
        if power == -1 and name in _INVERSES:
            function, power = _INVERSES[name], None
        if name == "\\ln" and self.flavour == "math":
            raise _NoValue
        argument = self.group("(") if self.peek() == "(" else self.argument()
        value = function(float(argument)) if base is None else math.log(float(argument), float(base))
        return value if power is None else _power(value, power)

    def argument(self) -> Number:
        """Read an argument without round brackets: the whole product that follows, up to the next function."""
        self.plain += 1
        value = self.product()
        self.plain -= 1
        return value


def _whole(value: Number) -> int:
    if value != int(value) or not 0 <= int(value) <= _MAX_FACTORIAL:
        raise _NoValue
    return int(value)


def _bounded(value: Number) -> Number:
    if not isinstance(value, float) and value.numerator.bit_length() + value.denominator.bit_length() > _MAX_BITS:
        raise _NoValue
    return value


def _divide(value: Number, other: Number) -> Number:
    if isinstance(value, float) or isinstance(other, float):
        return value / other
    return _bounded(Fraction(value) / Fraction(other))


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, float) or isinstance(exponent, float) or exponent.denominator != 1:
        return math.pow(base, exponent)  # a ValueError for roots of negative numbers
    size = base.numerator.bit_length() + base.denominator.bit_length()
    if size * abs(int(exponent)) > _MAX_BITS:
        raise _NoValue
    return Fraction(base) ** int(exponent)


def _root(value: Number, degree: Number) -> Number:
    if degree == 2:
        return math.sqrt(value)
    if value < 0:
        raise _NoValue
    return math.pow(value, 1 / degree)
