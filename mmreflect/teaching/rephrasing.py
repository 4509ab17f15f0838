"""What a question in other words must keep of what it asks.

Compared are: numbers, in digits and in words up to a hundred, ordinals and fractions of these among them; formulas;
names in capitals; units (those of `mmreflect.answers.units`, and Chinese ones); and how often it is denied (not, no,
never, n't, without, except and the like; 不, 没). One number in digits may become a word, and a word digits.

Not compared, as no rule reads it for sure: comparatives and directions ("larger" becomes "smaller"), names and things
in small letters, which number belongs to which thing, short units that no number stands before ("in m"), a "one" or
"first" that is lost, and words for numbers above a hundred beyond their pieces. A solver that must still find the
answer is what catches these.
"""

import re
from collections import Counter
from collections.abc import Iterator

from mmreflect.answers.units import known_units
from mmreflect.building import Rejected
from mmreflect.teaching.filters import says
from mmreflect.teaching.number_words import LOOSE, NUMBER_WORD, numbers_in_words

MARK = re.compile(r"<(image|video|options)>")
"""Where something stands in a text that the rephrased one must show in the same order."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_FORMULA = re.compile(r"\$[^$]+\$|\\\(.+?\\\)|\\\[.+?\\\]", re.DOTALL)
_NAME = re.compile(r"(?<![\w'’])(?:[A-Z]{2,}|[B-HJ-Z])(?![\w'’])")
_DENIAL = re.compile(
    r"\b(?:not|no(?!\.)|never|none|neither|nor|cannot|without|except|excluding)\b|n['’]t\b"
    r"|不|[没沒]|(?<![a-z])non-",
    re.IGNORECASE,
)
_ASKING = re.compile(r"(\w)不\1|有没有|有沒有|不同|不等|不少|不过|不過")
"""Words that deny nothing: questions of two sides (是不是), and what is a word of its own."""
_MEASURED = re.compile(
    rf"(\d+(?:[.,]\d+)*|{NUMBER_WORD})\s*-?\s*((?:(?:square|cubic|sq\.?)\s+)?[^\W\d_°%$€£¥Ωµμ]*[A-Za-z°%Ωµμ€£¥¢]+[²³]?)",
    re.IGNORECASE,
)
_MONEY = re.compile(r"([$€£¥])\s*(\d+(?:[.,]\d+)*)")
_LONG = re.compile(r"[A-Za-z]{4,}")
_HAN_UNITS = {
    **{"平方厘米": "cm^2", "平方米": "m^2", "立方厘米": "cm^3", "立方米": "m^3", "平方千米": "km^2"},
    **{"平方公里": "km^2", "千米": "km", "公里": "km", "厘米": "cm", "毫米": "mm", "分米": "dm", "米": "m"},
    **{"千克": "kg", "公斤": "kg", "克": "g", "吨": "ton", "毫升": "mL", "升": "L", "小时": "h", "分钟": "min"},
    **{"秒": "s", "度": "°", "美元": "dollar", "元": "yuan"},
}  # fmt: skip
_HAN_UNIT = re.compile("|".join(sorted(_HAN_UNITS, key=len, reverse=True)))
_WORDS_THAT_ARE_NONE = {"in", "unit", "units", "mean", "total", "each", "second", "mole", "moles"}


def check_same(old: str, new: str, gold: str, growth: float) -> None:
    """Reject a rephrased question that is the same, or in which something is missing or new.

    Args:
        gold: the reference, which it must not say where the question does not.
        growth: words of the new text over those of the old one, at most, and ten more.

    Raises:
        Rejected: it is.
    """
    if [match.group() for match in MARK.finditer(old)] != [match.group() for match in MARK.finditer(new)]:
        raise Rejected("rephrase: the marks are not the same", new)
    if _words(old) == _words(new):
        raise Rejected("rephrase: it says the same in the same words", new)
    for what, before, after in (
        ("numbers", *_without_loose(_numbers(old), _numbers(new))),
        ("formulas", Counter(_FORMULA.findall(old)), Counter(_FORMULA.findall(new))),
        ("names", Counter(set(_NAME.findall(old))), Counter(set(_NAME.findall(new)))),
        ("units", Counter(_units(old)), Counter(_units(new))),
        ("units of the numbers", *_in_both(_measures(old), _measures(new))),
    ):
        if before != after:
            raise Rejected(f"rephrase: the {what} are not the same", _difference(before, after), question=new)
    before_denied, after_denied = _denials(old), _denials(new)
    if before_denied != after_denied:
        detail = f"{before_denied} before, {after_denied} after"
        raise Rejected("rephrase: it is not denied as often", detail, question=new)
    if len(new.split()) > growth * len(old.split()) + 10:
        raise Rejected("rephrase: it is much longer than the question", f"{len(new.split())} words", question=new)
    if len(gold.strip()) > 1 and says(new, gold.strip()) and not says(old, gold.strip()):
        raise Rejected("rephrase: it gives the answer away", question=new)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _difference(before: Counter[str], after: Counter[str]) -> str:
    return f"without {sorted((before - after).elements())}, with {sorted((after - before).elements())}"


_Numbers = tuple[Counter[str], Counter[str]]


def _numbers(text: str) -> _Numbers:
    """Return how often a text says each number; those that may be none, such as "one", apart."""
    words = Counter(numbers_in_words(text))
    loose = Counter({value: words.pop(value) for value in LOOSE if value in words})
    return Counter(_NUMBER.findall(text)) + words, loose


def _without_loose(old: _Numbers, new: _Numbers) -> tuple[Counter[str], Counter[str]]:
    """Return the numbers of both texts, where a 1 in digits may be a "one" of the other."""
    (before, before_loose), (after, after_loose) = old, new
    missing, more = before - after, after - before
    return before - (missing & after_loose), after - (more & before_loose)


def _measures(text: str) -> dict[str, set[str]]:
    """Return the units that stand behind each number, which is written in digits."""
    found: dict[str, set[str]] = {}
    for number, word in _measured(text):
        found.setdefault(number, set()).add(word)
    return found


def _measured(text: str) -> Iterator[tuple[str, str]]:
    for match in _MEASURED.finditer(text):
        number = (numbers_in_words(match[1]) or [match[1]])[0]
        if match[2].lower() not in _WORDS_THAT_ARE_NONE:
            yield from ((number, unit) for unit in known_units(match[2]))
    yield from ((match[2], unit) for match in _MONEY.finditer(text) for unit in known_units(match[1]))
    for match in re.finditer(rf"([\d.,]*\d|[零一二两三四五六七八九十百]+)\s*({_HAN_UNIT.pattern})", text):
        yield (numbers_in_words(match[1]) or [match[1]])[0], _HAN_UNITS[match[2]]


def _in_both(old: dict[str, set[str]], new: dict[str, set[str]]) -> tuple[Counter[str], Counter[str]]:
    """Return the numbers with their units, of numbers that have some in both texts."""
    both = sorted(old.keys() & new.keys())
    before, after = (
        Counter(f"{number} {unit}" for number in both for unit in measures[number]) for measures in (old, new)
    )
    return before, after


def _units(text: str) -> set[str]:
    """Return the units that a text speaks of: behind numbers, and where they are spelt out."""
    spelt = (word for word in _LONG.findall(text) if word.lower() not in _WORDS_THAT_ARE_NONE)
    found = {unit for word in spelt for unit in known_units(word)} | {unit for _, unit in _measured(text)}
    return found | {_HAN_UNITS[match] for match in _HAN_UNIT.findall(text) if len(match) > 1}


def _denials(text: str) -> int:
    return len(_DENIAL.findall(_ASKING.sub(" ", text)))
