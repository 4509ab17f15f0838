"""The weighted average of the two models: sum_t w_t theta_t / sum_t w_t, no base.

"Bring Reason to Vision" (arXiv 2505.05464) took 0.9 and 0.1 for all its published pairs. mergekit's `linear` is the
same, and refuses nothing; its `normalize: false` leaves the division out.
"""

from pydantic import Field

from mmreflect.config import config
from mmreflect.merge.rule import Maker, Pair, Rule, WeightRule, blend
from mmreflect.merge.settings import MergeSettings
from mmreflect.merge.statistics import LayerStats


@config
class Config(MergeSettings):
    """A linear merge. `normalise`: divide by the sum of the two weights."""

    vlm_weight: float = Field(default=0.9, ge=0)
    reason_weight: float = Field(default=0.1, ge=0)
    normalise: bool = True

    def __post_init__(self) -> None:
        """Check that something is left."""
        super().__post_init__()
        if self.vlm_weight + self.reason_weight == 0:
            raise ValueError("vlm_weight and reason_weight are both 0; give at least one of them a weight")


def linear_weights(vlm_weight: float, reason_weight: float, normalise: bool = True) -> Pair:
    """Return the two factors, divided by their sum unless told otherwise."""
    total = vlm_weight + reason_weight if normalise else 1.0
    return vlm_weight / total, reason_weight / total


def create(options: Config) -> Maker:
    """Return the maker of the rule."""

    def weights(layer: int, stats: LayerStats | None) -> Pair:
        return linear_weights(options.vlm_weight, options.reason_weight, options.normalise)

    def make(depth: int) -> Rule:
        one, two = weights(0, None)
        return WeightRule(f"{one:g} VLM + {two:g} reasoning model", "nothing", weights, blend)

    return make
