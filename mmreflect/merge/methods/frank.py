"""FRANK: merge a reasoning LLM into a VLM without training, layer by layer, with closed-form weights.

Training-Free Reasoning and Reflection in MLLMs, arXiv 2505.16151. Per decoder block, all of its tensors flattened:
tau_V = VLM - base, tau_R = reasoning model - base (Eq. 3); merged = base + lam_V tau_V + lam_R tau_R (Eq. 4), with

    lam_t = w_t ||tau_t||^2 / (w_V ||tau_V||^2 + w_R ||tau_R||^2)                                 (Eq. 13, Eq. 15)

and a prior w_V that falls with depth as attention to the image does (Eq. 16). What to know before trusting it:

- Eq. 13 is not the minimiser of the paper's own objective. As stated (Eq. 11), the objective is
  sum_t a_t ||theta - theta_t||^2 with a_t = curvature_t, whose minimiser is lam_t = a_t / (a_V + a_R) for any angle
  between the task vectors: the norms cancel, and equal curvatures give 1/2 and 1/2. Eq. 13 needs a_t = ||tau_t||^2, an
  extra factor that enters between Eq. 32 and Eq. 33 without a derivation. It is a heuristic: trust the model that moved
  more. Hence `importance`: norm2 (the paper), uniform (the objective as stated), inv_norm2 (equal relative loss).
- Eq. 16 normalises w_V to sum 1 over L layers, so its mean is 1/L; with equal norms the result is almost the
  reasoning model's decoder. Hence `prior.normalise`: sum (the paper), max (first layer 1), attention (w_V = a_l).

Only decoder blocks are merged; embeddings, final norm, output head and vision tower stay the VLM's.
"""

import math
import time
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field
from rich.markup import escape

from mmreflect import console
from mmreflect.config import config, to_tree
from mmreflect.errors import UserError
from mmreflect.merge import report
from mmreflect.merge.checkpoint import open_checkpoint
from mmreflect.merge.plan import MergePlan, OutputDtype, check_force, lay_out, plan_merge
from mmreflect.runs import Run

Importance = Literal["norm2", "uniform", "inv_norm2"]
Normalise = Literal["sum", "max", "attention"]
SMALLEST_ATTENTION = 1e-4
DEFAULT_SHARD_BYTES = 5_000_000_000


@config
class Prior:
    """How much the VLM counts in each layer, before the norms (w_V).

    Attributes:
        kind: `none` (both models count the same), `exponential` (a given `alpha`), or `measured` (`attention` by
            layer: alpha is fitted to it, or it is w_V itself with `normalise: attention`).
        alpha: decay per layer of `exponential`.
        attention: a_l of `measured`, one number in [0, 1] per decoder block: the share of a text token's attention
            that goes to image tokens (Eq. 39).
        normalise: `sum` (Eq. 16, the paper), `max` (our default), or `attention`.
        floor: lower bound of w_V; 0 is the paper. A floor breaks the sum of 1.
    """

    kind: Literal["none", "exponential", "measured"] = "none"
    alpha: float | None = None
    attention: list[float] | None = None
    normalise: Normalise = "max"
    floor: float = Field(default=0.1, ge=0, le=1)

    def __post_init__(self) -> None:
        """Check that the keys belong to the kind."""
        if self.kind == "exponential" and self.alpha is None:
            raise ValueError("kind 'exponential' needs alpha, the decay per layer, for example 0.05")
        if self.kind != "exponential" and self.alpha is not None:
            raise ValueError(f"kind {self.kind!r} takes no alpha; remove it, or set kind: exponential")
        if self.alpha is not None and not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha must be a finite number of at least 0 (given: {self.alpha})")
        if self.kind == "measured" and not self.attention:
            raise ValueError("kind 'measured' needs attention, one number per decoder block")
        if self.kind != "measured" and self.attention is not None:
            raise ValueError(f"kind {self.kind!r} takes no attention; remove it, or set kind: measured")
        if self.attention and not all(0 <= share <= 1 for share in self.attention):
            raise ValueError(
                f"attention holds shares from 0 to 1 (given: {min(self.attention)} to {max(self.attention)})"
            )
        if self.normalise == "attention" and self.kind == "exponential":
            raise ValueError("normalise 'attention' needs kind: measured; with a given alpha choose 'sum' or 'max'")


