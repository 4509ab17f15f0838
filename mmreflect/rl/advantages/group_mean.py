"""A = r - mean of the group, with no division by the standard deviation (VL-Rethinker's code, "Dr. GRPO").

Dividing by the deviation would inflate |A| of very easy and very hard groups, and with it their share of a replay that
draws by |A| (arXiv 2504.08837, section 3.2).
"""

from collections.abc import Callable

from mmreflect.config import config
from mmreflect.records import Floats, Group
from mmreflect.rl.rows import policy_mask

FLAT = 1e-6
"""A group whose rewards spread by no more than this carries no signal: equal sums of floats differ by rounding."""


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
        values = [rollout.score.value if rollout.score else None for rollout in group.rollouts]
        graded = [value for value in values if value is not None]
        if not graded or max(graded) - min(graded) <= FLAT:
            return [np.zeros(len(rollout.token_ids), np.float32) for rollout in group.rollouts]
        mean = sum(graded) / len(graded)
        return [
            policy_mask(rollout).astype(np.float32) * np.float32(0.0 if value is None else value - mean)
            for rollout, value in zip(group.rollouts, values, strict=True)
        ]

    return group_mean
