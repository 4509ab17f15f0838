"""Reflect, then vote: Re-ReST's inference without a reference (arXiv 2406.01495; "code": its release).

Several answers are sampled, each is reflected on once, and all of them vote, first answers and reflections alike.

Where we differ: the same model reflects (the paper has a trained reflector, which sees the environment's feedback in
training), and a reflection sees its first answer as the turn before it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from mmreflect.answers.spec import spec_of
from mmreflect.config import config
from mmreflect.records import Group, Rollout, Stop
from mmreflect.rollouts.actions import Observe
from mmreflect.rollouts.rounds import count, last_reply_start, place_of_chosen, round_of, whole_round
from mmreflect.rollouts.tools import Step, Tools
from mmreflect.stages import Needs
from mmreflect.stages._voting import elected

EVALUATION_ONLY = True
ASK = (
    "Look at your answer critically: what could be wrong in what you read off the question, or in how you went on from "
    "there? Then answer the question once more, with the final answer in the same form as before."
)


@config
class Config:
    """Options of the stage.

    Attributes:
        samples: answers to each question before reflecting (the paper gives no number).
        ask: what is asked after an answer.
        opener: how the reflection is made to begin (code, QA task); None leaves that to the model, and needs no engine
            that can go on from forced words.
    """

    samples: Annotated[int, Field(gt=0)] = 3
    ask: str = ASK
    opener: str | None = "Reflection: I should have"


def needs(options: Config) -> Needs:
    """Return how many answers there are before reflecting, and that one is left."""
    return Needs(
        rollouts=options.samples, leaves=1, capabilities=frozenset({"continue"} if options.opener is not None else ())
    )


class ReflectVote:
    """The stage."""

    def __init__(self, options: Config) -> None:
        self.options = options

    def __call__(self, groups: Sequence[Group], tools: Tools) -> list[Group]:
        """Leave one rollout in every group: the first that gives the elected answer, first answers before reflections.

        An answer that failed is not reflected on; a reflection that failed or had no room does not vote.
        """
        action = Observe([self.options.ask], "reflect", begin=self.options.opener or "")
        steps = [
            Step(group, place, rollout, action)
            for group in groups
            for place, rollout in enumerate(group.rollouts)
            if rollout.stop is not Stop.ERROR
        ]
        seconds: dict[str, dict[int, Rollout]] = {group.id: {} for group in groups}
        for step, second in zip(steps, tools.go_on(steps, "reflect"), strict=True):
            if second.stop not in (Stop.BUDGET, Stop.ERROR):
                seconds[step.group.id][step.place] = second
        return [
            Group(group.id, group.sample, [self._voted(group, seconds[group.id], tools)], group.context)
            for group in groups
        ]

    def _voted(self, group: Group, seconds: Mapping[int, Rollout], tools: Tools) -> Rollout:
        spec = spec_of(group.sample.facts)
        rounds = [whole_round("sample", item, spec) for item in group.rollouts]
        for place, second in seconds.items():
            text = tools.engine.detokenize(second.token_ids[last_reply_start(second) :])
            added = len(second.token_ids) - len(group.rollouts[place].token_ids)
            rounds.append(round_of("reflect", text, added, spec))
        latest = [seconds.get(place, item) for place, item in enumerate(group.rollouts)]
        winner = elected([*group.rollouts, *seconds.values()], rounds, "reflect_vote", spec, latest)
        count(winner, "reflect_vote", reflected=len(seconds), not_reflected=len(group.rollouts) - len(seconds))
        count(winner, "reflect_vote", won_by_reflection=place_of_chosen(winner) >= len(group.rollouts))
        return winner


def create(options: Config) -> ReflectVote:
    """Create the stage."""
    return ReflectVote(options)
