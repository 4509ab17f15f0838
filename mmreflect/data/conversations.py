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
_NOT_READ = ("tools", "audio", "audios", "chosen", "rejected", "rejected_response")
_NAMED = re.compile(r"<img>[^<]+</img>")
_BOXES = re.compile(r"<(?:bbox|ref-object)>")


def with_our_names(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its conversation as `messages` and its media as lists; what has our names already stays.

    Raises:
        UserError: it has a medium under both names.
    """
    found = dict(row)
    if found.get("messages") is None and found.get("question") is None and found.get("conversations") is not None:
        found["messages"] = found.pop("conversations")
    for kind in KINDS:
        one, many = found.pop(kind, None), found.get(f"{kind}s")
        if one in (None, "", []):
            continue
        if many not in (None, []):
            raise UserError(f"the row has both {kind!r} and '{kind}s'", "one of them", "put all into one list")
        found[f"{kind}s"] = one if isinstance(one, list) else [one]
    return found


def with_system(turns: list[Any], system: Any) -> list[Any]:
    """Return turns behind what a row says to the model under `system`, unless they begin with a system turn."""
    first = turns[0].get("role") if turns and isinstance(turns[0], Mapping) else None
    given = isinstance(system, str) and system.strip() and first != "system"
    return [{"role": "system", "content": system}, *turns] if given else turns


def check_taken(row: Mapping[str, Any], turns: Sequence[Any]) -> None:
    """Refuse what other tools read of a conversation and we do not: without it the row would mean something else.

    Raises:
        UserError: there are tools, sounds, boxes, a second answer, a turn not to be learned, or pictures named in text.
    """
    said = [str(turn.get("content")) for turn in turns if isinstance(turn, Mapping)]
    columns = [name for name in _NOT_READ if row.get(name)]
    columns += ["objects"] if row.get("objects") and any(_BOXES.search(text) for text in said) else []
    if columns:
        raise UserError(
            f"the column {columns[0]!r} belongs to the conversation and is not read",
            "a conversation that is whole without it",
            "remove the column where it does not matter",
        )
    if any(_NAMED.search(text) for text in said):
        raise UserError("a turn names a picture in its text (<img>)", "pictures in 'images'", "write <image> instead")
    if any(isinstance(turn, Mapping) and turn.get("loss") in (False, 0) and "loss" in turn for turn in turns):
        raise UserError(
            "a turn is not to be learned ('loss'), which is not read", "turns without 'loss'", "remove the key"
        )


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

    A medium stands where a question says `<image>` or `<video>`; where none does, all stand before the first question.

    Args:
        media: kind to how many there are; of a kind without any, the mark is text like other text, as in any answer.

    Raises:
        UserError: there are other numbers of marks than of media.
    """
    kinds = [kind for kind, count in media.items() if count]
    texts = [turn.get("content") for turn in turns if isinstance(turn, Mapping)]
    if not kinds or len(texts) < len(turns) or not all(isinstance(text, str) for text in texts):
        return list(turns)
    place = re.compile(f"<({'|'.join(kinds)})>")
    asked = [turn for turn in turns if turn.get("role") != "assistant"]
    marks = [match[1] for turn in asked for match in place.finditer(turn["content"])]
    if not marks:
        first = next((number for number, turn in enumerate(turns) if turn.get("role") == "user"), None)
        ahead = [{"type": kind} for kind in kinds for _ in range(media[kind])]
        return [
            {**turn, "content": [*ahead, {"type": "text", "text": turn["content"]}]} if number == first else turn
            for number, turn in enumerate(turns)
        ]
    if any(marks.count(kind) != media[kind] for kind in kinds):
        counts = ", ".join(f"{marks.count(kind)} <{kind}> for {media[kind]}" for kind in kinds)
        raise UserError("the question marks other numbers of media than there are", counts)
    return [{**turn, "content": _parts(turn["content"], place)} if turn in asked else turn for turn in turns]


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