@config
class Config:
    """A FRANK merge.

    Attributes:
        base: folder of the common ancestor of the two others.
        vlm: folder of the vision-language model, whose layout and files the output takes.
        reason: folder of the reasoning language model.
        output: folder of the run; the model goes to its `model/`.
        importance: a_t of the closed form; `norm2` is the paper.
        force: names of compatibility checks to skip; see `mmreflect.merge.CHECKS`.
        dtype: of the output's floating-point tensors; `keep` leaves each tensor in the VLM's.
        shard_bytes: largest output file; with `keep` the VLM's own files are kept instead.
    """

    base: str
    vlm: str
    reason: str
    output: str
    importance: Importance = "norm2"
    prior: Prior = Prior()
    force: list[str] = Field(default_factory=list)
    dtype: OutputDtype = "keep"
    shard_bytes: int = Field(default=DEFAULT_SHARD_BYTES, gt=0)

    def __post_init__(self) -> None:
        """Check what one key cannot know."""
        check_force(self.force)
        if self.dtype == "keep" and self.shard_bytes != DEFAULT_SHARD_BYTES:
            raise UserError(
                f"shard_bytes={self.shard_bytes:,} has no effect with dtype: keep, which keeps the VLM's own files",
                "shard_bytes only where dtype changes",
                "remove shard_bytes, or choose a dtype",
            )


def layer_weights(norm2_v: float, norm2_r: float, w_v: float, importance: Importance = "norm2") -> tuple[float, float]:
    """Return (lam_V, lam_R) of one layer: lam_t = w_t a_t / (w_V a_V + w_R a_R), w_R = 1 - w_V.

    `norm2`: a_t = ||tau_t||^2 (Eq. 13 with w_V = 0.5, Eq. 15 otherwise). This is MetaGPT's closed form per layer, not
    the minimiser of the stated loss (see the module's docstring). `uniform`: a_t = 1, that minimiser for equal
    curvatures, so lam_V = w_V. `inv_norm2`: a_t = 1 / ||tau_t||^2, the minimiser of relative degradation.

    Edge cases: where the form is 0 / 0 (no task vector with a weight is left) the VLM is kept: (1, 0).

    Args:
        norm2_v: squared L2 norm of tau_V, at least 0.
        norm2_r: squared L2 norm of tau_R, at least 0.
        w_v: prior of the VLM in [0, 1]; 0.5 is no prior.
        importance: the choice of a_t.
    """
    w_r = 1.0 - w_v
    if importance == "norm2":
        share_v, share_r = w_v * norm2_v, w_r * norm2_r
    elif importance == "uniform":
        share_v, share_r = (w_v, w_r) if norm2_v or norm2_r else (0.0, 0.0)
    else:  # both multiplied by the product of the norms, which spares the division by zero
        share_v, share_r = w_v * norm2_r, w_r * norm2_v
    total = share_v + share_r
    return (share_v / total, share_r / total) if total > 0 else (1.0, 0.0)


def fit_decay(attention_L: Sequence[float]) -> tuple[float, float, float]:
    """Fit a_l = C exp(-alpha l), l = 1..L, by least squares on ln a_l (Eq. 40-44).

    Shares below 1e-4 are raised to it before the logarithm.

    Returns:
        alpha, C, and R^2 of the straight line in ln a_l (1 when all a_l are equal).

    Raises:
        UserError: fewer than two layers.
    """
    depth = len(attention_L)
    if depth < 2:
        raise UserError(
            f"cannot fit a decay to {console.count(depth, 'layer')}",
            "at least 2 layers",
            "use kind: exponential or none",
        )
    logs = [math.log(max(share, SMALLEST_ATTENTION)) for share in attention_L]
    mean_l, mean_log = (depth + 1) / 2, math.fsum(logs) / depth
    spread = math.fsum((layer - mean_l) ** 2 for layer in range(1, depth + 1))
    slope = math.fsum((layer - mean_l) * (value - mean_log) for layer, value in enumerate(logs, start=1)) / spread
    intercept = mean_log - slope * mean_l
    total = math.fsum((value - mean_log) ** 2 for value in logs)
    rest = math.fsum((value - intercept - slope * layer) ** 2 for layer, value in enumerate(logs, start=1))
    return -slope, math.exp(intercept), 1 - rest / total if total > 1e-24 else 1.0


def prior_weights(
    depth: int,
    alpha: float | None,
    normalise: Normalise,
    floor: float = 0.0,
    attention_L: Sequence[float] | None = None,
) -> list[float]:
    """Return w_V of layers l = 1..depth; w_R is 1 - w_V.

    `sum`: exp(-alpha l) / sum_j exp(-alpha j) (Eq. 16), mean 1/depth. `max`: the same shape scaled to a largest value
    of 1. `attention`: a_l itself. Then everything below `floor` is raised to it.

    Raises:
        ValueError: `attention` without one share per layer, or another normalisation without alpha.
    """
    if normalise == "attention":
        if attention_L is None or len(attention_L) != depth:
            raise ValueError("normalise 'attention' needs one share per layer")
        weights = list(attention_L)
    elif alpha is None:
        raise ValueError(f"normalise {normalise!r} needs alpha")
    else:
        top = -alpha if alpha >= 0 else -alpha * depth  # the largest exponent, taken out against overflow
        decays = [math.exp(-alpha * layer - top) for layer in range(1, depth + 1)]
        total = math.fsum(decays) if normalise == "sum" else 1.0
        weights = [decay / total for decay in decays]
    return [max(weight, floor) for weight in weights]


