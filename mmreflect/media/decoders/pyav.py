"""Decoding with PyAV, adaptive between reading on and seeking.

Frames on the way to one that is wanted, and that nothing refers to, are not decoded at all; a seek happens only where
the next keyframe is further than `SEEK_FRAMES` ahead. So a request never costs more than the better of a sequential
pass and a seek per frame, whatever the distance of keyframes. Where this does not come across a frame, or finds it
damaged (timestamps that packets and frames do not share, imprecise seeking, references from before a keyframe), one
plain pass from the start decides. Damage is what the decoder notices: H.264 has no checksums.
"""

import itertools
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from mmreflect.errors import UserError
from mmreflect.media import faults
from mmreflect.media.decoders import _pyav_scan as scan

if TYPE_CHECKING:
    import numpy.typing as npt

    from mmreflect.media.decoders import Picture

SEEK_FRAMES = 4
"""What a seek costs, in decoded frames."""


def open_video(path: str, threads: int) -> "PyAvSource":
    """Open a video; see `mmreflect.media.decoders`."""
    return PyAvSource(path, threads)


class _MissedError(Exception):
    """The quick way did not come across a frame."""


class _SupposedError(Exception):
    """Frames are not shown when the index let suppose; their packets know."""


class PyAvSource:
    """A video that PyAV reads; see `mmreflect.media.decoders.Source`."""

    def __init__(self, path: str, threads: int) -> None:
        self._path, self._threads = path, threads
        self._reformatter = VideoReformatter()
        self.second_passes = 0
        self._container: Any = None
        self._packets: Iterator[Any] = iter(())
        self._keyed = self._strict = True
        self._start()
        try:
            self._scanned = scan.by_index(self._container, self._stream, path) or self._scan_packets()
            self._begin()
            first = self._first_frame()
            if first.pts != self._scanned.pts_N[0]:
                self._scanned = self._scan_packets()
                self._scanned = self._scanned.beginning_with(self._first_frame().pts) or self._scan_frames()
                first = self._first_frame()
            self._held: tuple[int, Picture] = (0, self._rgb(first))
            height, width = self._held[1].shape[:2]
            self.info = self._scanned.timeline.info(width, height, self._scanned.claimed)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the file go."""
        self._container.close()

    def frames(self, times: Sequence[float]) -> Iterator["Picture"]:
        """Yield the frame that is shown at each time; see `mmreflect.media.decoders.Source`."""
        given = 0
        try:
            for picture in self._shown(times):
                given += 1
                yield picture
        except _SupposedError:
            self._scanned = self._scan_packets()
            self._held = (-1, self._held[1])
            yield from self._shown(times[given:])

    def _shown(self, times: Sequence[float]) -> Iterator["Picture"]:
        numbers = [self._scanned.timeline.place(time) for time in times]
        missing = sorted(set(numbers) - ({self._held[0]} if numbers[:1] == [self._held[0]] else set()))
        found = self._walk(missing)
        for number in numbers:
            if self._held[0] != number:
                self._held = next(found)
            yield self._held[1]

    def _start(self) -> None:
        """Open the file anew, at its start, in the state of having decoded nothing."""
        if self._container is not None:
            self._container.close()
        self._container, self._stream = scan.opened(self._path)
        self._context: Any = self._stream.codec_context
        self._context.thread_type = "AUTO"
        self._context.thread_count = self._threads
        if self._strict:  # else most codecs show what they have patched up, and say nothing
            self._context.options = {"err_detect": "explode"}
        self._begin()
        self._position: int | None = -1

    def _loosened(self) -> bool:
        """Say whether the file has to be opened anew, because what comes next joins a running stream of H.264.

        With several threads a strict decoder never gets over that; a patient one marks H.264's damaged frames nearly as
        well.
        """
        first = self._peeked()
        if not self._strict or first is None or not scan.joins(first, self._stream):
            return False
        self._strict = False
        return True

    def _restart(self) -> None:
        self._start()
        if self._loosened():
            self._start()

    def _peeked(self) -> Any:
        """Return the next packet, which stays the next one; None at the end."""
        first = next(self._packets, None)
        if first is not None:
            self._packets = itertools.chain((first,), self._packets)
        return first

    def _begin(self) -> None:
        """Read packets from where the container stands, beginning with one that can be decoded by itself."""
        found = self._unbroken(scan.packets(self._container, self._stream))
        self._packets = scan.from_key(found) if self._keyed else found
        self._ready: deque[Any] = deque()
        self._damaged = False
        self._skip = ""
        self._fed: set[int] = set()

    def _unbroken(self, found: Iterator[Any]) -> Iterator[Any]:
        """End where the file cannot be read on; what was wanted from there is found missing."""
        try:
            yield from found
        except av.FFmpegError:
            self._damaged = True

    def _scan_packets(self) -> scan.Scanned:
        self._start()
        found = scan.by_packets(self._container, self._stream, self._path)
        self._keyed = found is None or found.keyed
        self._start()
        return found or self._scan_frames()

    def _scan_frames(self) -> scan.Scanned:
        self._restart()
        try:
            found = scan.by_frames(self._all_frames(), self._stream, self._path)
        except UserError:
            if not self._keyed:
                raise
            self._keyed = False
            return self._scan_frames()
        self._start()
        return found

    def _first_frame(self) -> Any:
        """Decode the first frame, and nothing in a way that would not serve later ones."""
        if self._loosened():
            self._start()
        frame = next(self._all_frames(), None)
        if frame is not None and not self._damaged:
            self._position = 0
            return frame
        faults.check_size(self._path, self._context.width, self._context.height)
        raise faults.damaged(self._path, 0.0) if self._damaged else faults.no_frames(self._path)

    def _walk(self, numbers: Sequence[int]) -> Iterator[tuple[int, "Picture"]]:
        left = deque(numbers)
        try:
            if not self._scanned.seekable:
                raise _MissedError
            for frame in self._quick(numbers):
                yield left.popleft(), self._rgb(frame)
        except _MissedError:
            if self._scanned.supposed:
                raise _SupposedError from None
            self.second_passes += self._scanned.seekable
            for frame in self._plain(list(left)):
                yield left.popleft(), self._rgb(frame)
        finally:
            self._position = None  # what was skipped for this request may be wanted by the next

    def _quick(self, numbers: Sequence[int]) -> Iterator[Any]:
        """Yield frames by number, seeking where that is cheaper than reading on."""
        pts_N, timeline = self._scanned.pts_N, self._scanned.timeline
        wanted = {int(pts_N[number]) for number in numbers}
        position = self._position
        for place, number in enumerate(numbers):
            key = timeline.key_before(number)
            if position is None or number <= position or key - position > SEEK_FRAMES:
                self._seek(key, int(pts_N[number]))
            after = numbers[place + 1] if place + 1 < len(numbers) else None
            leaves = after is None or timeline.key_before(after) - number > SEEK_FRAMES
            yield self._forward(int(pts_N[number]), wanted, leaves)
            position = number

    def _seek(self, key: int, target: int) -> None:
        """Go to a keyframe, or to one before it, or to the start, where the file does not lead there."""
        keys = self._scanned.timeline.keys
        place = bisect_left(keys, key)
        for start in (key, keys[max(0, place - 1)], None):
            if start is None:
                self._restart()
            else:
                try:
                    self._container.seek(int(self._scanned.pts_N[start]), stream=self._stream)
                except av.FFmpegError:
                    continue
                self._begin()
            if self._loosened():
                self._start()
                return self._seek(key, target)
            first = self._peeked()
            if first is not None and first.pts is not None and first.pts <= target:
                return None
        raise _MissedError

    def _forward(self, target: int, wanted: set[int], leaves: bool) -> Any:
        """Decode up to the frame at `target`; `leaves`: a seek or nothing follows, so the decoder may be emptied."""
        while True:
            while self._ready:
                frame = self._taken()
                if frame.pts == target and not self._damaged:
                    return frame
                if frame.pts is None or frame.pts >= target:
                    raise _MissedError
            packet = next(self._packets, None)
            if packet is None or (packet.dts is not None and packet.dts > target and target not in self._fed):
                raise _MissedError
            self._decode(packet, "DEFAULT" if packet.pts is None or packet.pts in wanted else "NONREF")
            if leaves and packet.pts == target:
                self._decode(None, self._skip)

    def _decode(self, packet: Any, skip: str) -> None:
        if skip != self._skip:
            self._context.skip_frame = self._skip = skip
        if packet is not None and skip == "DEFAULT":
            self._fed.add(packet.pts)
        try:
            self._ready += self._context.decode(packet)
        except av.EOFError:  # the decoder was emptied before
            pass
        except av.FFmpegError:
            self._damaged = True

    def _taken(self) -> Any:
        """Take the next decoded frame; damage lasts until a keyframe."""
        frame = self._ready.popleft()
        if frame.key_frame:
            self._damaged = False
        if frame.is_corrupt:
            self._damaged = True
        return frame

    def _all_frames(self) -> Iterator[Any]:
        """Yield every frame from here on, skipping none."""
        for packet in self._packets:
            self._decode(packet, "DEFAULT")
            while self._ready:
                yield self._taken()

    def _plain(self, numbers: Sequence[int]) -> Iterator[Any]:
        """Yield frames by number in one pass over the file: at each wanted time the last that has appeared."""
        pts_N, counted = self._scanned.pts_N, self._scanned.counted
        self._restart()
        left = deque(numbers)
        last: tuple[int, Any, bool] | None = None
        for count, frame in enumerate(self._all_frames()):
            if not counted and frame.pts is None:
                continue
            number = count if counted else int(np.searchsorted(pts_N, frame.pts, side="right")) - 1
            while left and number > left[0] and last is not None:
                yield self._nearest(last, left.popleft())
            last = (number, frame, self._damaged)
            if not left:
                return
        while left:
            if last is None:
                raise faults.damaged(self._path, 0.0)
            yield self._nearest(last, left.popleft())

    def _nearest(self, last: tuple[int, Any, bool], wanted: int) -> Any:
        """Return a frame where it stands for the wanted one: one packet may hold no frame of its own, but not many."""
        number, frame, damaged = last
        if damaged or wanted - number > 1:
            raise faults.damaged(self._path, float(self._scanned.timeline.times_N[wanted]))
        return frame

    def _rgb(self, frame: Any) -> "Picture":
        faults.check_size(self._path, frame.width, frame.height)
        picture = np.asarray(self._reformatter.reformat(frame, format="rgb24").to_ndarray(), dtype=np.uint8)
        matrix = frame.side_data.get("DISPLAYMATRIX")
        return picture if matrix is None else _upright(picture, np.frombuffer(bytes(matrix), dtype=np.int32))


def _upright(picture: "Picture", matrix_9: "npt.NDArray[np.int32]") -> "Picture":
    """Turn and mirror a picture as a display matrix says, to the nearest quarter turn: x' = ax + cy, y' = bx + dy."""
    a, b, c, d = (int(matrix_9[place]) for place in (0, 1, 3, 4))
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
