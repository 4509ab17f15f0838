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
        whole = _moved(whole, length) ^ crc
    return whole


def _moved(crc: int, length: int) -> int:
    """Return what appending `length` zero bytes makes of a CRC-32."""
    for bit in range(length.bit_length() if crc else 0):
        if length >> bit & 1:
            crc = _times(_zeros(bit), crc)
    return crc


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


@lru_cache(maxsize=64)
def _zeros(power: int) -> _Matrix:
    """Return what appending 2^power zero bytes does to a CRC-32; at -3, one zero bit."""
    if power == -3:
        return (_POLYNOMIAL, *(1 << bit for bit in range(31)))
    half = _zeros(power - 1)
    return tuple(_times(half, column) for column in half)
