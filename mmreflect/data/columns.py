"""What the columns of a row say of its conversation: each is taken, or refused by its name.

The names are those of LLaMA-Factory, ms-swift, LLaVA and TRL. A row of which a part is left out without a word asks or
teaches something else than its author wrote: an answer that was marked as bad is learnt as a good one, a question is
asked without what it refers to. What a user names in `columns` of a mixture is decided, and is not looked at here.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from mmreflect.data.conversations import our_turns, text_in
from mmreflect.data.store import shown
from mmreflect.errors import UserError
from mmreflect.records import Message

_REFUSED = ("tools", "audio", "audios", "chosen", "rejected", "rejected_response", "rejected_messages")
_OPINIONS = ("label", "kto_tag")
DECIDABLE = (*_REFUSED, *_OPINIONS, "objects", "conversations", "input")
"""Columns that are no names of ours, and that a mixture may leave out by null in `columns`."""
OF_A_TURN = "messages."
"""What comes before a key of turns that a mixture leaves out."""
_WEIGHTS = ("loss", "weight", "loss_scale")
_OF_RECORDS = ("id", "index", "uuid", "turn", "turn_id", "message_id", "parent_id", "timestamp", "date", "created_at")
"""Keys of turns that tell one from another, and say nothing to a model."""
_EMPTY_JSON = ("", "[]", "{}", "null")
_NAMED = re.compile(r"<img>[^<]+</img>")
_BOXES = re.compile(r"<(?:bbox|ref-object)>")
_MARK = re.compile(r"<(?:image|video)>")
LEAVE_OUT = "remove it where it does not matter, or in a mixture set it to null in `columns`"


def says(value: Any) -> bool:
    """Tell whether a value says anything; tables fill their columns up with nothing, and structs with nulls."""
    if isinstance(value, Mapping):
        return any(says(item) for item in value.values())
    return value is not None and value != "" and value != []


def plain_text(text: str) -> str:
    """Return what a text says whatever the white space, without the marks of media."""
    return " ".join(_MARK.sub("", text).split())


def check_taken(
    row: Mapping[str, Any], turns: Sequence[Any], decided: Collection[str] = (), *, pair: bool = False
) -> None:
    """Refuse what other tools read of a conversation and we do not: without it the row would mean something else.

    Args:
        row: its columns that nobody has decided about.
        turns: all of its turns, with all of their keys.
        decided: keys of turns that are left out, as `messages.KEY`.
        pair: the sides of a pair are among the turns, so that `chosen` and `rejected` are read.

    Raises:
        UserError: there are tools, sounds, boxes, a second answer, a key of a turn that is not read, a turn that is not
            to be learned, or pictures named in text.
    """
    texts = [text_in(turn) for turn in turns if isinstance(turn, Mapping)]
    columns = [name for name in _REFUSED if says(row.get(name)) and row[name] is not False]
    columns = [name for name in columns if not (pair and name in ("chosen", "rejected"))]
    if str(row.get("tools")).strip() in _EMPTY_JSON:
        columns = [name for name in columns if name != "tools"]
    columns += ["objects"] if row.get("objects") and any(_BOXES.search(text) for text in texts) else []
    if columns:
        raise UserError(
            f"the column {columns[0]!r} belongs to the conversation and is not read",
            "a conversation that is whole without it",
            LEAVE_OUT,
        )
    if any(_NAMED.search(text) for text in texts):
        raise UserError("a turn names a picture in its text (<img>)", "pictures in 'images'", "write <image> instead")
    for turn in turns:
        if isinstance(turn, Mapping):
            _check_keys(turn, decided)


def _check_keys(turn: Mapping[str, Any], decided: Collection[str]) -> None:
    for key, value in turn.items():
        name = f"{OF_A_TURN}{key}"
        if key in ("role", "content", *_OF_RECORDS) or name in decided or not says(value):
            continue
        if key not in _WEIGHTS and value is False:
            continue
        if key not in _WEIGHTS:
            raise UserError(
                f"the column {name!r} is not read: a turn's content holds all that it says",
                "turns of role and content",
                f"write into the content what shall be learned of it; {LEAVE_OUT}",
            )
        if turn.get("role") == "assistant" and value != 1:
            raise UserError(
                f"the column {name!r} says that a turn is to be learned less, or not at all, and is not read",
                "answers that are all to be learned",
                f"leave the row out; {LEAVE_OUT}",
            )


def check_opinions(row: Mapping[str, Any], turns: Sequence[Any]) -> None:
    """Refuse turns that end on an answer which their row calls bad; a `label` that is no yes or no is something else.

    Args:
        row: its columns that nobody has decided about; `turns`: all that would be learned.

    Raises:
        UserError: it does.
    """
    if not turns or not isinstance(turns[-1], Mapping) or turns[-1].get("role") != "assistant":
        return
    for name in _OPINIONS:
        value = row.get(name)
        if value is False or (name == "kto_tag" and says(value) and value not in (True, "true", "True")):
            raise UserError(
                f"the column {name!r} says that the answer is a bad one, which would be learned as a good one",
                "answers that shall be learned",
                f"leave the row out; {LEAVE_OUT}",
            )


def with_system(turns: Sequence[Any], system: Any) -> list[Any]:
    """Return turns behind what a row says to the model under `system`.

    Raises:
        UserError: it is no text, or the turns begin with another system turn.
    """
    if not says(system) or (isinstance(system, str) and not system.strip()):
        return list(turns)
    if not isinstance(system, str):
        raise UserError(f"the column 'system' is no text ({shown(system)})", "text", LEAVE_OUT)
    first = turns[0] if turns and isinstance(turns[0], Mapping) else {}
    if first.get("role") != "system":
        return [{"role": "system", "content": system}, *turns]
    if plain_text(text_in(first)) != plain_text(system):
        raise UserError("the column 'system' says something else than the system turn", "one of both", LEAVE_OUT)
    return list(turns)


def whole_question(row: Mapping[str, Any], left: Mapping[str, Any]) -> list[Message]:
    """Return a `question` as a turn of plain text, behind its `system` and `history` and before its `response`.

    Args:
        row: by our names; `left`: its own columns that nobody has decided about.

    Raises:
        UserError: the response is empty, the history is no list of questions and answers, or a column says something
            else, or what is not read.
    """
    if says(left.get("input")):
        said = "the column 'input' may be a part of the question and is not read"
        raise UserError(said, "a whole question", LEAVE_OUT)
    turns = with_system(
        [*past_turns(row.get("history")), {"role": "user", "content": row["question"]}], row.get("system")
    )
    check_agreement(row, ("prompt", "conversations"), turns)
    response = row.get("response")
    if response == "":
        raise UserError("the response is empty", "text, or none for a row without one", LEAVE_OUT)
    if response is not None:
        turns.append({"role": "assistant", "content": [{"type": "text", "text": response}]})
    return turns


def past_turns(history: Any) -> list[Message]:
    """Return the turns of questions and answers that stand before a question.

    Raises:
        UserError: it is no list of such pairs.
    """
    rounds = history if says(history) else []
    if not isinstance(rounds, list) or not all(_is_round(each) for each in rounds):
        raise UserError(
            f"the column 'history' is no list of questions and answers ({shown(history)})",
            "[[question, answer], ...]",
            f"correct it; {LEAVE_OUT}",
        )
    roles = ("user", "assistant")
    return [{"role": role, "content": text} for each in rounds for role, text in zip(roles, each, strict=True)]


def _is_round(each: Any) -> bool:
    return isinstance(each, list | tuple) and len(each) == 2 and all(isinstance(text, str) and text for text in each)


def whole(turns: Sequence[Any], row: Mapping[str, Any]) -> list[Any]:
    """Return a conversation with the row's `system`, and with its `response` where it ends on a question.

    Args:
        row: by our names; another `question`, `prompt` or `conversations` must say what the turns say.

    Raises:
        UserError: a column says something else than the turns, or there is a `history` beside them.
    """
    check_no_history(row)
    check_agreement(row, ("question", "prompt", "conversations"), turns)
    last = turns[-1] if turns and isinstance(turns[-1], Mapping) else {}
    if last.get("role") == "assistant":
        check_reply(row, last)
    elif says(row.get("response")):
        if not isinstance(row["response"], str):
            raise UserError(f"the response is {row['response']!r}", "text", LEAVE_OUT)
        turns = [*turns, {"role": "assistant", "content": row["response"]}]
    return with_system(turns, row.get("system"))


def check_no_history(row: Mapping[str, Any]) -> None:
    """Refuse a `history` beside turns, which are one themselves.

    Raises:
        UserError: there is one.
    """
    if says(row.get("history")):
        raise UserError("the column 'history' stands beside a conversation", "all turns in one list", LEAVE_OUT)


def check_reply(row: Mapping[str, Any], reply: Mapping[str, Any]) -> None:
    """Refuse a `response` beside turns that end on another one.

    Raises:
        UserError: it is another one.
    """
    response = row.get("response")
    if says(response) and plain_text(str(response)) != plain_text(text_in(reply)):
        raise UserError("the column 'response' stands beside turns with another answer", "one of both", LEAVE_OUT)


def check_agreement(row: Mapping[str, Any], names: Iterable[str], turns: Sequence[Any]) -> None:
    """Refuse a row that asks in several columns, unless what the others say stands in the turns that are read.

    Raises:
        UserError: the first column that says something else.
    """
    for name in names:
        if says(row.get(name)) and not _stands_in(row[name], turns):
            raise UserError(
                f"the column {name!r} says something else than the conversation or question that is read",
                "one of both, or the same in both",
                LEAVE_OUT,
            )


def _stands_in(value: Any, turns: Sequence[Any]) -> bool:
    told = our_turns(value) if isinstance(value, list) else [{"role": "user", "content": value}]
    if not all(isinstance(turn, Mapping) and isinstance(turn.get("content"), str | list) for turn in told):
        return False
    known = [(turn.get("role"), plain_text(text_in(turn))) for turn in turns if isinstance(turn, Mapping)]
    return all(
        any(role == turn.get("role") and plain_text(text_in(turn)) in text for role, text in known) for turn in told
    )
