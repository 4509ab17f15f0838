"""How far the models of a merge moved from their base, layer by layer: exact sums that do not depend on the machine."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmreflect.console import count

HIGH_COSINE = 0.4  # two models measured from a base that is unrelated to them, norms equal, show 1/2
FAR = 0.5  # a fine-tune moves weights by some hundredths of their norm, another model by about the norm itself


@dataclass(frozen=True, slots=True)
class LayerStats:
    """How far the two models moved from the base in one decoder block, all its tensors flattened together.

    Attributes:
        layer: index of the block, from 0.
        norm2_v: ||tau_V||^2, the squared L2 norm of VLM - base; of the VLM itself where there is no base.
        norm2_r: ||tau_R||^2, the same for the reasoning model.
        dot: <tau_V, tau_R>.
        norm2_base: ||base||^2; None where there is no base.
    """

    layer: int
    norm2_v: float
    norm2_r: float
    dot: float
    norm2_base: float | None = None

    @property
    def is_sound(self) -> bool:
        """Whether all of it are finite numbers, as they are unless a file that held them is damaged."""
        given = (self.norm2_v, self.norm2_r, self.dot, *([] if self.norm2_base is None else [self.norm2_base]))
        return type(self.layer) is int and all(
            type(number) in (int, float) and math.isfinite(number) for number in given
        )

    @property
    def cosine(self) -> float | None:
        """Cosine between the two task vectors; None when one of them is zero."""
        scale = math.sqrt(self.norm2_v) * math.sqrt(self.norm2_r)
        return self.dot / scale if scale else None


Sums = tuple[float, float, float, float | None]
"""What one piece of a tensor adds to its layer: ||tau_V||^2, ||tau_R||^2, <tau_V, tau_R>, ||base||^2."""


def sums_of(lanes: Sequence[Sequence[float]], based: bool) -> Sums:
    """Add up the four rows of lanes of a piece; NaN and infinity, which an exact sum may refuse, come through."""
    try:
        found = [math.fsum(row) for row in lanes]
    except (OverflowError, ValueError):
        found = [float(sum(row)) for row in lanes]
    return (found[0], found[1], found[2], found[3] if based else None)


def add_up(layer: int, parts: Iterable[Sums]) -> LayerStats:
    """Add the pieces of a layer, exactly rounded, so that their order does not matter."""
    norms_v, norms_r, dots, bases = zip(*parts, strict=True)
    base = None if None in bases else math.fsum(bases)
    return LayerStats(layer, math.fsum(norms_v), math.fsum(norms_r), math.fsum(dots), base)


def total(layers: Sequence[LayerStats]) -> LayerStats:
    """Add up all layers; `layer` is -1."""
    return add_up(-1, [(item.norm2_v, item.norm2_r, item.dot, item.norm2_base) for item in layers])


def ancestor_warnings(layers: Sequence[LayerStats]) -> list[str]:
    """Say what in the norms speaks against the base being the ancestor of both models. Layers count from 0."""
    if not layers or layers[0].norm2_base is None:
        return []
    warnings = []
    still = [item.layer for item in layers if item.norm2_v == 0 and item.norm2_r == 0]
    one_still = [item.layer for item in layers if (item.norm2_v == 0) != (item.norm2_r == 0)]
    aligned = [item for item in layers if item.cosine is not None and item.cosine > HIGH_COSINE]
    if still:
        warnings.append(
            f"all three models are equal in {count(len(still), 'layer')} ({listed(still)}); "
            "the weights mean nothing there, the VLM's tensors are kept (1, 0)"
        )
    if one_still:
        warnings.append(
            f"one of the two models equals the base in {count(len(one_still), 'layer')} ({listed(one_still)})"
        )
    if aligned:
        highest, where = max(item.cosine or 0.0 for item in aligned), listed([item.layer for item in aligned])
        warnings.append(
            f"the task vectors point the same way in {count(len(aligned), 'layer')} (cosine up to "
            f"{highest:.2f}: {where}); the base is probably not the ancestor of both models"
        )
    whole = total(layers)
    for title, norm2 in (("the VLM", whole.norm2_v), ("the reasoning model", whole.norm2_r)):
        ratio = math.sqrt(norm2 / whole.norm2_base) if whole.norm2_base else 0.0
        if ratio > FAR:
            warnings.append(
                f"{title} lies {ratio:.2f} of the base's norm away from it ({math.sqrt(norm2):.4g} of "
                f"{math.sqrt(whole.norm2_base or 0.0):.4g}; a fine-tune moves a few hundredths): the base is probably "
                "not its ancestor"
            )
    return warnings


def listed(layers: Sequence[int]) -> str:
    """Write layer numbers, at most eight of them."""
    return ", ".join(str(layer) for layer in layers[:8]) + (", ..." if len(layers) > 8 else "")
