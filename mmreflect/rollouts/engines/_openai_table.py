"""Token ids for an engine that has none: each id stands for a whole turn, or for a piece of a reply.

Id 0 ends a reply. The same turn or piece always has the same id.
"""

from collections.abc import Sequence
from itertools import pairwise

from mmreflect.errors import UserError
from mmreflect.records import Media, Turn

END = 0


class Table:
    """Gives ids and reads them back."""

    def __init__(self) -> None:
        self._entries: list[Turn | str] = [""]
        self._turns: dict[tuple[str, tuple[str | Media, ...]], int] = {}
        self._pieces: dict[str, int] = {}

    def turn(self, turn: Turn) -> int:
        """Return the id of a turn that is shown."""
        key = (turn.role, tuple(turn.content))
        if key not in self._turns:
            self._turns[key] = self._add(Turn(*key))
        return self._turns[key]

    def reply(self, text: str, count: int, ended: bool) -> list[int]:
        """Return ids that split a text evenly.

        Args:
            count: of the ids, the end's included; a text takes at least one beside it.
            ended: the last id is the end.
        """
        pieces = max(count - ended, 1 if text else 0)
        cuts = [round(place * len(text) / pieces) for place in range(pieces + 1)] if pieces else [0]
        ids = [self._piece(text[start:end]) for start, end in pairwise(cuts)]
        return [*ids, END] if ended else ids

    def text(self, token_ids: Sequence[int]) -> str:
        """Return the texts of ids one after the other, media and ends left out."""
        return "".join(_text(self._entries[token]) for token in token_ids)

    def conversation(self, token_ids: Sequence[int]) -> list[Turn]:
        """Return the turns that ids stand for; pieces up to an end are one reply.

        Raises:
            UserError: they end in the middle of a reply.
        """
        turns: list[Turn] = []
        said: list[str] | None = None
        for token in token_ids:
            entry = self._entries[token]
            if isinstance(entry, str):
                said = [] if said is None else said
                said.append(entry)
            if said is not None and (token == END or isinstance(entry, Turn)):
                turns.append(Turn("assistant", ["".join(said)]))
                said = None
            if isinstance(entry, Turn):
                turns.append(entry)
        if said is not None:
            raise no_continue()
        return turns

    def _piece(self, text: str) -> int:
        if text not in self._pieces:
            self._pieces[text] = self._add(text)
        return self._pieces[text]

    def _add(self, entry: Turn | str) -> int:
        self._entries.append(entry)
        return len(self._entries) - 1


def no_continue() -> UserError:
    """Return the error for a recipe that wants to go on from the middle of a reply."""
    return UserError(
        "engine 'openai' cannot put words into the model's mouth: a server takes whole turns",
        "an engine with the capability 'continue'",
        "use engine transformers or vllm for environments and stages with forced words",
    )


def _text(entry: Turn | str) -> str:
    if isinstance(entry, str):
        return entry
    return "".join(part for part in entry.content if isinstance(part, str))
