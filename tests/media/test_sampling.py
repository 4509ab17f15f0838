"""The arithmetic of frames, against numbers worked out by hand and against qwen-vl-utils itself."""

import random
from dataclasses import replace

import pytest

from mmreflect.errors import UserError
from mmreflect.media.sampling import (
    even_times,
    frame_cap,
    frame_count,
    frame_indices,
    frame_range,
    frame_size,
    smart_resize,
)
from mmreflect.records import FrameSampling

COARSE = FrameSampling(fps=1, min_frames=4, max_frames=512, min_tokens=8, max_tokens=128, total_tokens=8192)
DENSE = FrameSampling(fps=2, min_frames=4, max_frames=512, min_tokens=8, max_tokens=256, total_tokens=8192)


@pytest.mark.parametrize(
    ("seconds", "sampling", "frames", "cap"),
    [
        (297, COARSE, 296, 43_395),
        (3600, COARSE, 512, 25_088),
        (40, DENSE, 80, 160_563),
        (6, DENSE, 12, 200_704),
        (2, DENSE, 4, 200_704),
    ],
)
def test_budgets_of_long_video(seconds: int, sampling: FrameSampling, frames: int, cap: int) -> None:
    """REVISOR's own numbers for 30 frames per second; 6,272 pixels are 8 tokens of 28x28."""
    assert frame_count(seconds * 30, 30.0, sampling) == frames
    assert frame_cap(sampling, frames, 28) == (6_272, cap)
    pixels = replace(
        sampling,
        min_tokens=None,
        max_tokens=None,
        total_tokens=None,
        min_pixels=6272,
        max_pixels=sampling.max_tokens * 784,
        total_pixels=6_422_528,
    )  # type: ignore[operator]
    assert frame_cap(pixels, frames, 28) == (6_272, cap)


def test_an_hour_costs_its_budget_in_tokens_of_either_family() -> None:
    """512 frames are 256 pairs of 32 tokens: 8,192."""
    for unit in (28, 32):
        least, most = frame_cap(COARSE, 512, unit)
        assert (least, most) == (8 * unit * unit, 32 * unit * unit)
        height, width = frame_size(720, 1280, COARSE, 512, unit)
        assert height % unit == width % unit == 0 and height * width // (unit * unit) * 256 <= 8192
    indices = frame_indices(512, 0, 3600 * 30 - 1)
    assert (indices[0], indices[-1]) == (0, 107_999)


@pytest.mark.parametrize(
    ("frames", "sampling", "count"),
    [
        (1, FrameSampling(), 2),
        (2, FrameSampling(), 2),
        (3, FrameSampling(), 2),
        (5, FrameSampling(min_frames=8), 4),
        (7, FrameSampling(nframes=16), 6),
        (100, FrameSampling(nframes=1), 2),
        (100, FrameSampling(nframes=7), 8),
        (100, FrameSampling(nframes=5), 4),
        (3000, FrameSampling(fps=2, max_frames=9), 8),
        (3000, FrameSampling(fps=0.001, min_frames=5), 6),
        (300, FrameSampling(fps=60), 300),
        (2400, FrameSampling(fps=0.5, max_frames=1, min_frames=1), 2),
    ],
)
def test_a_count_is_even_and_never_refused(frames: int, sampling: FrameSampling, count: int) -> None:
    assert frame_count(frames, 30.0, sampling) == count


