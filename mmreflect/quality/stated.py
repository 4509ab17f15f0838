"""Which final answers a text states: in tags, in boxes, in words."""

import itertools
import re
from collections.abc import Sequence

from mmreflect.answers.choices import named_options
from mmreflect.answers.extract import Candidate, blocks, boxes, candidates, outside_parts, outside_reasoning
from mmreflect.answers.grade import grade
from mmreflect.answers.markup import OF_PART, plain, sentences, tidy
from mmreflect.answers.quantities import read_quantity
from mmreflect.answers.spec import AnswerSpec
from mmreflect.answers.words import first_word

_JOINED = re.compile(r"[\s$]*(?:,|;|,?\s*\b(?:and|or)\b)[\s$]*", re.IGNORECASE)
_OF = r"(?:\s+(?:to|of|for)\s+(?P<{}>[^.:\n]{{0,80}}?))?\s*"
_IS = r"(?:\b(?:is|are|was|(?:would|should|must|will|could|can|may|might)\s+(?:also\s+|then\s+|only\s+)?be)\b|[:=：])"
_SAID = re.compile(
    rf"(?:\banswer\b{_OF.format('of')}{_IS}"
    rf"|\b(?:correct|right|best|final)\s+(?:option|choice|result|value|number|solution)\b{_OF.format('of_result')}{_IS}"
    r"|\bfinal\s+answer\s+(?=[-(\[$\\]*[\dA-Z])|#{4}|答案(?:应该|应当|应)?(?:是|为|為|[:：]))\s*+:?\s*+",
    re.IGNORECASE,
)
_REVISED = re.compile(
    r"\b(?:it|that|this|(?:result|total|value|number))\s+(?:should|must|could|can|may|might|would|ought\s+to)\s+"
    r"(?:\w+\s+)?(?:be|have\s+been)\s+"
    r"|\b(?:wait|no|actually|hmm+|sorry|correction)\b[^\w\n]*(?:it|that|this)(?:\s+(?:is|was)|['’]s)\s+"
    r"|\b(?:it|that|this)\s+(?:is|was)\s+(?:actually|really|rather|instead)\s+"
    r"|\b(?:result|outcome)\s*(?:\b(?:is|was|equals)\b|[:=])\s*",
    re.IGNORECASE,
)
"""How words behind a marked answer take it back; before one they are on the way to it."""
_REST = re.compile(r"[,;]\s+(?=[A-Za-z])|\s+(?:because|since|but|as)\s", re.IGNORECASE)
_LETTER = re.compile(r"[(\[]?[A-Z][)\].:]?")
_TAG = re.compile(r"<\s*+(/?)\s*+answer\s*+>", re.IGNORECASE)
_WORDS, _LENGTH = 4, 80


def stated_answers(text: str, spec: AnswerSpec | None = None) -> list[int]:
    r"""Return how many answers a text marks before its reflection, and behind it; without one, in all.

    Answers are `<answer>` blocks and boxes, outside of thinking: two blocks or two boxes are two answers, even where
    they say the same; a block and a box are one where they do. Boxes that a comma, "and" or "or" joins are one. A part
    that marks none is left out, so that [1] and [1, 1] are well-formed and [] marks no answer.

    Args:
        spec: how two answers are compared.
    """
    counts = [_marked(outside_reasoning(part), spec) for part in _parts(text)]
    return [count for count in counts if count]


def said_answers(text: str, spec: AnswerSpec | None = None) -> list[str]:
    """Return the different answers that a text ends on: the last one it marks, and what its words say behind that.

    Where it marks none that is all that phrases such as "the answer is", "the correct option is" or "####" say; behind
    a mark "it should be" and the like count, too. Words that hold no answer of the type are none ("the answer is
    clear"), nor is what stands in thinking, reflections, or before a reflection, nor the answer to a part.
    """
    own = outside_reasoning(_parts(text)[-1])
    marks = sorted([*blocks(own), *boxes(own)], key=lambda mark: mark.end)
    known = [mark.text for mark in candidates(outside_reasoning(text))[-1:]]
    behind = own[marks[-1].end :] if marks else own
    found = [*known, *_phrases(behind, spec, (_SAID, _REVISED) if marks else (_SAID,))]
    return [said for place, said in enumerate(found) if not any(_same(said, other, spec) for other in found[:place])]


def has_open_tag(text: str) -> bool:
    """Tell whether a text ends inside an `<answer>` that it never closes."""
    tags = list(_TAG.finditer(outside_reasoning(text)))
    return bool(tags) and not tags[-1].group(1)


def _parts(text: str) -> list[str]:
    parts = outside_parts(text, ("reflection",))
    return parts if len(parts) > 1 else [text]


def _marked(text: str, spec: AnswerSpec | None) -> int:
    tagged = blocks(text)
    boxed = [box for box in boxes(text) if not any(_overlap(box, block) for block in tagged)]
    pairs = itertools.pairwise(boxed)
    count = len(boxed) - sum(_JOINED.fullmatch(text[one.end : other.start]) is not None for one, other in pairs)
    if not tagged or not boxed:
        return len(tagged) + count
    said = candidates(text)[-1].text
    joined = text[boxed[0].start : boxed[-1].end] if len(boxed) > 1 else boxed[0].text
    return max(len(tagged), count) + (not _same(said, joined, spec))


def _overlap(one: Candidate, other: Candidate) -> bool:
    return one.start < other.end and other.start < one.end


def _phrases(text: str, spec: AnswerSpec | None, patterns: Sequence[re.Pattern[str]]) -> list[str]:
    """Return what the phrases of a text say, as far as it is an answer, and not to a part of the question."""
    every = sorted((found for pattern in patterns for found in pattern.finditer(text)), key=lambda found: found.start())
    found = [phrase for phrase in every if not any(OF_PART.search(of or "") for of in phrase.groupdict().values())]
    ends = [*(phrase.start() for phrase in found[1:]), len(text)]
    values = []
    for phrase, end in zip(found, ends, strict=False):
        value = text[phrase.end() : end].split("\n")[0]
        if pieces := sentences(_REST.split(value)[0]):
            values.append(tidy(pieces[0].strip().rstrip(".,;:")))
    return [value for value in values if value and len(value) <= _LENGTH and _is_answer(value, spec)]


def _is_answer(value: str, spec: AnswerSpec | None) -> bool:
    kind = spec.type if spec else None
    if kind == "multiple_choice":
        return len(named_options(value, spec.options if spec else None)) == 1
    if kind == "yes_no":
        return first_word(value) is not None
    if kind == "text":
        return len(value.split()) <= _WORDS
    return bool(read_quantity(value)) or (kind is None and _LETTER.fullmatch(value) is not None)


def _same(one: str, other: str, spec: AnswerSpec | None) -> bool:
    if plain(one) == plain(other):
        return True
    if spec is not None and spec.type == "text":
        words, others = set(plain(one).split()), set(plain(other).split())
        return words <= others or others <= words
    return any(grade(left, right, spec).passed is True for left, right in ((one, other), (other, one)))
