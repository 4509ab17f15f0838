"""The few operations that rules need beside arithmetic, for numpy arrays and torch tensors alike."""

import math
from collections.abc import Callable

import numpy as np

from mmreflect.merge.rule import Array


def as_float(mask: Array, values: Array) -> Array:
    """Return a mask as 0 and 1 in the dtype of values."""
    return mask.astype(values.dtype) if isinstance(mask, np.ndarray) else mask.to(values.dtype)


def wide(values: Array) -> Array:
    """Return values in float64."""
    return values.astype(np.float64) if isinstance(values, np.ndarray) else values.double()


def narrow(values: Array) -> Array:
    """Return values in float32."""
    return values.astype(np.float32) if isinstance(values, np.ndarray) else values.float()


def by_blocks(function: Callable[..., Array], *arrays: Array) -> Array:
    """Apply a function that works entry by entry in blocks, which spares the memory of its temporaries."""
    first = arrays[0]
    size = first.shape[0]
    if size <= BLOCK:
        return function(*arrays)
    if isinstance(first, np.ndarray):
        result: Array = np.empty_like(first)
    else:
        import torch

        result = torch.empty_like(first)
    for start in range(0, size, BLOCK):
        part = slice(start, start + BLOCK)
        result[part] = function(*(array[part] for array in arrays))
    return result


def kth_largest(values: Array, k: int) -> float:
    """Return the k-th largest of flat values, k from 1."""
    if isinstance(values, np.ndarray):
        return float(np.partition(values, values.size - k)[values.size - k])
    return float(values.kthvalue(values.numel() - k + 1).values)


def inner(one: Array, other: Array) -> float:
    """Return the inner product of two flat arrays: products and sums in float64, equal on any number of threads."""
    if not isinstance(one, np.ndarray):
        return float((one.double() * other.double()).sum())
    parts = []
    for first in range(0, one.size, ROW):
        parts.append(float(np.dot(one[first : first + ROW].astype(np.float64), other[first : first + ROW])))
    return math.fsum(parts)


BLOCK = 1 << 18
ROW = 8192
"""Values summed in one go: above 10,000 OpenBLAS splits a sum among threads, which moves its last bit."""


def joined(parts: list[Array]) -> Array:
    """Return flat arrays in a row."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch

    return torch.cat(parts)


def like(values: np.ndarray, other: Array) -> Array:
    """Return numpy values as what `other` is, on its device."""
    if isinstance(other, np.ndarray):
        return values
    import torch

    return torch.from_numpy(values).to(other.device)
