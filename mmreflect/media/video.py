"""Loading videos: frames sampled evenly in time, with the metadata that Qwen-VL processors need.

Time 0 is the first frame's. Frames are chosen by presentation time, so that a video of even rate gives the frames that
qwen-vl-utils would number, and one of variable rate those that are on the screen at these times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreflect.errors import UserError
from mmreflect.media import sampling as rules
from mmreflect.media.images import check_crop
from mmreflect.media.reader import FrameRequest, ReaderConfig, VideoReader, default_reader
from mmreflect.media.stamps import stamp_text
from mmreflect.media.timeline import VideoInfo
from mmreflect.records import FrameSampling, Media

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

__all__ = [
    "Clip",
    "ReaderConfig",
    "VideoInfo",
    "VideoReader",
    "check_video",
    "load_still",
    "load_stills",
    "load_video",
    "video_info",
]

DEFAULT_SAMPLING = FrameSampling()


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of a video.

    Attributes:
        frames_FHWC: uint8 RGB, in memory of their own.
        times_F: when each frame is shown, in seconds from the start of the whole video, also where the clip is a span.
        fps: frames per second of this clip: its count by the length that it was taken from.
        source_fps: frames per second of the video; None where it is not known, which makes the clip its own source.
        source_frames: how many frames of the video the clip spans.
    """

    frames_FHWC: "npt.NDArray[np.uint8]"
    times_F: list[float]
    fps: float
    source_fps: float | None = None
    source_frames: int | None = None

    def metadata(self) -> dict[str, Any]:
        """Return the metadata in the form of transformers' `VideoMetadata`.

        Its `sampled_fps` is this clip's `fps` (Qwen2.5-VL's seconds per temporal patch), and frame number by rate is
        the absolute time that Qwen3-VL writes; so the frames that `total_num_frames` counts are those of the span.
        """
        fps = self.source_fps or self.fps
        total = self.source_frames or len(self.frames_FHWC)
        return {
            "fps": fps,
            "total_num_frames": total,
            "duration": total / fps,
            "frames_indices": [round(time * fps) for time in self.times_F],
            "width": self.frames_FHWC.shape[2],
            "height": self.frames_FHWC.shape[1],
            "video_backend": "mmreflect",
        }


def video_info(path: str | Path, reader: VideoReader | None = None) -> VideoInfo:
    """Return length, rate and size of a video, read from its index or packets, not from what its header claims.

    Raises:
        UserError: why the video cannot be read; or no decoder is installed.
    """
    return (reader or default_reader()).info(path)


def load_video(
    media: Media,
    sampling: FrameSampling = DEFAULT_SAMPLING,
    unit: int = 28,
    fallback: tuple[int, int] | None = None,
    reader: VideoReader | None = None,
) -> Clip:
    """Return the frames of a clip, sampled, cut, resized and stamped.

    Stamps show times evenly spaced from the start to the end of the clip, both included, as REVISOR does; the last
    frame begins one frame before the end, so a stamp is ahead of its frame by less than one frame of the source.

    Args:
        media: a video, with its span and crop; its own `frames` replace `sampling`.
        unit: pixels per side of a visual token: 28 (Qwen2-VL, Qwen2.5-VL) or 32 (Qwen3-VL, Qwen3.5).
        fallback: smallest and largest pixels per frame where the sampling sets none; None for qwen-vl-utils' own.
        reader: what reads it; None for the reader of this process.

    Raises:
        UserError: why the video cannot be read; the span or crop does not fit it; or no decoder is installed.
    """
    reader = reader or default_reader()
    sampling = media.frames or sampling
    limit = reader.limit(media.path)
    info = reader.info(media.path, limit)
    width, height = info.width, info.height
    if media.crop is not None:
        check_crop(media.crop, width, height, media.path)
        width, height = media.crop[2] - media.crop[0], media.crop[3] - media.crop[1]
    try:
        first, last = rules.frame_range(info.frames, info.fps, media.span)
        total = last - first + 1
        count = rules.frame_count(total, info.fps, sampling)
        size = rules.frame_size(height, width, sampling, count, unit, fallback)
    except ValueError as error:
        raise UserError(f"{media.path}: {error}", "a span inside the video, frames of ordinary shape") from None
    times = [index / info.fps for index in rules.frame_indices(count, first, last)]
    stamps = None
    if sampling.timestamps:
        start, end = media.span or (0.0, info.duration)
        shown = rules.even_times(count, max(0.0, start), min(end, info.duration))
        stamps = tuple(stamp_text(time) for time in shown)
    (frames_FHWC,) = reader.read(media.path, [FrameRequest(tuple(times), size, media.crop, stamps)], limit)
    reader.note_repeated(max(0, count - total))
    return Clip(frames_FHWC, times, count / total * info.fps, info.fps, total)


def load_stills(media: Sequence[Media], reader: VideoReader | None = None) -> "list[Image]":
    """Return single frames of videos as pictures; all of one video are decoded in one go.

    Each shows the frame at `at` seconds, the first or last where that lies outside of the video, cut by `crop` and
    then scaled by `scale`.

    Raises:
        UserError: why a video cannot be read; a crop does not fit it; or no decoder is installed.
    """
    from PIL import Image

    reader = reader or default_reader()
    places: dict[str, list[int]] = {}
    for place, item in enumerate(media):
        places.setdefault(item.path, []).append(place)
    pictures: dict[int, Image.Image] = {}
    for path, those in places.items():
        limit = reader.limit(path)
        info = reader.info(path, limit)
        found = reader.read(path, [_still(media[place], info) for place in those], limit)
        pictures |= {place: Image.fromarray(frames[0]) for place, frames in zip(those, found, strict=True)}
    return [pictures[place] for place in range(len(media))]


def _still(media: Media, info: VideoInfo) -> FrameRequest:
    if media.at is None:
        raise ValueError(f"{media.path} is asked for a frame without a time")
    width, height = info.width, info.height
    if media.crop is not None:
        check_crop(media.crop, width, height, media.path)
        width, height = media.crop[2] - media.crop[0], media.crop[3] - media.crop[1]
    size = (max(1, round(height * media.scale)), max(1, round(width * media.scale)))
    return FrameRequest((min(max(media.at, 0.0), info.duration),), size, media.crop)


def load_still(media: Media, reader: VideoReader | None = None) -> "Image":
    """Return one frame of a video as a picture; see `load_stills`."""
    return load_stills([media], reader)[0]


def check_video(path: str | Path, reader: VideoReader | None = None) -> None:
    """Open a video and decode its first frame.

    Raises:
        UserError: why it cannot be read; or no decoder is installed.
    """
    (reader or default_reader()).info(path)
