"""Reading conversations of releases: turns, options in the text of a question, and the answer a solution ends on."""

import re
from typing import Any

from mmreflect.answers.extract import final_answer, outside_reasoning
from mmreflect.answers.spec import LETTERS
from mmreflect.layouts import UnusableError

SHORT = 40
"""Characters of a reply that may be an answer without saying so."""
_BRACKETED = re.compile(r"\(([A-Z])\)[ \t]*")
_LINED = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]+", re.MULTILINE)
_HOW = re.compile(r"\n\s*(?:Answer|Please|Return|Select|Choose|Give)\b[^\n]*\s*$")
_LETTER = re.compile(r"(?:option\s+)?\(?([A-Z])\)?(?:[.:)]\s*(.*))?", re.DOTALL | re.IGNORECASE)


def turns_at(row: dict[str, Any], key: str, who: str, text: str, roles: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the rounds of a conversation: what was asked, and what was answered.

    Args:
        who, text: the keys of a turn, such as `from` and `value`.
        roles: the names of the two who speak, who asks first; a turn of `system` before them is left away.

    Raises:
        UnusableError: it is no conversation of these two by turns, or a turn is blank.
    """
    turns = row.get(key)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise UnusableError("no conversation")
    if turns and turns[0].get(who) == "system":
        turns = turns[1:]
    if len(turns) < 2:
        raise UnusableError("no conversation")
    if any(turn.get(who) != roles[place % 2] for place, turn in enumerate(turns)):
        raise UnusableError(f"the turns are not {roles[0]}, {roles[1]}")
    said = [turn.get(text) for turn in turns]
    if not all(isinstance(item, str) and item.strip() for item in said):
        raise UnusableError("a turn is empty")
    return [(asked.strip(), answered.strip()) for asked, answered in zip(said[::2], said[1::2], strict=False)]


def options_in(text: str) -> tuple[str, tuple[str, ...]]:
    """Split a text into the question and the options at its end: "(A) 12 (B) 15", or lines "A. 12".

    The letters must go from A on without a gap, and each stand once; else the text holds no options. A last line that
    says how to answer is left away.
    """
    for pattern in (_BRACKETED, _LINED):
        found = list(pattern.finditer(text))
        if len(found) < 2 or [match[1] for match in found] != list(LETTERS[: len(found)]):
            continue
        end = _HOW.sub("", text)
        ends = [match.start() for match in found[1:]] + [len(end)]
        options = [
            end[match.end() : stop].strip().rstrip(",;").strip() for match, stop in zip(found, ends, strict=True)
        ]
        if all(options) and not any("\n" in option for option in options):
            return text[: found[0].start()].rstrip(), tuple(options)
    return text, ()


def letter_of(answer: str, options: tuple[str, ...]) -> str | None:
    """Return the letter that an answer names: "B", "(B)", "B. 15", or the text of an option; None where it names none.

    Where options are known, a letter beyond them names none, and neither does a letter with the text of another.
    """
    stated = answer.strip().rstrip(".").strip()
    found = _LETTER.fullmatch(stated)
    if found is not None and (found[1].isupper() or not found[2]):
        letter, rest = found[1].upper(), (found[2] or "").strip().rstrip(".")
        place = LETTERS.index(letter)
        if not options:
            return letter
        other = any(_same(rest, option) for option in options)
        if place < len(options) and (not rest or _same(rest, options[place]) or not other):
            return letter
    named = [place for place, option in enumerate(options) if _same(stated, option)]
    return LETTERS[named[0]] if len(named) == 1 else None


def _same(left: str, right: str) -> bool:
    return left.strip().rstrip(".").casefold() == right.strip().rstrip(".").casefold()


def read_question(text: str, answer: str) -> tuple[str, tuple[str, ...], str, str | None]:
    """Return a question without the options at its end, the options, the answer and its type.

    An answer that names an option becomes its letter. Where it names none, text and answer stay as they are: a solution
    may end on a sentence.

    Raises:
        UnusableError: the answer is a letter that no option has.
    """
    asked, options = options_in(text)
    if not options:
        return text, (), _bare(answer), None
    letter = letter_of(answer, options)
    if letter is not None:
        return asked, options, letter, "multiple_choice"
    if re.fullmatch(r"\(?[A-Z]\)?\.?", answer.strip()):
        raise UnusableError("the answer is none of the options")
    return text, (), _bare(answer), None


def _bare(answer: str) -> str:
    """Take the full stop off a letter or a number."""
    found = re.fullmatch(r"(\(?[A-Z]\)?|-?[\d,]*\.?\d+)\.?", answer.strip())
    return found[1] if found else answer.strip()


def ending(response: str) -> str:
    """Return the answer that a solution ends on, by the project's own reading of answers.

    Where it states none, one line of at most `SHORT` characters outside of its thinking is the answer.

    Raises:
        UnusableError: it states none.
    """
    rest = outside_reasoning(response).strip()
    found = final_answer(response) or (rest if len(rest) <= SHORT and "\n" not in rest else "")
    if not found.strip():
        raise UnusableError("the solution states no final answer")
    return found.strip()
