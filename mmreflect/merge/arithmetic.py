"""From bytes on disk to float32 and back, and the sums over a piece: compiled or numpy on the CPU, torch on a GPU.

numpy knows no bfloat16: a bfloat16 is the upper half of a float32. Rounding back is to nearest, ties to even, as
everywhere else.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from mmreflect.errors import UserError
from mmreflect.merge.arrays import Array
from mmreflect.merge.checkpoint import FLOATS, ITEM_BYTES
from mmreflect.merge.checksums import checksum
from mmreflect.merge.kernels import BLEND, LANES, MIX, Kernels, NoKernels, load, outlook
from mmreflect.merge.pieces import Loaded
from mmreflect.merge.rule import SURE, Pair, blend, mix
from mmreflect.merge.statistics import Sums, add_up

DRIVER = Path("/dev/nvidiactl")
BLOCK = 1 << 16
"""Values that are worked on at a time: what belongs to them stays in the processor's cache."""

_NUMPY: dict[str, Any] = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
_NOT_FINITE = {
    "F64": (8, 0x7FF << 52), "F32": (4, 0x7F80_0000), "C64": (4, 0x7F80_0000), "F16": (2, 0x7C00), "BF16": (2, 0x7F80),
    "F8_E5M2": (1, 0x7C), "F8_E4M3": (1, 0x7F),
}  # fmt: skip
"""Bytes of a number, and the bits of the smallest positive one that is infinite or NaN."""

Fused = Callable[[Loaded, str, int, int, np.ndarray], int]
"""From a piece, the output's dtype, an open file, the place in it, and ROOM bytes to work in, to the CRC-32 of what was
written. Raises Unreadable, NotFinite, OSError."""
Combine = Callable[[Array | None, Array, Array, float, float], Array]
Kind = Literal["auto", "compiled", "numpy"]
Block = tuple[Array | None, Array, Array]


class Arithmetic(Protocol):
    """Where values are computed. `raw` is bytes of a safetensors dtype; blocks are float32. `text` names it.

    What takes a piece raises Unreadable where mapped files fail it.
    """

    text: str

    def decode(self, raw: np.ndarray, code: str) -> Array:
        """Turn bytes into float32."""

    def encode(self, values: Array, code: str, out: np.ndarray | None = None) -> np.ndarray:
        """Round float32 to a dtype; returns its bytes on the CPU, in `out` where that is given."""

    def measure(self, loaded: Loaded) -> Sums:
        """Return the sums of a piece: differences in float32, products and sums in float64."""

    def checksum(self, data: memoryview) -> int:
        """Return the CRC-32 of data."""

    def combine(self, function: Combine, loaded: Loaded, pair: Pair, code: str, out: np.ndarray) -> None:
        """Write what a rule makes of a piece to `out`, rounded to the dtype `code`; float16 may become infinite."""

    def maps(self, function: Combine, pair: Pair | None) -> bool:
        """Tell whether a piece may lie in mapped files: to be measured, or (with a pair) to be combined."""

    def fused(self, function: Combine, pair: Pair) -> "Fused | None":
        """Return what combines, checks and writes in one go, where there is such a thing for values that are mapped."""

    def lost(self, raw: np.ndarray, code: str) -> bool:
        """Tell whether stored values hold infinity or NaN; False for dtypes that know neither."""


def decode(raw: np.ndarray, code: str) -> np.ndarray:
    """Turn bytes of a safetensors dtype into float32 values, flat."""
    if code != "BF16":
        return np.array(raw.view(_NUMPY[code]), np.float32)
    wide = raw.view(np.uint16).astype(np.uint32)
    np.left_shift(wide, 16, out=wide)
    return wide.view(np.float32)


