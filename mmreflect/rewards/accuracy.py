"""1 for a right final answer, 0 for a wrong one, a share for graded types, nothing where it cannot be graded.

The sample's facts say how its answer is read: `answer_type`, `options`, `precision`, `unit`.
"""

from collections.abc import Callable

from mmreflect.answers.grade import verify
from mmreflect.answers.spec import spec_of
from mmreflect.config import config
from mmreflect.records import Group, Score, Stop


@config
class Config:
    """Options of the reward.

    Attributes:
        require_end: an answer that did not end its turn counts as wrong: it was cut, or rambles on.
    """

    weight: float = 1.0
    require_end: bool = True


def create(options: Config) -> Callable[[Group], list[Score]]:
    """Create the reward."""

    def accuracy(group: Group) -> list[Score]:
        scores = []
        spec = spec_of(group.sample.facts)
        for rollout in group.rollouts:
            verdict = verify(rollout.text, group.sample.gold, spec)
            value = verdict.score
            reason = verdict.reason
            if value and options.require_end and rollout.stop is not Stop.EOS:
                value, reason = 0.0, f"{reason}, but stopped by {rollout.stop}"
            scores.append(Score(value, verdict.answer, verdict.gold, reason))
        return scores

    return accuracy
