"""What the two DARE methods share: dropping entries of a task vector at random (arXiv 2311.03099)."""

from typing import Literal

from pydantic import Field

from mmreflect.config import config
from mmreflect.merge.arrays import like
from mmreflect.merge.rule import Array
from mmreflect.merge.settings import BasedSettings
from mmreflect.seeds import numpy_rng

Rescale = Literal["density", "l1", "none"]


@config
class DareSettings(BasedSettings):
    """What is dropped and how the rest makes up for it.

    Attributes:
        density: probability with which an entry is kept.
        rescale: what the kept entries are multiplied with: `density`, 1 / density (the paper); `l1`, what restores the
            sum of magnitudes (mergekit; the same on average); `none` (what the code of "Bring Reason to Vision" does).
        seed: of the draws; each model and tensor has its own stream, so that nothing depends on the order of work.
        scale: factor of the merged change.
        vlm_weight: weight of the VLM's task vector.
        reason_weight: weight of the reasoning model's.
    """

    density: float = Field(default=0.2, gt=0, le=1)
    rescale: Rescale = "density"
    seed: int = 0
    scale: float = 1.0
    vlm_weight: float = Field(default=1.0, ge=0)
    reason_weight: float = Field(default=1.0, ge=0)


def drop(change: Array, density: float, rescale: Rescale, seed: int, role: str, name: str) -> Array:
    """Keep each entry with probability `density`, zero the others, and rescale.

    The draw is a Philox stream of (seed, "dare", role, name): float32 numbers in [0, 1), kept below `density`.
    """
    rng = numpy_rng(seed, "dare", role, name)
    kept = change * like(rng.random(change.shape[0], dtype="float32") < density, change)
    if rescale == "none":
        return kept
    if rescale == "density":
        return kept / density
    before, after = float(abs(change).sum()), float(abs(kept).sum())
    return kept * (before / after) if after > 0 else kept
