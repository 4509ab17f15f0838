"""The two looks of REVISOR by a scripted policy: what is shown when, what ends an episode, what the probe sees."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmreflect.data.rendering import Renderer
from mmreflect.environments import revisor
from mmreflect.errors import UserError
from mmreflect.media.sampling import frame_cap, frame_count, frame_indices
from mmreflect.models import ModelConfig, load_model
from mmreflect.records import Author, FrameSampling, Group, Media, Reply, Rollout, Sample, Stop
from mmreflect.rewards import dadr, grounding
from mmreflect.rollouts.actions import Probe, Sampling
from mmreflect.rollouts.driver import roll_out
from mmreflect.rollouts.engines._generation import TransformersEngine
from mmreflect.rollouts.engines.scripted import ScriptedEngine
from mmreflect.rollouts.transcript import play
from mmreflect.tiny import FAMILIES

ROOM = Sampling(max_new_tokens=2000, budget=100_000)
OPTIONS = "What falls?\nA. a cup\nB. a book"


@pytest.fixture(scope="module")
def film(make_film: Callable[..., Path]) -> Path:
    """Twelve seconds at four frames per second."""
    return make_film(48, 4)


def sample_of(film: Path, task: str = "qa", **media: Any) -> Sample:
    content = [{"type": "video"}, {"type": "text", "text": OPTIONS}]
    facts = {"task": task, "options": ["a cup", "a book"], "answer_type": "multiple_choice"}
    if task == "grounding":
        facts |= {"gt_interval": [2.0, 6.0], "answer_type": "temporal_iou"}
    video = Media("video", str(film), **media)
    return Sample("f", [{"role": "user", "content": content}], [video], "B", facts=facts)


def episode(sample: Sample, *replies: str, **options: Any) -> tuple[Rollout, ScriptedEngine]:
    engine = ScriptedEngine(lambda request, asked: replies[asked])
    environment = revisor.create(revisor.Config(**options))
    return roll_out(engine, environment, [sample], 1, ROOM, seed=0)[0].rollouts[0], engine


FIRST = "<think>early</think><time_interval>[3.0, 7.5]</time_interval>"
SECOND = "<think>a book</think><answer>B</answer>"


def test_two_looks_and_a_probe(film: Path) -> None:
    rollout, engine = episode(sample_of(film), FIRST, SECOND, "B")
    coarse, dense = rollout.media
    assert coarse.span is None and coarse.frames == revisor.Config().coarse
    assert dense.span == (3.0, 7.5) and dense.frames == revisor.Config().dense and dense.path == str(film)
    assert rollout.text == FIRST + SECOND
    assert rollout.facts == {
        "task": "qa",
        "duration": 12.0,
        "segment": [3.0, 7.5],
        "segment_seconds": 4.5,
        "looks": 1,
        "problem": None,
    }
    assert [(span.author, span.stage) for span in rollout.spans] == [
        (Author.MODEL, "propose"), (Author.ENVIRONMENT, "revise"), (Author.MODEL, "revise"),
    ]  # fmt: skip
    probe = engine.requests[2]
    assert list(probe.media) == [dense] and not probe.token_ids and probe.max_new_tokens == 16
    asked = engine.detokenize(probe.prompt_ids)
    assert OPTIONS in asked and "lasts" not in asked and "<answer>" not in asked and "assistant" in asked
    assert rollout.probes["sufficiency"].text == "B"


def test_the_prompt_says_what_the_tool_is_and_how_long_the_video_lasts(film: Path) -> None:
    _, engine = episode(sample_of(film), "no idea")
    shown = engine.detokenize(engine.requests[0].prompt_ids)
    assert '"name": "temporal_zoom_in_tool"' in shown and "at least 2 seconds apart" in shown
    assert shown.count("The video lasts 12.0 seconds.") == 1 and OPTIONS in shown
    tool = shown[shown.index("{") : shown.rindex("}") + 1]
    import json

    assert json.loads(tool)["call"] == "<time_interval>[12.3, 28.7]</time_interval>"


@pytest.mark.parametrize(
    "first", ["<think>x</think><answer>B</answer>", FIRST + "<answer>A</answer>", "no tags at all"]
)
def test_an_answer_or_no_interval_in_the_first_turn_ends_the_episode(film: Path, first: str) -> None:
    rollout, engine = episode(sample_of(film), first)
    assert rollout.text == first and len(engine.requests) == 1
    assert rollout.facts["segment"] is None and rollout.facts["looks"] == 0 and not rollout.probes
    assert rollout.facts["problem"] == ("answered in the first turn" if "<answer>" in first else "no interval")


@pytest.mark.parametrize(
    ("interval", "problem"),
    [
        ("[28.7,12.3]", "[28.7, 12.3] does not end after it starts"),
        ("[5,6.5]", "[5, 6.5] leaves less than 2 seconds of the video"),
        ("[11, 40]", "[11, 40] leaves less than 2 seconds of the video"),
        ("[15, 40]", "[15, 40] leaves less than 2 seconds of the video"),
    ],
)
def test_a_refused_segment_still_gets_its_second_turn(film: Path, interval: str, problem: str) -> None:
    first = f"<think>x</think><time_interval>{interval}</time_interval>"
    rollout, engine = episode(sample_of(film), first, SECOND)
    assert rollout.text == first + SECOND and rollout.media == [replaced(film)]
    assert rollout.facts["problem"] == problem and rollout.facts["segment"] is None
    assert f"The segment cannot be shown: {problem}." in engine.detokenize(engine.requests[1].token_ids)
    assert not rollout.probes


def replaced(film: Path) -> Media:
    return Media("video", str(film), frames=revisor.Config().coarse)


@pytest.mark.parametrize(
    ("interval", "segment"), [("[-3,10]", [0.0, 10.0]), ("[6, 999]", [6.0, 12.0]), (" [1.0, 3.0] ", [1.0, 3.0])]
)
def test_a_segment_is_clamped_to_the_video(film: Path, interval: str, segment: list[float]) -> None:
    rollout, _ = episode(sample_of(film), f"<time_interval>{interval}</time_interval>", SECOND, "B")
    assert rollout.facts["segment"] == segment and rollout.media[1].span == tuple(segment)


def test_a_clip_of_a_longer_file_keeps_the_seconds_of_the_file(film: Path) -> None:
    rollout, engine = episode(sample_of(film, span=(4.0, 10.0)), "<time_interval>[2, 7]</time_interval>", SECOND, "B")
    assert rollout.facts["duration"] == 6.0 and rollout.facts["segment"] == [4.0, 7.0]
    prompt = engine.detokenize(engine.requests[0].prompt_ids)
    assert "The video lasts 6.0 seconds, shown from 4.0 to 10.0. Look over it" in prompt
    refused, _ = episode(sample_of(film, span=(4.0, 10.0)), "<time_interval>[1, 5]</time_interval>", SECOND)
    problem = "[1, 5] leaves less than 2 seconds of the video, which is shown from 4.0 to 10.0"
    assert refused.facts["problem"] == problem
    span, asked = {"span": (4.0, 10.0)}, "<think>x</think><time_interval>[1, 3]</time_interval>"
    outside, engine = episode(sample_of(film, "grounding", **span), asked)
    assert "lasts 6.0 seconds, shown from 4.0 to 10.0. Find" in engine.detokenize(engine.requests[0].prompt_ids)
    assert outside.facts["problem"] == "[1, 3] lies outside the video, which is shown from 4.0 to 10.0"


def test_grounding_stops_after_the_interval(film: Path) -> None:
    rollout, engine = episode(sample_of(film, "grounding"), FIRST)
    assert len(engine.requests) == 1 and rollout.facts["segment"] == [3.0, 7.5] and not rollout.probes
    assert rollout.facts["segment_iou"] == 0.5455, "[3, 7.5] and [2, 6] share 3 of 5.5 seconds"
    assert "in which this happens" in engine.detokenize(engine.requests[0].prompt_ids)


def test_a_short_event_is_found_as_well_as_a_long_one(film: Path) -> None:
    """The two seconds are the tool's: what is asked for by itself is shown to nobody."""
    rollout, _ = episode(sample_of(film, "grounding"), "<think>x</think><time_interval>[2, 3.5]</time_interval>")
    assert rollout.facts["segment"] == [2.0, 3.5] and rollout.facts["problem"] is None
    assert rollout.facts["segment_iou"] == 0.375, "1.5 of 4 seconds"


