"""The engine `vllm` against a stand-in for vLLM, and one contract for it and the scripted engine.

No real vLLM runs here: what is proved is that requests are as vLLM documents them, and what is made of its answers.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fake_vllm
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from mmreflect.data.rendering import Renderer
from mmreflect.environments import single_turn
from mmreflect.errors import UserError
from mmreflect.media.video import Clip
from mmreflect.models import ModelConfig, load_model
from mmreflect.records import Author, FrameSampling, Media, Reply, Sample, Stop
from mmreflect.rollouts.actions import Action, Context, Continue, Engine, Observe, Request, Sampling
from mmreflect.rollouts.driver import roll_out
from mmreflect.rollouts.engines import vllm
from mmreflect.rollouts.engines._vllm import VLLMEngine
from mmreflect.rollouts.engines.scripted import Script, ScriptedEngine
from mmreflect.tiny import FAMILIES

SAMPLING = Sampling(max_new_tokens=50, budget=300)
ENVIRONMENT = single_turn.create(single_turn.Config())


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.Generator(np.random.Philox(1)).integers(0, 255, (84, 112, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture(autouse=True)
def short_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every video is four frames at two frames per second, so that no decoder is needed."""

    def clip(media: Media, sampling: FrameSampling, unit: int, fallback: object) -> Clip:
        shape = (4, 2 * unit, 3 * unit, 3)
        frames = np.random.Generator(np.random.Philox(2)).integers(0, 255, shape, dtype=np.uint8)
        return Clip(frames, [0.0, 0.5, 1.0, 1.5], 2.0)

    monkeypatch.setattr("mmreflect.data.pixels.load_video", clip)


@dataclass
class Setup:
    """An engine inside of a round, and what reached whatever speaks: full ids and seeds, in order."""

    engine: Any
    heard: Callable[[], list[list[int]]]
    seeds: Callable[[], list[int]]


