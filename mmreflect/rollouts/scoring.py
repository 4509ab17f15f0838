"""Scoring a group by several rewards: a weighted sum whose parts stay visible."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from mmreflect.config import Component
from mmreflect.errors import UserError, told
from mmreflect.limits import met
from mmreflect.records import Group, Part, Rollout, Score, Stop

Reward = Callable[[Group], list[Score]]


class Scorer:
    """Applies named rewards to groups.

    A reward that raises does not end the run: the group's rollouts are left ungraded with the error as their reason,
    and the failure is counted. A UserError, such as a wrong number of scores, ends it: the reward itself is wrong.

    Args:
        rewards: name to reward and weight.
    """

    def __init__(self, rewards: Mapping[str, tuple[Reward, float]]) -> None:
        self.rewards = dict(rewards)
        self.failures: Counter[str] = Counter()

    def __call__(self, groups: Sequence[Group]) -> None:
        """Write every rollout's score.

        The total is the sum of weight x value over the parts; a reward that names parts of its own gives those, as
        `reward.part`. When a part could not be graded the total is None: such a rollout is left out of its group's
        baseline and gets no advantage.
        """
        for group in groups:
            scored = {name: self._apply(name, group) for name in self.rewards}
            for place, rollout in enumerate(group.rollouts):
                rollout.score = self._total({name: scores[place] for name, scores in scored.items()}, rollout)

    def _apply(self, name: str, group: Group) -> list[Score]:
        try:
            scores = self.rewards[name][0](group)
        except UserError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and met(error) is not None:
                raise
            reason = f"{name} raised {told(error)}"
            self.failures[reason] += len(group.rollouts)
            return [Score(None, reason=reason)] * len(group.rollouts)
        if len(scores) != len(group.rollouts):
            raise UserError(
                f"reward {name!r} returned {len(scores)} scores for a group of {len(group.rollouts)}",
                "one score per rollout",
                "correct the reward",
            )
        return [self._finite(name, score) for score in scores]

    def _finite(self, name: str, score: Score) -> Score:
        if score.value is None or math.isfinite(score.value):
            return score
        reason = f"{name} returned {score.value}"
        self.failures[reason] += 1
        return Score(None, score.answer, score.gold, reason)

    def _total(self, scores: Mapping[str, Score], rollout: Rollout) -> Score:
        if rollout.stop is Stop.ERROR:
            failed = {name: Part(None, weight) for name, (_, weight) in self.rewards.items()}
            return Score(None, reason=str(rollout.facts.get("error", "the rollout failed")), parts=failed)
        parts: dict[str, Part] = {}
        for name, score in scores.items():
            parts |= _parts(name, score, self.rewards[name][1])
        values = [None if part.value is None else part.value * part.weight for part in parts.values()]
        values = [value for value, part in zip(values, parts.values(), strict=True) if part.weight]
        total = None if None in values else float(sum(value for value in values if value is not None))
        graded = next((score for score in scores.values() if score.gold is not None), Score(None))
        reason = "; ".join(f"{name}: {score.reason}" for name, score in scores.items() if score.reason)
        return Score(total, graded.answer, graded.gold, reason, parts)


def _parts(name: str, score: Score, weight: float) -> dict[str, Part]:
    """Return a reward's score as parts of the total: itself, or where it was graded in parts each of them."""
    if score.value is None or not score.parts:
        return {name: Part(score.value, weight)}
    return {f"{name}.{key}": Part(part.value, part.weight * weight, part.stage) for key, part in score.parts.items()}


def scorer(components: Sequence[Component]) -> Scorer:
    """Create a scorer from the rewards of a configuration."""
    return Scorer({item.name: (item.module.create(item.options), item.options.weight) for item in components})


def part_value(score: Score | None, name: str) -> float:
    """Return a part's value, or the total for the name `total`; 0 where it could not be graded.

    Only for decisions that need a number, such as which trigger to use; never for a reward.
    """
    if score is None:
        return 0.0
    value = score.value if name == "total" else score.parts[name].value if name in score.parts else None
    return max(value, 0.0) if value is not None else 0.0


def signal_names(components: Sequence[Component]) -> list[str]:
    """Return what a stage or a selection can decide on: every reward that is one part, every part, and `total`."""
    names: list[str] = []
    for item in components:
        parts = item.module.parts(item.options) if hasattr(item.module, "parts") else ()
        names += [f"{item.name}.{part}" for part in parts] or [item.name]
    return [*names, "total"]
