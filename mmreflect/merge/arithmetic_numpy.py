"""The arithmetic of a merge in numpy: the reference, and what machines without a C compiler have.

numpy knows no bfloat16: a bfloat16 is the upper half of a float32. Rounding back is to nearest, ties to even, as
everywhere else.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from mmreflect.merge.arithmetic import Combine, Fused
from mmreflect.merge.checkpoint import ITEM_BYTES
from mmreflect.merge.checksums import checksum
from mmreflect.merge.kernels import LANES
from mmreflect.merge.pieces import Loaded
from mmreflect.merge.raw import Raw
from mmreflect.merge.rule import Array, Pair
from mmreflect.merge.statistics import Sums, sums_of

BLOCK = 1 << 16
"""Values that are worked on at a time: what belongs to them stays in the processor's cache."""

_NUMPY: dict[str, Any] = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
_NOT_FINITE = {
    "F64": (8, 0x7FF << 52), "F32": (4, 0x7F80_0000), "C64": (4, 0x7F80_0000), "F16": (2, 0x7C00), "BF16": (2, 0x7F80),
    "F8_E5M2": (1, 0x7C), "F8_E4M3": (1, 0x7F),
}  # fmt: skip
"""Bytes of a number, and the bits of the smallest positive one that is infinite or NaN."""
Block = tuple[Array | None, Array, Array]
"""Values of base (None where there is none), VLM and reasoning model."""


class Blockwise(Protocol):
    """What takes `block` values at a time."""

    @property
    def block(self) -> int:
        """How many values."""

    def decode(self, raw: Raw, code: str) -> Array:
        """Turn bytes into float32."""

    def encode(self, values: Array, code: str, out: np.ndarray) -> np.ndarray:
        """Round float32 to a dtype, into `out`."""


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


class Plain:
    """What has no way of its own to check bytes, and works on what was read."""

    def maps(self, function: Combine, pair: Pair | None) -> bool:
        """Ask for values that were read."""
        return False

    def fused(self, function: Combine, pair: Pair) -> Fused | None:
        """Leave writing to the caller."""
        return None

    def lost(self, raw: Raw, code: str) -> bool:
        """Tell whether stored values hold infinity or NaN."""
        return lost(raw.array, code)

    def checksum(self, data: memoryview) -> int:
        """Return the CRC-32 of data."""
        return checksum(data)


class OnCpu(Plain):
    """numpy. The sums depend neither on the number of threads nor on the machine, since their order is said.

    Value i of a block of BLOCK values belongs to lane i modulo LANES. A lane adds its values in ascending order, in
    each block from 0, then the blocks; the lanes of a piece are added up exactly rounded.
    """

    block = BLOCK

    def __init__(self, text: str = "numpy") -> None:
        self.text = text

    def decode(self, raw: Raw, code: str) -> Array:
        """Turn bytes into float32."""
        return decode(raw.array, code)

    def encode(self, values: Array, code: str, out: np.ndarray | None = None) -> np.ndarray:
        """Round float32 to a dtype."""
        return encode(values, code, out)

    def measure(self, loaded: Loaded) -> Sums:
        """Return the sums of a piece."""
        lanes = np.zeros((4, LANES))
        with np.errstate(all="ignore"):  # what is not finite is found from the sums
            for block in blocks(self, loaded, self.block):
                lanes += lanes_of(*block)
        return sums_of(lanes.tolist(), loaded.base is not None)

    def combine(self, function: Combine, loaded: Loaded, pair: Pair, code: str, out: Raw) -> None:
        """Write what a rule makes of a piece to `out`."""
        with np.errstate(all="ignore"):  # what is not finite is found before it is written
            combine_blocks(self, function, loaded, pair, code, out)


def lanes_of(base: np.ndarray | None, vlm: np.ndarray, reason: np.ndarray) -> np.ndarray:
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


def blocks(arithmetic: Blockwise, loaded: Loaded, size: int) -> Iterator[Block]:
    """Yield the values of a piece, `size` at a time: base, VLM, reasoning model."""
    for first in range(0, loaded.count, size):

        def block(raw: Raw, code: str, first: int = first) -> Array:
            item = ITEM_BYTES[code]
            return arithmetic.decode(raw.part(first * item, min(size * item, raw.nbytes - first * item)), code)

        base = None if loaded.base is None else block(loaded.base, loaded.base_code)
        yield base, block(loaded.vlm, loaded.vlm_code), block(loaded.reason, loaded.reason_code)


def combine_blocks(arithmetic: Blockwise, function: Combine, loaded: Loaded, pair: Pair, code: str, out: Raw) -> None:
    """Write what a rule makes of a piece to `out`, block by block."""
    item, position, array = ITEM_BYTES[code], 0, out.array
    for block in blocks(arithmetic, loaded, arithmetic.block):
        values = function(*block, *pair)
        size = values.shape[0] * item
        arithmetic.encode(values, code, array[position : position + size])
        position += size
