"""A = (r - mean of the group) / (deviation of the group + epsilon): GRPO (arXiv 2402.03300) and REVISOR."""

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from mmreflect.config import config
from mmreflect.records import Floats, Group
from mmreflect.rl.advantages import relative
from mmreflect.rl.rows import policy_mask


@config
class Config:
    """Options of the advantage. `epsilon`: added to the sample deviation (over G - 1); REVISOR's code has 1e-6."""

    epsilon: Annotated[float, Field(ge=0)] = 1e-6


def create(options: Config) -> Callable[[Group], list[Floats]]:
    """Create the advantage function."""
    import numpy as np

    def group_norm(group: Group) -> list[Floats]:
        """Return (T,) float32 per rollout: its advantage on the tokens that the policy learns, 0 elsewhere.

        A flat group, and a rollout that could not be graded, get zeros.
        """
        values = relative([item.score.value if item.score else None for item in group.rollouts], options.epsilon)
        return [
            policy_mask(rollout).astype(np.float32) * np.float32(value)
            for rollout, value in zip(group.rollouts, values, strict=True)
        ]

    return group_norm
