"""Parts of files that are mapped into memory, so that values are worked on where the system's cache holds them."""

import mmap
import os
import threading
from weakref import WeakValueDictionary

from mmreflect.merge.raw import Raw

STEP = 1 << 25
"""Bytes from one window to the next; far more than a large page, which the system maps at once where it has one."""
OVERLAP = 1 << 23
"""Bytes that a window goes on after the start of the next one, for what lies across it."""


class Windows:
    """Windows on open files, kept while something looks at them; safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: WeakValueDictionary[tuple[int, int], mmap.mmap] = WeakValueDictionary()
        self._latest: dict[int, tuple[int, Raw]] = {}

    def view(self, handle: int, place: int, size: int) -> Raw | None:
        """Return `size` bytes from `place` on of an open file; None where they cannot be mapped.

        Where the file becomes shorter, touching a page behind its last one raises SIGBUS; what lacks within the last
        page reads as zero, which only the file's size and time tell.
        """
        number = place // STEP
        latest, window = self._latest.get(handle, (-1, None))
        if latest != number:
            window = self._other(handle, number)
        if window is None:
            return None
        first = place - number * STEP
        return window.part(first, size) if first + size <= window.nbytes else None

    def _other(self, handle: int, number: int) -> Raw | None:
        """Return a window that is not the latest one of its file."""
        with self._lock:
            mapped = self._open.get((handle, number)) or _window(handle, number)
            if mapped is None:
                return None
            window = Raw.of(mapped)
            self._open[handle, number] = mapped
            self._latest[handle] = number, window  # pieces follow each other: it is not to go with this one
            return window

    def clear(self) -> None:
        """Let go of the windows that nothing looks at."""
        with self._lock:
            self._latest.clear()


def _window(handle: int, number: int) -> mmap.mmap | None:
    start = number * STEP
    length = min(STEP + OVERLAP, os.fstat(handle).st_size - start)
    if length <= 0:
        return None
    try:
        return mmap.mmap(handle, length, access=mmap.ACCESS_READ, offset=start)
    except OSError:  # of a file system that maps nothing
        return None
