"""What a builder is: the leaf's side of building a dataset.

A builder leaf names its splits (`splits(config)`) and makes one row from its place (`make(config, split, index)`).
A row depends on nothing else, so that a killed build goes on at its first missing shard to the same bytes. A leaf may
also say what it builds from (`describe(config)`, for the plan) and which rows of its sources it leaves out
(`left_out(config)`, for the rejects log). One that makes its rows together, such as by asking a teacher about many at
once, has `open_maker(config)` in the place of `make`; a row of such a leaf may depend on its shard. Where its maker has
`watch(ahead)`, the progress line moves with the rows that are made and not yet handed over.

Every row is looked over (`mmreflect.quality`). `EXEMPT` says which checks make no sense for which rows: from the kind
among their facts, or `*` for all, to names of checks; `repeats` lets rows stand more than once. A row that was checked
where it comes from says so itself (`Example.exempt`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from mmreflect.building.examples import Example
from mmreflect.building.reasons import general_words, told_by
from mmreflect.config import FREE
from mmreflect.data.store import Row
from mmreflect.errors import UserError

Workers = Annotated[Annotated[int, Field(gt=0)] | Literal["auto"], FREE]
"""How many processes build shards at the same time: for a leaf's Config to have, as `workers`."""


class Rejected(UserError):
    """Why a row is not made.

    Args:
        reason: what is counted: the same words for all such rows.
        detail: what tells this row apart; it stands in the rejects log, as do `facts`.
    """

    def __init__(self, reason: str, detail: str = "", **facts: Any) -> None:
        super().__init__(reason)
        self.facts: Row = ({"detail": detail} if detail else {}) | facts

    @classmethod
    def of(
        cls, error: UserError, name: str | None = None, *, prefix: str = "", own: Iterable[object] = ()
    ) -> "Rejected":
        """Return why a row is not made from the error that says so; the words that tell it apart become its detail.

        Args:
            name: the row's id, where it has one.
            prefix: stands before the reason.
            own: paths and the like that the row holds, as in `general_words`.
        """
        facts: Row = {} if name is None else {"id": name}
        if isinstance(error, Rejected):
            return cls(f"{prefix}{error.given}", **(facts | error.facts))
        reason = told_by(general_words(error.given, *own), error.expected)
        facts |= {"detail": error.given} if reason != error.given else {}
        return cls(f"{prefix}{reason}", **(facts | ({"expected": error.expected} if error.expected else {})))

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild with its facts, so that they survive a trip between processes."""
        return _rejected, (self.given, self.facts)


def _rejected(reason: str, facts: Row) -> Rejected:
    return Rejected(reason, **facts)


@dataclass(frozen=True, slots=True)
class Made:
    """One row or why it is not made, and what it took: numbers by name, which are added up."""

    row: Example | UserError
    took: Counter[str] = field(default_factory=Counter)


class Maker(Protocol):
    """Makes rows together."""

    def make(self, split: str, places: Sequence[int]) -> Iterator[Made]:
        """Yield the rows of these places in order; `places` are whole shards, and work may go on ahead."""

    def account(self, took: Counter[str]) -> dict[str, Any]:
        """Return for the manifest what all rows took: the same, however often the build was killed."""

    def spent(self) -> dict[str, Any]:
        """Return what this start took, for the result."""

    def status(self) -> str:
        """Say the same in a few words, for the progress line."""

    def close(self) -> None:
        """Let go of everything; also after an error."""


class Builder(Protocol):
    """A leaf of `data_builders/`."""

    Config: Any

    def splits(self, config: Any) -> dict[str, int]:
        """Return how many rows each split has."""

    def make(self, config: Any, split: str, index: int) -> Example:
        """Make one row; a UserError quarantines it."""


class OneByOne:
    """Makes every row from its place alone, by the leaf's `make`."""

    def __init__(self, builder: Builder, config: Any) -> None:
        self._builder, self._config = builder, config

    def make(self, split: str, places: Sequence[int]) -> Iterator[Made]:
        """Yield the rows of these places in order."""
        for place in places:
            try:
                made: Example | UserError = self._builder.make(self._config, split, place)
            except UserError as error:
                made = error
            yield Made(made)

    def account(self, took: Counter[str]) -> dict[str, Any]:
        """Return nothing: such rows take nothing."""
        return {}

    def spent(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def status(self) -> str:
        """Say nothing."""
        return ""

    def close(self) -> None:
        """Hold nothing, so let go of nothing."""
