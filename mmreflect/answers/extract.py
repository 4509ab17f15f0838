"""Finding answers in a text: tagged blocks first, then boxes, then an answer phrase, then a candidate of the type."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from mmreflect.answers.choices import named_options
from mmreflect.answers.formulas import MAX_LENGTH
from mmreflect.answers.markup import after_phrase, plain, sentences, tidy
from mmreflect.answers.spans import intervals
from mmreflect.answers.spec import AnswerSpec
from mmreflect.answers.statements import has_words
from mmreflect.answers.words import first_word

_TAG = re.compile(r"<\s*+(/?)\s*+answer\s*+>", re.IGNORECASE)
_CONCLUSION = re.compile(r"<\s*+(/?)\s*+conclusion\s*+>", re.IGNORECASE)
_REASONING = re.compile(r"<\s*+(/?)\s*+(think(?:ing)?|reflection)\s*+>", re.IGNORECASE)
_BOX = re.compile(r"\\boxed\s*\{")
_BETWEEN_BOXES = re.compile(r"[\s$]*(?:,|;|,?\s*\b(?:and|or)\b)[\s$]*", re.IGNORECASE)
_LOOKS_NUMERIC = re.compile(r"\d|[½⅓⅔¼¾π√∞∅]|\\(?:pi|sqrt|infty|emptyset)\b|\$[^$]+\$")
_LOOKS_LISTED = re.compile(r"\d|[,;\[{]")
_GAP = 40
_LAST_SENTENCES = 50


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer that a text states; `start` and `end` are the character span of its block."""

    text: str
    start: int
    end: int


def boxes(text: str) -> list[Candidate]:
    r"""Return the contents of every balanced `\boxed{...}`, in order; of nested ones the outermost.

    An unbalanced box is none. Braces are counted once over the text, so that ten thousand open boxes take no longer
    than one.
    """
    starts = {match.end() - 1: match.start() for match in _BOX.finditer(text)}
    found: list[Candidate] = []
    open_braces: list[int] = []
    for match in re.finditer(r"\\.|[{}]", text, re.DOTALL) if starts else ():
        place = match.start()
        if match.group() == "{":
            open_braces.append(place)
        elif match.group() == "}" and open_braces:
            start = open_braces.pop()
            if start in starts:
                while found and found[-1].start > starts[start]:
                    found.pop()
                found.append(Candidate(text[start + 1 : place].strip(), starts[start], place + 1))
    return found


def candidates(text: str) -> list[Candidate]:
    """Return every answer that a text commits to, in order: `<answer>` blocks, or else boxes.

    In tagged layouts the first block is the first try and the last one the final answer.
    """
    found = blocks(text)
    return [Candidate(_inside(block.text), block.start, block.end) for block in found] or boxes(text)


def blocks(text: str, tags: re.Pattern[str] = _TAG) -> list[Candidate]:
    """Return every `<answer>` block as it stands; a tag that is opened twice counts from its last opening."""
    found: list[Candidate] = []
    opened: re.Match[str] | None = None
    for tag in tags.finditer(text):
        if not tag.group(1):
            opened = tag
        elif opened is not None:
            found.append(Candidate(text[opened.end() : tag.start()], opened.start(), tag.end()))
            opened = None
    return found


def _inside(block: str) -> str:
    """Return the last box of a block, or the whole block; a box around a box is opened."""
    for _ in range(8):
        inner = boxes(block)
        if not inner:
            break
        block = _last_box(inner, block)
    return block.strip()


def _last_box(found: list[Candidate], text: str) -> str:
    """Return the last box, with those before it that "or", "and" or a comma joins to it: they are one statement."""
    result, start = found[-1].text, found[-1].start
    for box in reversed(found[:-1]):
        if start - box.end > _GAP or not _BETWEEN_BOXES.fullmatch(text[box.end : start]):
            break
        result, start = f"{box.text}{re.sub(r'[$]', '', text[box.end : start])}{result}", box.start
    return result


