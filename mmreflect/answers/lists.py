"""Lists: ordered, compared element by element as numbers or text; without order only where the set is explicit."""

import math
import re
from collections.abc import Mapping
from typing import Any

from mmreflect.answers.markup import after_phrase, plain
from mmreflect.answers.parts import outer_brackets, split_outside
from mmreflect.answers.quantities import linear, read_quantity, same_quantity
from mmreflect.answers.verdict import Verdict, judged, ungraded
from mmreflect.errors import UserError

_BRACKETED = re.compile(r"[\[({]([^\[\](){}]*)[\])}]")
_LEAD = re.compile(r"^.*?\b(?:is|are|be|were|was)\b\s*:?\s*|^[^,\[]*:\s*(?=\S)", re.IGNORECASE | re.DOTALL)
_RUN = re.compile(r"-?\d[\d.]*(?:%|°)?(?:\s*(?:,\s*and|,|;|\band\b|\s)\s*-?\d[\d.]*(?:%|°)?)+")
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")

Items = tuple[str, ...]


def grade_list(answer: str, gold: str) -> Verdict:
    """Grade a list. Brackets and spacing do not matter; order does, unless the reference is a set in braces.

    Elements are separated by commas, semicolons, "and" or lines; a thousands separator inside a list cannot be told
    from two elements, so that references with such numbers need semicolons.
    """
    braces, wanted = _reference(gold)
    if not wanted:
        return ungraded(linear(gold), "the reference is an empty list")
    shown = f"[{', '.join(wanted)}]"
    best: Items = ()
    for items in _readings(answer):
        best = best or items
        if len(items) == len(wanted) and _same(items, wanted, ordered=not braces):
            return judged(True, f"[{', '.join(items)}]", shown, "same elements")
        if len(items) == len(wanted) != len(best):
            best = items
    reason = "another number of elements" if len(best) != len(wanted) else "another element or order"
    return judged(False, f"[{', '.join(best)}]", shown, reason if best else "no list")


def reference_text(value: Any) -> str | None:
    """Return a row's answer as the text that is graded against; a list of texts or numbers in the form of lists.

    Raises:
        UserError: it is something that no text stands for: a mapping, a truth value, no number, or a list of lists.
    """
    if value is None or isinstance(value, str):
        return value
    expected = "text, a number, or a list of these"
    if isinstance(value, bool):
        raise UserError("the answer is a truth value", expected, 'write what a response shall say, such as "yes"')
    if isinstance(value, list | tuple) and value and all(_is_element(item) for item in value):
        elements = [str(item).strip() for item in value]
        for separator in (", ", "; "):
            joined = f"[{separator.join(elements)}]"
            if _reference(joined)[1] == tuple(linear(element) for element in elements):
                return joined
        raise UserError("the answer is a list whose elements cannot be told apart", expected, "write it as text")
    if isinstance(value, list | tuple | Mapping | bytes):
        raise UserError(f"the answer is a {type(value).__name__}", expected, "write what a response shall say")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError("the answer is no number (NaN or infinite)", expected, "remove it, or write it as text")
    return str(value)


def _is_element(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, bool) and isinstance(value, int | str) and bool(str(value).strip())


def _reference(gold: str) -> tuple[bool, Items]:
    text = _plain_braces(linear(gold))
    return outer_brackets(text) == "{}", _elements(text)


def _plain_braces(text: str) -> str:
    return text.replace(r"\{", "{").replace(r"\}", "}")


def _elements(text: str) -> Items:
    """Split a text into its elements, whatever its brackets and separators."""
    text = text.strip()
    if outer_brackets(text):
        text = text[1:-1]
    lines = [_BULLET.sub("", line) for line in text.splitlines() if line.strip()]
    pieces = [piece for line in lines for piece in split_outside(line)] if len(lines) > 1 else split_outside(text)
    if len(pieces) == 1 and len(words := pieces[0].split()) > 1 and all(read_quantity(word) for word in words):
        pieces = words
    return tuple(piece.strip().strip("'\"").strip() for piece in pieces if piece.strip().strip("'\""))


def _readings(answer: str) -> list[Items]:
    """Return the ways to read an answer as a list, the surest first.

    An answer that is a list as a whole is read as nothing else; inside a sentence the last bracket counts, else what
    follows the verb, else the last run of numbers.
    """
    text = _plain_braces(linear(answer))
    if outer_brackets(text):
        return [_elements(text)]
    if bracketed := list(_BRACKETED.finditer(text)):
        return [_elements(bracketed[-1].group())]
    readings = [_elements(text)]
    if said := after_phrase(answer):
        readings.append(_elements(_plain_braces(linear(said))))
    stripped = _LEAD.sub("", text, count=1)
    if stripped != text:
        readings.append(_elements(stripped))
    if runs := _RUN.findall(text):
        readings.append(_elements(runs[-1]))
    return [items for items in readings if items]


def _same(given: Items, wanted: Items, ordered: bool) -> bool:
    if ordered:
        return all(_same_element(one, other) for one, other in zip(given, wanted, strict=True))
    left = list(wanted)
    for one in given:
        match = next((other for other in left if _same_element(one, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_element(one: str, other: str) -> bool:
    given, wanted = read_quantity(one), read_quantity(other)
    if given and wanted:
        return same_quantity(given, wanted)[0]
    return not (given or wanted) and plain(one) == plain(other)
