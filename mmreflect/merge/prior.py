"""How much the VLM counts in each layer before the norms: w_V of FRANK (arXiv 2505.16151, Eq. 15, 16 and 39-45)."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from mmreflect import console
from mmreflect.config import config
from mmreflect.errors import UserError
from mmreflect.merge.rule import Prior

Name = Literal["none", "attention", "exponential", "fixed"]
Normalise = Literal["sum", "max", "attention"]
SMALLEST_ATTENTION = 1e-4
DEFAULT_FLOOR = 0.1


@config
class PriorConfig:
    """The prior's choice.

    Attributes:
        name: `none` (1/2 everywhere), `attention` (a_l as measured), `exponential` (C exp(-alpha l) fitted to the
            measured a_l, the paper), or `fixed` (a given `alpha`, or a given `w_v` everywhere).
        measured: JSON file with the key `attention`: a_l, one number in [0, 1] per decoder block, the share of a text
            token's attention that goes to image tokens (Eq. 39).
        attention: the same numbers, in place of a file.
        alpha: decay per layer of `fixed`.
        w_v: the VLM's prior in every layer, of `fixed`.
        normalise: what becomes of the curve: `sum`, divided by its sum (Eq. 16, the paper); `max`, divided by its
            largest value (our default); `attention`, left as it is.
        floor: lower bound of w_V; 0 is the paper. A floor breaks the sum of 1.
    """

    name: Name = "none"
    measured: str | None = None
    attention: list[float] | None = None
    alpha: float | None = None
    w_v: float | None = Field(default=None, ge=0, le=1)
    normalise: Normalise = "max"
    floor: float = Field(default=DEFAULT_FLOOR, ge=0, le=1)

    def __post_init__(self) -> None:
        """Check that the keys belong to the name."""
        measuring = self.name in ("attention", "exponential")
        for key in ("measured", "attention"):
            if getattr(self, key) is not None and not measuring:
                raise ValueError(f"{self.name!r} takes no {key}; remove it, or choose attention or exponential")
        if measuring and (self.measured is None) == (self.attention is None):
            raise ValueError(f"{self.name!r} needs either measured, a JSON file, or attention, a number per block")
        if self.attention is not None:
            check_shares(self.attention)
        for key in ("alpha", "w_v"):
            if getattr(self, key) is not None and self.name != "fixed":
                raise ValueError(f"{self.name!r} takes no {key}; remove it, or choose fixed")
        if self.name == "fixed" and (self.alpha is None) == (self.w_v is None):
            raise ValueError("'fixed' needs either alpha, the decay per layer, or w_v, the same in every layer")
        if self.alpha is not None and not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha must be a finite number of at least 0 (given: {self.alpha})")
        if self.normalise == "attention" and not measuring:
            raise ValueError(f"normalise 'attention' needs measured attention, and {self.name!r} has none: sum or max")


PriorOption = Annotated[
    PriorConfig, BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value)
]


def check_shares(attention_L: Sequence[Any]) -> None:
    """Refuse what is no list of shares.

    Raises:
        ValueError: it is empty, or a number is not between 0 and 1.
    """
    numbers = [share for share in attention_L if isinstance(share, int | float)]
    if not numbers or len(numbers) != len(attention_L):
        raise ValueError("attention holds numbers, one per decoder block")
    if not all(0 <= share <= 1 for share in numbers):
        raise ValueError(f"attention holds shares from 0 to 1 (given: {min(numbers)} to {max(numbers)})")


def read_measured(file: str) -> tuple[float, ...]:
    """Read measured attention: a JSON object with the key `attention`, one share per decoder block.

    Raises:
        UserError: the file is missing or holds something else.
    """
    path = Path(file)
    if not path.is_file():
        raise UserError(
            f"prior.measured: no such file: '{file}'",
            'a JSON file with {"attention": [a_1, ..., a_L]}',
            "measure it on the VLM, or choose prior: {name: fixed, alpha: 0.05}",
        )
    try:
        shares = json.loads(path.read_text(encoding="utf-8"))["attention"]
        check_shares(shares)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"prior.measured: '{file}' cannot be used: {error}",
            'a JSON file with {"attention": [a_1, ..., a_L]}, shares from 0 to 1',
            "measure it again",
        ) from None
    return tuple(float(share) for share in shares)


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
            "use prior: {name: fixed, alpha: ...} or none",
        )
    logs = [math.log(max(share, SMALLEST_ATTENTION)) for share in attention_L]
    mean_l, mean_log = (depth + 1) / 2, math.fsum(logs) / depth
    spread = math.fsum((layer - mean_l) ** 2 for layer in range(1, depth + 1))
    slope = math.fsum((layer - mean_l) * (value - mean_log) for layer, value in enumerate(logs, start=1)) / spread
    intercept = mean_log - slope * mean_l
    total = math.fsum((value - mean_log) ** 2 for value in logs)
    rest = math.fsum((value - intercept - slope * layer) ** 2 for layer, value in enumerate(logs, start=1))
    return -slope, math.exp(intercept), 1 - rest / total if total > 1e-24 else 1.0


def decay(depth: int, alpha: float) -> list[float]:
    """Return exp(-alpha l), l = 1..depth, scaled to a largest value of 1."""
    top = -alpha if alpha >= 0 else -alpha * depth  # the largest exponent, taken out against overflow
    return [math.exp(-alpha * layer - top) for layer in range(1, depth + 1)]


def normalised(curve_L: Sequence[float], normalise: Normalise, floor: float = 0.0) -> list[float]:
    """Turn a curve over the layers into w_V; w_R is 1 - w_V.

    `sum`: divided by its sum (Eq. 16), mean 1/L. `max`: divided by its largest value. `attention`: as it is. A curve of
    zeros stays zero. Then everything below `floor` is raised to it, and everything above 1 lowered to it.
    """
    scale = {"sum": math.fsum(curve_L), "max": max(curve_L), "attention": 1.0}[normalise] or 1.0
    return [min(1.0, max(value / scale, floor)) for value in curve_L]


def resolve_prior(prior: PriorConfig, depth: int) -> Prior:
    """Turn the configured prior into w_V per layer.

    Raises:
        UserError: the measured attention cannot be read, or has another length than the decoder.
    """
    if prior.name == "none":
        return Prior((0.5,) * depth, "none")
    if prior.w_v is not None:
        return Prior((prior.w_v,) * depth, f"fixed, w_v {prior.w_v}")
    shape = f"normalise {prior.normalise}, floor {prior.floor}"
    if prior.alpha is not None:
        weights = normalised(decay(depth, prior.alpha), prior.normalise, prior.floor)
        return Prior(tuple(weights), f"fixed, alpha {prior.alpha}, {shape}")
    attention = read_measured(prior.measured) if prior.measured is not None else tuple(prior.attention or ())
    if len(attention) != depth:
        raise UserError(
            f"the measured attention has {console.count(len(attention), 'number')}, the VLM has "
            f"{console.count(depth, 'decoder block')}",
            "one number per decoder block",
            "measure it on this VLM",
        )
    if prior.name == "attention":
        weights = normalised(attention, prior.normalise, prior.floor)
        return Prior(tuple(weights), f"attention as measured, {shape}", attention)
    alpha, c, r2 = fit_decay(attention)
    scale = c * math.exp(-alpha * (1 if alpha >= 0 else depth))
    curve = [value * scale if prior.normalise == "attention" else value for value in decay(depth, alpha)]
    warnings = []
    if alpha <= 0:
        warnings.append(f"the fitted alpha is {alpha:.4g}: attention to the image does not fall with depth")
    if r2 < 0.5:
        warnings.append(
            f"the exponential fits the measured attention badly (R2 {r2:.2f}); see prior: {{name: attention}}"
        )
    text = f"exponential, fitted alpha {alpha:.4g}, C {c:.4g}, R2 {r2:.3f}, {shape}"
    return Prior(tuple(normalised(curve, prior.normalise, prior.floor)), text, attention, tuple(warnings))
