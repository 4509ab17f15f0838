"""Self-consistency: several answers to one question, and the one that most of them give (arXiv 2203.11171).

Answers vote as the grader reads them: "1/2" and "0.5" are one answer. An answer that cannot be read does not vote. Of
two classes of the same size the one that was given first wins.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from mmreflect.answers.spec import spec_of
from mmreflect.config import config
from mmreflect.records import Group
from mmreflect.rollouts.rounds import whole_round
from mmreflect.rollouts.tools import Tools
from mmreflect.stages import Needs
from mmreflect.stages._voting import elected

EVALUATION_ONLY = True


@config
class Config:
    """Options of the stage. `samples`: answers to each question; behind another stage, as many as that one leaves."""

    samples: Annotated[int, Field(gt=1)] = 8


def needs(options: Config) -> Needs:
    """Return how many answers vote, and that one is left."""
    return Needs(rollouts=options.samples, leaves=1)


class SelfConsistency:
    """The stage."""

    def __call__(self, groups: Sequence[Group], tools: Tools) -> list[Group]:
        """Leave one rollout in every group: the first one that gives the elected answer."""
        return [self._voted(group) for group in groups]

    def _voted(self, group: Group) -> Group:
        spec = spec_of(group.sample.facts)
        rounds = [whole_round("sample", rollout, spec) for rollout in group.rollouts]
        winner = elected(group.rollouts, rounds, "self_consistency", spec, group.rollouts)
        return Group(group.id, group.sample, [winner], group.context)


def create(options: Config) -> SelfConsistency:
    """Create the stage."""
    return SelfConsistency()