@pytest.mark.parametrize(
    ("said", "gold", "iou"),
    [("[1.0, 99]", [1.0, 12.0], 1.0), ("[-3, 4]", [0.0, 4.0], 1.0), ("[6, 99]", [9.0, 12.0], 0.5), ("[50, 60]", [9.0, 12.0], 0.0)],
)  # fmt: skip
@pytest.mark.parametrize("reward", [dadr, grounding], ids=["dadr", "grounding"])
def test_the_reward_cuts_a_segment_to_the_video_as_the_facts_do(
    film: Path, said: str, gold: list[float], iou: float, reward: Any
) -> None:
    sample = sample_of(film, "grounding")
    sample.facts["gt_interval"] = gold
    rollout, _ = episode(sample, f"<think>x</think><time_interval>{said}</time_interval>")
    options = {"variant": "revisor"} if reward is grounding else {}
    score = reward.create(reward.Config(**options))(Group("f", sample, [rollout]))[0]
    assert score.value == score.parts["iou"].value == iou == rollout.facts.get("segment_iou", 0.0)
    part = sample_of(film, "grounding", span=(4.0, 10.0))
    part.facts["gt_interval"] = [7.0, 10.0]
    rollout, _ = episode(part, "<think>x</think><time_interval>[7, 99]</time_interval>")
    assert reward.create(reward.Config(**options))(Group("f", part, [rollout]))[0].value == 1.0


