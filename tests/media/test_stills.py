"""Stills of one video are decoded together, however few media the processor is given at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmreflect.data.rendering import Renderer
from mmreflect.media.reader import VideoReader, default_reader
from mmreflect.records import Media
from mmreflect.tiny import TinyConfig, build_processor, train_tokenizer

Film = Callable[..., Path]


def test_one_decoding_for_all_stills_of_a_video(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten of one video and two of another, mixed, and a clip between them: three goes; features are each one's own."""
    one, two = str(film(frames=60)), str(film(frames=30))
    stills = [Media("image", one, at=place / 6) for place in range(10)]
    media = [*stills[:3], Media("image", two, at=0.1), Media("video", two), *stills[3:], Media("image", two, at=0.5)]
    goes: list[tuple[str, int]] = []
    inner = VideoReader.read

    def read(self: VideoReader, path: str, requests: Any, limit: Any = None) -> Any:
        goes.append((path, len(requests)))
        return inner(self, path, requests, limit)

    monkeypatch.setattr(VideoReader, "read", read)
    tokenizer = train_tokenizer(["what is it?"])
    processor = build_processor(TinyConfig(family="qwen2_5_vl"), tokenizer)
    found = Renderer(tokenizer, processor).features(media)
    assert sorted(goes) == sorted([(one, 10), (two, 2), (two, 1)])
    for place, item in enumerate(media):
        (alone,) = Renderer(tokenizer, processor).features([item])
        assert alone.keys() == found[place].keys()
        assert all(torch.equal(alone[key], found[place][key]) for key in alone), item
    assert default_reader().counts["decoded"] == 13


def test_many_stills_are_held_a_part_at_a_time(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmreflect.data.rendering.STILLS_AT_ONCE", 6)
    path = str(film(frames=60))
    tokenizer = train_tokenizer(["what is it?"])
    renderer = Renderer(tokenizer, build_processor(TinyConfig(family="qwen2_5_vl"), tokenizer))
    held: list[int] = []
    inner = renderer.pixels.load
    monkeypatch.setattr(renderer.pixels, "load", lambda media: (held.append(len(media)), inner(media))[1])
    assert len(renderer.features([Media("image", path, at=place / 10) for place in range(15)])) == 15
    assert held == [6, 6, 3]
