"""The centroid: what FRANK's objective asks for as it is stated, with equal curvatures.

sum_t w_t ||theta - theta_t||^2 is smallest at theta = sum_t w_t theta_t / sum_t w_t, whatever the norms of the task
vectors and the angle between them; so lam_V = w_V and lam_R = 1 - w_V. Without a prior that is the plain average.
"""

from mmreflect.config import config
from mmreflect.merge.prior import PriorConfig, PriorOption, resolve_prior
from mmreflect.merge.rule import Maker, Pair, Rule, WeightRule, mix
from mmreflect.merge.settings import BasedSettings
from mmreflect.merge.statistics import LayerStats


@config
class Config(BasedSettings):
    """A merge at the centroid; `prior` is the VLM's share per layer."""

    prior: PriorOption = PriorConfig()


def centroid_weights(w_v: float) -> Pair:
    """Return (lam_V, lam_R) = (w_V, 1 - w_V)."""
    return w_v, 1.0 - w_v


def create(options: Config) -> Maker:
    """Return the maker of the rule."""

    def make(depth: int) -> Rule:
        prior = resolve_prior(options.prior, depth)

        def weights(layer: int, stats: LayerStats | None) -> Pair:
            return centroid_weights(prior.at(layer))

        return WeightRule("base + w_V tau_V + (1 - w_V) tau_R", "nothing", weights, mix, prior)

    return make
