"""Pairs for preference training as others write them: a prompt and two sides, each a reply or a whole conversation."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmreflect.data.columns import (
    check_agreement,
    check_no_history,
    check_reply,
    check_taken,
    plain_text,
    says,
    whole_question,
    with_system,
)
from mmreflect.data.conversations import in_parts, our_turns, said_turns, text_in, with_media
from mmreflect.data.store import Row
from mmreflect.errors import UserError
from mmreflect.records import Message

_PROMPTS = ("prompt", "messages", "question")
"""Columns that a pair's prompt can stand in, of which the first that says something is it."""


def read_pair(known: Row, left: Row, decided: Sequence[str], media: Mapping[str, int]) -> tuple[list[Message], str]:
    """Return the turns of a pair up to and with the chosen reply, and the text of the rejected one.

    A prompt is text, turns, or what both sides begin with, as in TRL's pairs without a prompt. Sides that are whole
    conversations must be the prompt's up to their last turn.

    Args:
        known: the row by our names; `left`: its own columns that nobody has decided about.
        decided: keys of turns that are left out; media: kind to how many there are.

    Raises:
        UserError: a side does not end on a reply, the prompt does, sides or columns say different things, or the row
            says what is not read.
    """
    sides = {name: _side(known[name]) for name in ("chosen", "rejected")}
    name = next((name for name in _PROMPTS if says(known[name])), None)
    if name is None:
        check_no_history(known)
        prompt = sides["chosen"][:-1]
    elif isinstance(known[name], str):
        prompt = whole_question({"question": known[name], "history": known["history"]}, left)
    else:
        check_no_history(known)
        prompt = turns_in([known[name]] if isinstance(known[name], Mapping) else known[name])
    if not prompt or not all(sides.values()):
        raise UserError("a pair lacks its prompt, its chosen or its rejected side", "all three")
    check_taken(left, [*prompt, *sides["chosen"], *sides["rejected"]], decided, pair=True)
    won, lost = sides["chosen"][-1], sides["rejected"][-1]
    if not won.get("role") == lost.get("role") == "assistant":
        raise UserError("a side of the pair does not end on the assistant's turn", "a reply on each side")
    prompt = _before_reply(prompt, won)
    for side, turns in sides.items():
        prompt = _with_context(prompt, side, turns[:-1])
    check_agreement(known | {name or "": None}, ("conversations", *_PROMPTS), [*prompt, won])
    check_reply(known, won)
    placed = with_media(with_system(said_turns(prompt), known["system"]), media)
    placed = [in_parts(turn) for turn in placed] if name is not None and isinstance(known[name], str) else placed
    (reply,) = said_turns([won])
    return [*placed, in_parts(reply) if isinstance(known["chosen"], str) else reply], text_in(lost)


def turns_in(value: Any) -> list[Message]:
    """Return a list of turns with our roles, and with all of their keys.

    Raises:
        UserError: it is none, or a turn has no role or no content.
    """
    turns = our_turns(value)
    if not isinstance(turns, list):
        raise UserError(f"a list is wanted, and there is {type(value).__name__}", "a list of turns")
    for turn in turns:
        if not isinstance(turn, Mapping) or "role" not in turn or "content" not in turn:
            raise UserError("a turn has no role and content", "both", "map other columns to ours in `columns`")
    return turns


def _side(value: Any) -> list[Message]:
    """Return one side of a pair, which may be one turn, or its text alone."""
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    return turns_in([value] if isinstance(value, Mapping) else value)


def _before_reply(prompt: list[Message], won: Message) -> list[Message]:
    """Return a prompt without the chosen reply, which some write at its end as well."""
    if prompt[-1].get("role") != "assistant":
        return prompt
    if _said([won]) != _said(prompt[-1:]) or len(prompt) == 1:
        raise UserError(
            "the prompt of the pair ends on an answer, which is not the chosen one",
            "a prompt that ends on a question",
            "remove that answer from the row",
        )
    return prompt[:-1]


def _with_context(prompt: list[Message], side: str, context: list[Message]) -> list[Message]:
    """Return a prompt with the system turn of a side that repeats it before its reply.

    Raises:
        UserError: the side's turns are other ones.
    """
    if not context:
        return prompt
    if _said(context) != _said(prompt):
        raise UserError(
            f"the column {side!r} holds turns before its reply that are not those of the prompt",
            "the same turns, or the reply alone",
            "write all turns up to the reply into the prompt",
        )
    system = text_in(context[0]) if context[0]["role"] == "system" else None
    return with_system(prompt, system)


def _said(turns: Sequence[Message]) -> list[tuple[Any, str]]:
    return [(turn["role"], plain_text(text_in(turn))) for turn in turns if turn["role"] != "system"]
