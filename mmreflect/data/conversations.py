"""Conversations as other tools write them: turns of `from` and `value`, and media marked in plain text.

So are the sets of LLaVA and of Qwen2-VL's fine-tuning (`conversations`, `image`), and what LLaMA-Factory and
ms-swift read (`messages`, `images`, `<image>` in the text).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmreflect.data.roles import with_our_roles
from mmreflect.errors import UserError
from mmreflect.records import Message

KINDS = ("image", "video")


def with_our_names(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its conversation as `messages` and its media as lists; what has our names already stays.

    Beside `messages` that hold something, `conversations` stay for whoever looks whether both say the same.

    Raises:
        UserError: it has a medium under both names.
    """
    found = dict(row)
    if found.get("messages") in (None, []) and found.get("conversations") is not None:
        found["messages"] = found.pop("conversations")
    for kind in KINDS:
        one, many = found.pop(kind, None), found.get(f"{kind}s")
        if one in (None, "", []):
            continue
        if many not in (None, []):
            raise UserError(f"the row has both {kind!r} and '{kind}s'", "one of them", "put all into one list")
        found[f"{kind}s"] = one if isinstance(one, list) else [one]
    return found


def our_turns(turns: Any) -> Any:
    """Return turns with `role` and `content` for `from` and `value`, and our roles (`mmreflect.data.roles`).

    All else stays as it is, and so does what is no list of turns: that is refused where turns are checked.
    """
    return with_our_roles([_renamed(turn) for turn in turns]) if isinstance(turns, list) else turns


def _renamed(turn: Any) -> Any:
    if not isinstance(turn, Mapping) or {"role", "content"} & turn.keys() or not {"from", "value"} <= turn.keys():
        return turn
    rest = {key: value for key, value in turn.items() if key not in ("from", "value")}
    return {"role": turn["from"], "content": turn["value"], **rest}


def said_turns(turns: Sequence[Any]) -> list[Any]:
    """Return turns with role and content alone, and parts without the empty keys that tables with fixed columns add.

    What is no turn stays as it is: it is refused where turns are checked.
    """
    return [
        {"role": turn["role"], "content": _said_parts(turn["content"])}
        if isinstance(turn, Mapping) and {"role", "content"} <= turn.keys()
        else turn
        for turn in turns
    ]


def _said_parts(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return [
        {key: item for key, item in part.items() if item is not None} if isinstance(part, Mapping) else part
        for part in content
    ]


def text_in(turn: Mapping[str, Any]) -> str:
    """Return the text of a turn, whatever else its content is."""
    content = turn.get("content")
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    return "".join(str(part["text"]) for part in content if isinstance(part, Mapping) and part.get("text") is not None)


def with_media(turns: Sequence[Any], media: Mapping[str, int]) -> list[Any]:
    """Return turns of plain text with places for their media, which questions that consist of parts have already.

    A medium stands where a question says `<image>` or `<video>`; where none does, all stand before the first question.
    What system turns and answers say is text. So is a mark in a text that is a part: that is how one asks about it.

    Args:
        media: kind to how many there are; of a kind that is not in it the mark is text like other text.

    Raises:
        UserError: there are other numbers of marks than of media, also where there are no media at all.
    """
    asked = [turn for turn in turns if isinstance(turn, Mapping) and turn.get("role") == "user"]
    if not media or not all(isinstance(turn, Mapping) for turn in turns):
        return list(turns)
    if not all(isinstance(turn.get("content"), str) for turn in asked):
        return list(turns)
    place = re.compile(f"<({'|'.join(media)})>")
    marks = [match[1] for turn in asked for match in place.finditer(turn["content"])]
    if not marks:
        first = next((number for number, turn in enumerate(turns) if turn.get("role") == "user"), None)
        ahead = [{"type": kind} for kind, count in media.items() for _ in range(count)]
        return [
            {**turn, "content": [*ahead, {"type": "text", "text": turn["content"]}]}
            if ahead and number == first
            else turn
            for number, turn in enumerate(turns)
        ]
    if any(marks.count(kind) != count for kind, count in media.items()):
        counts = [
            f"{marks.count(kind)} <{kind}> for {count}" for kind, count in media.items() if count or kind in marks
        ]
        raise UserError(
            "the question marks other numbers of media than there are",
            ", ".join(counts),
            "name all media of the row; where the mark is text, write the turn as parts of type text",
        )
    return [
        {**turn, "content": _parts(turn["content"], place)} if turn.get("role") == "user" else turn for turn in turns
    ]


def _parts(text: str, place: re.Pattern[str]) -> str | list[dict[str, Any]]:
    pieces = place.split(text)
    parts: list[dict[str, Any]] = []
    for number, piece in enumerate(pieces):
        if number % 2:
            parts.append({"type": piece})
        elif piece.strip():
            parts.append({"type": "text", "text": piece})
    return parts if len(pieces) > 1 else text


def in_parts(turn: Mapping[str, Any]) -> Message:
    """Return a turn of plain text as one of parts."""
    content = turn["content"]
    return {**turn, "content": [{"type": "text", "text": content}] if isinstance(content, str) else content}
