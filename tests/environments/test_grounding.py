"""Grounding: what is shown at which progress, what is read, and how it is scored."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmreflect.components import load
from mmreflect.config import component_parser
from mmreflect.environments import grounding
from mmreflect.environments.grounding import Config
from mmreflect.errors import UserError
from mmreflect.records import FrameSampling, Group, Media, Part, Rollout, Sample, Score
from mmreflect.rewards import grounding as reward
from mmreflect.rollouts.actions import Sampling
from mmreflect.rollouts.curriculum import Curriculum
from mmreflect.rollouts.driver import roll_out
from mmreflect.rollouts.engines.scripted import ScriptedEngine
from mmreflect.rollouts.scoring import scorer

SAMPLING = Sampling(max_new_tokens=200, budget=2000)
FRAMES = FrameSampling(fps=1.0, max_frames=16, timestamps=True)
RIGHT = "<think>here</think><answer>[8.0, 12.0]</answer>"


@pytest.fixture(scope="module")
def street(make_film: Callable[..., Path]) -> Path:
    """Twenty seconds, two frames a second."""
    return make_film(40, 2, step=6)


def asking(path: Path, span: tuple[float, float] | None = None, **facts: Any) -> Sample:
    parts = [{"type": "video"}, {"type": "text", "text": "A man runs."}]
    given = {"task": "grounding", "gt_interval": [8.0, 12.0], **facts}
    media = [Media("video", str(path), span=span)]
    return Sample("q", [{"role": "user", "content": parts}], media, "[8.0, 12.0]", None, given)


def play(sample: Sample, said: str = RIGHT, progress: float = 1.0, **options: Any) -> Rollout:
    engine = ScriptedEngine(lambda request, asked: said)
    environment = grounding.create(Config(**options))
    return roll_out(engine, environment, [sample], 1, SAMPLING, seed=0, progress=progress)[0].rollouts[0]


# ---- the environment -------------------------------------------------------------------------------------------


def test_one_turn_shows_the_video_as_it_is_asked_for(street: Path) -> None:
    rollout = play(asking(street), frames=FRAMES, system="Be exact.")
    prompt = "".join(map(chr, rollout.prompt_ids))
    assert prompt.startswith("Be exact.\x01A man runs.\nThe video lasts 20.0 seconds. ")
    assert "<think>your thoughts</think><answer>[start, end]</answer>" in prompt and "{" not in prompt
    assert rollout.media == [Media("video", str(street), frames=FRAMES)]
    assert rollout.facts == {
        "task": "grounding", "duration": 20.0, "segment": [8.0, 12.0], "problem": None, "masked": 0.0,
        "visible": [0.0, 20.0],
    }  # fmt: skip


def test_without_frames_the_samples_own_are_kept(street: Path) -> None:
    given = asking(street)
    given.media[0] = replace(given.media[0], frames=FRAMES)
    assert play(given).media == given.media


@pytest.mark.parametrize(
    ("said", "segment", "problem"),
    [("<time_interval> [2.5, 7] </time_interval>", [2.5, 7.0], None),
     ("<time_interval>[-3, 99]</time_interval>", [0.0, 20.0], None),
     ("<answer>[2.5, 7]</answer>", None, "no interval in <time_interval>"),
     ("<time_interval>[9, 2]</time_interval>", None, "[9, 2] does not end after it starts"),
     ("<time_interval>[30, 40]</time_interval>", None, "[30, 40] lies outside the video")],
)  # fmt: skip
def test_replies_are_read(street: Path, said: str, segment: list[float] | None, problem: str | None) -> None:
    facts = play(asking(street), said, layout="time_interval").facts
    assert (facts["segment"], facts["problem"]) == (segment, problem)


def test_other_media_are_named(street: Path) -> None:
    sample = Sample("q", [{"role": "user", "content": "where?"}])
    with pytest.raises(UserError, match=r"sample 'q' shows no media[\s\S]*one video"):
        play(sample)


@pytest.mark.parametrize(
    ("progress", "difficulty", "span"),
    [(0.0, 1.0, (6.4, 13.6)),  # 16 s outside, 80 % of them hidden: 6.4 s on each side
     (0.35, 0.9, (3.2, 16.8)), (0.7, 1.0, None), (1.0, 1.0, None), (0.0, 0.7, None), (0.0, 0.1, None)],
)  # fmt: skip
def test_hard_samples_show_less_early_in_training(
    street: Path, progress: float, difficulty: float, span: tuple[float, float] | None
) -> None:
    rollout = play(asking(street, difficulty=difficulty), progress=progress, frames=FRAMES, curriculum=Curriculum())
    shown = rollout.media[0].span
    assert shown == (None if span is None else pytest.approx(span)) and rollout.media[0].frames == FRAMES
    assert rollout.facts["visible"] == pytest.approx(span or (0.0, 20.0))
    assert (rollout.facts["masked"] > 0) == (span is not None)
    assert "The video lasts 20.0 seconds." in "".join(map(chr, rollout.prompt_ids))


def test_a_window_keeps_the_times_of_its_frames(street: Path) -> None:
    from mmreflect.media.video import load_video

    shown = play(asking(street, difficulty=1.0), progress=0.0, frames=FRAMES, curriculum=Curriculum()).media[0]
    times = load_video(shown).times_F
    assert min(times) >= 5.9 and max(times) <= 13.6 and min(times) <= 8 and max(times) >= 12


def test_a_part_of_a_file_stays_the_part_that_it_is(street: Path) -> None:
    given = asking(street, span=(4.0, 16.0), difficulty=1.0)
    assert play(given, curriculum=Curriculum()).media[0].span == (4.0, 16.0)
    early = play(given, progress=0.0, curriculum=Curriculum()).media[0].span  # 8 s outside: 3.2 s on each side
    assert early == pytest.approx((7.2, 12.8))


@pytest.mark.parametrize(
    ("facts", "lacking"),
    [({}, "difficulty is None"), ({"difficulty": "hard"}, "difficulty is 'hard'"),
     ({"difficulty": 1.0, "gt_interval": None}, "gt_interval is None")],
)  # fmt: skip
def test_a_curriculum_needs_to_know_the_sample_at_any_progress(
    street: Path, facts: dict[str, Any], lacking: str
) -> None:
    with pytest.raises(UserError, match=rf"sample 'q': facts.{lacking}[\s\S]*builder 'difficulty'"):
        play(asking(street, **facts), curriculum=Curriculum())


def test_options_are_read_from_yaml() -> None:
    option = component_parser("environment", load)(
        {"name": "grounding", "layout": "time_interval", "frames": {"fps": 1.0}, "curriculum": {"until": 0.5}}
    )
    assert option.options.curriculum == Curriculum(until=0.5) and option.options.frames == FrameSampling(fps=1.0)
    with pytest.raises(ValueError, match=r"unknown key 'curriculum.untill'; did you mean 'until'"):
        component_parser("environment", load)({"name": "grounding", "curriculum": {"untill": 0.5}})


# ---- the reward ------------------------------------------------------------------------------------------------


def score(text: str, facts: dict[str, Any] | None = None, gold: str | None = None, **options: Any) -> Score:
    sample = Sample("q", [], gold=gold, facts={"gt_interval": [222.0, 240.0]} if facts is None else facts)
    rollout = Rollout("q", [], text=text)
    return reward.create(reward.Config(**options))(Group("q", sample, [rollout]))[0]


INTERVAL = "<think>a</think><time_interval>[220, 260]</time_interval>"  # IoU 18 / 40
ANSWER = "<think>a</think><answer>[220, 260]</answer>"


@pytest.mark.parametrize(
    ("text", "overlap", "kept"),
    [(INTERVAL, 0.45, 0), (f"so: {INTERVAL} there", 0.45, 0), (INTERVAL.replace("[", " [").replace("]", "] "), 0.45, 0),
     (INTERVAL.replace("</think>", ""), 0.45, -1), ("I do not know", 0, -1), (ANSWER, 0, -1),
     (INTERVAL.replace("220", "300"), 0, 0), ("<time_interval>[222, 240]</time_interval>", 1, 0),
     (f"{INTERVAL}<time_interval>[", 0.45, -1), (INTERVAL.replace("260", "999"), 18 / 779, 0)],
)  # fmt: skip
def test_revisors_form(text: str, overlap: float, kept: float) -> None:
    found = score(text, variant="revisor")
    assert found.value == pytest.approx(overlap + 0.1 * kept)
    assert found.parts == {"iou": Part(pytest.approx(overlap), 1.0), "format": Part(kept, 0.1)}


@pytest.mark.parametrize(
    ("text", "overlap", "kept"),
    [(ANSWER, 0.45, 1), (f"{ANSWER}\n", 0.45, 1), (f"{ANSWER} there", 0.45, 0), ("<answer>[222, 240]</answer>", 1, 0),
     (ANSWER.replace(">a<", "> <"), 0.45, 0), (ANSWER.replace("220", "from 220"), 0, 0), (INTERVAL, 0, 0),
     (ANSWER.replace("[220, 260]", "[220, 260] or so"), 0, 0), (ANSWER.replace("260", "100"), 0, 1), ("", 0, 0)],
)  # fmt: skip
def test_videotgs_form(text: str, overlap: float, kept: float) -> None:
    found = score(text)
    assert found.value == pytest.approx(overlap + kept)
    assert found.parts == {"iou": Part(pytest.approx(overlap), 1.0), "format": Part(kept, 1.0)}


def test_layout_and_weight_can_be_chosen() -> None:
    assert score(INTERVAL, layout="time_interval").value == pytest.approx(1.45)
    assert score(ANSWER, variant="revisor", layout="answer").value == pytest.approx(0.45)
    assert score(INTERVAL, layout="time_interval", format_weight=0.5).value == pytest.approx(0.95)


def test_a_score_says_what_was_compared() -> None:
    found = score(ANSWER)
    assert (found.answer, found.gold, found.reason) == ("[220, 260]", "[222, 240]", "IoU 0.450; format 1")
    assert score("none").reason == "no interval in <answer>; format 0" and score("none").answer is None


@pytest.mark.parametrize(
    ("facts", "gold", "value", "reason"),
    [({}, None, None, "neither facts.gt_interval nor an answer"), ({}, "B", None, "the answer 'B' is no"),
     ({}, "[9, 2]", None, "the answer '[9, 2]' is no"), ({"gt_interval": "soon"}, "[2, 9]", None, "gt_interval is 'soon'"),
     ({"gt_interval": [9, 2]}, None, None, "gt_interval is [9, 2]"), ({}, "[220, 260]", 2.0, "IoU 1.000")],
)  # fmt: skip
def test_a_sample_without_a_true_interval_is_not_graded(
    facts: dict[str, Any], gold: str | None, value: float | None, reason: str
) -> None:
    found = score(ANSWER, facts, gold)
    assert found.value == value and reason in found.reason


def test_parts_are_shown_and_summed_by_the_scorer(street: Path) -> None:
    component = component_parser("reward", load)({"name": "grounding", "variant": "revisor", "weight": 2.0})
    rollouts = [Rollout("q", [], text=INTERVAL.replace("</think>", "")), Rollout("q", [], text=INTERVAL)]
    group = Group("q", Sample("q", [], facts={"gt_interval": [222, 240]}), rollouts)
    scorer([component])([group])
    assert [item.score.value for item in rollouts] == pytest.approx([0.7, 0.9])  # type: ignore[union-attr]
    parts = rollouts[0].score.parts  # type: ignore[union-attr]
    assert parts["grounding.iou"].value == pytest.approx(0.45) and parts["grounding.format"] == Part(-1.0, 0.2)


# ---- a real model ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_real_model_is_shown_the_window(family: str, street: Path) -> None:
    """Fewer frames at the start of the training than at its end, and as many tokens as there are features."""
    from mmreflect.data.rendering import Renderer
    from mmreflect.models import ModelConfig, load_model
    from mmreflect.rollouts.engines._generation import TransformersEngine
    from mmreflect.tiny import TinyConfig

    shape = TinyConfig(family=family, hidden_size=32, layers=2, heads=2, vision_hidden_size=32)  # type: ignore[arg-type]
    loaded = load_model(ModelConfig(path="tiny", tiny=shape), ["A man runs. The video lasts 20.0 seconds."], seed=1)
    engine = TransformersEngine(loaded, Renderer(loaded.tokenizer, loaded.processor), 8)
    frames = FrameSampling(fps=1.0, max_frames=20)
    environment = grounding.create(Config(frames=frames, curriculum=Curriculum()))
    pairs = []
    for progress in (0.0, 1.0):
        sampling = Sampling(temperature=0, max_new_tokens=4, budget=100)
        sample = asking(street, difficulty=1.0)
        rollout = roll_out(engine, environment, [sample], 1, sampling, seed=0, progress=progress)[0].rollouts[0]
        shown = rollout.prompt_ids.count(engine.renderer.video_pad)
        grid = engine.renderer.features(rollout.media)[0]["video_grid_thw"]
        assert shown == int(grid.prod()) // 4 and rollout.facts["problem"] == "no interval in <answer>"
        pairs.append(int(grid[0, 0]))
    assert pairs == [3, 10]  # 6.4 to 13.6 s are 15 frames of the file, 7.5 s: 6 frames in pairs; the whole file has 20
