"""The arithmetic of a merge on a CPU, compiled: C that is built once by the machine's own compiler and kept.

`kernels.c` and `crc32.c` compute; `guard.c` lets them work on mapped files; `finish.c` writes what comes out.

What is compiled once costs the next merge nothing: the library is loaded in a millisecond. A compiler that lives in
Python would take half a second to import, as long as merging a third of a gigabyte takes.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from mmreflect.errors import UserError
from mmreflect.files import user_cache
from mmreflect.merge.raw import Raw

SOURCES = tuple(Path(__file__).with_name(name) for name in ("kernels.c", "crc32.c", "guard.c", "finish.c", "kernels.h"))
FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-pthread")
NATIVE = "-march=native"
"""Not every compiler knows it; where it fails the kernels are built for any processor of the kind."""
LANES = 128
"""Sums that are kept side by side, each in its own order; see `OnCpu`. BLOCK and LANES are the same in the C source."""
MIX, BLEND = 0, 1
ROOM = (1 << 18) + (1 << 13)
"""Bytes that `finish` works in; SHARE and two pages in the C source."""

_COMPILERS = ("cc", "gcc", "clang")
_UNREADABLE = -1
_CODES = {"BF16": 0, "F16": 1, "F32": 2, "F64": 3}
_CPU_LINES = ("model name", "flags", "Features", "CPU part")


class NoKernels(Exception):
    """There are no compiled kernels on this machine; the text says why."""


class Unreadable(Exception):
    """Values of a mapped file could not be had: it is shorter now, or the disk failed. Reading says which."""


class NotFinite(Exception):
    """A merged value is NaN or infinite, or too large for the dtype that it is written in."""


class Kernels:
    """The compiled functions; raw is bytes of a safetensors dtype. None of them holds Python's lock."""

    def __init__(self, file: Path) -> None:
        try:
            library = ctypes.CDLL(str(file))
        except OSError as error:
            raise NoKernels(f"the compiled library cannot be loaded: {error}") from None
        pointer, code, count, weight = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_float
        sides = (pointer, code, pointer, code, pointer, code, count)
        self._measure, self._combine = library.mmreflect_guarded_measure, library.mmreflect_guarded_combine
        self._convert, self._is_finite = library.mmreflect_convert, library.mmreflect_is_finite
        self._measure.argtypes = (*sides, pointer)
        self._combine.argtypes = (code, *sides, weight, weight, pointer, code)
        self._convert.argtypes = (pointer, code, count, pointer, code)
        self._is_finite.argtypes = (pointer, code, count)
        self._finish, self._crc32 = library.mmreflect_finish, library.mmreflect_crc32
        self._finish.argtypes = (code, *sides, weight, weight, code, code, count, pointer, pointer)
        self._crc32.argtypes, self._crc32.restype = (pointer, count, ctypes.c_uint32), ctypes.c_uint32
        self._convert.restype = None

    def measure(self, base: Raw | None, vlm: Raw, reason: Raw, codes: tuple[str, str, str]) -> list[list[float]]:
        """Return the lanes of ||tau_V||^2, ||tau_R||^2, <tau_V, tau_R> and ||base||^2: four rows of LANES.

        Raises:
            Unreadable: a mapped value could not be had.
        """
        lanes = (ctypes.c_double * (4 * LANES))()
        if self._measure(*_sides(base, vlm, reason, codes), lanes):
            raise Unreadable
        return [lanes[first : first + LANES] for first in range(0, 4 * LANES, LANES)]

    def combine(
        self,
        form: int,
        base: Raw | None,
        vlm: Raw,
        reason: Raw,
        codes: tuple[str, str, str],
        pair: tuple[float, float],
        out: Raw,
        code: str,
    ) -> None:
        """Write `rule.mix` (MIX) or `rule.blend` (BLEND) of the models, rounded to the dtype `code`, to `out`.

        The special weights (1, 0) and (0, 1) are no matter of this function.

        Raises:
            Unreadable: a mapped value could not be had.
        """
        if self._combine(form, *_sides(base, vlm, reason, codes), *pair, out.address, _CODES[code]) == _UNREADABLE:
            raise Unreadable

    def finish(
        self,
        form: int,
        base: Raw | None,
        vlm: Raw,
        reason: Raw,
        codes: tuple[str, str, str],
        pair: tuple[float, float],
        code: str,
        handle: int,
        place: int,
        room: Raw,
    ) -> int:
        """Write what `combine` makes of the models to `place` of an open file, and return its CRC-32.

        Args:
            room: ROOM bytes to work in; what they hold is left over.

        Raises:
            Unreadable: a mapped value could not be had.
            NotFinite: a merged value may not be written; some that stand before it are.
            OSError: the file could not be written.
        """
        crc = ctypes.c_uint32()
        sides = _sides(base, vlm, reason, codes)
        told = self._finish(form, *sides, *pair, _CODES[code], handle, place, room.address, ctypes.addressof(crc))
        if told > 0:
            raise OSError(told, os.strerror(told))
        if told:
            raise Unreadable if told == _UNREADABLE else NotFinite
        return crc.value

    def is_finite(self, raw: Raw, code: str) -> bool:
        """Tell whether no value is infinite or NaN; of a dtype that can be merged."""
        return bool(self._is_finite(raw.address, _CODES[code], raw.nbytes // _item(code)))

    def convert(self, raw: Raw, code: str, out: Raw, out_code: str) -> None:
        """Round values to another dtype."""
        count = raw.nbytes // _item(code)
        self._convert(raw.address, _CODES[code], count, out.address, _CODES[out_code])

    def checksum(self, data: memoryview) -> int:
        """Return the CRC-32 of data."""
        return int(self._crc32(Raw.of(data).address, data.nbytes, 0))


def _sides(
    base: Raw | None, vlm: Raw, reason: Raw, codes: tuple[str, str, str]
) -> tuple[int | None, int, int, int, int, int, int]:
    places = (None if base is None else base.address, vlm.address, reason.address)
    kinds = (0 if base is None else _CODES[codes[0]], _CODES[codes[1]], _CODES[codes[2]])
    return (places[0], kinds[0], places[1], kinds[1], places[2], kinds[2], vlm.nbytes // _item(codes[1]))


def _item(code: str) -> int:
    return 2 if code in ("BF16", "F16") else 4 if code == "F32" else 8


def find_compiler() -> list[str] | None:
    """Return the command of the C compiler: what the variable CC says (nothing, to have none), else the first there."""
    if "CC" in os.environ:
        try:
            return shlex.split(os.environ["CC"]) or None
        except ValueError:  # a quote that is not closed
            return [os.environ["CC"]]
    found = next((path for name in _COMPILERS if (path := shutil.which(name))), None)
    return [found] if found else None


def outlook() -> str:
    """Say what `load` would do, without building anything."""
    compiler = find_compiler()
    if compiler is None:
        return "numpy; with a C compiler (cc, gcc or clang) on the PATH a merge takes a third of the time"
    try:
        if _is_whole(_library(compiler)):
            return f"compiled C ({compiler[0]})"
    except UserError as error:
        return f"numpy, since {error.given}"
    return f"compiled C, built once with {compiler[0]} when the merge starts; numpy where that fails"


def load() -> Kernels:
    """Return the kernels, built now where they were not before, or are not what was built.

    Raises:
        NoKernels: there is no compiler, it fails, or there is no place to keep what it makes.
    """
    compiler = find_compiler()
    if compiler is None:
        raise NoKernels("no C compiler was found")
    try:
        file = _library(compiler)
    except UserError as error:
        raise NoKernels(error.given) from None
    if not _is_whole(file):
        _build(compiler, file)
    return Kernels(file)


def cache_folder() -> Path:
    """Return where the library is kept."""
    return user_cache("kernels")


def _library(compiler: list[str]) -> Path:
    """Return the file for this source, compiler and processor: a home folder may be shared by many machines."""
    mark = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES))
    mark.update("\0".join([*compiler, *FLAGS, NATIVE, platform.machine(), _processor()]).encode())
    return cache_folder() / f"merge-{mark.hexdigest()[:20]}.so"


def _processor() -> str:
    """Return what decides which instructions the compiler may use."""
    found: dict[str, str] = {}
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor()
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip():
                break  # the first of many alike
            name = line.partition(":")[0].strip()
            if name in _CPU_LINES:
                found[name] = line
    return "".join(found.values())


def _is_whole(file: Path) -> bool:
    """Tell whether a library is what was built: a damaged one would end the process with it."""
    try:
        return file.with_suffix(".sha256").read_bytes() == _digest(file).encode()
    except OSError:
        return False


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _build(compiler: list[str], file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            made = Path(folder) / "kernels.so"
            words = [*compiler, *FLAGS, "-o", str(made), *(str(source) for source in SOURCES if source.suffix == ".c")]
            done = subprocess.run([*words, NATIVE], capture_output=True, text=True)
            if done.returncode:
                done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                said = (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[0]
                raise NoKernels(f"{compiler[0]} cannot build them: {said}")
            mark = made.with_suffix(".sha256")
            mark.write_text(_digest(made))
            os.replace(made, file)
            os.replace(mark, file.with_suffix(".sha256"))
    except OSError as error:
        raise NoKernels(f"they cannot be built with {compiler[0]} in '{file.parent}': {error.strerror}") from None
