"""Decoding with torchcodec, which chooses frames by presentation time and seeks by itself.

It does not tell the times of frames without decoding them: whether a video is of variable rate is judged by its
keyframes, at most `LOOKED_AT` of them. It hides damage as FFmpeg's concealment does.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torchcodec.decoders import VideoDecoder

from mmreflect.errors import UserError
from mmreflect.media import faults
from mmreflect.media.timeline import CLOCK_S, VideoInfo

if TYPE_CHECKING:
    from mmreflect.media.decoders import Picture

LOOKED_AT = 6


def open_video(path: str, threads: int) -> "TorchcodecSource":
    """Open a video; see `mmreflect.media.decoders`."""
    return TorchcodecSource(path, threads)


class TorchcodecSource:
    """A video that torchcodec reads; see `mmreflect.media.decoders.Source`."""

    def __init__(self, path: str, threads: int) -> None:
        self._path = path
        self.second_passes = 0
        try:
            self._decoder: Any = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=threads)
            header = self._decoder.metadata
            self._count = int(header.num_frames or 0)
        except (RuntimeError, ValueError) as error:
            raise self._refusal(error) from None
        if not self._count:
            raise faults.no_frames(path)
        try:
            first = self._decoder.get_frame_at(0)
            self._start = float(first.pts_seconds)
            fps = float(header.average_fps)
            self._last = float(self._decoder.get_frame_at(self._count - 1).pts_seconds) - self._start
            self._variable = self._is_variable(fps)
        except RuntimeError:
            raise faults.undecoded(path, 0.0, "torchcodec") from None
        height, width = first.data.shape[:2]
        faults.check_size(path, width, height)
        duration = float(header.end_stream_seconds) - self._start if self._variable else self._count / fps
        self.info = VideoInfo(
            duration, self._count / duration if self._variable else fps, self._count, width, height, self._variable
        )

    def frames(self, times: Sequence[float]) -> Iterator["Picture"]:
        """Yield the frame that is shown at each time; see `mmreflect.media.decoders.Source`."""
        fps = self.info.fps
        for time in times:
            try:
                if self._variable and time < self._last:
                    picture = _picture(self._decoder.get_frame_played_at(self._start + max(0.0, time) + CLOCK_S / 2))
                else:
                    picture = _picture(self._decoder.get_frame_at(max(0, min(self._count - 1, int(time * fps + 0.1)))))
            except (RuntimeError, IndexError):
                raise faults.undecoded(self._path, time, "torchcodec") from None
            yield picture

    def close(self) -> None:
        """Let the file go."""
        del self._decoder

    def _is_variable(self, fps: float) -> bool:
        keys = [int(key) for key in self._decoder._get_key_frame_indices()]
        looked_at = keys[:: max(1, len(keys) // LOOKED_AT)][:LOOKED_AT]
        jitter = max(CLOCK_S, 0.1 / fps)
        return abs(self._last - (self._count - 1) / fps) > jitter or any(
            abs(float(self._decoder.get_frame_at(number).pts_seconds) - self._start - number / fps) > jitter
            for number in looked_at
        )

    def _refusal(self, error: Exception) -> UserError:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "No valid stream" in said or "best stream" in said:
            return faults.no_pictures(self._path, sound=False)
        return faults.unreadable(self._path, said)


def _picture(frame: Any) -> "Picture":
    return np.ascontiguousarray(frame.data.numpy(), dtype=np.uint8)
