"""Reading the letter of an option out of a response: one function for each way that scoring scripts do it.

All return the letter, or None for nothing. Each reproduces its script, also where that is odd; none of them is how the
project itself reads an answer (`mmreflect.answers.choices`).
"""

import re
from collections.abc import Mapping, Sequence

_OPTION_PHRASES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    # Video-MME's list lacks two commas, so these pairs are one phrase each, which no response holds.
    "The best option isThe correct option is",
    "Best answer:Best option:",
    "Answer:",
    "Option:",
    "The correct answer",
    "The correct option",
)
_LONGVIDEOBENCH_PHRASES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is",
    "The correct option is",
    "Best answer:",
    "Best option:",
)
_MANY_WORDS = 10


def videomme_letter(text: str, phrases: Sequence[str] = _OPTION_PHRASES) -> str | None:
    """Video-MME's script: drop the known phrases, then the first capital A to D anywhere."""
    return _first_capital(text, phrases, "ABCD")


def videomme_letter_vlmevalkit(text: str) -> str | None:
    """VLMEvalKit's copy of it, which lacks the last two phrases."""
    return _first_capital(text, _OPTION_PHRASES[:-2], "ABCD")


def longvideobench_letter(text: str) -> str | None:
    """LongVideoBench's rule: drop the known phrases, then the first capital A to E anywhere."""
    return _first_capital(text, _LONGVIDEOBENCH_PHRASES, "ABCDE")


def _first_capital(text: str, phrases: Sequence[str], letters: str) -> str | None:
    """Return the first of the letters in what is left.

    The scripts also give up on more than ten words without a letter, which this finds none in either.
    """
    text = text.strip()
    for phrase in phrases:
        text = text.replace(phrase, "")
    found = re.search(f"[{letters}]", text)
    return found[0] if found else None


def lvbench_letter(text: str) -> str | None:
    """LVBench's polish: what stands before the first ")", after a "(", then the first character of the first word."""
    text = text.strip().split(")")[0].strip()
    if "(" in text:
        text = text.split("(")[1].strip()
    return text.split(" ")[0][:1] or None


def mlvu_letter(text: str) -> str | None:
    """MLVU's check: the character before the first ")", without one the whole text; A to F are letters."""
    place = text.find(")")
    letter = text if place < 0 else text[max(0, place - 1) : place]
    return letter if len(letter) == 1 and letter in "ABCDEF" else None


_MVBENCH_HEAD = re.compile(r"([A-E])\.\s*.+$", re.IGNORECASE)
_MVBENCH_SIGNS = (
    ";",
    "/",
    "[",
    "]",
    '"',
    "{",
    "}",
    "(",
    ")",
    "=",
    "+",
    "\\",
    "_",
    "-",
    ">",
    "<",
    "@",
    "`",
    ",",
    "?",
    "!",
)
_MVBENCH_LETTER = re.compile(r"\b([A-E])\b", re.IGNORECASE)
_MVBENCH_DOTS = 32
"""The script hands a flag to a parameter that counts replacements: 32 of them."""


def mvbench_letter(text: str) -> str | None:
    """lmms-eval's rule for MVBench: "B. text", or the first stand-alone letter once signs are removed.

    A lower-case "a" counts, so that "a man walks" is A.
    """
    if head := _MVBENCH_HEAD.match(text.strip()):
        return head[1].upper()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    grouped = re.search(r"\d,\d", text) is not None
    cleaned = text
    for sign in _MVBENCH_SIGNS:
        apart = grouped or f"{sign} " in text or f" {sign}" in text
        cleaned = cleaned.replace(sign, "" if apart else " ")
    cleaned = re.sub(r"\.(?!\d)", "", cleaned, count=_MVBENCH_DOTS)
    cleaned = cleaned.strip("'").strip('"').strip(")").strip("(").strip().lower()
    found = _MVBENCH_LETTER.search(cleaned)
    return found[1].upper() if found else None


_PHRASES = (
    *(f"{lead}answer is" for lead in ("the ", "", "the correct ", "correct ", "the best ", "best ", "my ")),
    *(f"{lead}option is" for lead in ("the correct ", "correct ", "the best ", "best ")),
    *(f"{lead}choice is" for lead in ("the ", "", "the correct ", "correct ", "my ")),
    *("i choose", "i select", "i pick"),
    *("옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)
_SUFFIXES = ((".", 5), (":", 4), (")", 3), (" ", 2))


def shared_letter(text: str, letters: Sequence[str] = "ABCD") -> str | None:
    """lmms-eval's extractor for all its benchmarks: the candidate of the surest form, the last one of that form.

    In falling order: at the start, at the end, after an answer phrase, in brackets, before a dot, a colon, a bracket, a
    blank; if there is nothing at all, anywhere.
    """
    text = text.strip()
    for sign in (",", ".", "!", "?", ";", ":", "'", '"'):
        text = text.strip(sign)
    bare, text = text.strip(), f" {text} "
    found: list[tuple[int, int, str]] = []
    found += [(6, text.rfind(f"({letter})"), letter) for letter in letters if f"({letter})" in text]
    for suffix, priority in _SUFFIXES:
        found += [(priority, text.rfind(letter + suffix), letter) for letter in letters if letter + suffix in text]
    lowered = text.lower()
    for phrase in _PHRASES:
        if (place := lowered.find(phrase)) >= 0:
            after = ((text.find(letter, place + len(phrase)), letter) for letter in letters)
            found += [(7, position, letter) for position, letter in after if position >= 0]
    for letter in letters:
        if bare.startswith(letter) and not bare[1:2].isalpha():
            found.append((10, 0, letter))
    for letter in letters:
        if bare.endswith(letter) and not bare[-2:-1].isalpha():
            found.append((9, len(text) - 1, letter))
    if not found:
        found = [(0, text.rfind(letter), letter) for letter in letters if letter in text]
    return max(found, key=lambda item: item[:2])[2] if found else None


_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_SEPARATORS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_LAST_WORDS = 5


def vlmevalkit_letter(text: str, options: Mapping[str, str]) -> str | None:
    """VLMEvalKit's inference: the one letter near the end, or the one option whose text occurs; "Z" for a refusal.

    Returns:
        None where no option or several are named: VLMEvalKit then asks a model.
    """
    if any(refusal in text for refusal in _REFUSALS):
        return "Z"
    words = text.translate(_SEPARATORS).split()
    named = [letter for letter in options if letter in words]
    if len(named) == 1 and words.index(named[0]) > len(words) - _LAST_WORDS:
        return named[0]
    if not named and "Z" in words:
        return "Z"
    lowered = text.lower()
    if len(lowered) > 2 * sum(len(option) for option in options.values()):
        return None
    inside = [letter for letter, option in options.items() if option.lower() in lowered]
    return inside[0] if len(inside) == 1 else None
