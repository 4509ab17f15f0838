"""How much the VLM counts in each layer before the norms: w_V of FRANK (arXiv 2505.16151, Eq. 15, 16 and 39-45)."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from mmreflect import console
from mmreflect.config import config
from mmreflect.errors import UserError
from mmreflect.merge.attention import (
    Attention,
    Dtype,
    Pictures,
    count_pictures,
    doubts,
    fit_decay,
    read_prior,
    too_small,
)
from mmreflect.merge.rule import Prior

Name = Literal["none", "attention", "exponential", "fixed"]
Normalise = Literal["sum", "max", "attention"]
SOURCES = ("pictures", "measured", "attention")
HOW = ("limit", "max_tokens", "prompt", "dtype", "seed")
DEFAULT_FLOOR = 0.1


@config
class PriorConfig:
    """The prior's choice.

    Attributes:
        name: `none` (1/2 everywhere), `attention` (a_l as measured), `exponential` (C exp(-alpha l) fitted to the
            measured a_l, the paper), or `fixed` (a given `alpha`, or a given `w_v` everywhere).
        pictures: folder of image files, or a dataset: a_l, the share of a text token's attention that goes to image
            tokens (Eq. 39), is measured on them before the merge; `limit`, `max_tokens`, `prompt`, `dtype` and `seed`
            are those of `mmreflect.merge.attention.Pictures`, and so are their defaults.
        measured: what an earlier measurement wrote, `prior.json` or its folder, in place of pictures.
        attention: a_l itself, one number in [0, 1] per decoder block, in place of both.
        alpha: decay per layer of `fixed`.
        w_v: the VLM's prior in every layer, of `fixed`.
        normalise: what becomes of the curve: `sum`, divided by its sum (Eq. 16, the paper); `max`, divided by its
            largest value (our default); `attention`, left as it is.
        floor: lower bound of w_V; 0 is the paper. A floor breaks the sum of 1.
    """

    name: Name = "none"
    pictures: str | None = None
    limit: int | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, ge=4)
    prompt: str | None = Field(default=None, min_length=1)
    dtype: Literal["auto"] | Dtype | None = None
    seed: int | None = None
    measured: str | None = None
    attention: list[float] | None = None
    alpha: float | None = None
    w_v: float | None = Field(default=None, ge=0, le=1)
    normalise: Normalise = "max"
    floor: float = Field(default=DEFAULT_FLOOR, ge=0, le=1)

    def __post_init__(self) -> None:
        """Check that the keys belong to the name."""
        measuring = self.name in ("attention", "exponential")
        sources = [key for key in SOURCES if getattr(self, key) is not None]
        if sources and not measuring:
            raise ValueError(f"{self.name!r} takes no {sources[0]}; remove it, or choose attention or exponential")
        if measuring and len(sources) != 1:
            raise ValueError(
                f"{self.name!r} needs either pictures, a folder to measure on, or measured, a prior.json, or "
                f"attention, a number per block (given: {' and '.join(sources) or 'none'})"
            )
        how = [key for key in HOW if getattr(self, key) is not None]
        if how and self.pictures is None:
            raise ValueError(f"{how[0]} says how pictures are measured, and none are named; remove it, or add pictures")
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

    @property
    def measurement(self) -> Pictures | None:
        """What is to be measured before the merge; None where nothing is."""
        if self.pictures is None:
            return None
        return Pictures(
            pictures=self.pictures, **{key: value for key in HOW if (value := getattr(self, key)) is not None}
        )


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
    """Turn the configured prior into w_V per layer; one whose pictures are still to be measured has none yet.

    Raises:
        UserError: the measured attention cannot be read, or has another length than the decoder; or there are no
            pictures to measure on.
    """
    if prior.name == "none":
        return Prior((0.5,) * depth, "none")
    if prior.w_v is not None:
        return Prior((prior.w_v,) * depth, f"fixed, w_v {prior.w_v}")
    shape = f"normalise {prior.normalise}, floor {prior.floor}"
    if prior.alpha is not None:
        weights = normalised(decay(depth, prior.alpha), prior.normalise, prior.floor)
        return Prior(tuple(weights), f"fixed, alpha {prior.alpha}, {shape}")
    if (asked := prior.measurement) is not None:
        on = console.count(count_pictures(asked), "picture")
        return Prior((), f"{prior.name}, will be measured on {on} of {prior.pictures} with the VLM itself, {shape}")
    found = read_prior(prior.measured) if prior.measured is not None else None
    attention = tuple(found.a if found else prior.attention or ())
    if len(attention) != depth:
        raise UserError(
            f"the measured attention has {console.count(len(attention), 'number')}, the VLM has "
            f"{console.count(depth, 'decoder block')}",
            "one number per decoder block",
            "measure it on this VLM",
        )
    return _of_attention(prior, attention, found, shape)


def _of_attention(prior: PriorConfig, attention: tuple[float, ...], found: Attention | None, shape: str) -> Prior:
    """Return w_V from a_l, as it is or as its fitted decay, with everything that is known of the measurement."""
    depth = len(attention)
    if prior.name == "attention" and depth < 2:
        return Prior(
            tuple(normalised(attention, prior.normalise, prior.floor)), f"attention as measured, {shape}", attention
        )
    alpha, c, r2 = fit_decay(attention)
    clipped = too_small(attention)
    known: dict[str, Any] = found.tree() if found else {"a": list(attention)}
    known |= {"alpha": alpha, "C": c, "r2": r2, "clipped": clipped}
    if prior.name == "attention":
        weights = normalised(attention, prior.normalise, prior.floor)
        return Prior(tuple(weights), f"attention as measured, {shape}", attention, (), known)
    scale = c * math.exp(-alpha * (1 if alpha >= 0 else depth))
    curve = [value * scale if prior.normalise == "attention" else value for value in decay(depth, alpha)]
    weights = normalised(curve, prior.normalise, prior.floor)
    text = f"exponential, fitted alpha {alpha:.4g}, C {c:.4g}, R2 {r2:.3f}, {shape}"
    return Prior(tuple(weights), text, attention, tuple(doubts(alpha, r2, clipped)), known)
