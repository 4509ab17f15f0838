"""What is thrown away of what a teacher writes: leaks of the reference, repetition, other scripts, doubled texts."""

import re

from mmreflect.answers.extract import boxes
from mmreflect.answers.markup import sentences
from mmreflect.quality.texts import check_patterns, grams, latin_share, leak_in, likeness, repetition_in
from mmreflect.teaching.number_words import words_for

__all__ = [
    "LEAKS",
    "check_patterns",
    "gold_told_in",
    "grams",
    "latin_share",
    "leak_in",
    "likeness",
    "repetition_in",
    "says",
    "sentence_count",
    "unboxed",
]

_RIGHT = r"(?:correct|right|true|actual|intended)"
_THE_RIGHT = rf"the {_RIGHT} (?:answer|solution|option|choice)\b"
_OWN = r"(?:official |provided |given |right |correct )?"
_CHOICES = r"\b(?! (?:choice|option|box|field|space|list))"
"""Behind `answer`: the choices of a question are no answer."""
_PLACES = r"(?! (?:in|by|on|at) the (?:figure|picture|chart|graph|image|table|diagram|first|last|next))"
LEAKS = (
    r"ground[- ]?truth",
    r"\bgold(en)? (answer|label|solution|standard)\b",
    r"\b(reference|official|model) (answer|solution|label)s?\b|\bstandard (answer|solution)s?\b",
    r"\b(answer|solution|marking|grading) (key|sheet|scheme|guide)s?\b",
    r"\bthe (reference|gold|GT) (says|gives|states|reads|wants|lists|tells)\b|\bthe GT (is|was)\b",
    r"\b(given|provided|supplied|expected|intended|desired|known|stated|target) "
    rf"({_RIGHT} )?(answer|solution){_CHOICES}",
    r"\b(answer|solution)( that (is|was))? (given|provided|supplied|stated) (with|in|by|alongside|to) "
    r"(the|this|me|us)\b(?! (figure|picture|chart|graph|image|table|diagram|first|last|next))",
    r"\b(known|expected|stated) result of\b",
    r"(参考|标准|官方|给定|已知|真实|提供的|所给的?)(的)?(答案|解答|标签)|答案(已|是|为)?(给出|提供)",
    rf"\b(provided|supplied|target|{_RIGHT}) label (says|is|reads|gives|states|shows)\b",
    rf"\b(answer|solution) (is|was|has been) (already )?(given|provided|supplied|told|stated|known)\b{_PLACES}",
    r"\b(I|we) (was|were|am|are|have been) (given|told|provided with|shown) the\b[^.]{0,20}\b(answer|solution)\b",
    rf"\bas (I (was|am) |we (were|are) )?(told|informed|instructed),? (that )?the {_RIGHT}\b",
    rf"\b(told|informed) (me |us )?that {_THE_RIGHT}",
    rf"(?<!now )\b(I|we) (already |happen to )?kn[oe]w (that )?{_THE_RIGHT}",
    rf"{_THE_RIGHT}[^.]{{0,30}}\b(from|by|in|per) the (hint|key|label|prompt|instructions?)\b",
    rf"\b(see|know|tell|learn|read)( \w+)? from the {_OWN}answer{_CHOICES}",
    rf"\b(knowing|given) (that )?{_THE_RIGHT} (is|was)\b",
    rf"\bas (stated|given|shown|written|said) (in|by|on) the {_OWN}(answer|solution){_CHOICES}(?! (above|below|of|to))",
    rf"\b(according to|as per|based on|going by) the (key|reference|solution|label|{_OWN}answer){_CHOICES}",
    r"\b(matches|match|agrees|agree|consistent) with the (reference|key|label|given|provided)\b",
    r"\b(matches|match) the (reference|key|given answer|provided answer|known answer)\b",
)
"""Ways of saying that the answer was given; matched whatever the case."""

_BEFORE = (
    r"[\s$*_`\"'(\[{:]*+"
    r"(?:\\(?:boxed|text|mathrm|mathbf)\s*\{\s*|(?:option|choice)\s+|(?:actually|really|in fact|indeed|simply)\s+)*+"
    r"[\s$*_`\"'(\[{]*+"
)
_ASIDE = r"(?:here|now|in this case|(?:to|for|of|in) (?:this|the|that|our) [a-z]+(?: [a-z]+)?)"
_ANSWER_IS = re.compile(
    rf"\b(?:{_RIGHT}|proper) (?:final )?(?:answer|value|option|choice|result|solution|number|count|total)"
    rf"(?:,? {_ASIDE},?)?\s*"
    r"(?:\b(?:is|was|being|of|(?:should|would) (?:be|have been)|would['’]ve been)\b|['’]s(?=\s)|[:=,(\[—–]|-(?=\s))"
    rf"{_BEFORE}",
    re.IGNORECASE,
)
_HAN_ANSWER_IS = re.compile(
    rf"(?:正确|正確)(?:的)?(?:最终|最終)?(?:答案|选项|選項|结果|結果|数值)(?:应该|應該|应当|应|應)?(?:是|为|為|:|：|，|,|=|（)?{_BEFORE}"
)


def gold_told_in(text: str, gold: str) -> str | None:
    """Return the words by which a text says that a reference is the right answer, or None.

    "The correct answer is 3" ends a solution as it should; in a critique, which comes before the second solution, it
    gives the answer away, as "the correct answer, 3," or "the correct answer of three (3)" do. "The correct answer must
    therefore be 3" is what a critique may come to, and is let through. SRPO's builder, after pitfall 10 of its data:
    the reference right behind such words, a whole number also as the English or Chinese word for it.
    """
    wanted = gold.strip()
    said = [wanted, *words_for(wanted)] if wanted else []
    for pattern, joined in ((_ANSWER_IS, r"\w"), (_HAN_ANSWER_IS, r"[A-Za-z0-9一二三四五六七八九十百]")):
        for found in pattern.finditer(text):
            rest = text[found.end() :]
            for value in said:
                if rest[: len(value)].casefold() == value.casefold() and not re.match(
                    rf"{joined}|[.,]\d|'\w|-[a-z]", rest[len(value) :]
                ):
                    return text[found.start() : found.end() + len(value)]
    return None


def sentence_count(text: str) -> int:
    """Return how many sentences and lines with a letter a text has."""
    return sum(any(character.isalpha() for character in piece) for piece in sentences(text))


def unboxed(text: str) -> str:
    r"""Return a text with what its boxes hold in their places, so that none of it is marked as the answer."""
    for box in reversed(boxes(text)):
        text = text[: box.start] + unboxed(box.text) + text[box.end :]
    return text


def says(text: str, value: str) -> bool:
    """Tell whether a text holds a value as a word or number of its own, whatever the case."""
    return re.search(rf"(?<![\w.]){re.escape(value)}(?![\w]|\.\d)", text, re.IGNORECASE) is not None
