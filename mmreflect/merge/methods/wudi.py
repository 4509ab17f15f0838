"""WUDI (arXiv 2503.08099): the merged change that interferes least with the inputs that each task vector speaks for.

Per matrix (out, in), with tau the merged change: minimise sum_t ||(tau - tau_t) tau_t^T||_F^2 / ||tau_t||_F^2, from
tau = sum_t tau_t, by Adam (learning rate 1e-5, 300 steps), as the authors' code does; what is no matrix gets the mean
of the task vectors. The gradient is written out, 2 (tau A - B) with A = sum_t tau_t^T tau_t / ||tau_t||^2 and B =
sum_t tau_t (tau_t^T tau_t) / ||tau_t||^2, so that a step is one product of matrices; in float64, since hundreds of
small steps add up. On a CPU this takes hours for a real model; use a GPU.
"""

import math

from pydantic import Field

from mmreflect.config import config
from mmreflect.merge.arrays import Array, narrow, wide
from mmreflect.merge.rule import WORKING_COPIES, Maker, Rule, TensorRule
from mmreflect.merge.settings import BasedSettings

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


@config
class Config(BasedSettings):
    """A WUDI merge; the defaults are the authors'."""

    steps: int = Field(default=300, ge=0)
    learning_rate: float = Field(default=1e-5, gt=0)


def merged_change(changes: list[Array], steps: int, learning_rate: float) -> Array:
    """Minimise the interference of task vectors, each a matrix (out, in); zero ones speak for no input."""
    merged = changes[0] * 0
    gram, pull = None, merged
    for change in changes:
        norm2 = float((change * change).sum())
        merged = merged + change
        if norm2 > 0:
            own = (change.T @ change) / norm2
            gram = own if gram is None else gram + own
            pull = pull + change @ own
    if gram is None:
        return merged
    first, second = merged * 0, merged * 0
    for step in range(1, steps + 1):
        gradient = (merged @ gram - pull) * 2
        first = first * BETA_1 + gradient * (1 - BETA_1)
        second = second * BETA_2 + gradient * gradient * (1 - BETA_2)
        root = (second / (1 - BETA_2**step)) ** 0.5 + EPSILON
        merged = merged - first / (1 - BETA_1**step) / root * learning_rate
    return merged


def working_bytes(shape: tuple[int, ...]) -> int:
    """Return the bytes that merging a tensor takes: three Gram matrices (in, in) and eleven of its size in float64."""
    size = math.prod(shape)
    return 8 * (3 * shape[-1] ** 2 + 11 * size) + 3 * 4 * size if len(shape) == 2 else WORKING_COPIES * 4 * size


def create(options: Config) -> Maker:
    """Return the maker of the rule."""

    def merge(name: str, shape: tuple[int, ...], base: Array | None, vlm: Array, reason: Array) -> Array:
        assert base is not None
        changes = [(vlm - base), (reason - base)]
        if len(shape) != 2:
            return base + (changes[0] + changes[1]) / 2
        matrices = [wide(change).reshape(shape) for change in changes]
        return base + narrow(merged_change(matrices, options.steps, options.learning_rate)).reshape(-1)

    def make(depth: int) -> Rule:
        text = f"base + the change of least interference, {options.steps} steps of Adam per matrix"
        return TensorRule(text, merge, working_bytes)

    return make
