"""Numbers in English and Chinese words, up to a hundred: what a text says by them, and which words say a number."""

import re

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ENGLISH = {
    **{word: value for value, word in enumerate(_SMALL)},
    **{word: 10 * place for place, word in enumerate(_TENS, 2)},
    **{"dozen": 12, "hundred": 100},
}
_ORDINALS = {
    word: place
    for place, word in enumerate(
        ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"), 1
    )
}
_TIMES = {"half": "half", "halves": "half", "quarter": "order 4", "quarters": "order 4", "twice": "times 2"} | {
    **dict.fromkeys(("double", "doubled", "doubles"), "times 2"),
    **dict.fromkeys(("triple", "tripled", "triples", "thrice"), "times 3"),
}
_DIGITS = dict(zip("零〇一二两兩三四五六七八九", (0, 0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
_TEN = "|".join(_TENS)
_ONES = "|".join(_SMALL[1:10])
NUMBER_WORD = rf"(?:{_TEN})(?:[\s-]+(?:{_ONES}))?|{'|'.join(_ENGLISH)}"
"""A pattern of the English words for numbers."""
_WORD = re.compile(
    rf"(?<![\w'’])(?:(?P<tens>{_TEN})[\s-]+(?P<ones>{_ONES})|(?P<hundred>(?:one|a)\s+hundred)|(?P<plain>{'|'.join(_ENGLISH)})"
    rf"|(?P<order>{'|'.join(_ORDINALS)})s?|(?P<times>{'|'.join(_TIMES)}))(?![\w'’])",
    re.IGNORECASE,
)
_HAN = re.compile(r"[零〇一二两兩三四五六七八九十百]+|[半]")
LOOSE = {"1", "order 1"}
"""What is also said by "one", "first" and 一 where they are no numbers."""


def numbers_in_words(text: str) -> list[str]:
    """Return the numbers that the words of a text say, in order, as digits: "twenty-one" and 二十一 are 21.

    Ordinals and fractions of one name are one ("third", "two thirds"): "order 3"; then there are "half" and "times 2".
    Numbers above a hundred are read in pieces, the same pieces for the same words.
    """
    found = [(match.start(), _english(match)) for match in _WORD.finditer(text)]
    found += [(match.start(), _han(match.group())) for match in _HAN.finditer(text)]
    return [value for _, value in sorted(found)]


def words_for(number: str) -> list[str]:
    """Return the English and Chinese words for a whole number from 0 to 100; none for any other text."""
    if not number.isascii() or not number.isdigit() or int(number) > 100:
        return []
    value = int(number)
    tens, ones = divmod(value, 10)
    if value == 100:
        return ["one hundred", "a hundred", "hundred", "一百"]
    if value < 20:
        english = [_SMALL[value]]
    else:
        english = [f"{_TENS[tens - 2]}{joint}{_SMALL[ones]}" for joint in "- "] if ones else [_TENS[tens - 2]]
    digits = "零一二三四五六七八九"
    han = digits[ones] if value < 10 else f"{digits[tens] if tens > 1 else ''}十{digits[ones] if ones else ''}"
    return [*english, han, *(["两"] if value == 2 else [])]


def _english(match: re.Match[str]) -> str:
    said = {name: text.lower() for name, text in match.groupdict().items() if text}
    if "tens" in said:
        return str(_ENGLISH[said["tens"]] + _ENGLISH[said["ones"]])
    if "order" in said:
        return f"order {_ORDINALS[said['order']]}"
    return "100" if "hundred" in said else _TIMES[said["times"]] if "times" in said else str(_ENGLISH[said["plain"]])


def _han(text: str) -> str:
    """Read Chinese digits; what is no number below a thousand stays as it is written."""
    if text == "半":
        return "half"
    match = re.fullmatch(
        r"(?:([一二两兩三四五六七八九])百)?零?(?:([一二三四五六七八九]?)(十))?([一二两兩三四五六七八九]?)", text
    )
    if match is None or not text.strip("零〇"):
        return "0" if text in "零〇" else text
    hundreds, tens, ten, ones = match.groups()
    value = 100 * (_DIGITS[hundreds] if hundreds else 0) + (10 * (_DIGITS[tens] if tens else 1) if ten else 0)
    return str(value + (_DIGITS[ones] if ones else 0))
