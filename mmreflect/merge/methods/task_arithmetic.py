"""Task arithmetic (arXiv 2212.04089): base + scale * sum_t w_t tau_t. FRANK's baseline took scale 0.3, weights 1."""

from pydantic import Field

from mmreflect.config import config
from mmreflect.merge.rule import Maker, Pair, Rule, WeightRule, mix
from mmreflect.merge.settings import BasedSettings
from mmreflect.merge.statistics import LayerStats


@config
class Config(BasedSettings):
    """A merge by task arithmetic."""

    scale: float = 0.3
    vlm_weight: float = Field(default=1.0, ge=0)
    reason_weight: float = Field(default=1.0, ge=0)


def arithmetic_weights(scale: float, vlm_weight: float, reason_weight: float) -> Pair:
    """Return the factors of the two task vectors; their sum need not be 1."""
    return scale * vlm_weight, scale * reason_weight


def create(options: Config) -> Maker:
    """Return the maker of the rule."""

    def weights(layer: int, stats: LayerStats | None) -> Pair:
        return arithmetic_weights(options.scale, options.vlm_weight, options.reason_weight)

    def make(depth: int) -> Rule:
        one, two = weights(0, None)
        return WeightRule(f"base + {one:g} tau_V + {two:g} tau_R", "nothing", weights, mix)

    return make