def resolve_prior(prior: Prior, depth: int) -> tuple[list[float], list[str]]:
    """Turn the configured prior into w_V per layer, with a sentence on how, and warnings after it.

    Raises:
        UserError: `attention` has another length than the decoder.
    """
    if prior.kind == "none":
        return [0.5] * depth, ["none"]
    if prior.attention is not None and len(prior.attention) != depth:
        raise UserError(
            f"prior.attention has {console.count(len(prior.attention), 'number')}, the VLM has {depth} decoder blocks",
            "one number per decoder block",
            "measure it on this VLM",
        )
    alpha, text, warnings = prior.alpha, f"exponential, alpha {prior.alpha}", []
    if prior.attention is not None and prior.normalise != "attention":
        alpha, c, r2 = fit_decay(prior.attention)
        text = f"measured, fitted alpha {alpha:.4g}, C {c:.4g}, R2 {r2:.3f}"
        if alpha <= 0:
            warnings.append(f"the fitted alpha is {alpha:.4g}: attention to the image does not fall with depth")
        if r2 < 0.5:
            warnings.append(
                f"the exponential fits the measured attention badly (R2 {r2:.2f}); see normalise: attention"
            )
    elif prior.attention is not None:
        text = "measured, used as it is"
    weights = prior_weights(depth, alpha, prior.normalise, prior.floor, prior.attention)
    return weights, [f"{text}, normalise {prior.normalise}, floor {prior.floor}", *warnings]


def _open(settings: Config) -> MergePlan:
    return plan_merge(
        open_checkpoint("base", settings.base),
        open_checkpoint("vlm", settings.vlm),
        open_checkpoint("reason", settings.reason),
        settings.force,
    )


def plan(settings: Config) -> dict[str, str]:
    """Say what the merge will do; reads configurations and headers only.

    Raises:
        UserError: the checkpoints cannot be read or do not fit, or the prior does not fit their depth.
    """
    merge_plan = _open(settings)
    weights, (prior_text, *_) = resolve_prior(settings.prior, merge_plan.depth)
    layout = lay_out(merge_plan.vlm, settings.dtype, settings.shard_bytes)
    shown = sorted({0, merge_plan.depth // 2, merge_plan.depth - 1})
    checks = f"passed, except forced: {', '.join(settings.force)}" if merge_plan.warnings else "passed"
    return {
        "base": settings.base,
        "vlm": settings.vlm,
        "reason": settings.reason,
        "checks": checks,
        "merged": f"{len(merge_plan.merged):,} tensors of {console.count(len(merge_plan.by_layer), 'decoder block')}",
        "copied": f"{console.count(len(merge_plan.copied), 'tensor')} from the VLM",
        "importance": settings.importance,
        "prior": prior_text,
        "w_v": ", ".join(f"{weights[layer]:.3f} (layer {layer})" for layer in shown),
        "writes": f"{layout.size / 1e9:.2f} GB in {console.count(len(layout.shards), 'file')}, dtype {settings.dtype}",
    }


def run(settings: Config, run: Run) -> dict[str, Any]:
    """Merge, copy the VLM's other files, verify, and report; resumes shard by shard.

    Returns:
        The summary that becomes result.json. `seconds` is the time of this process only.

    Raises:
        UserError: as `plan`, and when the inputs changed since the run was started or hold NaN.
    """
    from mmreflect.merge.executor import execute

    started = time.monotonic()
    merge_plan = _open(settings)
    weights, (prior_text, *prior_warnings) = resolve_prior(settings.prior, merge_plan.depth)
    layout = lay_out(merge_plan.vlm, settings.dtype, settings.shard_bytes)
    layers = execute(
        merge_plan,
        layout,
        lambda stats: layer_weights(stats.norm2_v, stats.norm2_r, weights[stats.layer], settings.importance),
        run.path,
    )
    model = run.path / "model"
    rows = report.layer_rows(layers, weights, settings.prior.attention)
    files = report.copy_side_files(merge_plan, model, settings.dtype)
    report.write_card(merge_plan, model, "frank", to_tree(settings), [row.lam_v for row in rows])
    report.verify(merge_plan, layout, model)
    warnings = [*merge_plan.warnings, *prior_warnings, *report.layer_warnings(rows)]
    report.write_report(run.path, merge_plan, rows, prior_text, files, warnings)
    report.show_layers(rows)
    for warning in warnings:
        console.say(f"[yellow]warning:[/] {escape(warning)}")
    return {
        "model": str(model),
        "layers": len(rows),
        "merged_tensors": len(merge_plan.merged),
        "copied_tensors": len(merge_plan.copied),
        "lam_v_mean": math.fsum(row.lam_v for row in rows) / len(rows),
        "lam_r_mean": math.fsum(row.lam_r for row in rows) / len(rows),
        "warnings": len(warnings),
        "seconds": round(time.monotonic() - started, 3),
    }
