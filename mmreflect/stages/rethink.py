"""Forced rethinking at test time: every finished answer goes on from a trigger, once (VL-Rethinker, Fig. 7).

The stage `forced_rethinking` teaches in training and looks at scores for it; this one appends the same words whatever
the answer is worth, and keeps what comes. The paper's figure is greedy: `temperature: 0`.
"""

from collections.abc import Sequence

from pydantic import Field

from mmreflect.answers.spec import spec_of
from mmreflect.config import config
from mmreflect.records import Group, Rollout, Stop
from mmreflect.rollouts.actions import Continue
from mmreflect.rollouts.rounds import begun, count, keep_rounds, round_of
from mmreflect.rollouts.tools import Step, Tools
from mmreflect.stages import Needs
from mmreflect.stages.forced_rethinking import Trigger, Triggers

EVALUATION_ONLY = True


@config
class Config:
    """Options of the stage.

    Attributes:
        trigger: which words. The code takes its first; the paper names the question first.
        triggers: the words by name.
    """

    trigger: Trigger = "self_questioning"
    triggers: Triggers = Field(default_factory=Triggers)


def needs(options: Config) -> Needs:
    """Return that replies must be able to go on."""
    return Needs(capabilities=frozenset({"continue"}))


class Rethink:
    """The stage."""

    def __init__(self, options: Config) -> None:
        self.options = options

    def __call__(self, groups: Sequence[Group], tools: Tools) -> list[Group]:
        """Let every answer that ended go on; those that were cut stay as they are and are counted."""
        action = Continue(str(getattr(self.options.triggers, self.options.trigger)), "rethink")
        steps = []
        for group in groups:
            for place, rollout in enumerate(group.rollouts):
                if rollout.stop is Stop.EOS:
                    steps.append(Step(group, place, rollout, action))
                elif rollout.stop is not Stop.ERROR:
                    count(rollout, "rethink", unfinished=1)
        for step, second in zip(steps, tools.go_on(steps, "rethink"), strict=True):
            step.group.rollouts[step.place] = _kept(step.group, step.rollout, second)
        return list(groups)


def _kept(group: Group, first: Rollout, second: Rollout) -> Rollout:
    """Return what is kept of a try; without room for a second look it is the first one."""
    if second.stop in (Stop.BUDGET, Stop.ERROR):
        count(first, "rethink", **({"no_room": 1} if second.stop is Stop.BUDGET else {"failed": 1}))
        return first
    spec = spec_of(group.sample.facts)
    added = len(second.token_ids) - len(first.token_ids)
    keep_rounds(second, [*begun(first, spec), round_of("rethink", second.text, added, spec)], -1)
    count(second, "rethink", rethought=1, tokens=added)
    return second


def create(options: Config) -> Rethink:
    """Create the stage."""
    return Rethink(options)
