"""TIES (arXiv 2306.01708): trim small changes, elect a sign per entry, average the changes that have it.

Per tensor. Departures of others: the original code trims a model's whole vector at once and keeps one entry more;
mergekit keeps exactly density * n entries, which among equal magnitudes is a matter of chance, and does not trim by
default (density 1). Here every entry as large as the k-th largest stays, k = density * n rounded down, at least 1.
"""

from pydantic import Field

from mmreflect.config import config
from mmreflect.merge.arrays import as_float, by_blocks, kth_largest
from mmreflect.merge.rule import Array, Maker, Rule, TensorRule
from mmreflect.merge.settings import BasedSettings


@config
class Config(BasedSettings):
    """A TIES merge.

    Attributes:
        density: share of each task vector that survives the trimming.
        scale: factor of the merged change.
        vlm_weight: weight in the election and in the average.
        reason_weight: the same for the reasoning model.
    """

    density: float = Field(default=0.2, gt=0, le=1)
    scale: float = 1.0
    vlm_weight: float = Field(default=1.0, ge=0)
    reason_weight: float = Field(default=1.0, ge=0)


def trim(change: Array, density: float) -> Array:
    """Set to zero what is smaller in magnitude than the k-th largest entry, k = density * n, at least 1."""
    size = change.shape[0]
    keep = max(1, int(density * size))
    if keep >= size:
        return change
    magnitude = abs(change)
    return change * (magnitude >= kth_largest(magnitude, keep))


def elect(change_v: Array, change_r: Array, weight_v: float, weight_r: float) -> Array:
    """Return the weighted mean of the changes whose sign is that of the weighted sum; a sum of 0 counts as +.

    Entries that no change agrees with are 0.
    """
    up = as_float(change_v * weight_v + change_r * weight_r >= 0, change_v)
    sign = up * 2 - 1
    agree_v, agree_r = as_float(change_v * sign > 0, sign), as_float(change_r * sign > 0, sign)
    weights = agree_v * weight_v + agree_r * weight_r
    total = change_v * agree_v * weight_v + change_r * agree_r * weight_r
    return total / (weights + as_float(weights == 0, weights))


def create(options: Config) -> Maker:
    """Return the maker of the rule."""

    def merge(name: str, shape: tuple[int, ...], base: Array | None, vlm: Array, reason: Array) -> Array:
        assert base is not None
        change_v, change_r = trim(vlm - base, options.density), trim(reason - base, options.density)

        def add(base: Array, one: Array, two: Array) -> Array:
            return base + elect(one, two, options.vlm_weight, options.reason_weight) * options.scale

        return by_blocks(add, base, change_v, change_r)

    def make(depth: int) -> Rule:
        text = f"base + {options.scale:g} disjoint mean of the largest {options.density:.0%} of each task vector"
        return TensorRule(text, merge)

    return make
