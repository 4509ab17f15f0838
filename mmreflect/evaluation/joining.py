"""Recorded responses and the release that they answer: what one does not say of its question is taken from there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmreflect.errors import UserError
from mmreflect.evaluation.benchmark import Benchmark, Row
from mmreflect.evaluation.releases import Release
from mmreflect.evaluation.releases.questions import plain_row
from mmreflect.evaluation.releases.release import id_of

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Joined:
    """What the responses were joined with: where it lies, the mark of its content, how many have no response."""

    where: str
    mark: str
    questions: int
    not_answered: int


def join(benchmark: Benchmark, rows: Sequence[Row], release: Release, source: str) -> tuple[list[Row], Joined]:
    """Return the responses with the release's fields of their questions; where both say something the release is right.

    Args:
        source: what the responses came from, for messages.

    Raises:
        UserError: a response has no id, or one that the release does not know.
    """
    known = {id_of(benchmark, row): plain_row(row, benchmark.columns, id_of(benchmark, row)) for row in release.bare()}
    named = [
        next((str(row[key]) for key in (*benchmark.recorded.id, "id") if row.get(key) is not None), None)
        for row in rows
    ]
    if None in named:
        raise UserError(
            f"{source}, row {named.index(None) + 1}: no {benchmark.recorded.id[0]!r}",
            "the id of its question in every row, to find it in the release",
            "add it, or score without release.source where the rows say everything themselves",
        )
    if strange := [name for name in named if name not in known]:
        shown = ", ".join(repr(name) for name in strange[:_SHOWN])
        raise UserError(
            f"{source}: {len(strange)} of {len(rows)} responses answer no question of {release.where}: {shown}",
            f"ids such as {next(iter(known), '')!r}",
            "check that it is the same benchmark and split, or remove those rows",
        )
    made = [Row({**row, **_without_nothing(known[str(name)])}) for row, name in zip(rows, named, strict=True)]
    return made, Joined(release.where, release.mark, len(known), len(known.keys() - set(named)))


def _without_nothing(row: dict[str, Any]) -> dict[str, Any]:
    """Return a release's row without what it leaves open: a response may say that itself."""
    return {key: value for key, value in row.items() if value is not None}
