"""The engine on real architectures: seeds, stops, suppressed pads, media in the middle of a rollout."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from mmreflect.data.rendering import Renderer
from mmreflect.data.store import open_dataset
from mmreflect.environments import single_turn
from mmreflect.models import ModelConfig, load_model
from mmreflect.records import Author, Media, Reply, Sample
from mmreflect.rollouts.actions import Action, Context, Environment, Observe, Sampling
from mmreflect.rollouts.driver import roll_out
from mmreflect.rollouts.engines._generation import TransformersEngine
from mmreflect.tiny import FAMILIES

ENVIRONMENT = single_turn.create(single_turn.Config())


def engine_of(folder: Path, batch_size: int = 8) -> TransformersEngine:
    loaded = load_model(ModelConfig(path=str(folder)))
    return TransformersEngine(loaded, Renderer(loaded.tokenizer, loaded.processor), batch_size)


def looking_again_at(medium: Media) -> Environment:
    def look_again(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        yield Observe(given.turns()[-1].content, stage="propose")
        yield Observe([medium, "look again"], stage="revise")
        return {}

    return look_again


def asking(name: str, media: list[Media]) -> Sample:
    parts = [*({"type": item.kind} for item in media), {"type": "text", "text": "How many?"}]
    return Sample(name, [{"role": "user", "content": parts}], media)


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_are_the_argmax_of_the_training_forward(
    family: str, kind: str, tiny_model: Callable[[str], Path], grid: Path, clip: Path
) -> None:
    """Before and after a picture or a video that is shown in the middle, at every position that the model wrote.

    One batch mixes a text-only sample, one picture, two pictures, and a video.
    """
    engine = engine_of(tiny_model(family))
    pictures = [sample.media[0] for sample in open_dataset(str(grid)).samples("rl")][:3]
    film = Media("video", str(clip))
    samples = [asking("text", []), asking("one", pictures[:1]), asking("two", pictures[1:]), asking("film", [film])]
    inserted = Media("image", pictures[0].path, crop=(0, 0, 56, 56)) if kind == "image" else film
    look_again = looking_again_at(inserted)
    groups = roll_out(engine, look_again, samples, 1, Sampling(temperature=0, max_new_tokens=6, budget=200), seed=0)
    for group in groups:
        rollout = group.rollouts[0]
        assert rollout.media == [*group.sample.media, inserted] and [span.author for span in rollout.spans] == [
            Author.MODEL,
            Author.ENVIRONMENT,
            Author.MODEL,
        ]
        ids = [*rollout.prompt_ids, *rollout.token_ids]
        input_ids = torch.tensor([ids])
        inputs = engine.renderer.model_inputs([ids], [rollout.media])
        types = engine.renderer.token_types(input_ids)
        with torch.no_grad():
            logits = engine.model(
                input_ids=input_ids, attention_mask=torch.ones_like(input_ids), mm_token_type_ids=types, **inputs
            ).logits[0]
        logits[:, engine._suppressed] = -torch.inf
        predicted = logits[len(rollout.prompt_ids) - 1 : -1].argmax(-1).numpy()
        own = rollout.author_mask(Author.MODEL)
        assert (predicted[own] == torch.tensor(rollout.token_ids).numpy()[own]).all()


def test_a_reply_does_not_depend_on_its_neighbours(tiny_model: Callable[[str], Path], grid: Path) -> None:
    samples = list(open_dataset(str(grid)).samples("rl"))[:4]
    sampling = Sampling(max_new_tokens=12)
    together = roll_out(engine_of(tiny_model("qwen2_5_vl"), 16), ENVIRONMENT, samples, 2, sampling, seed=1)
    alone = roll_out(engine_of(tiny_model("qwen2_5_vl"), 1), ENVIRONMENT, samples[2:3], 2, sampling, seed=1)
    assert [item.token_ids for item in together[2].rollouts] == [item.token_ids for item in alone[0].rollouts]
    other = roll_out(engine_of(tiny_model("qwen2_5_vl"), 16), ENVIRONMENT, samples, 2, sampling, seed=2)
    assert [item.token_ids for item in together[0].rollouts] != [item.token_ids for item in other[0].rollouts]


def test_draws_follow_the_distribution() -> None:
    from mmreflect.rollouts.engines._generation import SeededDraw
    from mmreflect.seeds import derive_seed

    scores = torch.log(torch.tensor([0.5, 0.0, 0.3, 0.2])).repeat(4000, 1)
    drawn = SeededDraw([derive_seed("draw", place) for place in range(4000)], 0, 1)(torch.zeros(4000, 0), scores)
    counts = torch.bincount(drawn.argmax(-1), minlength=4) / 4000
    assert counts[1] == 0 and counts.tolist() == pytest.approx([0.5, 0.0, 0.3, 0.2], abs=0.03)


def test_top_k_and_temperature_narrow_the_draw(tiny_model: Callable[[str], Path], grid: Path) -> None:
    engine = engine_of(tiny_model("qwen2_5_vl"))
    samples = list(open_dataset(str(grid)).samples("rl"))[:2]
    greedy = roll_out(engine, ENVIRONMENT, samples, 1, Sampling(temperature=0, max_new_tokens=8), seed=0)
    narrow = roll_out(engine, ENVIRONMENT, samples, 1, Sampling(temperature=1.0, top_k=1, max_new_tokens=8), seed=3)
    assert [group.rollouts[0].token_ids for group in greedy] == [group.rollouts[0].token_ids for group in narrow]


def test_media_tokens_are_never_sampled(tiny_model: Callable[[str], Path], grid: Path) -> None:
    engine = engine_of(tiny_model("qwen3_vl"))
    with torch.no_grad():
        engine.model.lm_head.weight[engine._suppressed] *= 50
    samples = list(open_dataset(str(grid)).samples("rl"))[:4]
    groups = roll_out(engine, ENVIRONMENT, samples, 2, Sampling(max_new_tokens=16), seed=0)
    sampled = {token for group in groups for item in group.rollouts for token in item.token_ids}
    assert len(engine._suppressed) == 4 and not sampled & set(engine._suppressed)


def test_speaking_leaves_the_training_state_as_it_was(tiny_model: Callable[[str], Path], grid: Path) -> None:
    engine = engine_of(tiny_model("qwen2_5_vl"))
    engine.model.train()
    engine.model.gradient_checkpointing_enable()
    state = torch.random.get_rng_state()
    roll_out(
        engine, ENVIRONMENT, list(open_dataset(str(grid)).samples("rl"))[:1], 1, Sampling(max_new_tokens=4), seed=0
    )
    assert engine.model.training and torch.equal(state, torch.random.get_rng_state())
    from mmreflect.rollouts.engines._generation import _checkpointing

    assert _checkpointing(engine.model)
