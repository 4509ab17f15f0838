"""The timeline of a video by PyAV: from the container's index, else from its packets, else by decoding it all."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from mmreflect.media import faults
from mmreflect.media.timeline import Timeline

CUT_S = 0.5
"""Seconds that a file which ends early may miss: it may have lost its last index only."""
_IDR = 5
"""What H.264 calls a slice of a picture with which everything begins anew; 1 to 4 are slices of others."""
_NO_VIDEO = ("_pipe", "image2", "tty", "ico")
"""Formats in which FFmpeg shows single pictures and plain text."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan found.

    Attributes:
        pts_N: each frame's presentation time in the stream's time base, ascending; its number where `counted`.
        seekable: packets carry these times, so that a frame can be sought by them.
        counted: the file holds no times, or times that begin anew on the way; frames are told apart by their order.
        supposed: the times are what an even index lets suppose, and not read from every packet.
        claimed: seconds that the header says; None where it says nothing or was not needed.
        keyed: some packet says that decoding can start with it; where none does, it starts with the first.
    """

    pts_N: npt.NDArray[np.int64]
    timeline: Timeline
    seekable: bool = True
    counted: bool = False
    supposed: bool = False
    keyed: bool = True
    claimed: float | None = None

    def beginning_with(self, pts: int | None) -> "Scanned | None":
        """Leave out the frames before one at the start that cannot be decoded; None where they are no start."""
        place = -1 if pts is None else int(np.searchsorted(self.pts_N, pts))
        if not 0 <= place < min(len(self.pts_N), 64) or self.pts_N[place] != pts:
            return None
        times_N = self.timeline.times_N[place:] - self.timeline.times_N[place]
        keys = sorted({0, *(key - place for key in self.timeline.keys if key >= place)})
        return replace(self, pts_N=self.pts_N[place:], timeline=Timeline(times_N, keys, rate=self.timeline.fps))


def opened(path: str) -> tuple[Any, Any]:
    """Open a file and return its container and picture track.

    Raises:
        UserError: it is no video, broken from the start, without pictures, or of an unknown codec.
    """
    try:
        container = av.open(path, options={"protocol_whitelist": "file"}, metadata_errors="ignore")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise faults.unreadable(path, getattr(error, "strerror", None) or error) from None
    try:
        if any(container.format.name.endswith(name) for name in _NO_VIDEO):
            raise faults.unreadable(path, f"FFmpeg reads it as {container.format.name}")
        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            raise faults.no_pictures(path, bool(container.streams.audio))
        context = streams[0].codec_context
        if context is None:
            raise faults.no_codec(path, "unknown")
        if context.width or context.height:
            faults.check_size(path, context.width, context.height)
        return container, streams[0]
    except BaseException:
        container.close()
        raise


def by_index(container: Any, stream: Any, path: str) -> Scanned | None:
    """Read the timeline from a complete index of evenly spaced frames (MP4 and MOV have one); None where there is none.

    Beside the header only the last group of pictures is read, however long the video: the index holds decoding times,
    and a gap in the presentation shows in the last frame's, unless it closes before. The container stands at its start
    again afterwards.

    Raises:
        UserError: the index names frames beyond the end of the file.
    """
    entries = list(getattr(stream, "index_entries", ()))  # PyAV 15 does not have it
    count = len(entries)
    if not count or count != stream.frames or not entries[0].size:
        return None
    size = os.path.getsize(path)
    whole = sum(entry.pos + entry.size <= size for entry in entries)
    if whole < count:
        raise faults.cut_off(path, whole, count, float(stream.average_rate or 25))
    dts_N = np.array([entry.timestamp for entry in entries], dtype=np.int64)
    steps = np.diff(dts_N)
    even = count > 1 and steps[0] > 0 and bool((steps == steps[0]).all())
    keys = [place for place, entry in enumerate(entries) if entry.is_keyframe]
    if not even or not keys or keys[0] or stream.start_time is None or any(entry.is_discard for entry in entries):
        return None
    pts_N = stream.start_time + steps[0] * np.arange(count, dtype=np.int64)
    try:
        container.seek(int(pts_N[keys[-1]]), stream=stream)
        shown = [packet.pts for packet in packets(container, stream) if packet.pts is not None]
        container.seek(int(pts_N[0]), stream=stream)
    except av.FFmpegError:
        return None
    if not shown or max(shown) != pts_N[-1]:
        return None
    return Scanned(pts_N, _timeline(pts_N, keys, stream, int(steps[0])), supposed=True)


def packets(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets of a track from where the container stands; the last one is empty.

    Raises:
        av.FFmpegError: the file cannot be read on, also where PyAV itself stumbles over a track that it did not see at
            opening (an IndexError).
    """
    try:
        yield from container.demux(stream)
    except IndexError:
        raise av.InvalidDataError(0, "a track appears in the middle of the file") from None