def test_the_probe_sees_the_very_clip_of_the_second_look(film: Path) -> None:
    """Its vision features are used again only where nothing differs, not even the fourth decimal of an end."""
    rollout, engine = episode(sample_of(film), "<time_interval>[1.23456, 7.891011]</time_interval>", SECOND, "B")
    assert engine.requests[2].media == rollout.media[1:] and rollout.media[1].span == (1.23456, 7.891011)
    assert rollout.facts["segment"] == [1.235, 7.891]


@pytest.mark.parametrize(
    ("said", "segment"),
    [("[12.3, 28.7]", (12.3, 28.7)), ("[28.7,12.3]", None), ("[5,6.5]", None), ("[-3,10]", (0.0, 10.0)), ("[10, 999]", (10.0, 40.0))],
)  # fmt: skip
def test_segments_of_a_video_of_forty_seconds(said: str, segment: tuple[float, float] | None) -> None:
    found, problem = revisor.read_segment(f"<time_interval>{said}</time_interval>", (0.0, 40.0), 2.0)
    assert found == segment and (problem is None) == (segment is not None)


@pytest.mark.parametrize(
    ("seconds", "look", "frames", "cap"),
    [(297, "coarse", 296, 43_395), (3600, "coarse", 512, 25_088), (40, "dense", 80, 160_563), (6, "dense", 12, 200_704),
     (2, "dense", 4, 200_704), (3, "coarse", 4, 100_352), (1, "dense", 4, 200_704)],
)  # fmt: skip
def test_the_looks_are_sampled_as_in_the_paper(seconds: int, look: str, frames: int, cap: int) -> None:
    """The environment's own defaults at 30 frames per second, with four frames at least."""
    sampling = getattr(revisor.Config(), look)
    assert frame_count(seconds * 30, 30.0, sampling) == frames and frame_cap(sampling, frames, 28) == (6_272, cap)


def test_an_hour_is_seen_every_seven_seconds() -> None:
    coarse = revisor.Config().coarse
    count = frame_count(3600 * 30, 30.0, coarse)
    assert count == 512 and round(3600 / count, 2) == 7.03
    times = [index / 30 for index in frame_indices(count, 0, 3600 * 30 - 1)]
    assert {round(after - before) for before, after in itertools.pairwise(times)} == {7} and times[-1] > 3599.9
    pairs, area = count // 2, 28 * 28
    assert frame_cap(coarse, count, 28)[1] == 32 * area and pairs * 32 == 8_192


def test_in_evaluation_it_may_look_twice(film: Path) -> None:
    again = "<think>not there</think><time_interval>[8, 11]</time_interval>"
    rollout, engine = episode(sample_of(film), FIRST, again, SECOND, "B", looks=2)
    assert [item.span for item in rollout.media] == [None, (3.0, 7.5), (8.0, 11.0)]
    assert rollout.facts["looks"] == 2 and rollout.facts["segment"] == [8.0, 11.0]
    assert next(iter(engine.requests[3].media)).span == (8.0, 11.0), "the probe sees the last segment alone"
    once, _ = episode(sample_of(film), FIRST, again, "B", looks=1)
    assert once.text == FIRST + again and once.facts["looks"] == 1


def test_reflection_in_words_alone_shows_no_second_clip(film: Path) -> None:
    rollout, engine = episode(sample_of(film), FIRST, SECOND, show="text")
    assert len(rollout.media) == 1 and not rollout.probes
    assert "Think again about what you saw from 3.0 to 7.5 seconds" in engine.detokenize(engine.requests[1].token_ids)


def test_the_papers_context_forgets_the_coarse_frames(film: Path) -> None:
    rollout, engine = episode(sample_of(film), FIRST, SECOND, "B", stage2_context="paper", second_tag="rethink")
    second = engine.requests[1]
    assert [item.span for item in second.media] == [(3.0, 7.5)] and not second.token_ids
    shown = engine.detokenize(second.prompt_ids)
    assert FIRST in shown and OPTIONS in shown and "<rethink>" in shown
    assert rollout.text == FIRST + SECOND and len(rollout.stretches()) == 2


def test_without_the_probe_nothing_is_asked_on_the_side(film: Path) -> None:
    rollout, engine = episode(sample_of(film), FIRST, SECOND, probe=False)
    assert len(engine.requests) == 2 and not rollout.probes


def test_a_sample_without_a_video_is_refused() -> None:
    sample = Sample("p", [{"role": "user", "content": "?"}], [])
    with pytest.raises(UserError, match="sample 'p' shows no media"):
        episode(sample, "x")