def outside_reasoning(text: str) -> str:
    """Return a text without its thinking, and without its reflections unless it says nothing else."""
    parts = outside_parts(text)
    if parts == [text]:
        return text
    outside = "\n".join(parts)
    return outside if tidy(outside) else "\n".join(outside_parts(text, ("think",)))


def outside_parts(text: str, kinds: Collection[str] = ("think", "reflection")) -> list[str]:
    """Return what stands before, between and behind a text's parts of these kinds, in order; some may be empty.

    Tags count in any case, and `<thinking>` is `<think>`. A part may hold others, and lasts to its own end tag, or to
    the end of the text. An end tag of none that is open belongs to one that the prompt opened: all before it is inside.
    A tag that is opened twice with nothing in between is open once: models repeat the tag that their prompt ends on.
    """
    parts, start, inner = list[str](), 0, 0
    opened: list[str] = []
    for tag in _REASONING.finditer(text):
        kind = tag.group(2).lower().removesuffix("ing")
        if kind not in kinds:
            continue
        if not tag.group(1):
            if opened[-1:] == [kind] and not text[inner : tag.start()].strip():
                inner = tag.end()
                continue
            if not opened:
                parts.append(text[start : tag.start()])
            opened.append(kind)
            inner = tag.end()
        elif kind in opened:
            while opened.pop() != kind:
                pass
            start = tag.end()
        elif kind == "think" or not opened:
            parts, start, opened = [], tag.end(), []
    return parts if opened else [*parts, text[start:]]


def final_answer(text: str, spec: AnswerSpec | None = None) -> str | None:
    """Return the answer a text ends on, or None when it states none.

    The last `<answer>` block (and the last box inside it), else the last box outside thinking and reflection, else
    what follows the last answer phrase, else, when the type is known, the last plausible candidate of that type.
    Reasoning is never searched once a final block exists, and a block inside it counts only where nothing is said
    outside. A block that is never closed is searched like a text of its own, and so is LLaVA-CoT's last `<CONCLUSION>`
    where there is no `<answer>`.
    """
    closed, outside = blocks(text), outside_reasoning(text)
    if closed and outside != text:
        closed = blocks(outside) or ([] if tidy(outside) else closed)
    if closed:
        return _inside(closed[-1].text) or None
    if opened := [tag for tag in _TAG.finditer(outside) if not tag.group(1)]:
        outside = outside[opened[-1].end() :]
    elif concluded := blocks(outside, _CONCLUSION):
        outside = concluded[-1].text
    boxed = boxes(outside)
    if boxed:
        return _inside(_last_box(boxed, outside)) or None
    kind = spec.type if spec else None
    if kind == "ocr":
        return outside.strip() or None
    said = after_phrase(outside)
    if said is not None or spec is None or kind is None:
        return said
    return _plausible(outside.strip(), spec)


def _plausible(text: str, spec: AnswerSpec) -> str | None:
    """Return the last sentence of a text that holds an answer of the type, or the whole text when it is short."""
    if not text or spec.type == "text":
        return text or None
    pieces = sentences(text)[-_LAST_SENTENCES:]
    short = len(text) <= MAX_LENGTH and "\n" not in text
    if spec.type == "multiple_choice":
        if short and len(named_options(text, spec.options)) == 1:
            return text
        return _last([piece for piece in pieces if named_options(piece[:MAX_LENGTH], spec.options)])
    if spec.type == "yes_no":
        return text if first_word(text) else _last([piece for piece in pieces if first_word(piece)])
    if spec.type == "temporal_iou":
        return _last([piece for piece in pieces if intervals(piece)])
    if spec.type == "list" and len(text) <= MAX_LENGTH and ("[" in text or not has_words(text)):
        return text
    looks = _LOOKS_LISTED if spec.type == "list" else _LOOKS_NUMERIC
    fitting = _last([piece for piece in pieces if looks.search(piece)])
    return fitting or (text if short and plain(text) else None)


def _last(pieces: list[str]) -> str | None:
    return pieces[-1].strip() if pieces else None
