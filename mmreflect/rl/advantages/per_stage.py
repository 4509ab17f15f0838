"""Each stage's tokens get the advantage of that stage's own part of the score (our option; REVISOR has none).

REVISOR sums its reward terms to one number for all tokens of both turns. Here the words that chose the segment are
judged by what the segment was good for, and the words that answered by the answer:

    stage "propose"   norm(0.3 sufficiency + 0.1 tool + 0.1 format)
    stage "revise"    norm(0.6 final + 0.1 format)

A part of the score names its stage; a part without one counts for every stage.
"""

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from mmreflect.config import config
from mmreflect.records import Floats, Group, Score
from mmreflect.rl.advantages import relative
from mmreflect.rl.rows import policy_mask


@config
class Config:
    """Options of the advantage. `epsilon`: added to the deviation; None does not divide by it."""

    epsilon: Annotated[float, Field(ge=0)] | None = 1e-6


def create(options: Config) -> Callable[[Group], list[Floats]]:
    """Create the advantage function."""
    import numpy as np

    def per_stage(group: Group) -> list[Floats]:
        """Return (T,) float32 per rollout: on each stage's policy tokens that stage's advantage, 0 elsewhere.

        Tokens of a stage that no part names get the advantage of the whole score. A rollout with a part that could not
        be graded gets zeros; a stage in which the group is flat gives none.
        """
        scores = [rollout.score for rollout in group.rollouts]
        named = {part.stage for score in scores if score for part in score.parts.values() if part.stage}
        whole = relative([score.value if score else None for score in scores], options.epsilon)
        staged = {stage: relative([_value(score, stage) for score in scores], options.epsilon) for stage in named}
        arrays = []
        for place, rollout in enumerate(group.rollouts):
            advantages_T = np.zeros(len(rollout.token_ids), np.float32)
            for span in rollout.spans:
                advantages_T[span.start : span.end] = staged.get(span.stage, whole)[place]
            arrays.append(advantages_T * policy_mask(rollout))
        return arrays

    return per_stage


def _value(score: Score | None, stage: str) -> float | None:
    """Return the sum of the parts that count for a stage; None where the score as a whole could not be graded."""
    if score is None or score.value is None:
        return None
    parts = [part for part in score.parts.values() if part.stage in (stage, None)]
    return sum(part.weight * part.value for part in parts if part.value is not None)
