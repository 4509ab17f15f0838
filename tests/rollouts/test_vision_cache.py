"""What the vision tower made of a medium is used again while the weights stay, and only then."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from mmreflect.data.rendering import Renderer
from mmreflect.models import ModelConfig, load_model
from mmreflect.records import FrameSampling, Media, Reply, Sample, Stop, Turn
from mmreflect.rollouts.actions import Action, Context, Observe, Request, Sampling
from mmreflect.rollouts.driver import roll_out
from mmreflect.rollouts.engines._generation import TransformersEngine
from mmreflect.rollouts.engines._vision import VisionCache
from mmreflect.tiny import FAMILIES

GREEDY = Sampling(temperature=0, max_new_tokens=6)


@pytest.fixture(params=FAMILIES)
def engine(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> TransformersEngine:
    loaded = load_model(ModelConfig(path=str(tiny_model(request.param))))
    return TransformersEngine(loaded, Renderer(loaded.tokenizer, loaded.processor), 8)


def media_of(clip: Path, grid: Path) -> list[Media]:
    picture = next((grid / "media").rglob("*.png"))
    return [
        Media("video", str(clip), frames=FrameSampling(fps=2, max_tokens=4, min_tokens=1)),
        Media("image", str(picture)),
    ]


def requests_of(engine: TransformersEngine, media: list[Media]) -> list[Request]:
    film, picture = media
    shown = [[film], [picture], [film, picture], [picture, film], []]
    prompts = engine.encode([[Turn("user", [*items, "How many?"])] for items in shown])
    return [
        Request(str(place), prompt, [], items, 6, place)
        for place, (prompt, items) in enumerate(zip(prompts, shown, strict=True))
    ]


def counting(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []
    tower = engine.model.model.visual
    inner = tower.forward

    def forward(pixels: Any, grid_thw: Any, **kwargs: Any) -> Any:
        seen.append(len(grid_thw))
        return inner(pixels, grid_thw=grid_thw, **kwargs)

    monkeypatch.setattr(tower, "forward", forward)
    return seen


def test_each_medium_is_seen_once_in_a_round(
    engine: TransformersEngine, clip: Path, grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = requests_of(engine, media_of(clip, grid))
    monkeypatch.setattr("mmreflect.rollouts.engines._generation.takes_embeddings", lambda model: False)
    plain = engine.generate(requests, GREEDY)
    monkeypatch.undo()
    seen = counting(engine, monkeypatch)
    with engine.round(0):
        assert engine.generate(requests, GREEDY) == plain, "the same words as from pixels"
        assert sum(seen) == 2, "one film and one picture, in five requests"
        assert engine.generate(requests, GREEDY) == plain and sum(seen) == 2
    with engine.round(1):
        engine.generate(requests, GREEDY)
    assert sum(seen) == 4, "the weights may have moved"


def test_turns_that_wait_together_are_loaded_together(
    engine: TransformersEngine, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rollout looks again at a segment of its own; one that cannot be read fails alone."""
    calls: list[int] = []
    load = engine.renderer.pixels.load

    def counted(media: Any) -> Any:
        calls.append(len(media))
        return load(media)

    monkeypatch.setattr(engine.renderer.pixels, "load", counted)
    starts = iter([0.0, 0.25, 0.5, 99.0, 0.0, 0.25])

    def looking(sample: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        yield Observe(["Where?"], "propose")
        start = next(starts)
        film = Media("video", str(clip), span=(start, start + 0.5), frames=FrameSampling(nframes=2, max_tokens=4))
        yield Observe([film, "And now?"], "revise")
        return {"start": start}

    sample = Sample("q", [{"role": "user", "content": "Where?"}])
    three = roll_out(engine, looking, [sample], 3, Sampling(0.0, max_new_tokens=4, budget=200), 0)[0].rollouts
    assert calls == [3] and [item.facts["start"] for item in three] == [0.0, 0.25, 0.5]
    broken = roll_out(engine, looking, [sample], 3, Sampling(0.0, max_new_tokens=4, budget=200), 0)[0].rollouts
    assert [item.stop is Stop.ERROR for item in broken] == [True, False, False] and "span" in broken[0].facts["error"]


def test_outside_of_a_round_nothing_is_kept_from_call_to_call(
    engine: TransformersEngine, clip: Path, grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = requests_of(engine, media_of(clip, grid))
    seen = counting(engine, monkeypatch)
    engine.generate(requests, GREEDY)
    engine.generate(requests, GREEDY)
    assert sum(seen) == 4


def test_a_small_cache_holds_the_newest(
    engine: TransformersEngine, clip: Path, grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = media_of(clip, grid)
    cache = VisionCache(engine.renderer, limit_bytes=1)
    seen = counting(engine, monkeypatch)
    with torch.no_grad():
        cache.inputs(engine.model, media)
        cache.inputs(engine.model, media[1:])
        assert sum(seen) == 2, "the picture was the newest"
        cache.inputs(engine.model, media[:1])
    assert sum(seen) == 3
