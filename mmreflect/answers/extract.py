"""Finding answers in a text: tagged blocks first, then boxes, then what follows an answer phrase."""

import re
from dataclasses import dataclass

ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_THINK = re.compile(r"<think>.*?(</think>|$)", re.DOTALL)
_PHRASE = re.compile(r"(?:final answer|the answer is|answer)\s*[:=]?\s*(?:is\s+)?([^\n]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer that a text states; `start` and `end` are the character span of its block."""

    text: str
    start: int
    end: int


def boxes(text: str) -> list[Candidate]:
    r"""Return the contents of every balanced `\boxed{...}`, in order."""
    found = []
    for match in re.finditer(r"\\boxed\s*\{", text):
        depth, place = 1, match.end()
        while place < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            place += 1
        if depth == 0:
            found.append(Candidate(text[match.end() : place - 1].strip(), match.start(), place))
    return found


def candidates(text: str) -> list[Candidate]:
    """Return every answer that a text commits to, in order: `<answer>` blocks, or else boxes.

    In tagged layouts the first block is the first try and the last one the final answer.
    """
    blocks = [Candidate(_inside(match.group(1)), match.start(), match.end()) for match in ANSWER.finditer(text)]
    return blocks or boxes(text)


def _inside(block: str) -> str:
    inner = boxes(block)
    return inner[-1].text if inner else block.strip()


def final_answer(text: str) -> str | None:
    """Return the answer a text ends on, or None when it states none.

    The last `<answer>` block (and the last box inside it), else the last box outside the thinking part, else what
    follows the last answer phrase. Reasoning is never searched once a final block exists.
    """
    blocks = list(ANSWER.finditer(text))
    if blocks:
        return _inside(blocks[-1].group(1)) or None
    outside = _THINK.sub("", text)
    boxed = boxes(outside)
    if boxed:
        return boxed[-1].text or None
    phrases = _PHRASE.findall(outside)
    return phrases[-1].strip().rstrip(".") or None if phrases else None
