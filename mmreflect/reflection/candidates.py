r"""Where does a text present candidate answers? Rules in the place of an LLM ("First Try Matters", section 2.1).

A line of thinking presents one when it holds a box or an `<answer>` block, when it says that the answer is something,
or when it concludes (so, thus, therefore, ...) and ends with a number or an option's letter. A bare "=" is no
conclusion: "2 + 3 = 5" is a step on the way far more often than the quantity that was asked for, which is all that
counts in the paper.
"""

import re
from collections.abc import Iterator

from mmreflect.answers.extract import Candidate, blocks, boxes, candidates
from mmreflect.answers.markup import after_phrase

_ANSWER = re.compile(r"\banswer\b", re.IGNORECASE)
_NOT = re.compile(r"(?:not|unclear|unknown|still)\b", re.IGNORECASE)
_CUE = re.compile(
    r"\b(?:so|thus|therefore|hence|equals|we get|we have|gives|yields|the result|finally|in conclusion)\b",
    re.IGNORECASE,
)
_VALUE_AT_END = re.compile(
    r"(?<![\w.])(?:[-+]?\s?\$?\d[\d,]*(?:\.\d+)?(?:/\d+)?\s*(?:%|°|[ckm]?m|k?g|s|h|units?|degrees?)?"
    r"|(?:\([A-Z]\)|[A-HJ-Z]))[\s.!$*)]*$"
)


_THOUGHT_ENDS = re.compile(r"</think(?:ing)?>", re.IGNORECASE)


def stated(text: str) -> list[Candidate]:
    """Return the candidate answers of a text in order.

    Two `<answer>` blocks or more are its rounds, and nothing else counts. Else the lines of thinking are searched, and
    what is said after it counts as one more candidate only where it is another one, or the thinking holds none. A text
    without thinking tags is searched whole.
    """
    rounds = blocks(text)
    if len(rounds) > 1:
        return candidates(text)
    thought = next(iter(_THOUGHT_ENDS.finditer(text)), None)
    if thought is None:
        return list(_in_lines(text))
    inside = list(_in_lines(text[: thought.start()]))
    late, shift = _in_lines(text[thought.end() :]), thought.end()
    after = [Candidate(item.text, item.start + shift, item.end + shift) for item in late]
    if inside and after and _plain(after[-1].text) == _plain(inside[-1].text):
        return inside
    return inside + after[-1:]


def _plain(answer: str) -> str:
    return answer.strip().strip(".$").casefold()


def _in_lines(text: str) -> Iterator[Candidate]:
    """Yield blocks and boxes wherever they stand, and what else the lines outside of them present."""
    tagged = blocks(text)
    marked = [*(candidates(text) if tagged else ()), *_outside(boxes(text), tagged)]
    found, start = list(marked), 0
    for line in text.split("\n"):
        end = start + len(line)
        if not any(item.start < end and start < item.end for item in marked):
            found += _in_words(line, start)
        start = end + 1
    yield from sorted(found, key=lambda item: item.start)


def _outside(inner: list[Candidate], outer: list[Candidate]) -> list[Candidate]:
    return [item for item in inner if not any(block.start <= item.start < block.end for block in outer)]


def _in_words(line: str, start: int) -> list[Candidate]:
    """Return the candidate that a line states in words."""
    if _ANSWER.search(line) and (said := after_phrase(line)) and not _NOT.match(said):
        return [Candidate(said.strip(), start, start + len(line))]
    cue = _CUE.search(line)
    value = _VALUE_AT_END.search(line, cue.end()) if cue else None
    return [Candidate(value.group().strip(" .!$*"), start + value.start(), start + value.end())] if value else []


def presents_candidate(line: str) -> bool:
    """Tell whether a line presents a candidate answer; it is never asked whether that is right."""
    if candidates(line):
        return True
    if _ANSWER.search(line) and (said := after_phrase(line)) and not _NOT.match(said):
        return True
    cue = _CUE.search(line)
    return cue is not None and _VALUE_AT_END.search(line, cue.end()) is not None
