"""Bytes in memory: at an address for compiled arithmetic, as a memoryview for files, as an array for numpy.

numpy is imported where an array is asked for: to import it takes a tenth of a second, and compiled arithmetic does
without.
"""

import contextlib
import ctypes
import mmap
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Buffer


class Raw:
    """`nbytes` bytes of what a holder has; the holder stays as long as this does.

    Attributes:
        holder: whose memory it is.
        nbytes: how many bytes.
        address: where the first one lies.
    """

    __slots__ = ("_first", "address", "holder", "nbytes")

    def __init__(self, holder: "Buffer", first: int, nbytes: int, address: int) -> None:
        self.holder, self._first, self.nbytes, self.address = holder, first, nbytes, address

    @classmethod
    def of(cls, holder: "Buffer") -> Self:
        """Return all bytes of a holder, which must lie in a row."""
        view = memoryview(holder)
        return cls(holder, 0, view.nbytes, _address(view))

    def part(self, first: int, nbytes: int) -> "Raw":
        """Return some of the bytes."""
        return Raw(self.holder, self._first + first, nbytes, self.address + first)

    @property
    def view(self) -> memoryview:
        """The bytes, for files."""
        return memoryview(self.holder).cast("B")[self._first : self._first + self.nbytes]

    @property
    def array(self) -> "np.ndarray[Any, Any]":
        """The bytes, for numpy (uint8)."""
        import numpy as np

        return np.frombuffer(self.view, np.uint8) if self.nbytes else np.empty(0, np.uint8)


class _Buffer(ctypes.Structure):
    """`Py_buffer`, of which only the address is of interest."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        *((name, ctypes.c_void_p) for name in ("format", "shape", "strides", "suboffsets", "internal")),
    )


_get, _release = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
_get.argtypes = (ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int)
_release.argtypes, _release.restype = (ctypes.POINTER(_Buffer),), None


def _address(view: memoryview) -> int:
    """Return where the memory lies; ctypes itself tells that only of what may be written to.

    Raises:
        BufferError: the bytes do not lie in a row.
    """
    buffer = _Buffer()
    _get(view, ctypes.byref(buffer), 0)
    try:
        return buffer.buf or 0
    finally:
        _release(ctypes.byref(buffer))


def prefer_large_pages(mapped: mmap.mmap) -> None:
    """Ask for large pages of memory, or of a file's cache where it is read from now on; a wish and no more."""
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            mapped.madvise(mmap.MADV_HUGEPAGE)
