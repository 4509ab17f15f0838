"""SLERP: along the great circle between the directions of two tensors, no base.

Per tensor, flattened: with W the angle between x and y, [sin((1-t) W) x + sin(t W) y] / sin W, x and y not
normalised; where |cos W| > 0.9995 or a norm is below 1e-8 the straight line (1-t) x + t y. So does mergekit.
"""

import math

from pydantic import Field

from mmreflect.config import config
from mmreflect.merge.arrays import inner
from mmreflect.merge.rule import Array, Maker, Rule, TensorRule
from mmreflect.merge.settings import MergeSettings

COLINEAR = 0.9995
SMALLEST_NORM = 1e-8


@config
class Config(MergeSettings):
    """A spherical interpolation; `t` is the way from the VLM (0) to the reasoning model (1)."""

    t: float = Field(ge=0, le=1)


def slerp(x: Array, y: Array, t: float) -> Array:
    """Interpolate between two flat tensors; t = 0 and t = 1 return x and y themselves, as x does where y equals it."""
    if t in (0.0, 1.0):
        return x if t == 0.0 else y
    if bool((x == y).all()):
        return x  # (1 - t) x + t x need not round back to x
    norms = math.sqrt(inner(x, x)), math.sqrt(inner(y, y))
    cosine = inner(x, y) / (norms[0] * norms[1]) if min(norms) > SMALLEST_NORM else 1.0
    if abs(cosine) > COLINEAR:
        return x * (1 - t) + y * t
    angle = math.acos(cosine)
    return x * (math.sin((1 - t) * angle) / math.sin(angle)) + y * (math.sin(t * angle) / math.sin(angle))


def create(options: Config) -> Maker:
    """Return the maker of the rule."""

    def merge(name: str, shape: tuple[int, ...], base: Array | None, vlm: Array, reason: Array) -> Array:
        return slerp(vlm, reason, options.t)

    def make(depth: int) -> Rule:
        return TensorRule(f"spherical interpolation per tensor, t {options.t:g} towards the reasoning model", merge)

    return make
