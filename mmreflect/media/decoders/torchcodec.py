"""Decoding with torchcodec, which reads on inside a group of pictures and seeks to the next one by itself.

It does not tell when frames are shown before they are decoded, so that a video of variable rate is refused, at the
latest when a frame turns out to be shown at another time than its number says. It hides damage as FFmpeg's concealment
does.
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
            self._count = int(self._decoder.metadata.num_frames or 0)
        except (RuntimeError, ValueError) as error:
            raise self._refusal(error) from None
        if not self._count:
            raise faults.no_frames(path)
        try:
            last = float(self._decoder.get_frame_at(self._count - 1).pts_seconds)
            first = self._decoder.get_frame_at(0)
        except (RuntimeError, IndexError):
            raise faults.undecoded(path, 0.0, "torchcodec") from None
        self._start = float(first.pts_seconds)
        length = last - self._start
        fps = (self._count - 1) / length if length > 0 else float(self._decoder.metadata.average_fps or 25)
        height, width = first.data.shape[:2]
        faults.check_size(path, width, height)
        self.info = VideoInfo(self._count / fps, fps, self._count, width, height, variable_rate=False)

    def frames(self, times: Sequence[float]) -> Iterator["Picture"]:
        """Yield the frame that is shown at each time; see `mmreflect.media.decoders.Source`."""
        fps = self.info.fps
        jitter = max(CLOCK_S, 0.1 / fps)
        held: tuple[int, Picture] | None = None
        for time in times:
            number = max(0, min(self._count - 1, int((time + jitter) * fps)))
            if held is None or held[0] != number:
                try:
                    found = self._decoder.get_frame_at(number)
                except (RuntimeError, IndexError):
                    raise faults.undecoded(self._path, time, "torchcodec") from None
                if abs(float(found.pts_seconds) - self._start - number / fps) > jitter:
                    raise UserError(
                        f"torchcodec does not tell which frame is shown at {time:.1f} s: {self._path}",
                        "frames at an even rate",
                        "use the decoder pyav, which reads videos of variable rate",
                    )
                held = (number, np.ascontiguousarray(found.data.numpy(), dtype=np.uint8))
            yield held[1]

    def close(self) -> None:
        """Let the file go."""
        del self._decoder

    def _refusal(self, error: Exception) -> UserError:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "No valid stream" in said or "best stream" in said:
            return faults.no_pictures(self._path, sound=False)
        return faults.unreadable(self._path, said)
