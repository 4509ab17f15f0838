"""Replies in JSON: found in the text, repaired a little, checked by a pydantic model.

Repaired are code fences, text around the JSON, trailing commas, backslashes of LaTeX (`remote.latex`), and quotes that
are all single or all curly. A reply that was cut off is never repaired: what is missing is not known.
"""

import json
import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from mmreflect.remote.latex import control_character, literal_backslashes

Model = TypeVar("Model", bound=BaseModel)
_SHOWN_PROBLEMS = 3
_PAIRS = {"{": "}", "[": "]"}
_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


class RejectedError(Exception):
    """A reply does not fit; the message is the reason."""


def read_reply(text: str, model: type[Model], finish: str = "stop") -> Model:
    """Return a reply as its model, as `read_and_mend` does."""
    return read_and_mend(text, model, finish)[0]


def read_and_mend(text: str, model: type[Model], finish: str = "stop") -> tuple[Model, int]:
    """Return a reply as its model, and how much was mended in its JSON; of several values in a text that fit, the last.

    Args:
        finish: the server's reason for the end; a reply of reason `length` was cut off.

    Raises:
        RejectedError: it is empty, cut off, no JSON, JSON that does not fit, or holds a control character.
    """
    text = _THOUGHTS.sub("", text)
    if not text.strip():
        raise RejectedError("the reply is empty")
    if finish == "length":
        raise RejectedError("the reply was cut off at its limit of tokens")
    opening = "[" if model.model_json_schema().get("type") == "array" else "{"
    found = _blocks(text, opening)
    if not found:
        raise RejectedError(f"the reply holds no JSON {'list' if opening == '[' else 'object'}")
    reason = ""
    for block in reversed(found):
        try:
            value, mended = _parse(block)
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair could never be written to a file
            if (control := control_character(value)) is not None:
                reason = reason or f"the reply holds the control character {control!r}"
                continue
            return model.model_validate(value), mended
        except json.JSONDecodeError as error:
            reason = reason or f"the reply is not JSON: {error.msg} at character {error.pos}"
        except ValidationError as error:
            reason = reason or _problems(error)
        except UnicodeEncodeError:
            reason = reason or "the reply holds half a character"
        except RecursionError:
            reason = reason or "the reply is nested too deep"
    raise RejectedError(reason)


_BEGINS = {"{": re.compile(r"\s*[\"'“}]"), "[": re.compile(r"\s*(?:[\[\]{\"'“\d-]|true|false|null)")}


def _blocks(text: str, opening: str) -> list[str]:
    """Return the outermost JSON values of one kind in a text, each from its opening to its closing bracket.

    A bracket that no key or value follows is prose, as in `S = {x | x > 0}`, whether it is closed or not.

    Raises:
        RejectedError: one of them does not end.
    """
    blocks, start = list[str](), text.find(opening)
    while start >= 0:
        if not _BEGINS[opening].match(text, start + 1):
            start = text.find(opening, start + 1)
            continue
        end = _end_of(text, start)
        if end is None:
            raise RejectedError("the reply was cut off: its JSON does not end")
        blocks.append(text[start:end])
        start = text.find(opening, end)
    return blocks


def _end_of(text: str, start: int) -> int | None:
    """Return where the value that opens at `start` ends (exclusive), or None where it does not."""
    waiting: list[str] = []
    quoted = escaped = False
    for place in range(start, len(text)):
        character = text[place]
        if quoted:
            quoted = escaped or character != '"'
            escaped = not escaped and character == "\\"
        elif character == '"':
            quoted = True
        elif character in _PAIRS:
            waiting.append(_PAIRS[character])
        elif waiting and character == waiting[-1]:
            waiting.pop()
            if not waiting:
                return place + 1
    return None


_STRING_OR_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)


_SINGLE = re.compile(r"(?<=[{\[,:\s])'((?:[^'\\]|\\.)*)'(?=\s*[:,}\]])", re.DOTALL)


def _parse(block: str) -> tuple[object, int]:
    """Return a block's value, and how much was mended.

    Raises:
        JSONDecodeError: it is no JSON that can be mended.
    """
    quoted = _with_plain_quotes(block)
    plain, mended = literal_backslashes(quoted)
    mended += quoted != block
    try:
        return json.loads(plain, strict=False), mended
    except json.JSONDecodeError:
        shorn = _STRING_OR_COMMA.sub(lambda match: match.group(1) or "", plain)
        return json.loads(shorn, strict=False), mended + 1


def _with_plain_quotes(block: str) -> str:
    """Return a block without a single plain double quote with such in the place of its own: then none is ambiguous."""
    if '"' in block:
        return block
    if "“" in block or "”" in block:
        return block.replace("“", '"').replace("”", '"')
    return _SINGLE.sub(lambda match: f'"{match.group(1)}"', block)


def _problems(error: ValidationError) -> str:
    lines = [f"{'.'.join(map(str, item['loc'])) or 'the reply'}: {item['msg']}" for item in error.errors()]
    more = f"; and {len(lines) - _SHOWN_PROBLEMS} more" if len(lines) > _SHOWN_PROBLEMS else ""
    return f"the reply does not fit: {'; '.join(lines[:_SHOWN_PROBLEMS])}{more}"
