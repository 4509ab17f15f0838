r"""Formulas, read into a tree and compared by their values: what decides most expressions without computer algebra.

Two formulas are the same when they have the same value at every one of several points, and differ when they differ at
one. Rational arithmetic is exact, so polynomials and fractions are decided exactly; roots and functions are compared as
floats, and what is neither clearly equal nor clearly different is left undecided, as is all that this reader does not
know (equations, matrices, complex numbers, integrals): that is the work of the worker processes.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

Number = Fraction | float
Tree = tuple[object, ...]

MAX_DEPTH = 20
"""Brackets inside brackets that a formula may have."""
_MAX_BITS = 2048
_EQUAL, _DIFFERENT = 1e-11, 1e-7

_TOKEN = re.compile(
    r"\s*(?:(\d+(?:\.\d+)?|\.\d+)|\\([a-zA-Z]+)|(sqrt|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|ln|exp|pi|abs)(?![a-z])"
    r"|([a-zA-Z])|(\*\*|[-+*/^(){}\[\]|!_,√π×÷·⋅∙∞]))"
)
_SIGNS = {"**": "^", "×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "√": "sqrt", "π": "pi"}
_COMMANDS = {"cdot": "*", "times": "*", "div": "/", "lbrace": "{", "rbrace": "}", "arcsin": "asin", "arccos": "acos"}
_COMMANDS |= {"arctan": "atan", "lvert": "|", "rvert": "|", "vert": "|"}
_GREEK = frozenset(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta kappa lambda mu nu xi rho sigma tau phi varphi chi"
    " psi omega Gamma Delta Theta Lambda Phi Psi Omega ell".split()
)
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh,
    "asin": math.asin, "acos": math.acos, "atan": math.atan, "ln": math.log, "exp": math.exp,
    "cot": lambda x: 1 / math.tan(x), "sec": lambda x: 1 / math.cos(x), "csc": lambda x: 1 / math.sin(x),
}  # fmt: skip


class Unreadable(Exception):
    """The text is no formula that this reader knows."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula as a tree, and the names of its variables."""

    tree: Tree
    names: frozenset[str]


