"""Relaxed answers of chart questions: five percent either way, and how ChartQAPro reads lists and years."""

import ast
import re
from collections.abc import Sequence
from typing import Any

from mmreflect.evaluation.rules.edits import anls

TOLERANCE = 0.05
_LIST = re.compile(r"^\[(.*)\]$")
_WORDS = re.compile(r"(?<!['\w])(\w[^,]*?)(?!['\w])")


def relaxed_match(given: str, wanted: str) -> bool:
    """ChartQA's rule: numbers within 5 % of the target, years too; everything else as lower-case text.

    A percent sign divides by 100, a thousands separator makes a text, and a target of 0 needs the same text.
    """
    number, target = _share(given), _share(wanted)
    if number is not None and target:
        return abs(number - target) / abs(target) <= TOLERANCE
    return given.lower() == wanted.lower()


def _share(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def chartqapro_score(given: str, wanted: str, years: Sequence[Any] = (), exact: bool = False) -> float:
    """Return ChartQAPro's score: the mean over the elements of the longer list; what is no list is one element.

    Args:
        years: a flag for each element, "YES" for one that must match as text; too few of them are repeated.
        exact: whether all must match as text: a flag that the official script computes and never uses.
    """
    golds = _elements(str(_quoted(wanted))) or [wanted]
    answers = _elements(given) or [given]
    flags = list(years) or ["NO"]
    if len(flags) < len(golds):
        flags = flags * len(golds)
    scores = []
    for place in range(max(len(golds), len(answers))):
        if place >= len(golds) or place >= len(answers):
            scores.append(0.0)
            continue
        flag = flags[place] if place < len(flags) else "NO"
        if exact or str(flag).upper() == "YES":
            scores.append(float(golds[place].strip().lower() == answers[place].strip().lower()))
        else:
            scores.append(_element_score(answers[place], golds[place]))
    return sum(scores) / len(scores)


def _quoted(text: str) -> Any:
    """Return the list that "[Asia, Europe]" means; the text where quoting its words makes none, as with decimals."""
    found = _LIST.match(text.strip())
    if found is None:
        return text
    try:
        return ast.literal_eval("[" + _WORDS.sub(r"'\1'", found[1]) + "]")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _elements(text: str) -> list[str] | None:
    try:
        tree = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    return [str(element).strip(" '") for element in tree] if isinstance(tree, list) else None


def _element_score(given: str, wanted: str) -> float:
    given, wanted = (text.strip().strip("%").strip() for text in (given, wanted))
    try:
        number, target = (float(text.strip().strip("%")) for text in (given, wanted))
    except ValueError:
        return anls(given, wanted)
    if target == 0.0:
        return float(number == 0.0)
    return float(abs(number - target) / abs(target) <= TOLERANCE)
