"""Which frames of a clip are shown, and how large: arithmetic alone.

The rules are qwen-vl-utils' own and the names are too. Where we depart from them the function says so: what makes
qwen-vl-utils raise, or silently break a limit that was given, does neither here.
"""

import math

from mmreflect.errors import UserError
from mmreflect.records import FrameSampling

FRAME_FACTOR = 2
"""Frames that are merged into one temporal patch; every count is a multiple of it."""
MIN_TOKENS, MAX_TOKENS = 128, 768
"""Limits per frame where neither a sampling nor a processor sets any."""
TOTAL_TOKENS = 115_200
"""Limit of a clip in the same case: nine tenths of a context of 128,000 tokens."""
MAX_RATIO = 200
"""A picture whose sides differ more than this is refused."""


def frame_count(total_frames: int, video_fps: float, sampling: FrameSampling) -> int:
    """Return how many frames of `total_frames` (at `video_fps` frames per second) are shown: an even count.

    As qwen-vl-utils' `smart_nframes`, which raises where a clip holds fewer frames than are asked for, or fewer than
    two. Here it gives the largest even count that it holds; a clip of one frame gives 2, the frame repeated.
    """
    if sampling.nframes is not None:
        wanted = round(sampling.nframes / FRAME_FACTOR) * FRAME_FACTOR
    else:
        least = math.ceil(sampling.min_frames / FRAME_FACTOR) * FRAME_FACTOR
        most = sampling.max_frames // FRAME_FACTOR * FRAME_FACTOR
        wanted = math.floor(min(max(total_frames / video_fps * sampling.fps, least), most))
    return max(min(wanted, total_frames) // FRAME_FACTOR * FRAME_FACTOR, FRAME_FACTOR)


def frame_range(
    total_frames: int, video_fps: float, span: tuple[float, float] | None = None, tolerance: float = 1e-6
) -> tuple[int, int]:
    """Return the first and last frame (inclusive) of a span in seconds: int(start * fps) to int(end * fps) - 1.

    A span is cut to the video; one shorter than a frame holds that frame. Without a span it is the whole video.

    Args:
        tolerance: in frames; a bound so little below a whole frame is taken as that frame (0.7 s at 30 frames per
            second is 20.999999999999996 in floating point).

    Raises:
        ValueError: the span holds nothing of the video; the message is the reason.
    """
    if span is None:
        return 0, total_frames - 1
    start, end = max(span[0], 0.0), span[1]
    if not start < end:
        raise ValueError(f"the span {span[0]:g} to {span[1]:g} s is empty")
    first = math.floor(start * video_fps + tolerance)
    if first >= total_frames:
        raise ValueError(f"the span starts at {start:g} s, after the video's end at {total_frames / video_fps:g} s")
    last = min(math.floor(min(end * video_fps, total_frames) + tolerance), total_frames) - 1
    return first, max(first, last)


def frame_indices(count: int, first: int, last: int) -> list[int]:
    """Return `count` frame numbers from `first` to `last`, both included, evenly spaced and rounded.

    Numbers repeat where there are fewer frames than `count`. A count of one gives the middle frame.
    """
    if count == 1:
        return [(first + last) // 2]
    return [round(first + place * (last - first) / (count - 1)) for place in range(count)]


def even_times(count: int, start: float, end: float) -> list[float]:
    """Return `count` times in seconds from `start` to `end`, both included; a count of one gives the middle."""
    if count == 1:
        return [(start + end) / 2]
    return [start + place * (end - start) / (count - 1) for place in range(count)]


def frame_cap(
    sampling: FrameSampling, frames: int, unit: int, fallback: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Return the smallest and largest size of one frame, in pixels.

    The largest is min(largest per frame, total * 2 / frames), but never below 1.05 of the smallest per frame; the
    total counts two merged frames once, as tokens do. Departures from qwen-vl-utils: a limit that the sampling sets is
    kept even against one that it does not set (there, 768 tokens per frame always hold, and a total is exceeded where
    its share is below the default of 128 tokens per frame).

    Args:
        frames: how many frames the clip shows.
        unit: pixels per side of one token: 28 or 32.
        fallback: smallest and largest size in pixels of one frame where the sampling sets none, usually the
            processor's; with None they are qwen-vl-utils' own (128 and 768 tokens, 115,200 tokens per clip).

    Raises:
        UserError: the sampling's smallest size is above its largest, one in pixels and one in tokens.
    """
    area = unit * unit
    least, most, total = (_pixels(sampling, name, area) for name in ("min", "max", "total"))
    if least is not None and most is not None and least > most:
        raise UserError(
            f"the smallest frame ({least:,} pixels) is above the largest ({most:,}) where a token is {unit}x{unit}",
            "the smallest at most the largest",
            "give both in tokens, or both in pixels",
        )
    default_least, default_most = fallback or (MIN_TOKENS * area, MAX_TOKENS * area)
    if least is None:
        share = default_least if total is None else max(1, total * FRAME_FACTOR // frames)
        least = min(default_least, default_least if most is None else most, share)
    if most is None:
        most = default_most
        if total is None and fallback is None:
            total = TOTAL_TOKENS * area
        most = max(most, int(least * 1.05))
    share = most if total is None else max(1, total * FRAME_FACTOR // frames)
    return least, min(most, max(share, int(least * 1.05)))


def _pixels(sampling: FrameSampling, name: str, area: int) -> int | None:
    pixels: int | None = getattr(sampling, f"{name}_pixels")
    tokens: int | None = getattr(sampling, f"{name}_tokens")
    return pixels if tokens is None else tokens * area


def smart_resize(height: int, width: int, unit: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Return the size nearest to a picture's own whose sides are multiples of `unit` within the limits in pixels.

    As qwen-vl-utils' function of that name, but no side is ever shorter than `unit`.

    Raises:
        ValueError: one side is more than 200 times the other; the message is the reason.
    """
    if max(height, width) > MAX_RATIO * min(height, width):
        raise ValueError(f"its frames are {width}x{height}, one side more than {MAX_RATIO} times the other")
    high, wide = (max(unit, round(side / unit) * unit) for side in (height, width))
    if high * wide > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        high, wide = (max(unit, math.floor(side / shrink / unit) * unit) for side in (height, width))
    elif high * wide < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        high, wide = (math.ceil(side * grow / unit) * unit for side in (height, width))
    return high, wide


def frame_size(
    height: int, width: int, sampling: FrameSampling, frames: int, unit: int, fallback: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Return the height and width in pixels at which each of `frames` frames is shown; arguments as `frame_cap`.

    Raises:
        UserError: the limits contradict each other.
        ValueError: as `smart_resize`.
    """
    return smart_resize(height, width, unit, *frame_cap(sampling, frames, unit, fallback))