def test_a_clip_that_cannot_be_read_now_fails_its_own_rollout(film: Path, tmp_path: Path) -> None:
    lost = tmp_path / "lost.mp4"
    lost.write_bytes(film.read_bytes())

    class Losing(ScriptedEngine):
        def encode_turn(self, turn: Any) -> list[int]:
            raise UserError(f"the video cannot be decoded: {lost}", "a whole video")

    engine = Losing(lambda request, asked: FIRST if asked == 0 else SECOND)
    rollout = roll_out(engine, revisor.create(revisor.Config()), [sample_of(lost)], 1, ROOM, seed=0)[0].rollouts[0]
    assert rollout.stop is Stop.ERROR and rollout.facts["error"] == f"the video cannot be decoded: {lost}"


def test_a_demonstration_is_what_the_environment_shows(film: Path) -> None:
    def answer(action: Any) -> str:
        return "B" if isinstance(action, Probe) else {"propose": FIRST, "revise": SECOND}[action.stage]

    transcript = play(revisor.create(revisor.Config()), sample_of(film), answer)
    (turns,) = transcript.conversations
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user", "assistant"]
    assert turns[2].content == [FIRST] and turns[4].content == [SECOND] and transcript.facts["segment"] == [3.0, 7.5]
    assert [turn.role for turn in transcript.asides["sufficiency"]] == ["system", "user", "assistant"]


@pytest.mark.parametrize("context", ["code", "paper"])
@pytest.mark.parametrize("family", FAMILIES)
def test_on_real_architectures_every_word_is_the_argmax_of_the_training_forward(
    family: str, context: str, tiny_model: Callable[[str], Path], film: Path
) -> None:
    loaded = load_model(ModelConfig(path=str(tiny_model(family))))
    speaking = TransformersEngine(loaded, Renderer(loaded.tokenizer, loaded.processor), 8)
    heard, calls = speaking.generate, [0]

    def generate(requests: Any, sampling: Any) -> Any:
        """Let the first reply be what the protocol needs, so that the second look comes; then the model speaks."""
        calls[0] += bool(requests)
        if calls[0] > 1 or not requests:
            return heard(requests, sampling)
        return [Reply(FIRST, [*speaking.tokenize(FIRST), speaking.end_id], Stop.EOS)]

    speaking.generate = generate  # type: ignore[method-assign]
    small = FrameSampling(fps=1, min_tokens=1, max_tokens=4, timestamps=True)
    options = revisor.Config(
        coarse=small, dense=FrameSampling(fps=2, max_frames=8, min_tokens=4, max_tokens=9), stage2_context=context
    )  # type: ignore[arg-type]
    sampling = Sampling(temperature=0, max_new_tokens=90, budget=4000)
    rollout = roll_out(speaking, revisor.create(options), [sample_of(film)], 1, sampling, seed=0)[0].rollouts[0]
    assert rollout.facts["segment"] == [3.0, 7.5] and "sufficiency" in rollout.probes
    assert len(rollout.stretches()) == (1 if context == "code" else 2)
    part = rollout.stretches()[-1]
    ids = [*part.prompt_ids, *rollout.token_ids[part.start :]]
    input_ids = torch.tensor([ids])
    inputs = speaking.renderer.model_inputs([ids], [part.media])
    types = speaking.renderer.token_types(input_ids)
    with torch.no_grad():
        logits = speaking.model(
            input_ids=input_ids, attention_mask=torch.ones_like(input_ids), mm_token_type_ids=types, **inputs
        ).logits[0]
    logits[:, speaking._suppressed] = -torch.inf
    said = rollout.spans[-1]
    predicted = logits[:-1].argmax(-1).tolist()[len(ids) - 1 - (said.end - said.start) :]
    assert said.author is Author.MODEL and predicted == rollout.token_ids[said.start : said.end]


def test_the_ledger_knows_what_would_have_been_said_without_looking_again(film: Path) -> None:
    from mmreflect.evaluation.runner import record

    said = [FIRST, "A", SECOND, "B"]
    engine = ScriptedEngine(lambda request, asked: said[asked])
    environment = revisor.create(revisor.Config(first_try=True))
    group = roll_out(engine, environment, [sample_of(film)], 1, ROOM, seed=0)[0]
    first_try = engine.requests[1]
    assert [item.span for item in first_try.media] == [None] and OPTIONS in engine.detokenize(first_try.prompt_ids)
    row = record(group, engine)
    assert (row["first"], row["first_correct"], row["final_correct"]) == ("A", False, True)
    assert row["reflected"] and row["corrective"] and row["tokens_first"] == 0 and row["tokens"] > 0
    assert group.rollouts[0].text == FIRST + SECOND
