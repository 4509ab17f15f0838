r"""Formulas, LaTeX or plain, read into trees without computer algebra.

What this reader does not know is left to the worker processes: relations, matrices, complex numbers, integrals.
"""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

Tree = tuple[object, ...]

MAX_DEPTH = 20
"""Brackets inside brackets that a formula may have."""
MAX_LENGTH = 300
"""Characters of an answer that are looked at; a longer one is no final answer."""

_TOKEN = re.compile(
    r"\s*(?:(\d+(?:\.\d+)?|\.\d+)|\\([a-zA-Z]+)|(sqrt|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|ln|exp|pi|abs)(?![a-z])"
    r"|([a-zA-Z])|(\*\*|[-+*/^(){}\[\]|!_,√π×÷·⋅∙∞]))"
)
_SIGNS = {"**": "^", "×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "√": "sqrt", "π": "pi"}
_COMMANDS = {"cdot": "*", "times": "*", "div": "/", "lbrace": "{", "rbrace": "}", "arcsin": "asin", "arccos": "acos"}
_COMMANDS |= {"arctan": "atan", "lvert": "|", "rvert": "|", "vert": "|"}
_GREEK = frozenset(
    [
        *("alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "kappa"),
        *("lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega", "ell"),
        *("Gamma", "Delta", "Theta", "Lambda", "Phi", "Psi", "Omega"),
    ]
)
FUNCTIONS = frozenset(
    [
        *("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh"),
        *("asin", "acos", "atan", "ln", "exp", "abs"),
    ]
)


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
    if word in FUNCTIONS:
        return "function", word
    if word in _GREEK:
        return "name", word
    if word in ("frac", "sqrt", "pi", "*", "/", "|", "{", "}"):
        return "sign", word
    raise Unreadable(word)


@lru_cache(maxsize=2048)
def read_formula(text: str) -> Formula | None:
    r"""Read a formula (LaTeX or plain, in the form of `quantities.linear`); None for what this reader does not know.

    `\log` without a base is left to others: it is read as base 10 or e. Words are no formulas: four letters in a row
    are not a product.
    """
    if re.search(r"(?<!\\)(?<![\\a-zA-Z])[a-zA-Z]{4,}", re.sub(r"sqrt|sinh|cosh|tanh", "", text)) or not text.strip():
        return None
    if len(text) > MAX_LENGTH:
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
