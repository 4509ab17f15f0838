"""How a row comes to be: a generator that yields questions, receives what was said, and returns the row.

    def steps(...) -> Steps:
        attempt = yield from ask(Question("policy", "attempt", turns))
        if not good(attempt.text):
            raise Rejected("the attempt lacks a tag")
        others = yield Gather(is_right)
        ...
        return Example(...)

It never sees whether a server, a model or a script answers, nor in which order rows get on.
"""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from mmreflect.building import Example, Rejected
from mmreflect.errors import UserError
from mmreflect.records import Turn


@dataclass(frozen=True, slots=True)
class Question:
    """One reply that is wanted.

    Attributes:
        speaker: the part of who is asked: `teacher`, `policy`, `judge`.
        purpose: what for, in a word; it seeds the draw and begins the reason of a reject.
        turns: the conversation; where an assistant's turn stands last it is gone on with, by engines that can.
        place: which of several draws of the same.
        schema: a pydantic model that the reply must fit as JSON.
    """

    speaker: str
    purpose: str
    turns: Sequence[Turn]
    place: int = 0
    schema: type[BaseModel] | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a question.

    Attributes:
        value: the reply to a question with a schema.
        cut: it was cut off at the limit of new tokens.
        tokens: of the reply, as who spoke counts them.
        reasoning: what a reasoning model said before its reply, where a server keeps the two apart.
        problem: why there is no usable reply; None where there is one.
    """

    text: str
    value: Any = None
    cut: bool = False
    tokens: int = 0
    problem: UserError | None = None
    reasoning: str = ""

    @property
    def whole(self) -> str:
        """The reply with its thoughts before it in a `<think>` block, where a server took them out of one."""
        if not self.reasoning or "<think>" in self.text:
            return self.text
        return f"<think>{self.reasoning}</think>\n{self.text}"


@dataclass(frozen=True, slots=True)
class Gather:
    """Wait until every row of the shard is here or has ended; a `Gathered` is sent back."""

    value: Any


@dataclass(frozen=True, slots=True)
class Gathered:
    """The values of the rows of a shard that have come as far, in order; `own` is the place of the row's own."""

    values: Sequence[Any]
    own: int


Steps = Generator[Sequence[Question] | Gather, Any, Example]
"""Yields questions, receives a list of `Said` in their order; a `UserError` rejects the row."""


@dataclass(frozen=True, slots=True)
class Task:
    """A row to be made.

    Attributes:
        name: seeds its draws, together with the run's seed, and tells a script whose reply is wanted. Rows of one
            question that share a name share what is drawn for both.
        shard: which rows are gathered together.
        begin: makes its steps; numbers that it adds to the counter stand in the manifest, added up.
    """

    name: str
    shard: int
    begin: Callable[[Counter[str]], Steps]


def ask(question: Question) -> Generator[Sequence[Question], Any, Said]:
    """Ask one thing that the row cannot do without.

    Raises:
        UserError: there is no usable reply, or it was cut off.
    """
    (said,) = yield [question]
    checked(question, said)
    return said  # type: ignore[no-any-return]


def checked(question: Question, said: Said) -> None:
    """Reject a row whose reply is not usable.

    Raises:
        UserError: it failed, or was cut off.
    """
    if said.problem is not None:
        raise said.problem
    if said.cut:
        raise Rejected(f"{question.purpose}: the reply was cut off at its limit of tokens")
