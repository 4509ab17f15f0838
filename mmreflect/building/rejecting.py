"""What the log of rejects keeps of a row that was complete, so that a wrong rejection can be seen."""

from collections.abc import Sequence

from mmreflect.building.examples import Example
from mmreflect.data.store import Row, turns_of
from mmreflect.records import Message, text_of

LONGEST = 1500
"""Characters of a text that are kept."""


def texts_of_rejected(row: "Example | Exception") -> Row:
    """Return question and response of a row, of a pair also the side that shall lose; nothing of what is no row yet.

    What stands before the last assistant turn is the question; a text is cut after `LONGEST` characters.
    """
    if not isinstance(row, Example) or not isinstance(row.messages, list):
        return {}
    return _texts(row.messages, row.rejected)


def texts_of_row(row: Row) -> Row:
    """Return the same of a row that was stored."""
    rejected = text_of(row["rejected"][-1]["content"]) if "rejected" in row else None
    return _texts(turns_of(row), rejected)


def _texts(messages: Sequence[Message], rejected: str | None) -> Row:
    try:
        turns = [(turn["role"], text_of(turn["content"])) for turn in messages]
    except (KeyError, TypeError):  # such a row is rejected for being no conversation
        return {}
    found = {"question": "\n".join(text for role, text in turns if role == "user")}
    if turns and turns[-1][0] == "assistant":
        found["response"] = turns[-1][1]
    if rejected is not None:
        found["losing"] = rejected
    return {name: text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…" for name, text in found.items()}
