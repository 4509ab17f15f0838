"""Where a text speaks of a question's options: by their letters, surely or perhaps, and by their place."""

import functools
import re
from collections.abc import Iterator

_WORD = r"[^\W_\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]"
"""A letter or digit of a script that sets words apart: behind a Han character a letter stands alone."""
_BEFORE, _AFTER = rf"(?<!{_WORD})(?<!\\)", rf"(?!{_WORD})(?!['’](?:{_WORD}))"
_VERBS = (
    "is|was|are|were|be|because|since|as|and|or|not|nor|but|for|if|so|then|than|to|would|could|can|cannot|may|might|must"
    r"|should|will|did|do|had|have|said|correctly|alone|too|also|instead|both|again|here|[a-z]*[a-rtv-z]s"
)
_ARTICLE = rf"\s+(?!(?:{_VERBS})\b)[A-Za-z0-9]"
"""What follows an article; `[a-z]*[a-rtv-z]s` are verbs such as "fits", and plurals that no article stands before."""
_OPEN = r"""[\s*(\[（【'"“‘]*"""
_ORDINAL = r"(?:first|second|third|fourth|fifth|sixth|1st|2nd|3rd|[4-6]th|last|middle|top|bottom)"
_BY_PLACE = re.compile(
    rf"""
      \b(?:former|latter)\b
    | \b{_ORDINAL}\s+(?:(?:and|or)\s+{_ORDINAL}\s+)?(?:[\w-]+\s+)?(?:option|choice|alternative|one)s?\b
    | (?<!\bmy\s)(?<!\byour\s)(?<!\bour\s)\b(?:first|second|third|fourth|last)\s+(?:listed\s+|given\s+)?answers?\b
    | \bthe\s+{_ORDINAL}(?:\s+(?:is|was|fits|matches|seems|looks|and|or|holds)\b|\s*[.,;]|\s*$)
    | \b(?:option|choice|alternative)s?\s*(?:no\.?|number|\#|:)?\s*[(\[]?[1-9]\d?(?![\d.]*\d)
    | \b(?:option|choice|alternative)s?\s+(?:one|two|three|four|five)\b
    | \banswer\s*(?:no\.|number|\#)\s*\d
    | \b(?:option|choice|answer|alternative|one)\s+(?:above|below|before|after)\b
    | 第\s*[一二三四五六七八九\d]+\s*[个項项种條条]|前者|后者|後者|最后一[个项]|最後一[個項]
    | [①-⑳Ⓐ-ⓩＡ-Ｚａ-ｚ]
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SENTENCE = ".!?:;…\n>。！？：；"
_FORMULA = "^_=+*/<>$\\{}|"


def by_place(text: str) -> str | None:
    """Return the words by which a text speaks of an option's place, or by a sign of no letter; None where it does not.

    "The first option", "option 2", "the latter", 第二个. A first or last answer may be an attempt: `my first answer`
    is no place, `the first answer` may be one. The final answer is none.
    """
    found = _BY_PLACE.search(text)
    return None if found is None else found.group()


def sure_letters(text: str, options: tuple[tuple[str, str], ...]) -> list[tuple[int, int]]:
    """Return where a text surely speaks of options: the spans of their letters, in order.

    Options are letters, in capitals, with their texts; a text may write them small.
    """
    return sorted({match.span(1) for pattern in _patterns(options) for match in pattern.finditer(text)})


@functools.lru_cache(maxsize=256)
def _patterns(options: tuple[tuple[str, str], ...]) -> list["re.Pattern[str]"]:
    large = "".join(letter for letter, _ in options)
    every = large + large.lower()
    one = rf"([{every}]){_AFTER}"
    capital = rf"([{large}]){_AFTER}"
    said = rf"(?=[^AIai]|[AIai](?!{_ARTICLE})){one}"
    named, is_it = r"(?i:\b(?:options?|choices?|letter))", r"(?i:\s+(?:is|was|must\s+be|would\s+be|should\s+be))?"
    chosen = r"(?:选项|選項|答案|选择|選擇|应选|故选|选)(?:是|为|為)?"
    patterns = [
        rf"\\boxed\{{\s*(?:\\(?:text|mathrm|textbf|mathbf)\{{)?\s*[(\[]?{one}",
        rf"<answer>\s*[(\[]?{one}",
        rf"{named}\s*[:：]?{_OPEN}{capital}",
        rf"{named}{is_it}\s*[:：]?{_OPEN}{said}",
        rf"(?i:\banswer){is_it}\s*[:：]?{_OPEN}{said}",
        rf"{chosen}\s*[:：]?{_OPEN}{one}",
        rf"(?<!{_WORD})[(\[（【]([{large}])[)\]）】]",
        *(
            rf"(?<!{_WORD})[(\[]?([{letter}{letter.lower()}])[).:\]]+\s*{re.escape(own.strip())}(?!\w|\.\d)"
            for letter, own in options
        ),
    ]
    return [re.compile(pattern) for pattern in patterns]


def lone_letters(text: str, letters: str) -> Iterator[int]:
    """Yield where one of the letters stands alone, large or small, and is no article, pronoun or small variable.

    "A" before a word is an article where a sentence begins, "a" everywhere; not before a verb.
    """
    small = letters.lower()
    for match in re.finditer(rf"{_BEFORE}[{letters}{small}](?!{_WORD})", text):
        letter, start, end = match.group(), match.start(), match.end()
        if re.search(rf"{_WORD}['’]$", text[:start][-2:]):  # "I'd"
            continue
        if letter == "I" and re.match(r"\s+[A-Za-z]|['’](?:m|d|ve|ll)\b", text[end:]):
            continue
        if letter in "Aa" and re.match(_ARTICLE, text[end:]) and (letter == "a" or _begins(text[:start])):
            continue
        if letter in small and _in_formula(text, start, end):
            continue
        yield start
    for match in re.finditer(rf"\\boxed\{{\s*[{letters}]{{2,}}\s*\}}", text):
        yield match.start()


def letters_joined(text: str, letters: str) -> bool:
    """Say whether a text joins two small letters, as "both a and b" does; formulas are full of single ones."""
    small = letters.lower()
    return re.search(rf"{_BEFORE}[{small}]\s+(?:and|or|nor|&)\s+[{small}](?!{_WORD})", text) is not None


def _begins(before: str) -> bool:
    before = before.rstrip(" \t*_#\"'“‘(")
    return not before or before[-1] in _SENTENCE


def _in_formula(text: str, start: int, end: int) -> bool:
    before, after = text[:start].rstrip(" \t"), text[end:].lstrip(" \t")
    return (bool(before) and before[-1] in _FORMULA) or (bool(after) and after[0] in _FORMULA)
