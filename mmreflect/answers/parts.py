"""Answers of several parts: sets, points, intervals and lists, split at their outermost separators."""

import re
from dataclasses import dataclass

_PAIRS = {"(": ")", "[": "]", "{": "}"}
_SEPARATOR = re.compile(r"\s*(?:,\s*(?:and|or)\b|,|;|\bor\b|\band\b|\\(?:lor|land|vee|wedge)\b)\s*", re.IGNORECASE)
_MAX_PARTS = 200


@dataclass(frozen=True, slots=True)
class Parts:
    """The elements of a collection, and its brackets: "{}" for a set, "" for none, "()", "[)" and so on."""

    brackets: str
    items: tuple[str, ...]

    @property
    def ordered(self) -> bool:
        """Points, intervals and lists are ordered; sets, and what stands without brackets, are not."""
        return self.brackets not in ("", "{}")


def split_outside(text: str) -> list[str]:
    """Split at commas, semicolons, "or" and "and" that are outside all brackets; thousands commas count as commas."""
    pieces, depth, start, place = [], 0, 0, 0
    while place < len(text):
        char = text[place]
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth = max(0, depth - 1)
        elif (
            depth == 0
            and char in ",; \\oOaA"
            and (match := _SEPARATOR.match(text, place))
            and _starts_word(text, match)
        ):
            pieces.append(text[start:place])
            start = place = match.end()
            continue
        place += 1
    pieces.append(text[start:])
    return [piece.strip() for piece in pieces]


def _starts_word(text: str, match: re.Match[str]) -> bool:
    """Whether a match that begins with a letter begins a word."""
    first = text[match.start()]
    return not first.isalpha() or match.start() == 0 or not text[match.start() - 1].isalnum()


def outer_brackets(text: str) -> str | None:
    """Return the pair of brackets around a whole text, in plain form ("[)" is a half-open interval), or None."""
    if len(text) < 2 or text[0] not in _PAIRS or text[-1] not in ")]}":
        return None
    depth = 0
    for place, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0:
            return text[0] + text[-1] if place == len(text) - 1 else None
    return None


def read_parts(text: str) -> Parts | None:
    r"""Read a collection of two elements or more, or any explicit set or list; None for a single answer.

    `\{`, `\}`, `\langle` and `\rangle` are brackets like others.
    """
    text = text.replace(r"\{", "{").replace(r"\}", "}").replace(r"\lbrace", "{").replace(r"\rbrace", "}")
    text = text.replace(r"\langle", "(").replace(r"\rangle", ")").strip()
    brackets = outer_brackets(text)
    items = split_outside(text[1:-1] if brackets else text)
    if len(items) > _MAX_PARTS or (brackets is not None and brackets[0] in "{" and brackets != "{}"):
        return None
    if len(items) < 2 and brackets not in ("{}", "[]"):
        return None
    if any(not item for item in items) and len(items) > 1:
        items = [item for item in items if item]
    return Parts(brackets or "", tuple(items))
