"""WUDI (arXiv 2503.08099): the merged change that interferes least with the inputs that each task vector speaks for.

Per matrix (out, in), with tau the merged change: minimise sum_t ||(tau - tau_t) tau_t^T||_F^2 / ||tau_t||_F^2, from
tau = sum_t tau_t, by Adam (learning rate 1e-5, 300 steps), as the authors' code does; what is no matrix gets the mean
of the task vectors. The gradient is written out, 2 (tau A - B) with A = sum_t tau_t^T tau_t / ||tau_t||^2 and B =
sum_t tau_t (tau_t^T tau_t) / ||tau_t||^2, so that a step is one product of matrices; in float64, since hundreds of
small steps add up. On a CPU this takes hours for a real model; use a GPU. A learning rate that is too large for small
changes moves every entry past its place: a matrix whose interference ends above where it began is refused.
"""

import math

from pydantic import Field

from mmreflect.config import config
from mmreflect.console import count
from mmreflect.errors import UserError
from mmreflect.merge.arrays import narrow, wide
from mmreflect.merge.halting import check
from mmreflect.merge.rule import WORKING_COPIES, Array, Maker, Rule, TensorRule
from mmreflect.merge.settings import BasedSettings

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
SLACK = 1e-9  # of the interference of no change at all: rounding, where the sum of the task vectors is best as it is
SMALL_MOVE = (
    1e-6  # of an entry, a tenth of the authors' learning rate: no harm where the changes themselves are no larger
)
ENTRYWISE = 1000  # operations of a product of matrices that take as long as a step's arithmetic on one entry


@config
class Config(BasedSettings):
    """A WUDI merge; the defaults are the authors'."""

    steps: int = Field(default=300, ge=1)
    learning_rate: float = Field(default=1e-5, gt=0)


def merged_change(changes: list[Array], steps: int, learning_rate: float, name: str = "") -> Array:
    """Minimise the interference of task vectors, each a matrix (out, in); zero ones speak for no input.

    Args:
        name: of the tensor, for the error.

    Raises:
        UserError: the interference ends above where it began, by more than entries moved by 1e-6 would raise it.
    """
    merged = changes[0] * 0
    for change in changes:
        merged = merged + change
    gram, pull, most = _wishes(changes)
    if gram is None:
        return merged
    before = _interference(merged, gram, pull, most)
    first, second = merged * 0, merged * 0
    for step in range(1, steps + 1):
        check()
        gradient = (merged @ gram - pull) * 2
        first = first * BETA_1 + gradient * (1 - BETA_1)
        second = second * BETA_2 + gradient * gradient * (1 - BETA_2)
        root = (second / (1 - BETA_2**step)) ** 0.5 + EPSILON
        merged = merged - first / (1 - BETA_1**step) / root * learning_rate
    del first, second, gradient, root
    after = _interference(merged, gram, pull, most)
    if after > before + SLACK * most + merged.shape[0] * SMALL_MOVE**2:  # NaN is found, and named, when it is written
        raise UserError(
            f"wudi makes {name!r} worse: its interference rises from {before:.4g} to {after:.4g} in "
            f"{count(steps, 'step')} at learning_rate {learning_rate:g}",
            "an interference that falls",
            "choose a smaller learning_rate",
        )
    return merged


def _wishes(changes: list[Array]) -> tuple[Array | None, Array, float]:
    """Return A and B of the gradient, A None where all changes are zero, and the interference of no change at all."""
    gram, pull, most = None, changes[0] * 0, 0.0
    for change in changes:
        norm2 = float((change * change).sum())
        if norm2 > 0:
            own = (change.T @ change) / norm2
            gram = own if gram is None else gram + own
            wished = change @ own
            pull = pull + wished
            most += float((wished * change).sum())
    return gram, pull, most


def _interference(merged: Array, gram: Array, pull: Array, most: float) -> float:
    """Return what is minimised; `most` is that of no change, sum_t ||tau_t tau_t^T||_F^2 / ||tau_t||_F^2."""
    return float(((merged @ gram - pull * 2) * merged).sum()) + most


def working_operations(shape: tuple[int, ...], steps: int) -> float:
    """Return the floating-point operations of merging a tensor: 6 products with a Gram matrix, one more in each step.

    Arithmetic on entries waits for memory; it counts as the products that take as long.
    """
    if len(shape) != 2:
        return 0.0
    rows, width = shape
    return (6 + steps) * 2.0 * rows * width**2 + ENTRYWISE * (steps * rows * width + width**2)


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
        change = merged_change(matrices, options.steps, options.learning_rate, name.partition("@")[0])
        return base + narrow(change).reshape(-1)

    def make(depth: int) -> Rule:
        text = f"base + the change of least interference, {count(options.steps, 'step')} of Adam per matrix"
        return TensorRule(text, merge, working_bytes, lambda shape: working_operations(shape, options.steps))

    return make
