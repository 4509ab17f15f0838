"""Values that are to be written and that numpy rounds, and what is said of those that are no numbers there."""

import numpy as np

from mmreflect.errors import UserError
from mmreflect.merge.arithmetic import Arithmetic
from mmreflect.merge.arithmetic_numpy import decode, encode, lost
from mmreflect.merge.checkpoint import FLOATS
from mmreflect.merge.gate import FINITE
from mmreflect.merge.pieces import Piece, Reader
from mmreflect.merge.plan import MergePlan
from mmreflect.merge.raw import Raw
from mmreflect.merge.rule import Array


def encoded(name: str, values: Array, code: str, arithmetic: Arithmetic) -> np.ndarray:
    """Return the bytes of merged values, of numpy or of a device.

    Raises:
        UserError: they are not finite there.
    """
    data = encode(values, code) if isinstance(values, np.ndarray) else arithmetic.encode(values, code)
    if lost(data, code):
        raise not_writable(name, np.asarray(values if isinstance(values, np.ndarray) else values.cpu()), code)
    return data


def converted(name: str, raw: Raw, source: str, code: str) -> np.ndarray:
    """Change the dtype of copied values; NaN becomes the usual one, infinity stays (both only where forced).

    Raises:
        UserError: a value is too large for the dtype.
    """
    with np.errstate(all="ignore"):
        values = decode(raw.array, source)
        finite = np.isfinite(values) if lost(raw.array, source) else np.array(True)
        known = np.where(finite, values, np.float32(0))
        data = encode(known, code)
        if lost(data, code):
            raise _too_large(name, float(abs(known).max()), code)
        return data if finite.all() else encode(np.where(np.isnan(values), np.float32(np.nan), values), code)


def not_writable(name: str, values: np.ndarray, code: str) -> UserError:
    """Say why merged values cannot be written: the rule made no numbers of them, or the dtype cannot hold them."""
    if np.isfinite(values).all():
        return _too_large(name, float(abs(values).max()), code)
    return UserError(
        f"merging turns values of {name!r} into NaN or infinity, though they are finite in all models",
        "a finite merged model",
        "choose smaller factors in the method's settings (weights, scale, learning_rate)",
    )


def _too_large(name: str, largest: float, code: str) -> UserError:
    others = [title for title in ("bfloat16", "float32") if title != FLOATS[code]]
    return UserError(
        f"{name!r} holds values that {FLOATS[code]} cannot represent (up to {largest:.3g})",
        "finite weights",
        f"choose dtype: {' or '.join(others)}",
    )


def unsound(plan: MergePlan, name: str) -> UserError:
    """Say that a tensor which is copied holds no numbers."""
    return UserError(
        f"vlm: {name!r}, which is copied, holds NaN or infinity ('{plan.vlm.folder}')",
        "finite weights",
        f"download this model again, or take another checkpoint; to copy it as it is: force: [{FINITE}]",
    )


def not_finite(plan: MergePlan, piece: Piece, reader: Reader) -> UserError:
    """Say which model's values make the sums of a piece no numbers."""
    loaded, stretch = reader.load(piece), piece.stretch
    sides = [(plan.vlm, loaded.vlm, loaded.vlm_code, piece.tensor.name)]
    sides.append((plan.reason, loaded.reason, loaded.reason_code, stretch.reason.cut(piece.first, 1)[0].name))
    if plan.base is not None and stretch.base is not None and loaded.base is not None:
        sides.insert(0, (plan.base, loaded.base, loaded.base_code, stretch.base.cut(piece.first, 1)[0].name))
    with np.errstate(over="ignore"):
        found = [side for side in sides if not np.isfinite(decode(side[1].array, side[2])).all()]
    model, raw, code, name = found[0] if found else (plan.vlm, loaded.vlm, loaded.vlm_code, piece.tensor.name)
    what = "differs from the base by more than float32 can hold"
    if found:
        what = "holds NaN or infinity" if lost(raw.array, code) else "holds values larger than float32 can hold"
    return UserError(
        f"{model.role}: {name!r} {what} ('{model.folder}')",
        "finite weights",
        "download this model again, or take another checkpoint",
    )
