"""What a method of merging is to the executor: what it must measure first, and a pure function of values.

Values are float32 arrays of numpy, or tensors of torch on a GPU: rules use only what both have (arithmetic, `abs`),
and `arrays.py` for the rest.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from mmreflect.merge.statistics import LayerStats

Array = Any
Pair = tuple[float, float]
SURE: tuple[Pair, Pair] = ((1.0, 0.0), (0.0, 1.0))
"""Weights of the VLM alone, and of the reasoning model alone: that model's own values are the result."""
Needs = Literal["nothing", "layer", "model"]
WORKING_COPIES = 8
"""Float32 arrays of a tensor's size that a rule of whole tensors holds at a time, if it does not say otherwise."""


@dataclass(frozen=True, slots=True)
class Prior:
    """How much the VLM counts in each decoder block before anything is measured.

    Attributes:
        w_v: one number in [0, 1] per block; empty before the attention that it rests on is measured.
        text: how it came about, in a line.
        attention: the measured attention to pictures that it rests on, if any.
        warnings: what is doubtful about it.
        measurement: what the report says of that attention: a, alpha, C, r2, and the pictures where it was measured.
    """

    w_v: tuple[float, ...]
    text: str
    attention: tuple[float, ...] | None = None
    warnings: tuple[str, ...] = ()
    measurement: dict[str, Any] | None = None

    def at(self, layer: int) -> float:
        """Return w_V of a block; of the first and the last one for embeddings and head."""
        return self.w_v[min(max(layer, 0), len(self.w_v) - 1)]


@dataclass(frozen=True, slots=True)
class WeightRule:
    """Two weights per layer, then the same arithmetic for each value.

    Attributes:
        text: the formula, for plan and model card.
        needs: what must be measured before a layer's weights are known: nothing, the layer, or all layers (their
            sums are handed over then).
        weights: from a layer's number and what was measured (None for `nothing`) to (lam_V, lam_R).
        combine: from base (None where there is none), VLM, reasoning model and the two weights to the merged values.
    """

    text: str
    needs: Needs
    weights: Callable[[int, LayerStats | None], Pair]
    combine: Callable[[Array | None, Array, Array, float, float], Array]
    prior: Prior | None = None


@dataclass(frozen=True, slots=True)
class TensorRule:
    """A function of whole tensors.

    Attributes:
        text: the formula, for plan and model card.
        merge: from the tensor's canonical name, its shape, and the flat values of base (None where there is none), VLM
            and reasoning model to the merged values, flat. Of embeddings it sees all matched rows as one tensor, of
            fused experts each matrix by itself.
        memory: from a tensor's shape to the bytes that a call holds at most, its arguments included.
        work: from a tensor's shape to the floating-point operations of products of matrices in a call.
    """

    text: str
    merge: Callable[[str, tuple[int, ...], Array | None, Array, Array], Array]
    memory: Callable[[tuple[int, ...]], int] = lambda shape: WORKING_COPIES * 4 * math.prod(shape)
    work: Callable[[tuple[int, ...]], float] = lambda shape: 0.0


Rule = WeightRule | TensorRule
Maker = Callable[[int], Rule]
"""What `create(options)` of a method returns: from the number of decoder blocks to the rule."""


def mix(base: Array, vlm: Array, reason: Array, lam_v: float, lam_r: float) -> Array:
    """Return base + (lam_v * (vlm - base) + lam_r * (reason - base)) in float32 (FRANK, Eq. 4).

    The bracket makes the result independent of the order of the two models, to the last bit. Weights (1, 0) and
    (0, 1) return that model's own values: base + (vlm - base) need not round back to vlm.
    """
    if (lam_v, lam_r) == (1.0, 0.0):
        return vlm
    if (lam_v, lam_r) == (0.0, 1.0):
        return reason
    change = vlm - base
    change *= lam_v
    other = reason - base
    other *= lam_r
    change += other
    change += base
    return change


def blend(base: Array | None, vlm: Array, reason: Array, lam_v: float, lam_r: float) -> Array:
    """Return lam_v * vlm + lam_r * reason in float32; weights (1, 0) and (0, 1) return that model's own values."""
    if (lam_v, lam_r) == (1.0, 0.0):
        return vlm
    if (lam_v, lam_r) == (0.0, 1.0):
        return reason
    merged = vlm * lam_v
    merged += reason * lam_r
    return merged
