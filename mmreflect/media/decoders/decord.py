"""Decoding with decord, which reads on inside a group of pictures and seeks to the next one by itself.

It hides damage, and after a seek it shows wrong frames of streams whose groups of pictures are open, and of transport
streams: we found no way to notice.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import decord
import numpy as np

from mmreflect.media import faults
from mmreflect.media.timeline import Timeline

if TYPE_CHECKING:
    from mmreflect.media.decoders import Picture


def open_video(path: str, threads: int) -> "DecordSource":
    """Open a video; see `mmreflect.media.decoders`."""
    return DecordSource(path, threads)


class DecordSource:
    """A video that decord reads; see `mmreflect.media.decoders.Source`."""

    def __init__(self, path: str, threads: int) -> None:
        self._path = path
        self.second_passes = 0
        try:
            self._reader = decord.VideoReader(path, num_threads=threads)
            count = len(self._reader)
            if not count:
                raise faults.no_frames(path)
            ends_N2 = np.asarray(self._reader.get_frame_timestamp(range(count)), dtype=np.float64)
            rate, keys = float(self._reader.get_avg_fps()), [int(key) for key in self._reader.get_key_indices()]
        except (decord.DECORDError, RuntimeError) as error:
            raise faults.unreadable(path, _last_line(error)) from None
        last = float(ends_N2[-1, 1] - ends_N2[-1, 0])
        self._timeline = Timeline(ends_N2[:, 0] - ends_N2[0, 0], keys, rate=rate, last=last if last > 0 else None)
        height, width = self._frame(0).shape[:2]
        faults.check_size(path, width, height)
        self.info = self._timeline.info(width, height)

    def frames(self, times: Sequence[float]) -> Iterator["Picture"]:
        """Yield the frame that is shown at each time; see `mmreflect.media.decoders.Source`."""
        held: tuple[int, Picture] | None = None
        for time in times:
            number = self._timeline.place(time)
            if held is None or held[0] != number:
                held = (number, self._frame(number))
            yield held[1]

    def close(self) -> None:
        """Let the file go."""
        del self._reader

    def _frame(self, number: int) -> "Picture":
        try:
            picture = np.asarray(self._reader[number].asnumpy(), dtype=np.uint8)
        except (decord.DECORDError, RuntimeError):
            picture = np.zeros(0, dtype=np.uint8)
        if (
            picture.ndim != 3 or picture.shape[2] != 3
        ):  # four channels, wrongly packed, where a header turns by 90 degrees
            raise faults.undecoded(self._path, float(self._timeline.times_N[number]), "decord")
        return picture


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