def encode(values: np.ndarray, code: str, out: np.ndarray | None = None) -> np.ndarray:
    """Round float32 values to a safetensors dtype, to nearest, ties to even; returns bytes, in `out` where it is given.

    Values that the dtype cannot hold become infinite, which `lost` finds. NaN is no valid input.
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
    """Tell whether stored values hold infinity or NaN, from their bits; False for dtypes that know neither.

    Read as signed integers only positive values reach the limit, read as unsigned ones only those with the sign bit.
    """
    if code not in _NOT_FINITE or not raw.size:
        return False
    size, limit = _NOT_FINITE[code]
    sign = 1 << 8 * size - 1
    return bool(raw.view(f"i{size}").max() >= limit or raw.view(f"u{size}").max() >= limit + sign)


class _Plain:
    """What has no way of its own to check bytes, and works on what was read."""

    def maps(self, function: Combine, pair: Pair | None) -> bool:
        """Ask for values that were read."""
        return False

    def fused(self, function: Combine, pair: Pair) -> Fused | None:
        """Leave writing to the caller."""
        return None

    def lost(self, raw: np.ndarray, code: str) -> bool:
        """Tell whether stored values hold infinity or NaN."""
        return lost(raw, code)

    def checksum(self, data: memoryview) -> int:
        """Return the CRC-32 of data."""
        return checksum(data)


class OnCpu(_Plain):
    """numpy. The sums depend neither on the number of threads nor on the machine, since their order is said.

    Value i of a block of BLOCK values belongs to lane i modulo LANES. A lane adds its values in ascending order, in
    each block from 0, then the blocks; the lanes of a piece are added up exactly rounded.
    """

    block = BLOCK
    text = "numpy"

    def decode(self, raw: np.ndarray, code: str) -> Array:
        """Turn bytes into float32."""
        return decode(raw, code)

    def encode(self, values: Array, code: str, out: np.ndarray | None = None) -> np.ndarray:
        """Round float32 to a dtype."""
        return encode(values, code, out)

    def measure(self, loaded: Loaded) -> Sums:
        """Return the sums of a piece."""
        lanes = np.zeros((4, LANES))
        with np.errstate(all="ignore"):  # what is not finite is found from the sums
            for block in _blocks(self, loaded, self.block):
                lanes += _lanes(*block)
        return _sums(lanes, loaded.base is not None)

    def combine(self, function: Combine, loaded: Loaded, pair: Pair, code: str, out: np.ndarray) -> None:
        """Write what a rule makes of a piece to `out`."""
        _combine_blocks(self, function, loaded, pair, code, out)


def _lanes(base: np.ndarray | None, vlm: np.ndarray, reason: np.ndarray) -> np.ndarray:
    """Return the sums of one block, lane by lane."""
    wide = np.empty((3, vlm.size))
    for place, side in enumerate((vlm, reason)):
        if base is None:
            wide[place] = side
        else:  # subtracts in float32 and widens on the way, a few thousand values at a time
            np.subtract(side, base, out=wide[place], dtype=np.float32, casting="unsafe")
    wide[2] = 0.0 if base is None else base
    lanes, whole = np.empty((4, LANES)), vlm.size // LANES * LANES
    rows, rest = wide[:, :whole].reshape(3, -1, LANES), wide[:, whole:]
    for place, (one, two) in enumerate(((0, 0), (1, 1), (0, 1), (2, 2))):
        np.einsum("ij,ij->j", rows[one], rows[two], out=lanes[place])  # row by row
        lanes[place, : rest.shape[1]] += rest[one] * rest[two]
    return lanes


def _sums(lanes: np.ndarray, based: bool) -> Sums:
    """Add up lanes; NaN and infinity, which an exact sum may refuse, come through."""
    try:
        found = [math.fsum(row) for row in lanes.tolist()]
    except (OverflowError, ValueError):
        with np.errstate(all="ignore"):
            found = lanes.sum(axis=1).tolist()
    return (found[0], found[1], found[2], found[3] if based else None)


class Compiled(OnCpu):
    """C that goes over each value once: the sums and the values of numpy to the last bit."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self.text = "compiled C"

    def measure(self, loaded: Loaded) -> Sums:
        """Return the sums of a piece."""
        lanes = self._kernels.measure(loaded.base, loaded.vlm, loaded.reason, loaded.codes)
        return _sums(lanes, loaded.base is not None)

    def combine(self, function: Combine, loaded: Loaded, pair: Pair, code: str, out: np.ndarray) -> None:
        """Write what a rule makes of a piece to `out`; a rule of an unknown function is left to numpy."""
        alone = loaded.alone(pair)
        form = MIX if function is mix else BLEND if function is blend else None
        if form is None or (form == MIX and loaded.base is None):
            super().combine(function, loaded, pair, code, out)
        elif alone is not None:
            self._kernels.convert(*alone, out, code)
        else:
            self._kernels.combine(form, loaded.base, loaded.vlm, loaded.reason, loaded.codes, pair, out, code)

    def maps(self, function: Combine, pair: Pair | None) -> bool:
        """Leave to what was read what numpy does, and the weights (1, 0) and (0, 1)."""
        return function in (mix, blend) and pair not in SURE

    def fused(self, function: Combine, pair: Pair) -> Fused | None:
        """Return what combines, checks and writes a share of the values while it is in the processor's cache."""
        if not self.maps(function, pair):
            return None
        form, finish = MIX if function is mix else BLEND, self._kernels.finish

        def write(loaded: Loaded, code: str, handle: int, place: int, room: np.ndarray) -> int:
            return finish(form, loaded.base, loaded.vlm, loaded.reason, loaded.codes, pair, code, handle, place, room)

        return write

    def lost(self, raw: np.ndarray, code: str) -> bool:
        """Tell whether stored values hold infinity or NaN."""
        return not self._kernels.is_finite(raw, code) if code in FLOATS else lost(raw, code)

    def checksum(self, data: memoryview) -> int:
        """Return the CRC-32 of data."""
        return self._kernels.checksum(data)


