"""The options of a question in another order, with everything that speaks of them following."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmreflect.answers.choices import reference_option
from mmreflect.answers.grade import verify
from mmreflect.answers.spec import spec_of
from mmreflect.data.letters import by_place, letters_joined, lone_letters, sure_letters, without_lists
from mmreflect.data.store import Row, split_response
from mmreflect.errors import UserError
from mmreflect.records import Message, content_parts, text_of

Options = Sequence[tuple[str, str]]
"""Letters with their texts, in order."""
TRIES = 1000

_OTHERS = (
    r"(the\s+)?((two|three|four|five)\s+)?(above|these|those|them|preceding|previous|foregoing|others?"
    r"|other (option|choice|answer)s|option|choice|answer)s?\b"
)
_ABOUT_OTHERS = re.compile(
    r"\b(all|none|neither|either|both|any|some|each|every|most|two|three|four|one|nothing|anything|everything|only)\b"
    rf"[ \w]{{0,20}}? of\s+{_OTHERS}|\b(all|none|neither|either|both|any|each|every)\s+{_OTHERS}"
    r"|\b(?!is\b|are\b|was\b|from\b)\w+ (the )?above\W*$|\bthe above\b|\bno other\b"
    r"|\b(mentioned|listed|given|named) above\b"
    r"|以上|上述|前述|如上|皆[是非]|(?<![首成])[都均][不是非对錯错]|其[他它](选项|選項)",
    re.IGNORECASE,
)
"""Options that say something about the others; `首都是` and `成都是` are about towns."""
_OTHERS_BY_PLACE = re.compile(
    r"\b(former|latter|(first|second|third|last|previous|preceding|other) (two|three|options?|choices?|answers?)"
    r"|(option|choice|answer)s? (above|below))\b",
    re.IGNORECASE,
)
FOLLOWS = ("option", "first_answer", "final_answer")
"""Facts that may hold an option's letter, which is then changed as well."""


class UnmovableError(UserError):
    """The options of a row cannot be put in another order without changing what is asked."""


def options_of(row: Row) -> Options:
    """Return a row's options.

    Raises:
        UserError: it has none, or they are not readable.
    """
    found = spec_of(row.get("facts") or {}).options
    if not found or len(found) < 2:
        raise UnmovableError("the row has no options")
    return found


def block_of(text: str, options: Options) -> "re.Match[str] | None":
    """Find where a text lists all options one after the other, such as `A. 12` or `(A) 12`; None where it does not.

    Returns:
        A match with a group for each option's text. None also where they are listed twice.
    """
    label = r"[(\[]?{}[).:\]]\s*({})"
    listed = r"[\s,;|]*".join(label.format(letter, re.escape(said.strip())) for letter, said in options)
    found = list(re.finditer(rf"(?<!\w){listed}(?!\w|\.\d)", text))
    return found[0] if len(found) == 1 else None


def orders(options: Options, rng: random.Random, count: int) -> list[list[int]]:
    """Return different orders of the options, none of them the one that they stand in.

    Options that are about the others, such as "none of the above", stay where they are. An order is the old place of
    the option that comes to each place. Orders that read the same, as two options have one text, are one.

    Raises:
        UserError: the options cannot be moved, or there are not so many orders.
    """
    moving = _moving(options)
    texts = [said.strip() for _, said in options]
    known, found = {tuple(texts)}, list[list[int]]()
    for _ in range(TRIES):
        if len(found) == count:
            return found
        order, drawn = list(range(len(options))), list(moving)
        rng.shuffle(drawn)
        for place, chosen in zip(moving, drawn, strict=True):
            order[place] = chosen
        said = tuple(texts[place] for place in order)
        if said not in known:
            known.add(said)
            found.append(order)
    if len(found) == count:
        return found
    raise UnmovableError("there is no further order of the options")


def _moving(options: Options) -> list[int]:
    """Return the places whose options may change them.

    Raises:
        UserError: an option speaks of others by letter or place, or one about all above it is not the last.
    """
    letters = "".join(letter for letter, _ in options)
    fixed = [place for place, (_, said) in enumerate(options) if _ABOUT_OTHERS.search(said)]
    for place, (_, said) in enumerate(options):
        if any(said[found] in letters for found in lone_letters(said, letters)) or letters_joined(said, letters):
            raise UnmovableError("an option speaks of a letter", said)
        if place not in fixed and (_OTHERS_BY_PLACE.search(said) or by_place(said)):
            raise UnmovableError("an option speaks of others by their place", said)
    if fixed != list(range(len(options) - len(fixed), len(options))):
        raise UnmovableError("an option about the others is not the last", options[fixed[0]][1])
    return list(range(len(options) - len(fixed)))


@dataclass(frozen=True, slots=True)
class Permuted:
    """A row with its options in another order."""

    messages: list[Message]
    answer: str
    facts: dict[str, Any]


def permuted(row: Row, options: Options, order: Sequence[int]) -> Permuted:
    """Return a row with its options in another order: question, reference, response and facts follow.

    Raises:
        UserError: the options are not listed in the question just once; question, response or a fact speaks of an
            option in a way that cannot be followed; or the response would be graded otherwise than before.
    """
    prompt, response = split_response(row["messages"], str(row["id"]))
    letters = [letter for letter, _ in options]
    follows = {letters[old]: letters[new] for new, old in enumerate(order)}
    changed = _listed_anew(prompt, options, order)
    gold, facts = str(row["answer"]), row.get("facts") or {}
    right = reference_option(gold, tuple(options))
    if right is None:
        raise UnmovableError("the reference is none of the options")
    fresh = _facts(facts, options, order, follows)
    answer = _answer(gold, right, follows, options)
    if reference_option(answer, tuple(_reordered(options, order))) != follows[right]:
        raise UnmovableError("the reference cannot follow the options", gold)
    if response is None:
        return Permuted(changed, answer, fresh)
    asked = "\n".join(text_of(turn["content"]) for turn in prompt)
    said = following(response, options, follows, asked)
    before, after = verify(response, gold, spec_of(facts)).passed, verify(said, answer, spec_of(fresh)).passed
    if before != after:
        raise UnmovableError("the response would be graded otherwise than before")
    reply = {"role": "assistant", "content": [{"type": "text", "text": said}]}
    return Permuted([*changed, reply], answer, fresh)


