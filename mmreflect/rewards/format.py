"""1 for an answer in the asked layout that ends its turn, else 0.

Without the end token in the term a policy forgets to stop.
"""

from collections.abc import Callable

from mmreflect.config import config
from mmreflect.records import Group, Score, Stop
from mmreflect.reflection.tags import Layout, follows


@config
class Config:
    """Options of the reward: the layout, and whether the turn must be ended."""

    weight: float = 1.0
    layout: Layout = "srpo"
    require_end: bool = True


def create(options: Config) -> Callable[[Group], list[Score]]:
    """Create the reward."""

    def in_format(group: Group) -> list[Score]:
        scores = []
        for rollout in group.rollouts:
            ended = rollout.stop is Stop.EOS or not options.require_end
            kept = follows(rollout.text, options.layout)
            reason = (
                "in format"
                if kept and ended
                else f"not the {options.layout} layout"
                if not kept
                else f"stopped by {rollout.stop}"
            )
            scores.append(Score(float(kept and ended), reason=reason))
        return scores

    return in_format
