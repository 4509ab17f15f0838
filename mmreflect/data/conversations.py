"""Conversations as other tools write them: turns of `from` and `value`, and media marked in plain text.

So are the sets of LLaVA and of Qwen-VL's own fine-tuning (`conversations`, `image`), and what LLaMA-Factory and
ms-swift read (`messages`, `images`, `<image>` in the text).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmreflect.data.roles import with_our_roles
from mmreflect.errors import UserError
from mmreflect.records import Message

KINDS = ("image", "video")
_PLACE = re.compile(r"<(image|video)>")


def with_our_names(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its conversation as `messages` and its media as lists; what has our names already stays."""
    found = dict(row)
    if "conversations" in found and not {"messages", "question"} & found.keys():
        found["messages"] = found.pop("conversations")
    for kind in KINDS:
        if isinstance(found.get(kind), str | list) and f"{kind}s" not in found:
            given = found.pop(kind)
            found[f"{kind}s"] = given if isinstance(given, list) else [given]
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


def with_media(turns: Sequence[Any], media: Mapping[str, int]) -> list[Any]:
    """Return turns of plain text with places for their media, which turns that consist of parts have already.

    A medium stands where a turn says `<image>` or `<video>`; where none does, all stand before the first question.

    Args:
        media: kind to how many there are; without any, `<image>` is text like other text.

    Raises:
        UserError: there are other numbers of marks than of media.
    """
    texts = [turn.get("content") for turn in turns if isinstance(turn, Mapping)]
    if not any(media.values()) or len(texts) < len(turns) or not all(isinstance(text, str) for text in texts):
        return list(turns)
    marks = [match[1] for text in texts for match in _PLACE.finditer(str(text))]
    if not marks:
        first = next((place for place, turn in enumerate(turns) if turn.get("role") == "user"), None)
        ahead = [{"type": kind} for kind, count in media.items() for _ in range(count)]
        return [
            {**turn, "content": [*ahead, {"type": "text", "text": turn["content"]}]} if place == first else turn
            for place, turn in enumerate(turns)
        ]
    if any(marks.count(kind) != count for kind, count in media.items()):
        counts = ", ".join(f"{marks.count(kind)} <{kind}> for {count}" for kind, count in media.items())
        raise UserError("the question marks other numbers of media than there are", counts)
    return [{**turn, "content": _parts(turn["content"])} for turn in turns]


def _parts(text: str) -> str | list[dict[str, Any]]:
    pieces = _PLACE.split(text)
    parts: list[dict[str, Any]] = []
    for number, piece in enumerate(pieces):
        if number % 2:
            parts.append({"type": piece})
        elif piece.strip():
            parts.append({"type": "text", "text": piece})
    return parts if len(pieces) > 1 else text


def question_turn(question: str, media: Mapping[str, int]) -> Message:
    """Return the turn of a question in plain text, with places for its media.

    Raises:
        UserError: it marks other numbers of media than there are.
    """
    (turn,) = with_media([{"role": "user", "content": question}], media)
    return turn if isinstance(turn["content"], list) else {**turn, "content": [{"type": "text", "text": question}]}
