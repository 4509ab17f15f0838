"""What a stage or a selection may use: the engine, the scorer, seeded draws, the progress, and the log."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING

from mmreflect.records import Group, Rollout
from mmreflect.rollouts.actions import Action, Continue, Engine, Sampling
from mmreflect.rollouts.driver import go_on, resume
from mmreflect.rollouts.scoring import Scorer
from mmreflect.seeds import derive_seed, numpy_rng, python_rng

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Step:
    """One more action for a rollout, which stands at `place` in its group."""

    group: Group
    place: int
    rollout: Rollout
    action: Action


@dataclass
class Tools:
    """One generation round's tools.

    Attributes:
        scorer: None at evaluation, where no stage may know what is right.
        seed: of the run; `step`: optimizer steps taken; `steps`: optimizer steps that this round's rows will serve.
        round: generation rounds so far, which all draws are seeded by; None is `step`: one round a step.
        metrics: what was logged, name to values.
    """

    engine: Engine
    sampling: Sampling
    scorer: Scorer | None
    seed: int
    step: int
    steps: int = 1
    round: int | None = None
    metrics: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        """Count rounds by steps where nothing else is said."""
        if self.round is None:
            self.round = self.step

    def rng(self, *purpose: object) -> Random:
        """Return random numbers of their own for a purpose in this round."""
        return python_rng(self.seed, self.round, *purpose)

    def numpy_rng(self, *purpose: object) -> "np.random.Generator":
        """Return a numpy generator of its own for a purpose in this round."""
        return numpy_rng(self.seed, self.round, *purpose)

    def resume(
        self, rollouts: Sequence[Rollout], actions: Sequence[Continue], purpose: str, sampling: Sampling | None = None
    ) -> list[Rollout]:
        """Let finished rollouts go on from forced words; copies come back, decoded but not scored."""
        seed = derive_seed(self.seed, self.round, purpose)
        return resume(self.engine, rollouts, actions, sampling or self.sampling, seed)

    def go_on(self, steps: Sequence[Step], purpose: str, sampling: Sampling | None = None) -> list[Rollout]:
        """Let finished rollouts go on with one more action each; copies come back, decoded but not scored.

        Draws depend on the purpose, the group and the place in it, not on what else goes on. Without a budget, each
        further reply may be as long as any. A step without room comes back as it was, its `stop` says so.
        """
        sampling = sampling or self.sampling
        if sampling.budget is None:
            sampling = replace(sampling, budget=sys.maxsize)
        return go_on(
            self.engine,
            [step.group.sample for step in steps],
            [step.rollout for step in steps],
            [step.action for step in steps],
            sampling,
            [derive_seed(self.seed, self.round, purpose, step.group.id, step.place) for step in steps],
        )

    def score(self, groups: Sequence[Group]) -> None:
        """Write the score of every rollout of the groups.

        Raises:
            RuntimeError: at evaluation.
        """
        if self.scorer is None:
            raise RuntimeError("there are no scores at evaluation; a stage that needs them must refuse it (`needs`)")
        self.scorer(groups)

    def log(self, name: str, value: float) -> None:
        """Add a value to a metric of this round; the log shows the mean."""
        self.metrics[name].append(value)
