"""DARE (arXiv 2311.03099) in the place of TIES' trimming, then its election of signs and disjoint mean."""

from mmreflect.config import config
from mmreflect.merge.arrays import by_blocks
from mmreflect.merge.methods._dare import DareSettings, drop
from mmreflect.merge.methods.ties import elect
from mmreflect.merge.rule import Array, Maker, Rule, TensorRule


@config
class Config(DareSettings):
    """A merge of thinned task vectors."""


def create(options: Config) -> Maker:
    """Return the maker of the rule."""

    def merge(name: str, shape: tuple[int, ...], base: Array | None, vlm: Array, reason: Array) -> Array:
        assert base is not None
        one = drop(vlm - base, options.density, options.rescale, options.seed, "vlm", name)
        two = drop(reason - base, options.density, options.rescale, options.seed, "reason", name)

        def add(base: Array, one: Array, two: Array) -> Array:
            return base + (elect(one, two, options.vlm_weight, options.reason_weight)) * options.scale

        return by_blocks(add, base, one, two)

    def make(depth: int) -> Rule:
        text = (
            f"base + {options.scale:g} disjoint mean of the task vectors, a random {options.density:.0%} of each kept"
        )
        return TensorRule(text, merge)

    return make
