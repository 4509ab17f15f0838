"""Layer swap ("Bring Reason to Vision", arXiv 2505.05464): the first blocks stay the VLM's, the others are averaged.

Perception sits in early layers, reasoning in middle and late ones. The published script keeps the layers up to number 5
and takes 0.9 VLM and 0.1 reasoning model above.
"""

from pydantic import Field

from mmreflect.config import config
from mmreflect.merge.rule import Maker, Pair, Rule, WeightRule, blend
from mmreflect.merge.settings import MergeSettings
from mmreflect.merge.statistics import LayerStats


@config
class Config(MergeSettings):
    """A layer swap.

    Attributes:
        last_kept: decoder blocks 0 to this one stay the VLM's.
        vlm_weight: share of the VLM in the blocks above.
    """

    last_kept: int = Field(default=5, ge=-1)
    vlm_weight: float = Field(default=0.9, ge=0, le=1)


def swap_weights(layer: int, last_kept: int, vlm_weight: float) -> Pair:
    """Return the two factors of a layer, which counts from 0."""
    return (1.0, 0.0) if layer <= last_kept else (vlm_weight, 1.0 - vlm_weight)


def create(options: Config) -> Maker:
    """Return the maker of the rule."""

    def weights(layer: int, stats: LayerStats | None) -> Pair:
        return swap_weights(layer, options.last_kept, options.vlm_weight)

    def make(depth: int) -> Rule:
        text = f"blocks 0 to {options.last_kept} the VLM's, then {options.vlm_weight:g} VLM + the rest reasoning model"
        return WeightRule(text, "nothing", weights, blend)

    return make
