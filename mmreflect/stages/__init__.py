"""Stages, one file each: from groups to groups, between rollout and advantage, and between rollout and ledger.

A stage's module has `Config` and `create(options)`. One that can run at evaluation, where questions have no reference
and rollouts no score, has `needs(options)` too. One that cannot train says so with `EVALUATION_ONLY = True`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mmreflect.records import Group
from mmreflect.rollouts.tools import Tools


class Stage(Protocol):
    """Changes groups; in training they are scored, and what it changes it scores again."""

    def __call__(self, groups: Sequence[Group], tools: Tools) -> list[Group]:
        """Return the groups that go on, in order; at evaluation one for each that came."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a stage asks of an evaluation.

    Attributes:
        rollouts: of each question, before the first stage; None: any number.
        leaves: answers of each question after this stage; None: as many as there were.
        capabilities: of the engine.
        max_new_tokens: limit of the very first reply, which the stage lets go on; None is that of any other.
        instruction: what stands after the question from the beginning.
    """

    rollouts: int | None = None
    leaves: int | None = None
    capabilities: frozenset[str] = frozenset()
    max_new_tokens: int | None = None
    instruction: str = ""
