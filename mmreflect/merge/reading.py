"""Model files that are read: descriptors that stay open, and a thread that has the system read ahead."""

import contextlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

from mmreflect.merge.memory import available

MOST_AHEAD = 1 << 30
"""Bytes that are asked for before they are needed, where a quarter of the free memory is not less."""
_STEP = 1 << 21


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

    Asking waits where the disk has enough to do, hence a thread of its own. What the cache holds already is passed
    over: the system would look at each of its pages. What cannot be asked for is left to those who read it.
    """

    def __init__(self, groups: Sequence[Sequence[Span]], handles: Handles, most: int | None = None) -> None:
        """Get ready.

        Args:
            groups: in the order in which they will be needed.
            most: bytes that may be asked for beyond the group that is worked on; the group after it always is.
        """
        self._groups, self._handles = groups, handles
        self._most = most if most is not None else min(MOST_AHEAD, (available() or 4 * MOST_AHEAD) // 4)
        self._ends = list(accumulate(sum(span.stop - span.start for span in spans) for spans in groups))
        self._reached, self._ended, self._changed = 0, False, threading.Condition()
        self._thread = threading.Thread(target=self._run, name="read ahead", daemon=True)

    def __enter__(self) -> Self:
        if hasattr(os, "posix_fadvise"):
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def reached(self, number: int) -> None:
        """Say which group is worked on now."""
        with self._changed:
            self._reached = number
            self._changed.notify_all()

    def _run(self) -> None:
        for number, spans in enumerate(self._groups):
            with self._changed:
                self._changed.wait_for(lambda number=number: self._ended or self._may_ask(number))  # type: ignore[misc]
            for span in spans:
                with contextlib.suppress(OSError):
                    self._ask(span)

    def _may_ask(self, number: int) -> bool:
        near = number <= self._reached + 1
        return near or self._ends[number] - self._ends[self._reached] <= self._most

    def _ask(self, span: Span) -> None:
        handle = self._handles.of(span.path)
        for place in range(span.start, span.stop, _STEP):
            if self._ended:
                return
            size = min(_STEP, span.stop - place)
            if not (_is_cached(handle, place) and _is_cached(handle, place + size - 1)):
                os.posix_fadvise(handle, place, size, os.POSIX_FADV_WILLNEED)


def _is_cached(handle: int, place: int) -> bool:
    """Tell whether the byte at a place can be had without waiting for the disk; False where the system does not say."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        return bool(os.preadv(handle, [bytearray(1)], place, os.RWF_NOWAIT))
    except OSError:
        return False
