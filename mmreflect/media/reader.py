"""Reading frames of videos: from the cache, else by a worker process that has a time limit."""

import contextlib
import functools
import os
import tempfile
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mmreflect.config import FolderOrOff, config
from mmreflect.errors import UserError
from mmreflect.files import user_cache
from mmreflect.media import faults
from mmreflect.media.cache import FrameCache, entry_key, read_frames
from mmreflect.media.decoders import choose
from mmreflect.media.timeline import VideoInfo
from mmreflect.media.workers import WorkerFailedError, WorkerPool, WorkerTimeoutError, cores

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Frames = npt.NDArray[np.uint8]

FORMAT = 2
"""Part of every key; raised when the same request would give other frames."""
KNOWN_VIDEOS = 4096


@config
class ReaderConfig:
    """How videos are read.

    Attributes:
        decoder: `auto` takes PyAV, else decord, else torchcodec, whichever is installed; the order and what it was
            measured by stand in `mmreflect.media.decoders`.
        time_limit_s: seconds that one clip may take; what takes longer is stopped and named.
        cache: folder of decoded frames; None for the user's cache folder, `off` for none.
        cache_gib: how large that folder may grow; frames used longest ago are removed.
        workers: processes that decode; 0 for half of the cores, at most 8.
    """

    decoder: Literal["auto", "pyav", "decord", "torchcodec"] = "auto"
    time_limit_s: Annotated[float, Field(gt=0)] = 60.0
    cache: FolderOrOff | None = None
    cache_gib: Annotated[float, Field(gt=0)] = 10.0
    workers: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """Frames of one video that become one array.

    Attributes:
        times: seconds from the first frame; each gets the frame that is shown then.
        size: height and width in pixels of what is returned.
        crop: left, top, right, bottom in pixels of the upright frame, cut before it is resized.
        stamps: a text to burn into each frame.
    """

    times: tuple[float, ...]
    size: tuple[int, int]
    crop: tuple[int, int, int, int] | None = None
    stamps: tuple[str, ...] | None = None


class TimeLimit:
    """The seconds that are left for one video, over all that is asked about it."""

    def __init__(self, path: str, seconds: float) -> None:
        self.path, self.seconds, self.left = path, seconds, seconds

    def error(self) -> UserError:
        """Return the error for a video that used them up."""
        return UserError(
            f"reading {self.path} took more than {self.seconds:g} s and was stopped",
            "a video that is read within the limit",
            "raise time_limit_s, show fewer frames, or remove its row",
        )


