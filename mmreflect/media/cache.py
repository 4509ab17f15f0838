"""Frames on disk: keyed by content (see `file_mark`), least recently used first out, shared by any number of processes.

An entry is one `.npy` file, whole from the moment it has its name. Nothing is flushed to disk on purpose: an entry that
a power cut leaves short is found out when it is read, and made again.
"""

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreflect import console

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BLOCKS, BLOCK_BYTES = 9, 1 << 16
"""How many pieces of a file, from its first to its last bytes, go into its mark, and how large each is."""
STALE_S = 86_400.0
"""Age at which a half-written file of another machine is taken for left behind."""
_HOST = socket.gethostname()
_NUMBERS = itertools.count()
_TOLD: set[str] = set()


def file_mark(path: str) -> str:
    """Return a mark of a file's content: its size and nine pieces of 64 KiB, evenly spread from start to end.

    Neither name nor time is part of it, so that a copied or downloaded-again video is found in the cache. Files up to
    576 KiB are read whole. In a larger one a change between the pieces that keeps the size goes unseen; no encoder
    makes such a change.
    """
    size = os.path.getsize(path)
    mark = hashlib.sha256(f"{size} ".encode())
    with open(path, "rb") as file:
        for piece in range(BLOCKS):
            file.seek(max(0, size - BLOCK_BYTES) * piece // (BLOCKS - 1))
            mark.update(file.read(BLOCK_BYTES))
    return mark.hexdigest()


def entry_key(mark: str, request: Any) -> str:
    """Return the name of what a request makes of a file."""
    return hashlib.sha256(f"{mark} {json.dumps(request, sort_keys=True)}".encode()).hexdigest()


def partial_name() -> str:
    """Return a name for a file that is being written; it tells which process of which machine writes it."""
    return f"{_HOST}-{os.getpid()}-{next(_NUMBERS)}.partial"


class FrameCache:
    """Entries in one folder, together below a limit.

    Args:
        folder: made when it is first written to.
        limit_bytes: the folder is brought back to nine tenths of it whenever it comes near.

    Attributes:
        works: false after the folder could not be written; reading goes on without it.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        self.works = True
        self._since_look: int | None = None
        self._lock = threading.Lock()

    def frames(self, key: str) -> "npt.NDArray[np.uint8] | None":
        """Return the array of an entry in memory of its own, or None where there is none."""
        path = self.folder / f"{key}.npy"
        frames = read_frames(path)
        if frames is not None:
            self._touch(path)
        return frames

    def note(self, key: str) -> Any:
        """Return the small record of an entry, or None where there is none."""
        path = self.folder / f"{key}.json"
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError):
            return None
        self._touch(path)
        return found

    def put_note(self, key: str, value: Any) -> None:
        """Store a small record."""
        partial = self.partial() if self.works else None
        if partial is not None:
            with self._writing():
                partial.write_text(json.dumps(value))
                os.replace(partial, self.folder / f"{key}.json")

    def partial(self) -> Path | None:
        """Return a path in the folder to write an entry to, or None where the folder cannot be written."""
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._since_look is None:
                self._look()
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.folder))
            return self.folder / partial_name()
        return None

    def keep(self, partial: Path, key: str) -> int:
        """Turn a written file into an entry and return how many others had to go for it.

        A file that is larger than the limit is removed instead.
        """
        with self._writing():
            size = partial.stat().st_size
            if size > self.limit_bytes:
                partial.unlink()
                return 0
            os.replace(partial, self.folder / f"{key}.npy")
            with self._lock:
                self._since_look = (self._since_look or 0) + size
                due = self._since_look > self.limit_bytes / 64
            return self._look() if due else 0
        return 0

    def give_up(self, why: str) -> None:
        """Go on without the folder, and say so once."""
        self.works = False
        if str(self.folder) not in _TOLD:
            _TOLD.add(str(self.folder))
            from mmreflect.console import escape

            console.say(f"[yellow]frames are not kept[/] in {escape(str(self.folder))} ({escape(why)})")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.give_up(error.strerror or str(error))

    @staticmethod
    def _touch(path: Path) -> None:
        with contextlib.suppress(OSError):
            os.utime(path)

    def _look(self) -> int:
        """Remove what dead processes left, and the entries used longest ago where the folder comes near its limit.

        One process looks at a time; the others leave it to that one. Returns the number of entries removed.
        """
        with self._lock, open(self.folder / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0
            self._since_look = 0
            entries = []
            for item in os.scandir(self.folder):
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    found = item.stat()
                    if item.name.endswith(".partial"):
                        if _left_behind(item.name, found.st_mtime):
                            os.unlink(item.path)
                    elif item.name.endswith((".npy", ".json")):
                        entries.append((found.st_mtime_ns, found.st_size, item.path))
            total = sum(size for _, size, _ in entries)
            removed = 0
            if total <= 0.95 * self.limit_bytes:
                return removed
            for _, size, path in sorted(entries):
                if total <= 0.9 * self.limit_bytes:
                    break
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                    removed += 1
                total -= size
            return removed


def read_frames(path: Path) -> "npt.NDArray[np.uint8] | None":
    """Read a `.npy` file of frames into memory of its own; None where it is missing or not whole.

    A plain read: a mapping of a file on a network drive ends the process when the file goes away under it, and copying
    out of one is no faster.
    """
    import numpy as np

    try:
        frames: npt.NDArray[np.uint8] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return frames if frames.dtype == np.uint8 and frames.ndim == 4 else None


def _left_behind(name: str, changed: float) -> bool:
    host, _, rest = name.rpartition("-")[0].rpartition("-")
    if host == _HOST and rest.isdigit():
        try:
            os.kill(int(rest), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
    return time.time() - changed > STALE_S
