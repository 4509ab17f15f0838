"""Combining and writing in one go: what it writes is what combining gives, and what goes wrong is told."""

import errno
import itertools
import os
import zlib

import numpy as np
import pytest
from test_kernels import CODES, compiled, piece  # noqa: F401  (a fixture)

from mmreflect.merge.arithmetic_numpy import OnCpu, encode
from mmreflect.merge.checkpoint import ITEM_BYTES
from mmreflect.merge.kernels import ROOM, NotFinite, find_compiler
from mmreflect.merge.pieces import Loaded
from mmreflect.merge.raw import Raw
from mmreflect.merge.rule import blend, mix

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")
BEFORE = b"what stood there before"


def written(path, compiled, function, loaded, pair, code, place):  # noqa: F811
    """Write to a place of a file that holds `BEFORE` around it; returns CRC-32 and bytes."""
    size = loaded.count * ITEM_BYTES[code]
    path.write_bytes((BEFORE * (1 + (place + size) // len(BEFORE)))[:place] + bytes(size) + BEFORE)
    handle = os.open(path, os.O_WRONLY)
    try:
        crc = compiled.fused(function, pair)(loaded, code, handle, place, Raw.of(bytearray(ROOM)))
    finally:
        os.close(handle)
    content = path.read_bytes()
    assert content[:place] == (BEFORE * (1 + place // len(BEFORE)))[:place] and content[place + size :] == BEFORE
    return crc, content[place : place + size]


@pytest.mark.parametrize("place", [0, 80, 4095])
@pytest.mark.parametrize("codes", [("BF16",) * 3, ("F32", "BF16", "F16"), ("", "F64", "BF16")])
def test_what_is_written_is_what_combining_gives(compiled, tmp_path, codes, place):  # noqa: F811
    rng = np.random.default_rng(place)
    functions = (mix, blend) if codes[0] else (blend,)
    for count, function, code in itertools.product((1, 1000, 131_072, 300_001), functions, CODES):
        loaded = piece(rng, codes, count, usual=1.0)
        expected = np.empty(count * ITEM_BYTES[code], np.uint8)
        OnCpu().combine(function, loaded, (0.3, 0.7), code, Raw.of(expected))
        crc, found = written(tmp_path / "file", compiled, function, loaded, (0.3, 0.7), code, place)
        assert found == expected.tobytes() and crc == zlib.crc32(found)


@pytest.mark.parametrize("code", CODES)
def test_what_may_not_be_written_is_not(compiled, tmp_path, code):  # noqa: F811
    """The share of values that holds it, and what comes behind, stay away; what stands before it is there."""
    side = np.ones(400_000)
    side[-1] = 1e39  # float32, in which it is computed, has no such number
    with np.errstate(over="ignore"):
        loaded = Loaded(None, Raw.of(side), Raw.of(side), "", "F64", "F64")
        file = tmp_path / "file"
        with open(file, "wb") as opened, pytest.raises(NotFinite):
            compiled.fused(blend, (0.5, 0.25))(loaded, code, opened.fileno(), 0, Raw.of(bytearray(ROOM)))
    start = encode(np.full(1, 0.75, np.float32), code).tobytes()
    size = file.stat().st_size
    assert 0 < size < side.size * len(start) and file.read_bytes() == start * (size // len(start))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_what_the_system_says_of_a_file_comes_through(compiled, tmp_path):  # noqa: F811
    loaded = piece(np.random.default_rng(0), ("BF16",) * 3, 1000, usual=1.0)
    fused, room = compiled.fused(mix, (0.5, 0.5)), Raw.of(bytearray(ROOM))
    with open("/dev/full", "wb") as file, pytest.raises(OSError, match="No space left") as told:
        fused(loaded, "BF16", file.fileno(), 0, room)
    assert told.value.errno == errno.ENOSPC
    (tmp_path / "file").write_bytes(b"")
    with open(tmp_path / "file", "rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        fused(loaded, "BF16", file.fileno(), 0, room)


def test_only_usual_rules_and_weights_go_in_one_go(compiled):  # noqa: F811
    assert compiled.fused(mix, (0.5, 0.5)) and compiled.fused(blend, (0.5, 0.5))
    assert compiled.fused(mix, (1.0, 0.0)) is None and compiled.fused(blend, (0.0, 1.0)) is None
    assert compiled.fused(lambda *_: None, (0.5, 0.5)) is None and OnCpu().fused(mix, (0.5, 0.5)) is None


@pytest.mark.parametrize("place", [0, 5, 15, 16, 31, 32, 39])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (-1.0, 1.0), (1e-3, 1e-3)])
def test_one_value_that_is_no_number_is_found_wherever_it_stands(compiled, tmp_path, place, weights):  # noqa: F811
    """Of 40 bfloat16: two times sixteen and eight. Differences of large numbers are infinite, and their sum NaN."""
    base, vlm, reason = (np.ones(40, np.float32) for _ in range(3))
    base[place], vlm[place], reason[place] = -3e38, 3e38, 3e38
    loaded = Loaded(*(Raw.of(encode(side, "BF16")) for side in (base, vlm, reason)), *("BF16",) * 3)
    with open(tmp_path / "file", "wb") as file, pytest.raises(NotFinite):
        compiled.fused(mix, weights)(loaded, "BF16", file.fileno(), 0, Raw.of(bytearray(ROOM)))
    assert (tmp_path / "file").read_bytes() == b""