class Starter:
    """Starts engines for one test and ends them with it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tiny_model: Callable[[str], Path]) -> None:
        self.monkeypatch, self.tiny_model, self.stack = monkeypatch, tiny_model, ExitStack()

    def start(self, kind: str, script: Script, family: str = "qwen2_5_vl") -> Setup:
        if kind == "scripted":
            engine = ScriptedEngine(script)
            return Setup(
                engine,
                lambda: [[*item.prompt_ids, *item.token_ids] for item in engine.requests],
                lambda: [item.seed % 2**63 for item in engine.requests],
            )
        if kind == "colocate":
            speaking = self.colocated(script, family)
            brain = fake_vllm.LLM.made[-1].brain
        else:
            speaking, brain, _ = self.served(script, family)
        self.stack.enter_context(speaking.round(0))
        return Setup(speaking, lambda: brain.heard, lambda: [item.seed or 0 for item in brain.params])

    def colocated(
        self, script: Script, family: str = "qwen2_5_vl", limits: dict[str, int] | None = None, **options: Any
    ) -> VLLMEngine:
        accelerator = Accelerator()
        fake_vllm.install(self.monkeypatch, script)
        engine = self.made(family, vllm.Config(**options), limits or {})
        engine.attach(engine.model, accelerator)
        return engine

    def served(
        self, script: Script, family: str = "qwen2_5_vl", **limits: int
    ) -> tuple[VLLMEngine, fake_vllm.Served, list[list[str]]]:
        accelerator = Accelerator()
        fake_vllm.install(self.monkeypatch, script)
        folder = str(self.tiny_model(family))
        address, brain, updates = self.stack.enter_context(fake_vllm.serve(self.monkeypatch, folder, script, **limits))
        options = vllm.Config(mode="server", server_base_url=address, server_concurrency=1)
        engine = self.made(family, options, {})
        engine.attach(engine.model, accelerator)
        return engine, brain, updates

    def made(self, family: str, options: vllm.Config, limits: dict[str, int]) -> VLLMEngine:
        loaded = load_model(ModelConfig(path=str(self.tiny_model(family))))
        return vllm.create(options, loaded, Renderer(loaded.tokenizer, loaded.processor, **limits))


@pytest.fixture
def starter(monkeypatch: pytest.MonkeyPatch, tiny_model: Callable[[str], Path]) -> Iterator[Starter]:
    made = Starter(monkeypatch, tiny_model)
    with made.stack:
        yield made


def sample(name: str, *media: Media) -> Sample:
    parts = [{"type": item.kind} for item in media]
    return Sample(name, [{"role": "user", "content": [*parts, {"type": "text", "text": f"ask {name}"}]}], [*media])


def image(path: Path, **options: Any) -> Media:
    return Media("image", str(path), **options)


# ---- one contract for all engines ------------------------------------------------------------------------------

ENGINES = pytest.mark.parametrize("kind", ["scripted", "colocate", "server"])


@ENGINES
def test_one_reply_per_request_in_order(kind: str, starter: Starter) -> None:
    setup = starter.start(kind, lambda request, asked: f"{request.sample_id}{asked}")
    groups = roll_out(setup.engine, ENVIRONMENT, [sample("a"), sample("b")], 3, SAMPLING, seed=0)
    assert [[item.text for item in group.rollouts] for group in groups] == [["a0", "a1", "a2"], ["b0", "b1", "b2"]]
    assert [item.prompt_ids for group in groups for item in group.rollouts] == setup.heard()
    assert len(set(setup.seeds())) == 6


@ENGINES
def test_end_tokens_and_limits(kind: str, starter: Starter) -> None:
    setup = starter.start(kind, lambda request, asked: "3" if asked == 0 else "q z " * 20)
    engine: Engine = setup.engine
    prompt = engine.encode([sample("a").turns()])[0]
    requests = [Request("a", prompt, [], [], limit, 7) for limit in (50, 9, 200)]
    ended, cut, long = engine.generate(requests, SAMPLING)
    assert ended.text == "3" and ended.stop is Stop.EOS and ended.token_ids[-1] in engine.end_ids
    assert cut.stop is Stop.LENGTH and len(cut.token_ids) == 9 and not set(cut.token_ids) & engine.end_ids
    assert long.text == "q z " * 20 and long.stop is Stop.EOS and long.token_ids[:9] == cut.token_ids
    assert engine.generate([], SAMPLING) == []


@ENGINES
def test_a_limit_that_the_end_token_just_fits(kind: str, starter: Starter) -> None:
    setup = starter.start(kind, lambda request, asked: "abc")
    prompt = setup.engine.encode([sample("a").turns()])[0]
    needed = len(setup.engine.tokenize("abc")) + 1
    for limit, stop in ((needed, Stop.EOS), (needed - 1, Stop.LENGTH)):
        reply = setup.engine.generate([Request("a", prompt, [], [], limit, 7)], SAMPLING)[0]
        assert reply.stop is stop and len(reply.token_ids) == limit and reply.text == "abc"


@ENGINES
def test_continuing_from_the_middle_of_a_reply(kind: str, starter: Starter) -> None:
    def rethink(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        yield Observe(given.turns()[-1].content, stage="first")
        yield Continue("\nWait,", stage="rethink")
        return {}

    setup = starter.start(kind, lambda request, asked: ["three", " two"][asked])
    rollout = roll_out(setup.engine, rethink, [sample("a")], 1, SAMPLING, seed=0)[0].rollouts[0]
    engine: Engine = setup.engine
    before = [*engine.tokenize("three"), *engine.tokenize("\nWait,")]
    assert setup.heard() == [rollout.prompt_ids, [*rollout.prompt_ids, *before]]
    assert rollout.token_ids[: len(before)] == before and rollout.text == "three\nWait, two"
    assert [span.author for span in rollout.spans] == [Author.MODEL, Author.FORCED, Author.MODEL]
    assert sum(token in engine.end_ids for token in rollout.token_ids) == 1


@ENGINES
def test_media_in_the_middle_of_a_rollout(kind: str, starter: Starter, picture: Path) -> None:
    crop = image(picture, crop=(0, 0, 56, 56))

    def look_again(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        yield Observe(given.turns()[-1].content, stage="propose")
        yield Observe(["look: ", crop, image(picture), " again"], stage="revise")
        return {}

    setup = starter.start(kind, lambda request, asked: f"r{asked}")
    asked = [sample("a", image(picture)), sample("b")]
    groups = roll_out(setup.engine, look_again, asked, 2, SAMPLING, seed=0)
    for group, count in zip(groups, (3, 2), strict=True):
        for rollout in group.rollouts:
            assert rollout.stop is Stop.EOS and len(rollout.media) == count
            own = [span for span in rollout.spans if span.author is Author.MODEL]
            heard = [*rollout.prompt_ids, *rollout.token_ids[: own[-1].start]]
            assert heard in setup.heard() and rollout.prompt_ids in setup.heard()


@ENGINES
def test_the_budget_is_never_overspent(kind: str, starter: Starter, picture: Path) -> None:
    def look_again(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        yield Observe(given.turns()[-1].content, stage="propose")
        yield Observe(["look: ", image(picture)], stage="revise")
        return {}

    setup = starter.start(kind, lambda request, asked: "r" * 20)
    limited = Sampling(max_new_tokens=30, budget=28)
    rollout = roll_out(setup.engine, look_again, [sample("a")], 1, limited, seed=0)[0].rollouts[0]
    assert rollout.stop is Stop.BUDGET and rollout.media == [] and len(setup.heard()) == 1
    short = Sampling(max_new_tokens=30, budget=4)
    rollout = roll_out(setup.engine, look_again, [sample("b")], 1, short, seed=0)[0].rollouts[0]
    assert len(rollout.token_ids) == 4


@ENGINES
def test_a_request_keeps_its_seed_in_any_batch(kind: str, starter: Starter) -> None:
    setup = starter.start(kind, lambda request, asked: "x")
    roll_out(setup.engine, ENVIRONMENT, [sample("a"), sample("b")], 2, SAMPLING, seed=5)
    roll_out(setup.engine, ENVIRONMENT, [sample("b")], 2, SAMPLING, seed=5)
    assert setup.seeds()[2:4] == setup.seeds()[4:] and all(0 <= seed < 2**63 for seed in setup.seeds())


# ---- media -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_and_videos_reach_vllm_as_one_placeholder_each(family: str, starter: Starter, picture: Path) -> None:
    """The stand-in expands them with the model's own processor; the engine then compares every token."""

    def show_more(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        yield Observe(given.turns()[-1].content, stage="propose")
        yield Observe(["look:", Media("video", "other.mp4"), image(picture, crop=(0, 0, 56, 28))], stage="revise")
        return {}

    setup = starter.start("colocate", lambda request, asked: f"r{asked}", family)
    mixed = sample("a", image(picture), Media("video", "clip.mp4"), image(picture, crop=(28, 0, 84, 56)))
    samples = [mixed, sample("b"), sample("c", Media("video", "clip.mp4"))]
    groups = roll_out(setup.engine, show_more, samples, 2, Sampling(max_new_tokens=20, budget=200), seed=0)
    assert [len(item.media) for group in groups for item in group.rollouts] == [5, 5, 2, 2, 3, 3]
    assert len(setup.heard()) == 12


def test_pixel_limits_travel_with_each_request(starter: Starter, picture: Path) -> None:
    engine = starter.colocated(lambda request, asked: "x", limits={"max_pixels": 28 * 28 * 4})
    with engine.round(0):
        group = roll_out(engine, ENVIRONMENT, [sample("a", image(picture))], 1, SAMPLING, seed=0)[0]
    assert group.rollouts[0].prompt_ids.count(engine.renderer.image_pad) == 2


def test_another_expansion_stops_the_run(starter: Starter, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = starter.colocated(lambda request, asked: "x")
    monkeypatch.setattr(fake_vllm.Brain, "image_tokens", lambda self, picture, **limits: 5)
    with engine.round(0), pytest.raises(UserError, match=r"vLLM read the prompt of sample 'a' as \d+ tokens"):
        roll_out(engine, ENVIRONMENT, [sample("a", image(picture))], 1, SAMPLING, seed=0)


# ---- sampling --------------------------------------------------------------------------------------------------


def test_settings_of_a_request(starter: Starter) -> None:
    setup = starter.start("colocate", lambda request, asked: "x")
    prompt = setup.engine.encode([sample("a").turns()])[0]
    sampling = Sampling(temperature=0.7, top_p=0.9, top_k=20, max_new_tokens=5)
    setup.engine.generate([Request("a", prompt, [], [], 4, 2**64 - 1)], sampling)
    params = fake_vllm.LLM.made[-1].brain.params[-1]
    assert (params.temperature, params.top_p, params.top_k, params.max_tokens) == (0.7, 0.9, 20, 4)
    assert params.seed == 2**63 - 1 and set(params.stop_token_ids) == setup.engine.end_ids
    assert params.detokenize is False and params.logprobs is None


def test_media_tokens_are_never_sampled(starter: Starter) -> None:
    setup = starter.start("colocate", lambda request, asked: "x")
    brain = fake_vllm.LLM.made[-1].brain
    brain.said_unasked = [brain.image_pad, brain.video_pad, brain.start, brain.end]
    rollout = roll_out(setup.engine, ENVIRONMENT, [sample("a")], 1, SAMPLING, seed=0)[0].rollouts[0]
    assert rollout.text == "x" and len(brain.params[-1].bad_words) == 4
    setup.engine._bad_words = []
    with pytest.raises(RuntimeError, match="breaks the contract"):
        roll_out(setup.engine, ENVIRONMENT, [sample("a")], 1, SAMPLING, seed=0)


def test_a_request_longer_than_the_model(starter: Starter) -> None:
    engine = starter.colocated(lambda request, asked: "x", max_model_length=40)
    with engine.round(0), pytest.raises(UserError, match="but vLLM was started for 40") as caught:
        roll_out(engine, ENVIRONMENT, [sample("a")], 1, SAMPLING, seed=0)
    assert "raise rollout.engine.max_model_length" in str(caught.value)


# ---- weights and memory ----------------------------------------------------------------------------------------


def test_weights_move_once_per_step_and_are_the_trained_ones(starter: Starter) -> None:
    engine = starter.colocated(lambda request, asked: "x")
    llm = fake_vllm.LLM.made[-1]
    with pytest.raises(RuntimeError, match="only inside of a round"):
        engine.generate([], SAMPLING)
    for step in (0, 0, 1):
        with engine.round(step):
            roll_out(engine, ENVIRONMENT, [sample("a")], 1, SAMPLING, seed=0)
            with engine.round(step):
                roll_out(engine, ENVIRONMENT, [sample("a")], 1, SAMPLING, seed=0)
        with torch.no_grad():
            engine.model.model.language_model.norm.weight += 1
    assert llm.log == ["load", "reset", *["generate"] * 4, "load", "reset", *["generate"] * 2]
    trained = dict(engine.model.named_parameters())
    assert set(llm.weights) == set(trained)
    moved = {name for name, value in trained.items() if not torch.equal(value, llm.weights[name])}
    assert moved == {"model.language_model.norm.weight"}


def test_without_a_trainer_the_first_round_attaches(starter: Starter) -> None:
    Accelerator()
    fake_vllm.install(starter.monkeypatch, lambda request, asked: "x")
    engine = starter.made("qwen2_5_vl", vllm.Config(), {})
    with engine.round(0):
        assert roll_out(engine, ENVIRONMENT, [sample("a")], 1, SAMPLING, seed=0)[0].rollouts[0].text == "x"
    assert set(fake_vllm.LLM.made[-1].weights) == {name for name, _ in engine.model.named_parameters()}


def test_sleep_between_rounds(starter: Starter) -> None:
    engine = starter.colocated(lambda request, asked: "x", enable_sleep_mode=True, gpu_memory_utilization=0.4)
    llm = fake_vllm.LLM.made[-1]
    assert llm.options["gpu_memory_utilization"] == 0.4 and llm.awake == set()
    for _ in range(2):
        with engine.round(0):
            roll_out(engine, ENVIRONMENT, [sample("a")], 1, SAMPLING, seed=0)
    one = ["wake weights", "load", "reset", "wake kv_cache", "generate", "sleep"]
    assert llm.log == ["sleep", *one, *one]


def test_a_server_gets_weights_and_shared_pictures_once(starter: Starter, picture: Path) -> None:
    engine, brain, updates = starter.served(lambda request, asked: "x")
    with engine.round(3), engine.round(3):
        roll_out(engine, ENVIRONMENT, [sample("a", image(picture))], 4, SAMPLING, seed=0)
    assert [len(names) for names in updates] == [len(list(engine.model.named_parameters()))] and len(brain.heard) == 4


def test_a_server_with_other_pixel_limits(starter: Starter, picture: Path) -> None:
    engine, _, _ = starter.served(lambda request, asked: "x", max_pixels=28 * 28 * 2)
    with engine.round(0), pytest.raises(UserError, match=r"turns the pictures into \[\d+\] tokens, training into"):
        roll_out(engine, ENVIRONMENT, [sample("a", image(picture))], 1, SAMPLING, seed=0)


def test_a_server_takes_no_video(starter: Starter) -> None:
    setup = starter.start("server", lambda request, asked: "x")
    with pytest.raises(UserError, match=r"mode server was shown the video clip\.mp4"):
        roll_out(setup.engine, ENVIRONMENT, [sample("a", Media("video", "clip.mp4"))], 1, SAMPLING, seed=0)


def test_no_server(starter: Starter) -> None:
    fake_vllm.install(starter.monkeypatch, lambda request, asked: "x")
    options = vllm.Config(mode="server", server_base_url="http://127.0.0.1:9", server_timeout=0.0)
    engine = starter.made("qwen2_5_vl", options, {})
    with pytest.raises(UserError, match=r"no vLLM server answers at http://127.0.0.1:9(.|\n)*vllm serve"):
        engine.attach(engine.model, Accelerator())


def test_a_model_without_a_folder(starter: Starter) -> None:
    fake_vllm.install(starter.monkeypatch, lambda request, asked: "x")
    engine = starter.made("qwen2_5_vl", vllm.Config(), {})
    engine.model.config._name_or_path = engine.model.name_or_path = ""
    with pytest.raises(UserError, match="built in memory"):
        engine.attach(engine.model, Accelerator())
