"""CRC-32 of data that is written in pieces and in any order."""

import zlib
from collections.abc import Mapping
from functools import lru_cache

_POLYNOMIAL = 0xEDB88320
_Matrix = tuple[int, ...]


def checksum(data: bytes | memoryview, before: int = 0) -> int:
    """Return the CRC-32 of data, going on from the one of what stands before it."""
    return zlib.crc32(data, before)


def joined(pieces: Mapping[int, tuple[int, int]]) -> int:
    """Return the CRC-32 of all pieces in a row: offset to (CRC-32, length), offsets ascending without gaps or not."""
    whole = 0
    for offset in sorted(pieces):
        crc, length = pieces[offset]
        whole = _times(_zeros(length), whole) ^ crc
    return whole


def _times(matrix: _Matrix, vector: int) -> int:
    """Multiply a matrix over GF(2), held by columns, with a vector."""
    result = 0
    for column in matrix:
        if not vector:
            break
        if vector & 1:
            result ^= column
        vector >>= 1
    return result


def _product(left: _Matrix, right: _Matrix) -> _Matrix:
    return tuple(_times(left, column) for column in right)


@lru_cache(maxsize=256)
def _zeros(length: int) -> _Matrix:
    """Return what appending `length` zero bytes does to a CRC-32."""
    power: _Matrix = (_POLYNOMIAL, *(1 << bit for bit in range(31)))  # one zero bit
    for _ in range(3):
        power = _product(power, power)
    result: _Matrix = tuple(1 << bit for bit in range(32))
    while length:
        if length & 1:
            result = _product(power, result)
        power = _product(power, power)
        length >>= 1
    return result
