"""The renderer writes what the processor would write, and loads a medium once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmreflect.data.rendering import Conversation, Renderer
from mmreflect.errors import UserError
from mmreflect.media.images import load_media_image
from mmreflect.media.video import Clip, load_video
from mmreflect.models import ModelConfig, load_model
from mmreflect.records import FrameSampling, Media
from mmreflect.tiny import FAMILIES

SMALL = FrameSampling(fps=2, min_tokens=1, max_tokens=4)


@pytest.fixture(params=FAMILIES)
def renderer(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> Renderer:
    loaded = load_model(ModelConfig(path=str(tiny_model(request.param))))
    return Renderer(loaded.tokenizer, loaded.processor)


def conversations_of(clip: Path, grid: Path) -> list[Conversation]:
    film = Media("video", str(clip), frames=SMALL)
    part = Media("video", str(clip), span=(1.0, 3.0), frames=SMALL)
    picture = Media("image", str(next((grid / "media").rglob("*.png"))))
    shown = [[film, "How many?"], ["see:", picture, part, "and:", film, "?"], ["nothing"]]
    return [
        Conversation(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": item.kind} if isinstance(item, Media) else {"type": "text", "text": item}
                        for item in content
                    ],
                }
            ],
            [item for item in content if isinstance(item, Media)],
        )
        for content in shown
    ]


def test_it_writes_what_the_processor_writes(renderer: Renderer, clip: Path, grid: Path) -> None:
    """The processor sees the whole text and all media at once; also where a text stands right before a clip."""
    conversations = conversations_of(clip, grid)
    media = [item for conversation in conversations for item in conversation.media]
    loaded: dict[Media, Any] = {}
    for item in media:
        sampling, fallback = renderer.pixels.limits(SMALL)
        loaded[item] = (
            load_media_image(item)
            if item.kind == "image"
            else load_video(item, sampling, renderer.pixels.unit, fallback)
        )
    texts = [
        renderer.processor.apply_chat_template(item.messages, add_generation_prompt=True, tokenize=False)
        for item in conversations
    ]
    clips = [found for item in media if isinstance(found := loaded[item], Clip)]
    batch = renderer.processor(
        text=texts,
        images=[loaded[item] for item in media if item.kind == "image"],
        **renderer._video_call(clips),
        return_tensors=None,
    )
    assert renderer.encode(conversations, reply=True) == [list(ids) for ids in batch["input_ids"]]
    pixels = torch.cat(
        [item["pixel_values_videos"] for item in renderer.features([item for item in media if item.kind == "video"])]
    )
    assert torch.equal(pixels, torch.as_tensor(batch["pixel_values_videos"]))


def test_a_medium_is_loaded_once(renderer: Renderer, clip: Path, grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Media] = []
    inner = renderer.pixels.load
    monkeypatch.setattr(renderer.pixels, "load", lambda media: (loads.extend(media), inner(media))[1])
    conversations = conversations_of(clip, grid)
    first = renderer.encode(conversations, reply=False)
    assert len(loads) == 3 and renderer.encode(conversations, reply=False) == first
    renderer.features([item for conversation in conversations for item in conversation.media])
    assert len(loads) == 3


def test_what_was_written_outlives_the_features(renderer: Renderer, clip: Path, grid: Path) -> None:
    small = Renderer(renderer.tokenizer, renderer.processor, cache_bytes=1)
    conversations = conversations_of(clip, grid)
    assert small.encode(conversations, reply=False) == small.encode(conversations, reply=False)
    assert len(small._cache) == 1
    (again,) = small.features(conversations[0].media)
    assert torch.equal(
        again["pixel_values_videos"], renderer.features(conversations[0].media)[0]["pixel_values_videos"]
    )


def test_a_template_without_places_is_refused(renderer: Renderer, clip: Path) -> None:
    film = Media("video", str(clip), frames=SMALL)
    with pytest.raises(UserError, match="the chat template wrote 0 places for 1 media"):
        renderer.encode([Conversation([{"role": "user", "content": "no part for it"}], [film])], reply=False)


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_5"])
def test_a_span_carries_the_seconds_of_the_whole_video(
    family: str, tiny_model: Callable[[str], Path], clip: Path
) -> None:
    loaded = load_model(ModelConfig(path=str(tiny_model(family))))
    renderer = Renderer(loaded.tokenizer, loaded.processor)
    part = Media("video", str(clip), span=(1.0, 3.0), frames=SMALL)
    ids = renderer.encode([Conversation([{"role": "user", "content": [{"type": "video"}]}], [part])], reply=False)[0]
    text = renderer.tokenizer.decode(ids)
    assert "<1.2 seconds>" in text or "<1.4 seconds>" in text, text
    assert "<0." not in text


@pytest.mark.parametrize(("family", "seconds"), [("qwen2_5_vl", 1.0)])
def test_each_clip_has_its_own_rate(family: str, seconds: float, tiny_model: Callable[[str], Path], clip: Path) -> None:
    """Two merged frames at two frames per second are one second; at one frame per second two."""
    loaded = load_model(ModelConfig(path=str(tiny_model(family))))
    renderer = Renderer(loaded.tokenizer, loaded.processor)
    fast = Media("video", str(clip), span=(1.0, 3.0), frames=SMALL)
    slow = Media("video", str(clip), frames=FrameSampling(nframes=2, min_tokens=1, max_tokens=4))
    rates = [float(item["second_per_grid_ts"][0]) for item in renderer.features([fast, slow])]
    assert rates == pytest.approx([seconds, 3.0])
