"""What the log of rejects keeps of a row that was complete, so that a wrong rejection can be seen."""

from collections.abc import Sequence

from mmreflect.building.examples import Example
from mmreflect.data.fingerprint import turns_of
from mmreflect.data.store import Row
from mmreflect.records import text_of

LONGEST = 1500
"""Characters of a text that are kept."""


def texts_of_rejected(row: "Example | Exception") -> Row:
    """Return question and response of a row, of a pair also the side that shall lose; nothing of what is no row yet.

    What stands before the last assistant turn is the question; a text is cut after `LONGEST` characters.
    """
    if not isinstance(row, Example) or not isinstance(row.messages, list):
        return {}
    try:
        turns = [(turn["role"], text_of(turn["content"])) for turn in row.messages]
    except (KeyError, TypeError):  # such a row is rejected for being no conversation
        return {}
    return _told(turns, row.rejected)


def texts_of_dropped(row: Row) -> Row:
    """Return the same of a row as a shard holds it."""
    lost = text_of(row["rejected"][-1]["content"]) if "rejected" in row else None
    return _told([(turn["role"], text_of(turn["content"])) for turn in turns_of(row)], lost)


def _told(turns: Sequence[tuple[str, str]], rejected: str | None) -> Row:
    found = {"question": "\n".join(text for role, text in turns if role == "user")}
    if turns and turns[-1][0] == "assistant":
        found["response"] = turns[-1][1]
    if rejected is not None:
        found["losing"] = rejected
    return {name: text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…" for name, text in found.items()}
