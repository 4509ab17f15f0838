"""A page by a second process, which imports what pages need while the first one imports what its run needs.

A command begins on one core, and ends there with its page; the other one has nothing to do when it begins.
"""

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

from mmreflect.report import PAGE

_END = b"\0"


class Writer:
    """A copy of this process that writes one page, when it is told of which run.

    It ends with this process, or with the last one that this one forked: they hold the same pipe.
    """

    def __init__(self) -> None:
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = os.fork()
            if self._process == 0:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first one is interrupted, and this one ends with it
                os.close(self._orders)
                os.close(self._answers)
                _serve(orders, answers)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(orders)
        os.close(answers)

    def write(self, folder: str) -> bool:
        """Have it write the page of a run; False where it could not, for whatever reason."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._orders, os.fsencode(folder) + _END)
        os.close(self._orders)
        done = _read(self._answers) == b"done"
        os.close(self._answers)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._process, 0)
        return done


def _serve(orders: int, answers: int) -> NoReturn:
    """Be the second process. What goes wrong here will go wrong, and be told, in the first one."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for handle in (0, 1, 2):  # whoever reads what the first one says shall not wait for this one
            os.dup2(nothing, handle)
        from mmreflect.report.page import write_page

        if folder := _read(orders):
            write_page(os.fsdecode(folder))
            os.write(answers, b"done" + _END)
    finally:
        os._exit(0)


def _read(handle: int) -> bytes:
    """Read one message; nothing where the other process ends before it is whole.

    Its end is marked, since others may hold the same end of a pipe: processes that this one starts later.
    """
    found = b""
    while not found.endswith(_END):
        more = os.read(handle, 1 << 16)
        if not more:
            return b""
        found += more
    return found.removesuffix(_END)


_writer: Writer | None = None


def get_ready() -> None:
    """Start the second process where that is safe (no other threads) and of use (a second core); else do nothing."""
    global _writer
    if _writer is None and sys.platform == "linux" and threading.active_count() == 1 and (os.cpu_count() or 1) > 1:
        with contextlib.suppress(OSError):  # no more processes are allowed
            _writer = Writer()


def write_page(folder: Path) -> Path:
    """Write the page of a run to its folder and return its path: by the second process, or here.

    Raises:
        UserError: as `page.write_page`.
    """
    global _writer
    writer, _writer = _writer, None
    if writer is not None and writer.write(str(folder)):
        return folder / PAGE
    from mmreflect.report.page import write_page

    return write_page(str(folder))
