"""Numbers in English words, as the package that EMMA's script uses reads them: sums of what stands in a sentence."""

import re

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {
    **{word: value for value, word in enumerate(_SMALL)},
    **{word: 10 * place for place, word in enumerate(_TENS, 2)},
    "hundred": 100,
}
_SCALES = {"billion": 10**9, "million": 10**6, "thousand": 1000}


def number_in_words(text: str) -> int | float | None:
    """Return the number that the number words of a text make up; None where it has none, or a scale twice.

    Words in between are skipped, so that "two or three" is 5, and digits count only where the text is nothing else.
    """
    text = text.replace("-", " ").lower()
    if text.isdigit():
        return int(text)
    words = [word for word in re.split(r"\s+", text.strip()) if word in _VALUES or word in _SCALES or word == "point"]
    if not words or any(words.count(name) > 1 for name in (*_SCALES, "point")):
        return None
    before, after = words, list[str]()
    if "point" in words:
        place = words.index("point")
        before, after = words[:place], words[place + 1 :]
    order = [before.index(name) for name in _SCALES if name in before]
    if order != sorted(order):
        return None
    total: int | float = 0
    rest = before
    for name, size in _SCALES.items():
        if name in rest:
            place = rest.index(name)
            total += _below_thousand(rest[:place]) * size if place else size
            rest = rest[place + 1 :]
    total += _below_thousand(rest)
    if after and all(word in _SMALL[:10] for word in after):  # otherwise the package adds nothing
        total += float("0." + "".join(str(_VALUES[word]) for word in after))
    return total


def _below_thousand(words: list[str]) -> int:
    """Return what up to four words make: hundreds multiply, all else is added."""
    values = [_VALUES[word] for word in words if word in _VALUES]
    if len(values) == 4:
        return values[0] * values[1] + values[2] + values[3]
    if len(values) == 3:
        return values[0] * values[1] + values[2]
    if len(values) == 2:
        return values[0] * values[1] if 100 in values else sum(values)
    return values[0] if values else 0
