"""A = r - mean of the group, with no division by the standard deviation (VL-Rethinker's code, "Dr. GRPO").

Dividing by the deviation would inflate |A| of very easy and very hard groups, and with it their share of a replay that
draws by |A| (arXiv 2504.08837, section 3.2).
"""

from collections.abc import Callable

from mmreflect.config import config
from mmreflect.records import Floats, Group
from mmreflect.rl.advantages import relative
from mmreflect.rl.rows import policy_mask


@config
class Config:
    """Options of the advantage: none."""


def create(options: Config) -> Callable[[Group], list[Floats]]:
    """Create the advantage function."""
    import numpy as np

    def group_mean(group: Group) -> list[Floats]:
        """Return (T,) float32 per rollout: its advantage on the tokens that the policy learns, 0 elsewhere.

        A flat group, and a rollout that could not be graded, get zeros.
        """
        values = relative([rollout.score.value if rollout.score else None for rollout in group.rollouts])
        return [
            policy_mask(rollout).astype(np.float32) * np.float32(value)
            for rollout, value in zip(group.rollouts, values, strict=True)
        ]

    return group_mean
