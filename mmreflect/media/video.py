"""Loading videos: frames sampled evenly in time, with the metadata that Qwen-VL processors need."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmreflect.errors import UserError
from mmreflect.records import Media


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of a video.

    Attributes:
        frames_FHWC: uint8 RGB.
        times_F: seconds from the start of the video, one per frame.
        fps: frames per second of the sampled sequence.
    """

    frames_FHWC: npt.NDArray[np.uint8]
    times_F: list[float]
    fps: float

    def metadata(self) -> dict[str, Any]:
        """Return the metadata in the form of transformers' `VideoMetadata`."""
        count = len(self.frames_FHWC)
        return {
            "fps": self.fps,
            "total_num_frames": count,
            "duration": count / self.fps,
            "frames_indices": list(range(count)),
            "width": self.frames_FHWC.shape[2],
            "height": self.frames_FHWC.shape[1],
            "video_backend": "pyav",
        }


def even_times(start: float, end: float, fps: float, max_frames: int) -> list[float]:
    """Return sampling times in seconds: every 1/fps, thinned evenly to `max_frames`, an even count of at least two.

    The count is even because Qwen-VL merges two frames into one temporal patch.
    """
    count = min(max_frames, max(2, round((end - start) * fps)))
    count -= count % 2
    step = (end - start) / max(count, 2)
    return [start + (index + 0.5) * step for index in range(max(count, 2))]


def load_video(media: Media, fps: float = 2.0, max_frames: int = 64) -> Clip:
    """Decode a video by one sequential pass and keep the frames nearest before each sampling time.

    Raises:
        UserError: PyAV is not installed; the file is missing, broken, empty, or has no picture track.
    """
    try:
        import av
    except ImportError:
        raise UserError("reading videos needs PyAV", "the extra 'video'", "pip install 'mmreflect[video]'") from None
    if not Path(media.path).is_file():
        raise UserError(f"no such video: {media.path}", "the path of a video file", "check the path")
    try:
        with av.open(media.path) as container:
            if not container.streams.video:
                raise UserError(f"no picture track in {media.path}", "a video with pictures", "remove its row")
            stream = container.streams.video[0]
            decoded = [
                (float(frame.time or 0.0), frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)
            ]
    except av.FFmpegError as error:
        raise UserError(
            f"the video cannot be decoded: {media.path} ({error})", "a whole video", "remove its row"
        ) from None
    if not decoded:
        raise UserError(f"the video holds no frame: {media.path}", "at least one frame", "remove its row")
    times = np.array([time for time, _ in decoded])
    end = float(times[-1]) + (float(np.median(np.diff(times))) if len(times) > 1 else 1.0)
    start, stop = media.span or (0.0, end)
    wanted = even_times(start, min(stop, end), fps, max_frames)
    chosen = [max(0, int(np.searchsorted(times, time, side="right")) - 1) for time in wanted]
    frames = np.stack([decoded[index][1] for index in chosen])
    return Clip(frames, [float(times[index]) for index in chosen], len(wanted) / max(min(stop, end) - start, 1e-6))
