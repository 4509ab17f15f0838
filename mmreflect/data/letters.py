"""Where a text speaks of a question's options: by their letters, surely or perhaps, and by their place."""

import functools
import re
from collections.abc import Iterator

_WORD = r"[^\W_\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]"
"""A letter or digit of a script that sets words apart: behind a Han character a letter stands alone."""
_BEFORE, _AFTER = rf"(?<!{_WORD})(?<!\\)", rf"(?!{_WORD})(?!['’](?:{_WORD}))"
_VERBS = (
    "is|was|are|were|be|because|since|as|and|or|not|nor|but|for|if|so|then|than|to|would|could|can|cannot|may|might|must"
    r"|should|will|did|do|had|have|said|correctly|alone|too|also|instead|both|again|here|only|never|always"
    r"|looked|seemed|appeared|sounded|turned|became|failed|held|worked|[a-z]*[a-rtv-z]s|[a-z]+n['’]t"
)
_ARTICLE = rf"\s+(?!(?:{_VERBS})\b)[A-Za-z0-9]"
"""What follows an article; `[a-z]*[a-rtv-z]s` are verbs such as "fits", and plurals that no article stands before."""
_OPEN = r"""[\s*(\[（【'"“‘]*"""
_ORDINAL = (
    r"(?:first|second|third|fourth|fifth|sixth|1st|2nd|3rd|[4-6]th|last|middle|top|bottom|next|previous|preceding)"
)
_BY_PLACE = re.compile(
    rf"""
      \b(?:former|latter)\b
    | \b{_ORDINAL}\s+(?:(?:and|or)\s+{_ORDINAL}\s+)?(?:[\w-]+\s+)?(?:option|choice|alternative|one)s?\b
    | (?<!\bmy\s)(?<!\byour\s)(?<!\bour\s)\b(?:first|second|third|fourth|last)\s+(?:listed\s+|given\s+)?answers?\b
    | \bthe\s+{_ORDINAL}(?:\s+(?:is|was|fits|matches|seems|looks|and|or|holds)\b|\s*[.,;]|\s*$)
    | \b(?:option|choice|alternative)s?\s*(?:no\.?|number|\#|:)?\s*[(\[]?[1-9]\d?(?![\d.]*\d)
    | \b(?:option|choice|alternative)s?\s+(?:one|two|three|four|five)\b
    | \banswer\s*(?:no\.|number|\#)\s*\d
    | \b(?:final|following|adjacent|neighbou?ring|subsequent)\s+(?:option|choice|alternative)\b
    | \b(?:option|choice|answer|alternative|one)\s+(?:above|below|before|after)\b
    | \b(?:two|three|four|five|ones|remaining|others?)\s+(?:listed\s+|given\s+)?(?:above|below)\b
    | \b(?:in|at|on|takes?|has)\s+(?:the\s+)?{_ORDINAL}\s+(?:place|position|spot|slot)\b
    | \b(?:in|on|of|down|up)\s+(?:the|this|that|our)\s+list\b
    | \blisted\s+(?:{_ORDINAL}|before|after|above|below)\b
    | 第\s*[一二三四五六七八九\d]+\s*[个個项項种條条]|前者|后者|後者
    | (?:最后|最後|上|下|前|后|後)一[个個项項]|[前后後]面?[两兩二三][个個项項]
    | [①-⑳Ⓐ-ⓩＡ-Ｚａ-ｚ]
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NO_NOUN = re.compile(
    rf"{_VERBS}|[a-z]+(?:ly|ed)|just|even|still|now|there|best|better|most|more|less|least|first|last|next|which|who|that"
    r"|what|where|when|while|whereas|although|though|whether|until|unless|however|thus|hence|therefore"
    r"|in|on|at|of|off|up|down|out|over|under|above|below|by|from|with|without|into|before|after|between|behind|beside"
    r"|inside|outside|ahead|regardless|through|against|about|like|unlike|per|via|vs|versus|except|it|he|she|they|we|you"
    r"|right|wrong|correct|incorrect|true|false|possible|impossible|left|felt|cut|set|put|hit|fit|let|read|lost|met"
    r"|split|spread|shot|saw|fell|rose|ran|kept|ground|thought|cast|cost|beat|bet|bid|wound|found|bore|won|shut|hurt"
    r"|burst|spent|built|bent|sent|stood|led|made|meant|gave|took|went|came|got|told|knew|spoke|heard|wrote|drew|grew"
    r"|began|broke|chose|paid|sold|sat|lay|ate|given|taken|known|shown|seen|done|gone"
)
"""What may follow a letter that is a subject or an option, so that an "A" before it is no article for sure."""
_NOUN = re.compile(
    r"few|little|lot|single|certain|typical|common|similar|different|simple|small|large|big|long|short|high|low|good|new"
    r"|closer|quick|square|circle|triangle|rectangle|rhombus|parallelogram|trapezoid|polygon|cube|sphere|cone|cylinder"
    r"|prism|pyramid|tangent|chord|radius|diameter|fraction|ratio|function|graph|chart|table|figure|picture|person|man"
    r"|woman|child|boy|girl|dog|cat|bird|car|house|tree|ball|box|book|bar|number|point|line"
)
"""What no letter can be the subject of, in sentences: nouns and adjectives that are no verbs of the third person."""
_DETERMINER = (
    r"(?:an|[Tt]he|[Tt]his|[Tt]hat|[Ee]ach|[Ee]very|[Aa]nother|[Oo]ne|[Nn]o|[Aa]ny|[Ii]ts|[Hh]is|[Hh]er|[Tt]heir)"
)
"""Large "A" is none: it is what is asked about."""
_PRONOUN = re.compile(
    r"['’](?:m|d|ve|ll)\b|\s+(?:also\s+|first\s+|now\s+|then\s+|just\s+)?(?:am|was|have|had|will|would|can|could|may|might"
    r"|must|should|see|saw|think|thought|count|counted|know|look|looked|find|found|read|add|note|conclude|choose|chose|say"
    r"|said|compare|check|checked|need|do|did|don|cannot|get|got|made|make|take|took|use|used|believe|guess|assume|notice)\b"
)
_LETTERED = re.compile(r"\s+[A-Za-z]|['’](?:m|d|ve|ll)\b")
_MARKED = r"(?i:option|choice|letter|answer|pick|choose|选|選)[\s:：(\[*\"'“‘]*(?:is\s+)?[(\[]*$"
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


def lone_letters(text: str, letters: str, context: str | None = None) -> Iterator[int]:
    """Yield where one of the letters stands alone, large or small, and is no article, pronoun or small variable.

    "A" before a word is an article where a sentence begins, "a" everywhere, if what follows says so.

    Args:
        context: what else is said about the same things. With it an article is one for sure or none: its word stands
            behind another article elsewhere, or is one that no letter can be the subject of. Without it, as in an
            option, which is no sentence, it is one unless a verb or an adverb follows.
    """
    small = letters.lower()
    strict_small = context is not None and _writes_small(text, small)
    for match in re.finditer(rf"{_BEFORE}[{letters}{small}](?!{_WORD})", text):
        letter, start, end = match.group(), match.start(), match.end()
        rest = text[end:]
        if re.search(rf"{_WORD}['’]$", text[:start][-2:]):  # "I'd"
            continue
        if letter == "I" and (_PRONOUN if context is not None else _LETTERED).match(rest):
            continue
        if letter in "Aa" and re.match(_ARTICLE, rest) and (letter == "a" or _begins(text[:start])):
            strict = context is not None and (letter == "A" or strict_small)
            if not strict or _is_article(rest, text, context or "", small=strict_small):
                continue
        if letter in small and _in_formula(text, start, end):
            continue
        yield start
    for match in re.finditer(rf"\\boxed\{{\s*[{letters}]{{2,}}\s*\}}", text):
        yield match.start()


def _is_article(rest: str, text: str, context: str, *, small: bool) -> bool:
    """Say whether a word follows that an article surely stands before: "A cup", where "the cup" is said elsewhere.

    Args:
        small: the text writes letters of options small, so that its "a" proves nothing.
    """
    following = re.match(r"\s+([a-z]+|\d+(?=-[a-z]))((?:-[a-z]+)*)(\s+[a-z]+)?", rest)
    if following is None or _NO_NOUN.fullmatch(following[1]):
        return False
    if following[2] or (following[3] or "").strip() == "of" or (_NOUN.fullmatch(following[1]) and following[3]):
        return True
    behind = rf"\s+{following[1]}(?!\w)"
    sure, every = rf"(?<!\w){_DETERMINER}{behind}", rf"(?<!\w)(?:a|{_DETERMINER}){behind}"
    return re.search(sure if small else every, text) is not None or re.search(every, context) is not None


def _writes_small(text: str, small: str) -> bool:
    """Say whether a text writes letters of options small, so that its "a" may be one."""
    every = re.finditer(rf"{_BEFORE}[{small}](?!{_WORD})", text)
    marked = any(match.group() == "a" and re.search(_MARKED, text[: match.start()][-24:]) for match in every)
    others = re.finditer(rf"{_BEFORE}(?<!['’])[{small.replace('a', '')}](?!{_WORD})", text)  # no "I'd"
    return marked or any(not _in_formula(text, match.start(), match.end()) for match in others)


def without_lists(text: str, letters: str) -> str:
    """Return a text without the list of all letters by which a question says how to answer ("with A, B, C or D").

    Each of its letters becomes blanks, so that places stay. Letters that are listed otherwise may stand for something.
    """
    one = r"[(\[\"'“‘]*{}[)\]\"'”’]*"
    joint = r"\s*(?:[,/、;|]\s*(?:and\s+|or\s+)?|(?:and|or)\s+|或|和|)\s*"
    listed = joint.join(one.format(letter) for letter in letters)
    spanned = rf"{one.format(letters[0])}\s*(?:-|–|~|to|到|至)\s*{one.format(letters[-1])}"
    lead = r"\b(?:answer|reply|respond|choose|select|pick|give|write|output|letters?|options?|choices?)\b"
    lead += "|回答|作答|选|答案|字母"
    pattern = rf"((?i:{lead})[^.?!\n。？！]{{0,60}}?(?<!{_WORD}))({listed}|{spanned})(?!{_WORD})"
    return re.sub(pattern, lambda found: found[1] + " " * len(found[2]), text)


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
