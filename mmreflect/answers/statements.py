"""Finding the one number or formula that a sentence states."""

import re

from mmreflect.answers.formulas import read_formula
from mmreflect.answers.markup import after_phrase
from mmreflect.answers.parts import split_outside
from mmreflect.answers.quantities import linear, read_quantity
from mmreflect.answers.units import read_unit

_SEGMENT = re.compile(r"\$\$?([^$]+)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_KNOWN_WORDS = re.compile(
    r"\\(?:begin|end)\s*\{[a-z]+\*?\}|\\[a-zA-Z]+|\b(?:sqrt|sinh?|cosh?|tanh?|cot|sec|csc|log|exp|arcsin|arccos|arctan|abs|det|lim|max|min|mod|inf|infty"
    r"|and|or)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]{3,}")
_VERB = re.compile(
    r"\b(?:is|are|equals?|be|was|gives?|get|becomes?|approximately|about)\b\s*:?|=|≈|\\approx\b|:", re.IGNORECASE
)
_NUMBER = re.compile(
    r"(?<![\w.\\^{/])[-+]?\s?(?:\\?\$|[€£¥₹])?\s?(?:\\frac\s*\{[^{}]*\}\s*\{[^{}]*\}"
    r"|(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s*/\s*\d+)?|\.\d+)(?:\s*(?:%|°)|(?=\s)|(?=[^\w^(\\])|$|(?=[a-zµ]))"
)
_UNIT_BEHIND = re.compile(r"\s?([A-Za-zµΩ°%][A-Za-z°%/^\d{}]*)")
_JOINED = re.compile(r"\s*(?:,|;|/|&|-|,?\s*(?:and|or|to))\s*(?:maybe|perhaps|possibly|even)?\s*", re.IGNORECASE)
_OR = re.compile(r"\bor\b", re.IGNORECASE)


def has_words(text: str) -> bool:
    """Whether a text holds words of a language, besides functions, "and" and "or"."""
    return _WORD.search(_KNOWN_WORDS.sub(" ", text)) is not None


def understood(text: str) -> bool:
    """Whether every alternative of a text is a number or a formula that is read without computer algebra."""
    return all(
        read_quantity(part) or read_formula(part.rpartition("=")[2]) or not has_words(part)
        for part in split_outside(text)
    )


def stated(answer: str) -> str:
    """Return the number or formula that an answer states, in the form of `linear`; the whole text when it is one.

    In a sentence: what follows an answer phrase, else the last formula between dollars, else what follows the last
    verb, else the last number with its unit. Two of them joined by "or", "and" or a comma are returned together,
    because they are two answers.
    """
    text = linear(answer)
    if read_quantity(text) or understood(text):
        return text
    said = after_phrase(answer)
    if said and len(said) < len(answer.strip()):
        return stated(said)
    segments = list(_SEGMENT.finditer(answer))
    if segments:
        last = _joined([(match.group(), match.start(), match.end()) for match in segments], answer)
        if linear(last) != text and any(char.isalnum() for char in last):
            return linear(last.replace("$", " "))
    pieces = _VERB.split(text)
    tail = pieces[-1].strip().rstrip(".!")
    if len(pieces) > 1 and tail and (read_quantity(tail) or understood(tail)) and not _is_word(tail):
        return linear(tail)
    found = [_with_unit(match, text) for match in _NUMBER.finditer(text)]
    return _joined(found, text).strip() if found else text


def _is_word(text: str) -> bool:
    """Whether a text is only letters: a short word such as "it" is no formula."""
    return len(text) > 1 and text.replace(" ", "").isalpha()


def _with_unit(match: re.Match[str], text: str) -> tuple[str, int, int]:
    behind = _UNIT_BEHIND.match(text, match.end())
    if behind and read_unit(behind.group(1)) and read_quantity(match.group() + " " + behind.group(1)):
        return match.group() + " " + behind.group(1), match.start(), behind.end()
    return match.group(), match.start(), match.end()


def _joined(found: list[tuple[str, int, int]], text: str) -> str:
    """Return the last one, with those before it that "or", "and" or a comma joins to it."""
    result, start = found[-1][0], found[-1][1]
    for piece, begin, end in reversed(found[:-1]):
        between = text[end:start]
        if not (_JOINED.fullmatch(between) or (_OR.search(between) and len(between) < 40 and "." not in between)):
            break
        result, start = f"{piece} or {result}", begin
    return result