def test_frames_are_even_with_both_ends() -> None:
    assert frame_indices(4, 0, 9) == [0, 3, 6, 9]
    assert frame_indices(4, 30, 89) == [30, 50, 69, 89]
    assert frame_indices(2, 5, 5) == [5, 5]
    assert frame_indices(3, 0, 5) == [0, 2, 5], "2.5 is rounded to even"
    assert frame_indices(1, 4, 9) == [6]
    assert even_times(4, 0.0, 60.0) == [0.0, 20.0, 40.0, 60.0] and even_times(1, 2.0, 4.0) == [3.0]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (None, (0, 299)),
        ((2.0, 4.0), (60, 119)),
        ((0.7, 5.0), (21, 149)),
        ((2.02, 4.02), (60, 119)),
        ((9.0, 99.0), (270, 299)),
        ((-3.0, 1.0), (0, 29)),
        ((1.0, 1.01), (30, 30)),
    ],
)
def test_a_span_is_cut_to_whole_frames_of_the_video(
    span: tuple[float, float] | None, expected: tuple[int, int]
) -> None:
    assert frame_range(300, 30.0, span) == expected


def test_a_span_outside_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the span starts at 12 s, after the video's end at 10 s"):
        frame_range(300, 30.0, (12.0, 14.0))
    with pytest.raises(ValueError, match=r"the span 3 to 3 s is empty"):
        frame_range(300, 30.0, (3.0, 3.0))


def test_limits_that_are_given_hold_against_those_that_are_not() -> None:
    processor = (100_352, 602_112)
    assert frame_cap(FrameSampling(), 10, 28, processor) == processor
    assert frame_cap(FrameSampling(), 10, 28) == (128 * 784, 768 * 784)
    assert frame_cap(FrameSampling(), 768, 28) == (128 * 784, 300 * 784), "115,200 tokens for the clip"
    assert frame_cap(FrameSampling(max_tokens=64), 10, 28, processor) == (64 * 784, 64 * 784)
    assert frame_cap(FrameSampling(min_tokens=1000), 10, 28, processor) == (784_000, 823_200)
    assert frame_cap(FrameSampling(total_tokens=1024), 64, 28, processor) == (32 * 784, int(32 * 784 * 1.05))
    assert frame_cap(FrameSampling(total_pixels=1), 64, 28) == (1, 1)
    with pytest.raises(UserError, match=r"smallest frame \(78,400 pixels\) is above the largest \(50,000\)"):
        frame_cap(FrameSampling(min_tokens=100, max_pixels=50_000), 4, 28)


def test_no_side_vanishes_and_a_thread_is_no_picture() -> None:
    assert smart_resize(10, 1000, 28, 784, 4000) == (28, 616), "1000 / sqrt(10,000 / 4000) / 28 = 22.6"
    with pytest.raises(ValueError, match="1000x4, one side more than 200 times the other"):
        smart_resize(4, 1000, 28, 784, 78_400)


def test_it_counts_and_sizes_as_qwen_vl_utils() -> None:
    reference = pytest.importorskip("qwen_vl_utils.vision_process", reason="qwen-vl-utils is not installed")
    draw = random.Random(0)
    for _ in range(3000):
        total, rate = draw.randint(2, 20_000), draw.choice([1.0, 12.5, 23.976, 24.0, 25.0, 29.97, 30.0, 59.94])
        sampling = FrameSampling(
            fps=draw.choice([0.2, 0.5, 1.0, 2.0, 3.7]), min_frames=draw.randint(1, 10), max_frames=draw.randint(10, 900)
        )
        element = {"fps": sampling.fps, "min_frames": sampling.min_frames, "max_frames": sampling.max_frames}
        assert frame_count(total, rate, sampling) == reference.smart_nframes(element, total, rate), (
            total,
            rate,
            element,
        )
        wanted = draw.randint(2, 64)
        if round(wanted / 2) * 2 <= total:
            assert frame_count(total, rate, FrameSampling(nframes=wanted)) == reference.smart_nframes(
                {"nframes": wanted}, total, rate
            )
        height, width, unit = draw.randint(40, 2000), draw.randint(40, 2000), draw.choice([28, 32])
        least = draw.randint(1, 200) * unit * unit
        most = least * draw.randint(2, 8)
        theirs = tuple(max(unit, side) for side in reference.smart_resize(height, width, unit, least, most))
        assert smart_resize(height, width, unit, least, most) == theirs
