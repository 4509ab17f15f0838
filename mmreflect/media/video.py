"""Loading videos: frames sampled evenly in time, with the metadata that Qwen-VL processors need."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreflect.errors import UserError
from mmreflect.media import sampling as rules
from mmreflect.records import FrameSampling, Media

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video's packets say about it, the picture upright."""

    duration: float
    fps: float
    frames: int
    width: int
    height: int
    variable_rate: bool


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of a video.

    Attributes:
        frames_FHWC: uint8 RGB.
        times_F: seconds from the start of the video, one per frame.
        fps: frames per second of the sampled sequence.
        source_fps: frames per second of the video; None where it is not known, which makes the clip its own source.
        source_frames: how many frames of the video the clip spans.
    """

    frames_FHWC: "npt.NDArray[np.uint8]"
    times_F: list[float]
    fps: float
    source_fps: float | None = None
    source_frames: int | None = None

    def metadata(self) -> dict[str, Any]:
        """Return the metadata in the form of transformers' `VideoMetadata`."""
        fps = self.source_fps or self.fps
        total = self.source_frames or len(self.frames_FHWC)
        return {
            "fps": fps,
            "total_num_frames": total,
            "duration": total / fps,
            "frames_indices": [round(time * fps) for time in self.times_F],
            "width": self.frames_FHWC.shape[2],
            "height": self.frames_FHWC.shape[1],
            "video_backend": "pyav",
        }


def video_info(path: str | Path) -> VideoInfo:
    import av

    count = sum(1 for _ in _frames(str(path)))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 25)
        return VideoInfo(count / rate, rate, count, stream.width, stream.height, False)


def load_video(
    media: Media,
    sampling: FrameSampling = FrameSampling(),  # noqa: B008
    unit: int = 28,
    fallback: tuple[int, int] | None = None,
    reader: Any = None,
) -> Clip:
    import numpy as np
    from PIL import Image

    sampling = media.frames or sampling
    info = video_info(media.path)
    first, last = rules.frame_range(info.frames, info.fps, media.span)
    count = rules.frame_count(last - first + 1, info.fps, sampling)
    indices = rules.frame_indices(count, first, last)
    height, width = rules.frame_size(info.height, info.width, sampling, count, unit, fallback)
    found = {}
    for place, frame in enumerate(_frames(media.path)):
        if place in indices:
            found[place] = np.asarray(Image.fromarray(frame.to_ndarray(format="rgb24")).resize((width, height)))
    times = [index / info.fps for index in indices]
    frames = np.stack([found[index] for index in indices])
    total = last - first + 1
    return Clip(frames, times, count / total * info.fps, info.fps, total)


def load_stills(media: Sequence[Media], reader: Any = None) -> list["Image"]:
    from PIL import Image

    result = []
    for item in media:
        kept = None
        for frame in _frames(item.path):
            if kept is not None and frame.time > (item.at or 0) + 1e-3:
                break
            kept = frame
        picture = Image.fromarray(kept.to_ndarray(format="rgb24"))
        if item.crop:
            picture = picture.crop(item.crop)
        result.append(
            picture.resize((max(1, round(picture.width * item.scale)), max(1, round(picture.height * item.scale))))
        )
    return result


def load_still(media: Media, reader: Any = None) -> "Image":
    return load_stills([media], reader)[0]


def check_video(path: Path) -> None:
    """Open a video and decode its first frame."""
    for _ in _frames(str(path)):
        return
    raise UserError(f"the video holds no frame: {path}", "at least one frame", "remove its row")


def _frames(path: str) -> Iterator[Any]:
    import av

    if not Path(path).is_file():
        raise UserError(f"no such video: {path}", "the path of a video file", "check the path")
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise UserError(f"no picture track in {path}", "a video with pictures", "remove its row")
            yield from container.decode(container.streams.video[0])
    except av.FFmpegError as error:
        raise UserError(f"the video cannot be decoded: {path} ({error})", "a whole video", "remove its row") from None
