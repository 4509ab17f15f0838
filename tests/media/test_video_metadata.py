"""What the real processors make of a clip's metadata."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.video_utils import VideoMetadata

from mmreflect.media.reader import VideoReader
from mmreflect.media.video import load_video
from mmreflect.records import FrameSampling, Media
from mmreflect.tiny import TinyConfig, build_processor, train_tokenizer

Film = Callable[..., Path]
SMALL = FrameSampling(fps=2, min_tokens=1, max_tokens=4)
TEXT = "<|vision_start|><|video_pad|><|vision_end|>"


def processed(family: str, media: Media, unit: int, reader: VideoReader) -> tuple[Any, str]:
    tokenizer = train_tokenizer(["<0.1 seconds> 23456789"])
    processor = build_processor(TinyConfig(family=family), tokenizer)  # type: ignore[arg-type]
    clip = load_video(media, SMALL, unit, None, reader)
    frames = torch.from_numpy(clip.frames_FHWC).permute(0, 3, 1, 2)
    options = {"video_metadata": [clip.metadata()], "do_sample_frames": False}
    batch = processor(text=[TEXT], videos=[frames], videos_kwargs=options)  # type: ignore[operator]
    return batch, tokenizer.decode(batch["input_ids"][0])


def test_the_rate_of_each_clip_is_its_own(film: Film, reader: VideoReader) -> None:
    path = str(film(frames=180))
    for media, seconds in (
        (Media("video", path), 1.0),
        (Media("video", path, span=(2.0, 6.0)), 1.0),
        (Media("video", path, frames=FrameSampling(nframes=6, min_tokens=1, max_tokens=4)), 2.0),
        (Media("video", path, span=(1.0, 2.0), frames=FrameSampling(nframes=10, min_tokens=1, max_tokens=4)), 0.2),
    ):
        clip = load_video(media, SMALL, 28, None, reader)
        assert VideoMetadata(**clip.metadata()).sampled_fps == pytest.approx(clip.fps)
        batch, _ = processed("qwen2_5_vl", media, 28, reader)
        assert [float(item) for item in batch["second_per_grid_ts"]] == pytest.approx([seconds])


def test_times_are_absolute_also_inside_a_span(film: Film, reader: VideoReader) -> None:
    """Frames 60, 85, 111, 136, 162, 187, ... of 30 per second; the text shows the mean of each pair."""
    path = str(film(frames=300))
    media = Media("video", path, span=(2.0, 8.0))
    metadata = VideoMetadata(**load_video(media, SMALL, 32, None, reader).metadata())
    assert metadata.timestamps == pytest.approx([(60 + round(place * 179 / 11)) / 30 for place in range(12)])
    assert metadata.total_num_frames == 180
    _, text = processed("qwen3_vl", media, 32, reader)
    first, last = (60 + 76) / 60, (223 + 239) / 60
    assert f"<{first:.1f} seconds>" in text and f"<{last:.1f} seconds>" in text and "<0." not in text
    assert text.count("seconds>") == 6


def test_a_variable_rate_keeps_true_seconds(film: Film, reader: VideoReader) -> None:
    times = [number / 20 for number in range(20)] + [1 + 0.4 * number for number in range(10)]
    clip = load_video(Media("video", str(film(frames=30, times=times))), FrameSampling(nframes=4), 28, None, reader)
    metadata = VideoMetadata(**clip.metadata())
    assert metadata.timestamps == pytest.approx(clip.times_F) and clip.times_F[-1] > 4.4
    assert metadata.sampled_fps == pytest.approx(clip.fps)
