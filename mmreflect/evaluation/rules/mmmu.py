"""The parsers of the MMMU family: an option out of free text, with a guess as last resort, and open answers."""

import ast
import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmreflect.evaluation.benchmark import BadField, Row
from mmreflect.evaluation.rules.verdicts import lettered

_EDGES = (",", ".", "!", "?", ";", ":", "'")
_INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = frozenset((":", ",", ".", "!", "?", ";", "'"))
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)
_FEW_WORDS = 5


def options_of(row: Row) -> dict[str, str]:
    """Return a question's options by letter: the release has them as the text of a Python list.

    Raises:
        BadField: the text is no such list.
    """
    if isinstance(row.get("index2ans"), dict) and row["index2ans"]:
        return {str(letter): str(text) for letter, text in row["index2ans"].items()}
    options = row.first("options", "index2ans")
    if options is None:
        raise BadField("options is None, which is no list of at most 26")
    return lettered(options)


def trimmed(text: str) -> str:
    """Strip each of the outer signs in turn, and put a blank on both sides."""
    for sign in _EDGES:
        text = text.strip(sign)
    return f" {text} "


def mmmu_letter(text: str, options: Mapping[str, str]) -> str | None:
    """MMMU's parser: "(X)", else " X ", else in more than five words an option's text; of several the last one."""
    text = trimmed(text)
    for form in ("({})", " {} "):
        if named := [letter for letter in options if form.format(letter) in text]:
            return _latest(named, [text.rfind(form.format(letter)) for letter in named])
    return _by_text(text, options)


def mmmu_pro_letter(text: str, options: Mapping[str, str]) -> str | None:
    """MMMU-Pro's parser: the one letter after the last "Answer:", else like MMMU with "X " and "X." as weaker forms.

    "DNA" holds the letters D and A where both are options, and is no unique answer then.
    """
    _, found, tail = text.rpartition("Answer:")
    if found and len(named := [letter for letter in options if letter in tail]) == 1:
        return named[0]
    text = trimmed(text)
    for form, place in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        if named := [letter for letter in options if form.format(letter) in text]:
            return _latest(named, [text.rfind(place.format(letter)) for letter in named])
    return _by_text(text, options)


def _by_text(text: str, options: Mapping[str, str]) -> str | None:
    lowered = text.lower()
    if len(text.split()) <= _FEW_WORDS:
        return None
    named = [letter for letter, option in options.items() if option.lower() in lowered]
    return _latest(named, [lowered.rfind(options[letter].lower()) for letter in named]) if named else None


def _latest(named: Sequence[str], places: Sequence[int]) -> str:
    return named[places.index(max(places))]


def open_answers(text: str) -> list[str | float]:
    """Return all that MMMU counts as predicted by an open response: tails of sentences, and the numbers in them."""
    tails = _tails(text)
    numbers = [number for tail in tails for pattern in _NUMBERS for number in pattern.findall(tail)]
    found: list[str | float] = []
    for piece in (*tails, *numbers):
        found += [item for item in normalised(piece) if item not in found]
    return found


def _tails(text: str) -> list[str]:
    """Return of each line the shortest tail behind an indicator; the whole text where no line has one.

    A tail that is empty makes the search within its line begin anew, which is how the script works.
    """
    text = text.strip().strip(".").lower()
    lines = text.split("\n")  # the script splits at ". " before a capital too, but has none left by now
    found = []
    for place, line in enumerate(lines):
        shortest = ""
        for indicator in (*_INDICATORS, "=") if place == len(lines) - 1 else _INDICATORS:
            if indicator in line:
                tail = line.split(indicator)[-1].strip()
                if not shortest or len(tail) < len(shortest):
                    shortest = tail
        if shortest and shortest not in _TRIVIAL:
            found.append(shortest)
    return found or [text]


def normalised(text: str) -> list[str | float]:
    """Return a number rounded to two decimals, or a lower-case text; a single character gets a blank at either side."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def gold_answers(answer: Any) -> list[str | float]:
    """Return the accepted answers of an open question, normalised; a list may come as its text."""
    if isinstance(answer, str) and answer.startswith("[") and answer.endswith("]"):
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            answer = ast.literal_eval(answer)
    accepted = answer if isinstance(answer, list) else [answer]
    return [item for text in accepted for item in normalised(str(text))]


def open_correct(predicted: Sequence[str | float], accepted: Sequence[str | float]) -> bool:
    """Tell whether a predicted number is accepted, or an accepted text is part of a predicted one."""
    for item in predicted:
        if isinstance(item, float):
            if item in accepted:
                return True
        elif any(isinstance(wanted, str) and wanted in item for wanted in accepted):
            return True
    return False
