"""Loading videos: frames sampled evenly in time, with the metadata that Qwen-VL processors need."""

import functools
import importlib.util
from collections.abc import Callable, Iterator
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
    """Decode a video by sequential passes and keep the frames nearest before each sampling time.

    Only the kept frames are held in memory. A first pass finds the length where the container does not say it.

    Raises:
        UserError: PyAV is not installed; the file is missing, broken, empty, or has no picture track.
    """
    start, stop = media.span or (0.0, _length(media.path))
    wanted = even_times(start, min(stop, _length(media.path)), fps, max_frames)
    kept: list[tuple[float, npt.NDArray[np.uint8]]] = []
    newest: tuple[float, npt.NDArray[np.uint8]] | None = None
    for time, frame in _frames(media.path):
        while newest is not None and len(kept) < len(wanted) and time > wanted[len(kept)]:
            kept.append(newest)
        if len(kept) == len(wanted):
            break
        newest = (time, frame())
    if newest is None:
        raise UserError(f"the video holds no frame: {media.path}", "at least one frame", "remove its row")
    kept += [newest] * (len(wanted) - len(kept))
    frames = np.stack([frame for _, frame in kept])
    return Clip(frames, [time for time, _ in kept], len(wanted) / max(min(stop, _length(media.path)) - start, 1e-6))


def check_video(path: Path) -> None:
    """Open a video and decode its first frame.

    Raises:
        UserError: as `load_video`.
    """
    for _, frame in _frames(str(path)):
        frame()
        return
    raise UserError(f"the video holds no frame: {path}", "at least one frame", "remove its row")


@functools.lru_cache(maxsize=1024)
def _length(path: str) -> float:
    """Return a video's length in seconds: the end of its last frame."""
    times = [time for time, _ in _frames(path)]
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    return (times[-1] if times else 0.0) + step


Frames = Iterator[tuple[float, Callable[[], npt.NDArray[np.uint8]]]]


def _frames(path: str) -> Frames:
    """Yield each frame's time in seconds and a function that returns its pixels."""
    if not Path(path).is_file():
        raise UserError(f"no such video: {path}", "the path of a video file", "check the path")
    if importlib.util.find_spec("av"):
        return _frames_by_av(path)
    if importlib.util.find_spec("decord"):
        return _frames_by_decord(path)
    raise UserError("reading videos needs PyAV or decord", "the extra 'video'", "pip install 'mmreflect[video]'")


def _frames_by_av(path: str) -> Frames:
    import av

    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise UserError(f"no picture track in {path}", "a video with pictures", "remove its row")
            for frame in container.decode(container.streams.video[0]):
                yield float(frame.time or 0.0), functools.partial(frame.to_ndarray, format="rgb24")
    except av.FFmpegError as error:
        raise UserError(f"the video cannot be decoded: {path} ({error})", "a whole video", "remove its row") from None


def _frames_by_decord(path: str) -> Frames:
    import decord

    try:
        reader = decord.VideoReader(path)
        for place in range(len(reader)):
            yield float(reader.get_frame_timestamp(place)[0]), functools.partial(_decord_frame, reader, place)
    except (decord.DECORDError, RuntimeError) as error:
        first = str(error).splitlines()[-1]
        raise UserError(f"the video cannot be decoded: {path} ({first})", "a whole video", "remove its row") from None


def _decord_frame(reader: Any, place: int) -> npt.NDArray[np.uint8]:
    return np.asarray(reader[place].asnumpy(), dtype=np.uint8)
