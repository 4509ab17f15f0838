"""When each frame of a video is shown: what frame counts, lengths and rates are read from."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CLOCK_S = 0.0015
"""How far a time may be off the even grid by rounding alone: some containers keep milliseconds."""

CLAIM = (1.0, 1.1)
"""A header's length is noted where it is more than so many seconds and so many times of what was found."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a video before its frames are read.

    Attributes:
        duration: seconds from the first frame to the end of the last.
        fps: frames per second; of a video of variable rate the mean.
        width, height: in pixels, the picture upright.
        variable_rate: frames do not lie on an even grid in time.
        claimed: seconds that the header names, where that is much more than was found.
    """

    duration: float
    fps: float
    frames: int
    width: int
    height: int
    variable_rate: bool
    claimed: float | None = None


class Timeline:
    """The frames of a video in the order in which they are shown.

    Args:
        times_N: when each frame appears, in seconds from the first, ascending; at least one.
        keys: places in `times_N` from which decoding can start, ascending.
        rate: frames per second as the header says, or None; believed where the times agree with it.
        last: how long the last frame is shown, in seconds, or None for the mean of the others.
    """

    def __init__(
        self,
        times_N: "npt.NDArray[np.float64]",
        keys: Sequence[int],
        *,
        rate: float | None = None,
        last: float | None = None,
    ) -> None:
        import numpy as np

        self.times_N, self.keys = times_N, keys
        count = len(times_N)
        length = float(times_N[-1])
        if rate and (count == 1 or abs((count - 1) / rate - length) <= 2 * CLOCK_S):
            self.fps = rate
        else:
            self.fps = (count - 1) / length if length else 1 / last if last else 25.0
        grid_N = np.arange(count) / self.fps
        jitter = min(max(CLOCK_S, 0.1 / self.fps), 0.5 / self.fps)
        self.variable = bool(np.abs(times_N - grid_N).max() > jitter)
        self.tolerance = min(CLOCK_S, jitter) if self.variable else jitter
        mean = 1 / self.fps
        if self.variable:
            step = last if last and last <= 10 * mean else mean
            self.duration = length + step
            self.fps = count / self.duration
        else:
            self.duration = count / self.fps

    def info(self, width: int, height: int, claimed: float | None = None) -> VideoInfo:
        """Return what a caller needs to know, for frames of this size; `claimed` is the header's length in seconds."""
        much = claimed is not None and claimed > CLAIM[0] + CLAIM[1] * self.duration
        return VideoInfo(
            self.duration, self.fps, len(self.times_N), width, height, self.variable, claimed if much else None
        )

    def place(self, time: float) -> int:
        """Return which frame is shown at a time in seconds: the last that appears before or at it."""
        import numpy as np

        return max(0, int(np.searchsorted(self.times_N, time + self.tolerance, side="right")) - 1)

    def key_before(self, place: int) -> int:
        """Return the nearest frame at or before `place` from which decoding can start."""
        found = bisect_right(self.keys, place)
        return self.keys[found - 1] if found else 0