def _reordered(options: Options, order: Sequence[int]) -> list[tuple[str, str]]:
    return [(letter, options[old][1]) for (letter, _), old in zip(options, order, strict=True)]


def _listed_anew(prompt: Sequence[Message], options: Options, order: Sequence[int]) -> list[Message]:
    """Return the prompt with its list of options in the new order."""
    changed: list[Message] = []
    rests = []
    for turn in prompt:
        content = turn["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
        for place, part in enumerate(parts):
            block = block_of(part["text"], options) if part["type"] == "text" else None
            if block is not None:
                rests.append(part["text"][: block.start()] + "\n" + part["text"][block.end() :])
                parts[place] = {**part, "text": _replaced(part["text"], block, options, order)}
        changed.append({**turn, "content": parts[0]["text"] if isinstance(content, str) else parts})
    if len(rests) != 1:
        raise UnmovableError("the options are not listed in the question just once")
    others = [part["text"] for turn in prompt for part in content_parts(turn["content"]) if part["type"] == "text"]
    for rest in [*rests, *(text for text in others if block_of(text, options) is None)]:
        _check_spoken(rest, options)
    return changed


def _check_spoken(text: str, options: Options) -> None:
    """Refuse what a question says beside its list of options, where it speaks of them or may do so.

    Raises:
        UnmovableError: it does, other than by naming all letters as what an answer may be.
    """
    if words := by_place(text):
        raise UnmovableError("the question speaks of an option by its place", words)
    letters = "".join(letter for letter, _ in options)
    text = without_lists(text, letters)
    if sure_letters(text, tuple(options)):
        raise UnmovableError("the question speaks of an option by its letter")
    for start in lone_letters(text, letters, _texts(options)):
        raise UnmovableError("a letter stands in the question that may be an option", _around(text, start))


def _texts(options: Options) -> str:
    return "\n".join(said for _, said in options)


def _around(text: str, start: int) -> str:
    return text[max(0, start - 20) :][:41]


def _replaced(text: str, block: "re.Match[str]", options: Options, order: Sequence[int]) -> str:
    for place in reversed(range(len(options))):
        start, end = block.span(place + 1)
        text = text[:start] + options[order[place]][1].strip() + text[end:]
    return text


def _answer(gold: str, right: str, follows: Mapping[str, str], options: Options) -> str:
    """Return the reference with its letter following; one that is an option's text stays as it is."""
    if gold.strip() in {said.strip() for _, said in options}:
        return gold
    alone = re.fullmatch(r"[\s(\[{<]*([A-Za-z])[\s)\]}>.:,;]*", gold)
    match = alone or re.match(rf"[^A-Za-z\\]*(?:\\boxed\{{)?[^A-Za-z]*({right})(?![\w'’])", gold)
    return gold if match is None else gold[: match.start(1)] + follows[right] + gold[match.end(1) :]


def following(text: str, options: Options, follows: Mapping[str, str], asked: str = "") -> str:
    r"""Return a text in which the letters of options are those that they have now, large or small as before.

    Letters are options in a box, in <answer> tags, after "option", "choice" or "answer" (or 选项 and 答案), and before
    their own text; capitals also in brackets. The article "A" is none, where it surely is one.

    Args:
        asked: the text of the prompt, which tells which words articles stand before.

    Raises:
        UserError: another letter stands alone, which may be an option or not, or an option is spoken of by its place.
    """
    if words := by_place(text):
        raise UnmovableError("the response speaks of an option by its place", words)
    spans = sure_letters(text, tuple(options))
    for start in lone_letters(text, "".join(follows), f"{_texts(options)}\n{asked}"):
        if not any(begin <= start < end for begin, end in spans):
            raise UnmovableError("a letter stands in the response that may be an option", _around(text, start))
    for start, end in reversed(spans):
        text = text[:start] + _follow(text[start:end], follows) + text[end:]
    return text


def _follow(letter: str, follows: Mapping[str, str]) -> str:
    """Return where a letter's option is now, written as large or small as before."""
    return follows[letter] if letter in follows else follows[letter.upper()].lower()


def _facts(
    facts: Mapping[str, Any], options: Options, order: Sequence[int], follows: Mapping[str, str]
) -> dict[str, Any]:
    anew = _reordered(options, order)
    given = facts.get("options")
    changed: dict[str, Any] = {}
    for name, value in facts.items():
        if name == "options":
            texts = [said for _, said in anew]
            changed[name] = dict(zip(given, texts, strict=True)) if isinstance(given, Mapping) else texts
        elif name in FOLLOWS and isinstance(value, str) and value.upper() in follows:
            changed[name] = _follow(value, follows)
        elif name != "provenance" and _speaks(value, options):
            raise UnmovableError(f"facts.{name} speaks of an option")
        else:
            changed[name] = value
    return changed


def _speaks(value: Any, options: Options) -> bool:
    if isinstance(value, str):
        letters = "".join(letter for letter, _ in options)
        alone = value.strip().upper() in set(letters) or any(
            value[at] in letters for at in lone_letters(value, letters)
        )
        return alone or bool(sure_letters(value, tuple(options))) or by_place(value) is not None
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return any(_speaks(item, options) for item in inner)
