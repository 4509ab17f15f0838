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
from mmreflect.merge.checkpoint import FLOATS
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

    def encode(self, values: Array, code: str) -> np.ndarray:
        """Round float32 to a dtype; returns its bytes on the CPU."""

    def measure(self, base: Array | None, vlm: Array, reason: Array) -> Sums:
        """Return the sums of one block, in float64."""


def decode(raw: np.ndarray, code: str) -> np.ndarray:
    """Turn bytes of a safetensors dtype into float32 values, flat."""
    if code != "BF16":
        return np.array(raw.view(_NUMPY[code]), np.float32)
    wide = raw.view(np.uint16).astype(np.uint32)
    np.left_shift(wide, 16, out=wide)
    return wide.view(np.float32)


def encode(values: np.ndarray, code: str) -> np.ndarray:
    """Round float32 values to a safetensors dtype, to nearest, ties to even; returns bytes.

    Values that float16 cannot hold become infinite, which `lost` finds. NaN is no valid input.
    """
    if code != "BF16":
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(values.astype(_NUMPY[code])).view(np.uint8)
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = np.right_shift(bits, 16)
    np.bitwise_and(rounded, 1, out=rounded)
    np.add(rounded, 0x7FFF, out=rounded)
    np.add(rounded, bits, out=rounded)
    return np.ascontiguousarray(rounded.view(np.uint16)[1::2]).view(np.uint8)


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

    def encode(self, values: Array, code: str) -> np.ndarray:
        """Round float32 to a dtype."""
        return encode(values, code)

    def measure(self, base: Array | None, vlm: Array, reason: Array) -> Sums:
        """Return the sums of one block: differences in float32, products and sums in float64."""
        if base is not None:
            vlm, reason = vlm - base, reason - base
        wide_v, wide_r = vlm.astype(np.float64), reason.astype(np.float64)
        sums: tuple[list[float], list[float], list[float]] = ([], [], [])
        for first in range(0, wide_v.size, ROW):
            one, two = wide_v[first : first + ROW], wide_r[first : first + ROW]
            for found, pair in zip(sums, ((one, one), (two, two), (one, two)), strict=True):
                found.append(float(np.dot(*pair)))
        norm_base = None
        if base is not None:
            norm_base = math.fsum(float(np.dot(*[base[at : at + ROW]] * 2)) for at in range(0, base.size, ROW))
        return (math.fsum(sums[0]), math.fsum(sums[1]), math.fsum(sums[2]), norm_base)


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

    def encode(self, values: Array, code: str) -> np.ndarray:
        """Round float32 to a dtype; returns its bytes on the CPU."""
        encoded = values.to(getattr(self._torch, FLOATS[code])).contiguous()
        return np.asarray(encoded.view(self._torch.uint8).cpu().numpy())

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
