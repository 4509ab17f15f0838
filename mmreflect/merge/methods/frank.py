"""FRANK: merge a reasoning LLM into a VLM without training, layer by layer, with closed-form weights.

Training-Free Reasoning and Reflection in MLLMs, arXiv 2505.16151. Per decoder block, all of its tensors flattened:
tau_V = VLM - base, tau_R = reasoning model - base (Eq. 3); merged = base + lam_V tau_V + lam_R tau_R (Eq. 4), with

    lam_t = w_t ||tau_t||^2 / (w_V ||tau_V||^2 + w_R ||tau_R||^2)                                 (Eq. 13, Eq. 15)

and a prior w_V that falls with depth as attention to the image does (Eq. 16). What to know before trusting it:

- Eq. 13 is not the minimiser of the paper's own objective. As stated (Eq. 11), the objective is
  sum_t a_t ||theta - theta_t||^2 with a_t = curvature_t, whose minimiser is lam_t = a_t / (a_V + a_R) for any angle
  between the task vectors: the norms cancel, and equal curvatures give 1/2 and 1/2. Eq. 13 needs a_t = ||tau_t||^2, an
  extra factor that enters between Eq. 32 and Eq. 33 without a derivation. It is a heuristic: trust the model that moved
  more. Hence `importance`: norm2 (the paper), uniform (the objective as stated), inv_norm2 (equal relative loss),
  curvature (the objective with curvatures that you measured).
- Eq. 16 normalises w_V to sum 1 over L layers, so its mean is 1/L; with equal norms the result is almost the
  reasoning model's decoder. Hence `prior.normalise`: sum (the paper), max (largest 1), attention (as measured).

Only decoder blocks are merged; embeddings, final norm, output head and vision tower stay the VLM's.
"""

import json
from pathlib import Path
from typing import Any, Literal

from mmreflect import console
from mmreflect.config import config
from mmreflect.errors import UserError
from mmreflect.merge.prior import PriorConfig, PriorOption, resolve_prior
from mmreflect.merge.rule import Maker, Pair, Rule, WeightRule, mix
from mmreflect.merge.settings import BasedSettings
from mmreflect.merge.statistics import LayerStats

Importance = Literal["norm2", "uniform", "inv_norm2", "curvature"]


@config
class Config(BasedSettings):
    """A FRANK merge.

    Attributes:
        importance: a_t of the closed form; `norm2` is the paper.
        curvature: JSON file for `importance: curvature`, with the keys `vlm` and `reason`: delta_t per decoder block,
            the mean squared gradient of the model's own loss (trace of J J^T over the number of weights, Eq. 10).
        prior: w_V per layer.
    """

    importance: Importance = "norm2"
    curvature: str | None = None
    prior: PriorOption = PriorConfig()

    def __post_init__(self) -> None:
        """Check what one key cannot know."""
        super().__post_init__()
        if (self.importance == "curvature") != (self.curvature is not None):
            raise ValueError(
                "importance 'curvature' needs curvature, a JSON file with numbers per block for vlm and reason"
                if self.curvature is None
                else f"importance {self.importance!r} takes no curvature; remove it, or choose importance: curvature"
            )


def layer_weights(
    norm2_v: float, norm2_r: float, w_v: float, importance: Importance = "norm2", curvature: Pair = (1.0, 1.0)
) -> Pair:
    """Return (lam_V, lam_R) of one layer: lam_t = w_t a_t / (w_V a_V + w_R a_R), w_R = 1 - w_V.

    `norm2`: a_t = ||tau_t||^2 (Eq. 13 with w_V = 0.5, Eq. 15 otherwise). This is MetaGPT's closed form per layer, not
    the minimiser of the stated loss (see the module's docstring). `uniform`: a_t = 1, that minimiser for equal
    curvatures, so lam_V = w_V. `curvature`: a_t = delta_t, that minimiser for the given ones. `inv_norm2`:
    a_t = 1 / ||tau_t||^2, the minimiser of relative degradation.

    Edge cases: where the form is 0 / 0 (no task vector with a weight is left) the VLM is kept: (1, 0).

    Args:
        norm2_v: squared L2 norm of tau_V, at least 0.
        norm2_r: squared L2 norm of tau_R, at least 0.
        w_v: prior of the VLM in [0, 1]; 0.5 is no prior.
        importance: the choice of a_t.
        curvature: (delta_V, delta_R), at least 0; used by `curvature`.
    """
    w_r = 1.0 - w_v
    moved = bool(norm2_v or norm2_r)
    if importance == "norm2":
        share_v, share_r = w_v * norm2_v, w_r * norm2_r
    elif importance == "uniform":
        share_v, share_r = (w_v, w_r) if moved else (0.0, 0.0)
    elif importance == "curvature":
        share_v, share_r = (w_v * curvature[0], w_r * curvature[1]) if moved else (0.0, 0.0)
    else:  # both multiplied by the product of the norms, which spares the division by zero
        share_v, share_r = w_v * norm2_r, w_r * norm2_v
    total = share_v + share_r
    return (share_v / total, share_r / total) if total > 0 else (1.0, 0.0)


def create(options: Config) -> Maker:
    """Return the maker of the rule."""

    def make(depth: int) -> Rule:
        prior = resolve_prior(options.prior, depth)
        curvature = read_curvature(options.curvature, depth) if options.curvature else [(1.0, 1.0)] * depth

        def weights(layer: int, stats: LayerStats | None) -> Pair:
            assert stats is not None
            delta = curvature[min(max(layer, 0), depth - 1)]
            return layer_weights(stats.norm2_v, stats.norm2_r, prior.at(layer), options.importance, delta)

        text = f"base + lam_V tau_V + lam_R tau_R, lam_t = w_t a_t / sum, a_t {options.importance}, per layer"
        return WeightRule(text, "layer", weights, mix, prior)

    return make


def read_curvature(file: str, depth: int) -> list[Pair]:
    """Read (delta_V, delta_R) per decoder block.

    Raises:
        UserError: the file is missing, holds something else, or numbers for another depth.
    """
    expected = (
        f'a JSON file with {{"vlm": [...], "reason": [...]}}, {console.count(depth, "number")} each, none negative'
    )
    path = Path(file)
    if not path.is_file():
        raise UserError(f"curvature: no such file: '{file}'", expected, "check the path, or choose importance: uniform")
    try:
        tree: Any = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(float(one), float(two)) for one, two in zip(tree["vlm"], tree["reason"], strict=True)]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"curvature: '{file}' cannot be used: {error}", expected, "write it again") from None
    if len(pairs) != depth or any(not 0 <= value < float("inf") for pair in pairs for value in pair):
        raise UserError(
            f"curvature: '{file}' holds {console.count(len(pairs), 'block')}, or a number that is negative",
            expected,
            "measure it on these models",
        )
    return pairs