def from_key(found: Iterator[Any]) -> Iterator[Any]:
    """Leave out what cannot be decoded from here: packets before the first keyframe, and those shown before it.

    The latter, in open groups of pictures, refer to the group before. Of packets without times only the former go.
    """
    for first in found:
        if first.is_keyframe:
            yield first
            for item in found:
                if item.is_keyframe or None in (first.pts, item.pts) or item.pts >= first.pts:
                    yield item
                if item.is_keyframe:
                    break
            yield from found


def joins(packet: Any, stream: Any) -> bool:
    """Say whether decoding H.264 from here joins a running stream: a keyframe that lets what was before it stay in use.

    Such a one may dismiss pictures that the decoder has never seen, which is no damage.
    """
    if stream.codec_context.name != "h264":
        return False
    content, extra = bytes(packet), stream.codec_context.extradata or b""
    place, length = 0, (extra[4] & 3) + 1 if len(extra) > 4 and extra[0] == 1 else 0
    while place < len(content):
        if length:
            start = place + length
            place = start + int.from_bytes(content[place:start], "big")
        else:
            start = place = content.find(b"\0\0\1", place) + 3
            if start < 3:
                return False
        if start < len(content) and 1 <= content[start] & 31 <= _IDR:
            return content[start] & 31 != _IDR
    return False


def by_packets(container: Any, stream: Any, path: str) -> Scanned | None:
    """Read the timeline from the packets, decoding none; None where they carry no presentation times.

    None also where the times begin anew, as in transport streams put one behind the other. Packets before the first
    keyframe are left out: nothing can decode them.

    Raises:
        UserError: there is no packet, the file cannot be read to its end, or it is shorter than it says itself and
            holds less than its header claims. (Transport streams say neither; what is there is the video.)
    """
    shown: list[int] = []
    keys: list[int] = []
    newest = (0, 0)
    count = 0
    decoded: int | None = None
    try:
        for packet in packets(container, stream):
            count += packet.size > 0
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.pts is None or (decoded is not None and packet.dts is not None and packet.dts < decoded):
                return None
            decoded = packet.dts
            shown.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
            newest = max(newest, (packet.pts, packet.duration or 0))
    except av.FFmpegError:
        raise faults.damaged(path, len(shown) / float(stream.average_rate or 25)) from None
    if 0 < count < stream.frames and "mp4" in container.format.name:
        raise faults.cut_off(path, count, stream.frames, float(stream.average_rate or 25))
    if not shown:
        raise faults.no_frames(path)
    pts_N = np.unique(np.array(shown, dtype=np.int64))
    if keys:
        pts_N = pts_N[pts_N >= min(keys)]
    places = sorted({0, *np.searchsorted(pts_N, keys).tolist()})
    timeline = _timeline(pts_N, places, stream, newest[1])
    claimed = claimed_length(container, stream)
    if claimed is not None and claimed > timeline.duration + CUT_S and faults.ends_early(path):
        raise faults.cut_off(path, len(pts_N), round(claimed * timeline.fps), timeline.fps)
    return Scanned(pts_N, timeline, keyed=bool(keys), claimed=claimed)


def claimed_length(container: Any, stream: Any) -> float | None:
    """Return how many seconds a track lasts by its header, else the file; None where neither is said."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    hours, _, rest = str(stream.metadata.get("DURATION", "")).partition(":")  # Matroska's, one for each track
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return container.duration / av.time_base if container.duration else None


def by_frames(frames: Iterator[Any], stream: Any, path: str) -> Scanned:
    """Decode everything and take the times of the frames, or count them at the header's rate where they have none.

    Raises:
        UserError: no frame can be decoded.
    """
    shown = [frame.pts for frame in frames]
    if not shown:
        raise faults.no_frames(path)
    timed = None not in shown and all(late > early for early, late in itertools.pairwise(shown))
    if timed:
        pts_N = np.array(shown, dtype=np.int64)
        return Scanned(pts_N, _timeline(pts_N, [0], stream, 0), seekable=False)
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    count_N = np.arange(len(shown), dtype=np.int64)
    return Scanned(count_N, Timeline(count_N / rate, [0], rate=rate), seekable=False, counted=True)


def _timeline(pts_N: npt.NDArray[np.int64], keys: list[int], stream: Any, last: int) -> Timeline:
    tick = stream.time_base
    times_N = (pts_N - pts_N[0]) * float(tick)
    rate = float(stream.average_rate) if stream.average_rate else None
    return Timeline(times_N, keys, rate=rate, last=float(last * tick) or None)