class VideoReader:
    """Reads videos; any number of threads may use one.

    Attributes:
        counts: clips and stills `decoded`, `cached` and `evicted` to make room; `second passes` (files whose frames the
            quick way did not find whole); `repeated frames` (clips of a single frame); `shorter than claimed` (files
            that hold much less than their headers say); workers `killed` and `crashed`.
    """

    def __init__(self, options: ReaderConfig = ReaderConfig()) -> None:  # noqa: B008
        self.options = options
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, int, int], tuple[str, VideoInfo]] = OrderedDict()
        self._pool: WorkerPool | None = None
        self._cache: FrameCache | None = None
        if options.cache != "off":
            folder = Path(options.cache) if options.cache else default_folder()
            self._cache = FrameCache(folder.expanduser(), int(options.cache_gib * 2**30))
        self._passages = [FrameCache(folder, 0) for folder in _passage_folders()]
        _READERS.add(self)

    def close(self) -> None:
        """End the idle workers; the next request starts new ones."""
        if self._pool is not None:
            self._pool.close()

    def limit(self, path: str | Path) -> TimeLimit:
        """Return a fresh time limit, for several calls about one clip to share."""
        return TimeLimit(str(path), self.options.time_limit_s)

    def info(self, path: str | Path, limit: TimeLimit | None = None) -> VideoInfo:
        """Return what is known of a video before its frames are read.

        Raises:
            UserError: why it cannot be read; or no decoder is installed.
        """
        return self._look_up(str(path), limit or self.limit(path))[1]

    def read(self, path: str, requests: Sequence[FrameRequest], limit: TimeLimit | None = None) -> "list[Frames]":
        """Return the frames of each request, uint8 RGB (F, height, width, 3), in memory of their own.

        What is not in the cache is decoded in one go, however many requests share the video.

        Raises:
            UserError: why it cannot be read; or no decoder is installed.
        """
        limit = limit or self.limit(path)
        mark, _ = self._look_up(path, limit)
        # The decoder is part of the key: some show patched-up frames where others refuse.
        made_by = [FORMAT, self._workers().decoder]
        keys = [entry_key(mark, [*made_by, *asdict(request).values()]) for request in requests]
        found: dict[int, Frames] = {}
        for place, key in enumerate(keys):
            frames = self._cache.frames(key) if self._cache else None
            if frames is not None and frames.shape[1:3] == requests[place].size:
                found[place] = frames
        missing = [place for place in range(len(requests)) if place not in found]
        self._count("cached", len(found))
        self._count("decoded", len(missing))
        if missing:
            found |= self._decode(limit, {place: requests[place] for place in missing}, keys)
        return [found[place] for place in range(len(requests))]

    def note_repeated(self, frames: int) -> None:
        """Count frames that a clip shows again because its video has too few."""
        self._count("repeated frames", frames)

    def _look_up(self, path: str, limit: TimeLimit) -> tuple[str, VideoInfo]:
        status = faults.check_file(path)
        key = (path, status.st_size, status.st_mtime_ns)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        mark: str = self._ask(limit, {"op": "mark"})["mark"]
        name = entry_key(mark, [FORMAT, "info", self._workers().decoder])
        note = self._cache.note(name) if self._cache else None
        if note is None:
            note = self._ask(limit, {"op": "open"})["info"]
            if self._cache:
                self._cache.put_note(name, note)
        info = VideoInfo(**note)
        self._count("shorter than claimed", info.claimed is not None)
        with self._lock:
            self._known[key] = (mark, info)
            while len(self._known) > KNOWN_VIDEOS:
                self._known.popitem(last=False)
        return mark, info

    def _decode(self, limit: TimeLimit, requests: dict[int, FrameRequest], keys: Sequence[str]) -> "dict[int, Frames]":
        """Have a worker write the frames to files: in the cache where there is one, else in passing."""
        for folder in self._folders(sum(_size(request) for request in requests.values())):
            files = {place: file for place in requests if (file := folder.partial()) is not None}
            try:
                if len(files) < len(requests):
                    continue
                outputs = [asdict(request) | {"file": str(files[place])} for place, request in requests.items()]
                reply = self._ask(limit, {"op": "read", "outputs": outputs})
                if "full" in reply:
                    folder.give_up(reply["full"])
                    continue
                self._count("second passes", reply["second_passes"])
                found: dict[int, Frames] = {}
                for place, file in files.items():
                    frames = read_frames(file)
                    if frames is None:
                        raise RuntimeError(f"the worker wrote no frames to {file}")
                    found[place] = frames
                    if folder is self._cache:
                        self._count("evicted", folder.keep(file, keys[place]))
                return found
            finally:
                for file in files.values():
                    with contextlib.suppress(OSError):
                        file.unlink(missing_ok=True)
        raise UserError(
            f"there is no room to hand over the frames of {limit.path}",
            f"some {sum(_size(request) for request in requests.values()) >> 20} MiB in {tempfile.gettempdir()}",
            "make room, or set TMPDIR to a folder with room",
        )

    def _folders(self, size: int) -> Iterator[FrameCache]:
        if self._cache and self._cache.works and size <= self._cache.limit_bytes:
            yield self._cache
        for folder in self._passages:
            with contextlib.suppress(OSError):
                room = os.statvfs(folder.folder.parent)
                if room.f_bavail * room.f_frsize > 2 * size:
                    yield folder

    def _workers(self) -> WorkerPool:
        with self._lock:
            if self._pool is None:
                size = self.options.workers or max(1, min(8, cores() // 2))
                self._pool = WorkerPool(choose(self.options.decoder), size)
            return self._pool

    def _ask(self, limit: TimeLimit, request: dict[str, Any]) -> dict[str, Any]:
        if limit.left <= 0:
            raise limit.error()
        try:
            reply, seconds = self._workers().ask({"path": os.path.abspath(limit.path), **request}, limit.left)
        except WorkerTimeoutError:
            self._count("killed")
            raise limit.error() from None
        except WorkerFailedError as error:
            self._count("crashed")
            raise UserError(
                f"the decoder broke down over {limit.path} ({error})",
                "a video that decodes",
                "try another decoder, or remove its row",
            ) from None
        limit.left -= seconds
        if "bug" in reply:
            raise RuntimeError(f"a video worker failed over {limit.path}\n{reply['bug']}")
        if "error" in reply:
            raise UserError(*reply["error"])
        return reply

    def _count(self, what: str, number: int = 1) -> None:
        if number:
            with self._lock:
                self.counts[what] += number


def default_folder() -> Path:
    """Return the user's cache folder for frames."""
    return user_cache("frames")


_chosen = [ReaderConfig()]


@functools.cache
def default_reader() -> VideoReader:
    """Return the reader of this process that is used where none is given."""
    return VideoReader(_chosen[0])


def use_reader(options: ReaderConfig) -> None:
    """Read with these options from now on, in this process, where no reader is given."""
    if options != _chosen[0]:
        _chosen[0] = options
        default_reader.cache_clear()


def _passage_folders() -> list[Path]:
    """Folders for frames that are only handed over: memory first."""
    name = f"mmreflect-{os.getuid()}"
    return [Path(parent) / name for parent in ("/dev/shm", tempfile.gettempdir()) if os.path.isdir(parent)]


def _size(request: FrameRequest) -> int:
    return len(request.times) * request.size[0] * request.size[1] * 3 + 4096


_READERS: "weakref.WeakSet[VideoReader]" = weakref.WeakSet()


def _renew_locks() -> None:
    """Free the locks that a thread of the parent held when this process was forked."""
    for reader in list(_READERS):
        reader._lock = threading.Lock()
        for folder in (reader._cache, *reader._passages):
            if folder is not None:
                folder._lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_locks)
