"""Film strips: a few frames of a clip side by side, taken from those that the model was shown."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from mmreflect.errors import UserError
from mmreflect.media import sampling as rules
from mmreflect.media.video import VideoInfo, load_stills, video_info
from mmreflect.records import Media
from mmreflect.report.numbers import counted, fixed, seconds
from mmreflect.report.pictures import FRAME_SIDE, Strip, encode_frame

Item = TypeVar("Item")

FRAMES = 8
"""Most frames of a strip."""


def film_strip(media: Sequence[Media]) -> Strip:
    """Return the strip of a clip, or of several single frames of one video, shrunk alike.

    The frames of a clip are among those that its sampling takes; where it says nothing of the sampling they are evenly
    chosen from all. Both ends are among them.

    Raises:
        UserError: the file is missing, broken or no video, or the span holds nothing of it.
    """
    first = media[0]
    info = video_info(first.path)
    if first.kind == "image":
        return _strip(spread(list(media)), _stills_caption(media), info)
    start, end = first.span or (0.0, info.duration)
    try:
        low, high = rules.frame_range(info.frames, info.fps, first.span)
    except ValueError as error:
        raise UserError(f"{error}: {first.path}", "a span inside the video", "correct the span") from None
    count = FRAMES if first.frames is None else rules.frame_count(high - low + 1, info.fps, first.frames)
    places = spread(sorted(set(rules.frame_indices(count, low, high))))
    stills = [Media("image", first.path, crop=first.crop, at=place / info.fps) for place in places]
    what = f"{fixed(max(start, 0.0))} to {seconds(min(end, info.duration))}"
    said = [what if first.span else f"whole video, {what}"]
    if first.frames is not None:
        left_out = f", {len(places)} of them here" if len(places) < count else ""
        said.append(f"{counted(count, 'frame')}{left_out}")
    return _strip(stills, ", ".join(said), info)


def still_remark(media: Media) -> str:
    """Return what stands below a single frame of a video: its time, and its scale where it is shrunk."""
    scale = f", at {media.scale:.2g} of its size" if media.scale != 1 else ""
    return f"{seconds(media.at or 0.0)}{scale}"


def spread(items: Sequence[Item], most: int = FRAMES) -> list[Item]:
    """Return at most `most` items, evenly chosen, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[place] for place in rules.frame_indices(most, 0, len(items) - 1)]


def _stills_caption(media: Sequence[Media]) -> str:
    times = [item.at or 0.0 for item in media]
    scale = f", at {media[0].scale:.2g} of their size" if media[0].scale != 1 else ""
    left_out = f", {FRAMES} of them here" if len(media) > FRAMES else ""
    return f"{fixed(min(times))} to {seconds(max(times))}, {counted(len(media), 'single frame')}{scale}{left_out}"


def _strip(stills: Sequence[Media], caption: str, info: VideoInfo) -> Strip:
    small = [replace(still, scale=min(still.scale, _scale(still, info))) for still in stills]
    name = Path(stills[0].path).name
    frames = [
        encode_frame(picture, name, seconds(still.at or 0.0))
        for still, picture in zip(stills, load_stills(small), strict=True)
    ]
    return Strip(name, caption, tuple(frames))


def _scale(still: Media, info: VideoInfo) -> float:
    left, top, right, bottom = still.crop or (0, 0, info.width, info.height)
    return min(1.0, FRAME_SIDE / max(right - left, bottom - top, 1))
