"""From bytes on disk to float32 and back, and the sums over a piece: numpy on the CPU, torch on a GPU.

numpy knows no bfloat16: a bfloat16 is the upper half of a float32. Rounding back is to nearest, ties to even, as
everywhere else.
"""

import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmreflect.errors import UserError
from mmreflect.merge.arrays import ROW, Array
from mmreflect.merge.checkpoint import FLOATS, ITEM_BYTES
from mmreflect.merge.statistics import Sums

DRIVER = Path("/dev/nvidiactl")
BLOCK = 1 << 16
"""Values that are worked on at a time: what belongs to them stays in the processor's cache."""

_NUMPY: dict[str, Any] = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


class Arithmetic(Protocol):
    """Where values are computed. `raw` is bytes of a safetensors dtype; blocks are float32."""

    block: int

    def decode(self, raw: np.ndarray, code: str) -> Array:
        """Turn bytes into float32."""

    def encode(self, values: Array, code: str, out: np.ndarray | None = None) -> np.ndarray:
        """Round float32 to a dtype; returns its bytes on the CPU, in `out` where that is given."""

    def measure(self, base: Array | None, vlm: Array, reason: Array) -> Sums:
        """Return the sums of one block, in float64."""


def decode(raw: np.ndarray, code: str) -> np.ndarray:
    """Turn bytes of a safetensors dtype into float32 values, flat."""
    if code != "BF16":
        return np.array(raw.view(_NUMPY[code]), np.float32)
    wide = raw.view(np.uint16).astype(np.uint32)
    np.left_shift(wide, 16, out=wide)
    return wide.view(np.float32)


def encode(values: np.ndarray, code: str, out: np.ndarray | None = None) -> np.ndarray:
    """Round float32 values to a safetensors dtype, to nearest, ties to even; returns bytes, in `out` where it is given.

    Values that float16 cannot hold become infinite, which `lost` finds. NaN is no valid input.
    """
    values = np.ascontiguousarray(values)
    if out is None:
        out = np.empty(values.size * ITEM_BYTES[code], np.uint8)
    if code != "BF16":
        with np.errstate(over="ignore"):
            np.copyto(out.view(_NUMPY[code]), values.reshape(-1), casting="same_kind")
        return out
    bits = values.reshape(-1).view(np.uint32)
    rounded = np.right_shift(bits, 16)
    np.bitwise_and(rounded, 1, out=rounded)
    np.add(rounded, 0x7FFF, out=rounded)
    np.add(rounded, bits, out=rounded)
    np.copyto(out.view(np.uint16), rounded.view(np.uint16)[1::2])
    return out


def lost(raw: np.ndarray, code: str) -> bool:
    """Tell whether encoded values hold infinity or NaN."""
    if code == "BF16":
        return bool((np.bitwise_and(raw.view(np.uint16), 0x7F80) == 0x7F80).any())
    return not bool(np.isfinite(raw.view(_NUMPY[code])).all())


class OnCpu:
    """numpy; the results do not depend on the number of threads."""

    block = BLOCK

    def decode(self, raw: np.ndarray, code: str) -> Array:
        """Turn bytes into float32."""
        return decode(raw, code)

    def encode(self, values: Array, code: str, out: np.ndarray | None = None) -> np.ndarray:
        """Round float32 to a dtype."""
        return encode(values, code, out)

    def measure(self, base: Array | None, vlm: Array, reason: Array) -> Sums:
        """Return the sums of one block: differences in float32, products and sums in float64."""
        wide = np.empty((2, vlm.size))
        for place, side in enumerate((vlm, reason)):
            if base is None:
                wide[place] = side
            else:  # subtracts in float32 and widens on the way, a few thousand values at a time
                np.subtract(side, base, out=wide[place], dtype=np.float32, casting="unsafe")
        norms, dots = _inner_by_rows(wide, wide), _inner_by_rows(wide[0], wide[1])
        norm_base = None if base is None else math.fsum(_inner_by_rows(base, base).tolist())
        return (math.fsum(norms[0].tolist()), math.fsum(norms[1].tolist()), math.fsum(dots.tolist()), norm_base)


def _inner_by_rows(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the inner products of every ROW values along the last axis; the last one is of what is left over.

    matmul hands a row times a column to the BLAS's inner product, as `np.dot` would, for all rows in one call.
    """
    whole = one.shape[-1] // ROW * ROW
    parts = []
    for part, row in ((slice(0, whole), ROW), (slice(whole, None), one.shape[-1] - whole)):
        left, right = one[..., part], two[..., part]
        if left.size:
            shape = (*left.shape[:-1], -1, row)
            with np.errstate(all="ignore"):  # what is not finite is found from the sums
                found = np.matmul(left.reshape(shape)[..., None, :], right.reshape(shape)[..., :, None])
            parts.append(found[..., 0, 0])
    return np.concatenate(parts, -1)


class OnDevice:
    """torch on a GPU. The merged values are those of the CPU; the sums may differ in their last bits."""

    block = 1 << 24

    def __init__(self, device: str) -> None:
        import torch

        self._torch, self._device = torch, device

    def decode(self, raw: np.ndarray, code: str) -> Array:
        """Turn bytes into float32 on the device."""
        values = self._torch.from_numpy(raw).to(self._device).view(getattr(self._torch, FLOATS[code]))
        return values.float()

    def encode(self, values: Array, code: str, out: np.ndarray | None = None) -> np.ndarray:
        """Round float32 to a dtype; returns its bytes on the CPU."""
        encoded = values.to(getattr(self._torch, FLOATS[code])).contiguous()
        data = np.asarray(encoded.view(self._torch.uint8).cpu().numpy())
        if out is None:
            return data
        out[...] = data
        return out

    def measure(self, base: Array | None, vlm: Array, reason: Array) -> Sums:
        """Return the sums of one block."""
        norm_base = None
        if base is not None:
            vlm, reason = vlm - base, reason - base
            norm_base = float((base.double() * base.double()).sum())
        wide_v, wide_r = vlm.double(), reason.double()
        dots: list[float] = [
            float((one * two).sum()) for one, two in ((wide_v, wide_v), (wide_r, wide_r), (wide_v, wide_r))
        ]
        return (dots[0], dots[1], dots[2], norm_base)


def choose(device: str) -> Arithmetic:
    """Return the arithmetic of a device: `cpu`, `cuda`, or `auto` for a GPU where there is one.

    Raises:
        UserError: `cuda`, and there is no GPU.

    torch is imported only where the machine has an NVIDIA driver: importing it takes longer than merging a small model.
    """
    if device == "auto":
        device = "cuda" if DRIVER.exists() and _cuda() else "cpu"
    elif device == "cuda" and not _cuda():
        raise UserError("device: cuda, but there is no NVIDIA GPU that torch can use", "a GPU", "choose device: cpu")
    return OnCpu() if device == "cpu" else OnDevice(device)


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()