class OnDevice(_Plain):
    """torch on a GPU. The merged values are those of the CPU; the sums may differ in their last bits."""

    block = 1 << 24

    def __init__(self, device: str) -> None:
        import torch

        self._torch, self._device = torch, device
        self.text = f"torch on {device}"

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

    def measure(self, loaded: Loaded) -> Sums:
        """Return the sums of a piece."""
        sums = add_up(0, [self._measured(*block) for block in _blocks(self, loaded, self.block)])
        return (sums.norm2_v, sums.norm2_r, sums.dot, sums.norm2_base)

    def combine(self, function: Combine, loaded: Loaded, pair: Pair, code: str, out: np.ndarray) -> None:
        """Write what a rule makes of a piece to `out`."""
        _combine_blocks(self, function, loaded, pair, code, out)

    def _measured(self, base: Array | None, vlm: Array, reason: Array) -> Sums:
        norm_base = None
        if base is not None:
            vlm, reason = vlm - base, reason - base
            norm_base = float((base.double() * base.double()).sum())
        wide_v, wide_r = vlm.double(), reason.double()
        dots: list[float] = [
            float((one * two).sum()) for one, two in ((wide_v, wide_v), (wide_r, wide_r), (wide_v, wide_r))
        ]
        return (dots[0], dots[1], dots[2], norm_base)


def _blocks(arithmetic: Arithmetic, loaded: Loaded, size: int) -> Iterator[Block]:
    """Yield the values of a piece, `size` at a time: base, VLM, reasoning model."""
    for first in range(0, loaded.count, size):

        def block(raw: np.ndarray, code: str, first: int = first) -> Array:
            item = ITEM_BYTES[code]
            return arithmetic.decode(raw[first * item : (first + size) * item], code)

        base = None if loaded.base is None else block(loaded.base, loaded.base_code)
        yield base, block(loaded.vlm, loaded.vlm_code), block(loaded.reason, loaded.reason_code)


def _combine_blocks(
    arithmetic: "OnCpu | OnDevice", function: Combine, loaded: Loaded, pair: Pair, code: str, out: np.ndarray
) -> None:
    item, position = ITEM_BYTES[code], 0
    for block in _blocks(arithmetic, loaded, arithmetic.block):
        values = function(*block, *pair)
        size = values.shape[0] * item
        arithmetic.encode(values, code, out[position : position + size])
        position += size


def choose(device: str, kind: Kind = "auto") -> Arithmetic:
    """Return the arithmetic of a device: `cpu`, `cuda`, or `auto` for a GPU where there is one.

    Args:
        kind: on the CPU: `compiled`, `numpy`, or `auto` for compiled where that can be had.

    Raises:
        UserError: `cuda`, and there is no GPU; `compiled`, and it cannot be had.

    torch is imported only where the machine has an NVIDIA driver: importing it takes longer than merging a small model.
    """
    if device == "auto":
        device = "cuda" if DRIVER.exists() and _cuda() else "cpu"
    elif device == "cuda" and not _cuda():
        raise UserError("device: cuda, but there is no NVIDIA GPU that torch can use", "a GPU", "choose device: cpu")
    if device != "cpu":
        return OnDevice(device)
    if kind == "numpy":
        return OnCpu()
    try:
        return Compiled(load())
    except NoKernels as error:
        if kind == "compiled":
            raise UserError(
                f"arithmetic: compiled, but {error}",
                "a C compiler (cc, gcc or clang) that works, and a cache folder from which its library may be loaded",
                "install one, or name such a folder in XDG_CACHE_HOME; or choose arithmetic: auto",
            ) from None
        plain = OnCpu()
        plain.text = f"numpy, since {error}; compiled C takes a third of the time"
        return plain


def foretold(device: str, kind: Kind) -> str:
    """Say what `choose` will probably return; imports and builds nothing."""
    if device == "cuda" or (device == "auto" and DRIVER.exists()):
        return "torch on the GPU" if device == "cuda" else "torch on the GPU, if it can use it"
    return "numpy, as asked for" if kind == "numpy" else outlook()


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()
