"""MetaGPT (arXiv 2406.11385): one pair of weights for the whole decoder, from the squared norms of the task vectors.

lam_t = ||tau_t||^2 / sum_k ||tau_k||^2 over all merged layers together. FRANK's Eq. 13 is the same form layer by
layer, with the same gap in its derivation (see frank.py). All layers must be measured before the first is written:
two passes.
"""

from mmreflect.config import config
from mmreflect.merge.rule import Maker, Pair, Rule, WeightRule, mix
from mmreflect.merge.settings import BasedSettings
from mmreflect.merge.statistics import LayerStats


@config
class Config(BasedSettings):
    """A MetaGPT merge; it has no options of its own."""


def global_weights(norm2_v: float, norm2_r: float) -> Pair:
    """Return (lam_V, lam_R) from the squared norms over all layers; (1, 0) where both are zero."""
    total = norm2_v + norm2_r
    return (norm2_v / total, norm2_r / total) if total > 0 else (1.0, 0.0)


def create(options: Config) -> Maker:
    """Return the maker of the rule."""

    def weights(layer: int, stats: LayerStats | None) -> Pair:
        assert stats is not None
        return global_weights(stats.norm2_v, stats.norm2_r)

    def make(depth: int) -> Rule:
        text = "base + lam_V tau_V + lam_R tau_R, lam_t = ||tau_t||^2 / sum over the whole decoder"
        return WeightRule(text, "model", weights, mix)

    return make