class _Reader:
    """Recursive descent over the tokens; every method returns the tree of what it read."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens, self.place, self.names = tokens, 0, set[str]()

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        place = self.place + ahead
        return self.tokens[place] if place < len(self.tokens) else ("end", "")

    def take(self, sign: str | None = None) -> tuple[str, str]:
        token = self.peek()
        if token[0] == "end" or (sign is not None and token != ("sign", sign)):
            raise Unreadable(f"expected {sign or 'more'}")
        self.place += 1
        return token

    def at(self, *signs: str) -> bool:
        kind, text = self.peek()
        return kind == "sign" and text in signs

    def sum(self) -> Tree:
        tree = self.product()
        while self.at("+", "-"):
            sign = self.take()[1]
            tree = (sign, tree, self.product())
        return tree

    def product(self) -> Tree:
        negative = False
        while self.at("+", "-"):
            negative ^= self.take()[1] == "-"
        tree = self.power()
        while True:
            if self.at("*", "/"):
                sign = self.take()[1]
                minus = False
                while self.at("+", "-"):
                    minus ^= self.take()[1] == "-"
                factor = self.power()
                tree = (sign, tree, ("neg", factor) if minus else factor)
            elif self.starts_factor():
                tree = ("*", tree, self.power())
            else:
                return ("neg", tree) if negative else tree

    def starts_factor(self) -> bool:
        kind, text = self.peek()
        if kind == "number":
            # "2 3" is two numbers, not six, except behind a bracket.
            return self.tokens[self.place - 1] in (("sign", ")"), ("sign", "}"))
        return kind in ("name", "function") or (kind == "sign" and text in ("(", "{", "sqrt", "pi", "frac", "["))

    def power(self) -> Tree:
        tree = self.atom()
        while self.at("!"):
            self.take()
            tree = ("!", tree)
        if self.at("^"):
            self.take()
            tree = ("^", tree, self.exponent())
        return tree

    def exponent(self) -> Tree:
        if self.at("-", "+"):
            sign = self.take()[1]
            tree = self.power()
            return ("neg", tree) if sign == "-" else tree
        return self.power()

    def group(self) -> Tree:
        """Read an argument in braces, or a single digit or name."""
        if self.at("{"):
            return self.bracket("{", "}")
        kind, text = self.peek()
        if kind == "number" and len(text) > 1 and "." not in text:  # \frac12
            self.tokens[self.place] = (kind, text[1:])
            return ("number", Fraction(text[0]))
        return self.atom()

    def bracket(self, left: str, right: str) -> Tree:
        self.take(left)
        tree = self.sum()
        self.take(right)
        return tree

    def atom(self) -> Tree:
        kind, text = self.take()
        if kind == "number":
            whole = ("number", Fraction(text))
            if self.at("frac") and text.isdigit() and (part := self.mixed_part()):
                return ("+", whole, part)
            return whole
        if kind == "name":
            return self.name(text)
        if kind == "function":
            return self.function(text)
        pairs = {"(": ")", "{": "}", "[": "]", "|": "|"}
        if text in pairs:
            self.place -= 1
            tree = self.bracket(text, pairs[text])
            return ("abs", tree) if text == "|" else tree
        if text == "pi":
            return ("number", math.pi)
        if text == "frac":
            return ("/", self.group(), self.group())
        if text == "sqrt":
            index: Tree = self.bracket("[", "]") if self.at("[") else ("number", Fraction(2))
            return ("root", self.group(), index)
        raise Unreadable(text)

    def mixed_part(self) -> Tree | None:
        """Read the fraction of a mixed number: two whole numbers, as in 1 1/2; else leave it."""
        start = self.place
        self.take("frac")
        tree: Tree = ("/", self.group(), self.group())
        if all(isinstance(part, tuple) and part[0] == "number" for part in tree[1:]):
            return tree
        self.place = start
        return None

    def name(self, text: str) -> Tree:
        if self.at("_"):
            self.take()
            if self.at("{"):
                self.take()
                while not self.at("}"):
                    text += "_" + self.take()[1]
                self.take()
            else:
                text += "_" + self.take()[1]
        if text == "e":
            return ("number", math.e)
        if text == "i":
            raise Unreadable("complex numbers")
        self.names.add(text)
        return ("name", text)

    def function(self, name: str) -> Tree:
        power: Tree | None = None
        if self.at("^"):
            self.take()
            power = self.group()
            if power == ("neg", ("number", Fraction(1))):
                raise Unreadable("an inverse function")
        if self.at("(", "{", "|"):
            argument = self.power()
        else:
            argument = self.power()
            while self.peek()[0] in ("name",) or self.at("pi", "frac", "sqrt"):
                argument = ("*", argument, self.power())
        tree: Tree = ("abs", argument) if name == "abs" else ("call", name, argument)
        return ("^", tree, power) if power else tree


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    place, text = 0, text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise Unreadable(text[place : place + 10])
        number, command, word, name, sign = match.groups()
        place = match.end()
        if number:
            tokens.append(("number", number))
        elif name:
            tokens.append(("name", name))
        elif sign:
            tokens.append(("sign", _SIGNS.get(sign, sign)))
        else:
            tokens.append(_word(command or word))
    return tokens


def _word(word: str) -> tuple[str, str]:
    word = _COMMANDS.get(word, word)
    if word in _FUNCTIONS or word == "abs":
        return "function", word
    if word in _GREEK:
        return "name", word
    if word in ("frac", "sqrt", "pi", "*", "/", "|", "{", "}"):
        return "sign", word
    raise Unreadable(word)


@lru_cache(maxsize=2048)
def read_formula(text: str) -> Formula | None:
    """Read a formula (LaTeX or plain, in the form of `quantities.linear`); None for what this reader does not know.

    `\\log` without a base is left to others: it is read as base 10 or e. Words are no formulas: four letters in a row
    are not a product.
    """
    if re.search(r"(?<!\\)(?<![\\a-zA-Z])[a-zA-Z]{4,}", re.sub(r"sqrt|sinh|cosh|tanh", "", text)) or not text.strip():
        return None
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        return None
    try:
        reader = _Reader(_tokens(text))
        tree = reader.sum()
    except (Unreadable, RecursionError):
        return None
    return Formula(tree, frozenset(reader.names)) if reader.peek()[0] == "end" else None


def value(tree: Tree, point: Mapping[str, Fraction]) -> Number:
    """Return the value of a tree at a point.

    Raises:
        ArithmeticError: it has none there (1/0), or only a huge one.
        ValueError: outside the real numbers.
    """
    kind = tree[0]
    if kind == "number":
        return tree[1]  # type: ignore[return-value]
    if kind == "name":
        return point[tree[1]]  # type: ignore[index]
    if kind == "call":
        return _FUNCTIONS[tree[1]](float(value(tree[2], point)))  # type: ignore[index,arg-type]
    first = value(tree[1], point)  # type: ignore[arg-type]
    if kind == "neg":
        return -first
    if kind == "abs":
        return abs(first)
    if kind == "!":
        if first != int(first) or not 0 <= first <= 100:
            raise OverflowError("a factorial")
        return Fraction(math.factorial(int(first)))
    second = value(tree[2], point)  # type: ignore[arg-type]
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
        return base ** int(exponent)
    if base < 0 and not (isinstance(exponent, Fraction) and exponent.denominator == 1):
        raise ValueError("a power of a negative number")
    if isinstance(exponent, Fraction) and exponent.denominator in (2, 3) and isinstance(base, Fraction):
        return _raise(_root(base, Fraction(exponent.denominator)), Fraction(exponent.numerator))
    return float(base) ** float(exponent)


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
    return float(radicand) ** (1 / float(index))


def _whole_root(number: int, order: int) -> int | None:
    root = math.isqrt(number) if order == 2 else round(number ** (1 / order))
    return root if root**order == number else None


def constant(text: str) -> Number | None:
    """Return the value of a formula without variables; None for all else."""
    formula = read_formula(text)
    if formula is None or formula.names:
        return None
    try:
        result = value(formula.tree, {})
    except (ArithmeticError, ValueError):
        return None
    return result if isinstance(result, Fraction) or math.isfinite(result) else None


def same_formula(one: Formula, other: Formula) -> bool | None:
    """Whether two formulas have the same value wherever they have one; None when that is not clear.

    Variables are real and of either sign, so that sqrt(x^2) is not x.
    """
    names = sorted(one.names | other.names)
    agreed = 0
    for point in _points(names):
        values = [_value_or_none(formula.tree, point) for formula in (one, other)]
        if values[0] is None or values[1] is None:
            if values[0] is not values[1]:
                return None
            continue
        same = _same_value(values[0], values[1])
        if not same:
            return same
        agreed += 1
    return True if agreed >= (3 if names else 1) else None


def _value_or_none(tree: Tree, point: Mapping[str, Fraction]) -> Number | None:
    try:
        result = value(tree, point)
    except (ArithmeticError, ValueError):
        return None
    return result if isinstance(result, Fraction) or math.isfinite(result) else None


def _same_value(one: Number, other: Number) -> bool | None:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    distance = abs(float(one) - float(other)) / max(1e-3, abs(float(one)), abs(float(other)))
    if distance <= _EQUAL:
        return True
    return False if distance >= _DIFFERENT else None


def _points(names: list[str]) -> list[dict[str, Fraction]]:
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
