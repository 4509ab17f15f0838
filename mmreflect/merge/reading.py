"""Model files that are read: descriptors that stay open, and threads that have the system read ahead."""

import contextlib
import ctypes
import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, Self

from mmreflect.merge.memory import available
from mmreflect.merge.raw import Raw, prefer_large_pages

MOST_AHEAD = 1 << 30
"""Bytes that are asked for before they are needed, where a quarter of the free memory is not less."""
_STEP = 1 << 21
"""Bytes that are asked for at once, from a multiple of them on: a large page."""
_READERS = 2
"""One has the disk work on while the other one maps what came."""
_POPULATE_READ = 22  # of mman.h, since Linux 5.14


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `stop` of a file."""

    path: str
    start: int
    stop: int


class Handles:
    """Files that stay open for reading; safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, int] = {}

    def of(self, path: str) -> int:
        """Return the descriptor of a file, opened now where it was not."""
        with self._lock:
            if path not in self._open:
                self._open[path] = os.open(path, os.O_RDONLY)
            return self._open[path]

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            for handle in self._open.values():
                os.close(handle)
            self._open.clear()


class ReadAhead:
    """Has groups of spans read into the system's cache, which is not this process's memory, before they are needed.

    Asking waits for the disk, hence threads of its own. What the cache holds already is passed over: the system would
    look at each of its pages. What cannot be asked for is left to those who read it.
    """

    def __init__(self, groups: Sequence[Sequence[Span]], handles: Handles, most: int | None = None) -> None:
        """Get ready.

        Args:
            groups: in the order in which they will be needed.
            most: bytes that may be asked for beyond the group that is worked on; the group after it always is.
        """
        self._handles = handles
        self._most = most if most is not None else min(MOST_AHEAD, (available() or 4 * MOST_AHEAD) // 4)
        self._ends = list(accumulate(sum(span.stop - span.start for span in spans) for spans in groups))
        self._steps = _steps(groups)
        self._reached, self._ended, self._changed = 0, False, threading.Condition()
        self._threads = [threading.Thread(target=self._run, name="read ahead", daemon=True) for _ in range(_READERS)]

    def __enter__(self) -> Self:
        if hasattr(os, "posix_fadvise"):
            for thread in self._threads:
                thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def reached(self, number: int) -> None:
        """Say which group is worked on now."""
        with self._changed:
            self._reached = number
            self._changed.notify_all()

    def _run(self) -> None:
        while (step := self._next()) is not None:
            if not _fetch(*step):
                with contextlib.suppress(OSError):
                    os.posix_fadvise(*step, os.POSIX_FADV_WILLNEED)

    def _next(self) -> tuple[int, int, int] | None:
        """Return file, place and size of the next step that is not in the cache, once it may be asked for."""
        while (span := self._next_step()) is not None:
            with contextlib.suppress(OSError):
                handle = self._handles.of(span.path)
                if not (_is_cached(handle, span.start) and _is_cached(handle, span.stop - 1)):
                    return handle, span.start, span.stop - span.start
        return None

    def _next_step(self) -> Span | None:
        with self._changed:
            number, span = next(self._steps, (0, None))
            self._changed.wait_for(lambda: self._ended or self._may_ask(number))
            return None if self._ended else span

    def _may_ask(self, number: int) -> bool:
        near = number <= self._reached + 1
        return near or self._ends[number] - self._ends[self._reached] <= self._most


def _steps(groups: Sequence[Sequence[Span]]) -> Iterator[tuple[int, Span]]:
    """Yield the number of its group and what of a span is asked for at once, in order."""
    for number, spans in enumerate(groups):
        for span in spans:
            start = span.start
            while start < span.stop:
                stop = min(start - start % _STEP + _STEP, span.stop)
                yield number, Span(span.path, start, stop)
                start = stop


def _is_cached(handle: int, place: int) -> bool:
    """Tell whether the byte at a place can be had without waiting for the disk; False where the system does not say."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        return bool(os.preadv(handle, [bytearray(1)], place, os.RWF_NOWAIT))
    except OSError:
        return False


def _fetch(handle: int, place: int, size: int) -> bool:
    """Have bytes of a file read, into large pages of the system's cache where it has them; tell whether that was done.

    Advice (`posix_fadvise`) fills the cache with the smallest pages, of which each costs time: when it is read, mapped
    and given up again.
    """
    first = place - place % mmap.ALLOCATIONGRANULARITY
    try:
        with mmap.mmap(handle, place + size - first, access=mmap.ACCESS_READ, offset=first) as window:
            prefer_large_pages(window)
            return bool(_madvise()(Raw.of(window).address, len(window), _POPULATE_READ) == 0)
    except (OSError, ValueError, AttributeError):  # it cannot be mapped, is shorter now, or there is no such call
        return False


@cache
def _madvise() -> Any:
    """Return the C library's function, which unlike Python's lets other threads go on meanwhile."""
    function = ctypes.CDLL(None).madvise
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function
