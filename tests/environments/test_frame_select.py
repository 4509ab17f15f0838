"""EVA's protocol by a scripted engine, its arithmetic by hand, and real processors and models of every family."""

import json
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from mmreflect.environments import frame_select
from mmreflect.environments.frame_select import Call, Config
from mmreflect.errors import UserError
from mmreflect.media.video import VideoInfo
from mmreflect.records import Author, Media, Reply, Rollout, Sample, Stop, Turn
from mmreflect.rollouts.actions import Request, Sampling
from mmreflect.rollouts.driver import roll_out
from mmreflect.rollouts.engines.scripted import ScriptedEngine
from mmreflect.tiny import FAMILIES

HD = VideoInfo(duration=120.0, fps=30.0, frames=3600, width=1280, height=720, variable_rate=False)


@pytest.fixture(scope="module")
def film(make_film: Callable[..., Path]) -> Path:
    """Twenty seconds of 128x96, two frames a second."""
    return make_film(40, 2, 128, 96, 6)


def asking(film: Path, text: str = "What is shown?\nA. a cat\nB. a dog", **facts: Any) -> Sample:
    parts = [{"type": "video"}, {"type": "text", "text": text}]
    media = [Media("video", str(film))]
    return Sample("q", [{"role": "user", "content": parts}], media, "B", None, {"options": ["a cat", "a dog"], **facts})


def call(**arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'tool': 'frame_select', 'arguments': arguments})}</tool_call>"


def play(sample: Sample, *said: str, **options: Any) -> tuple[Rollout, ScriptedEngine]:
    engine = ScriptedEngine(lambda request, asked: said[asked])
    sampling = Sampling(max_new_tokens=400, budget=20_000)
    environment = frame_select.create(Config(**options))
    return roll_out(engine, environment, [sample], 1, sampling, seed=0)[0].rollouts[0], engine


def shown(rollout: Rollout) -> str:
    """What the environment put in after the prompt; a picture is a hash."""
    spans = [span for span in rollout.spans if span.author is Author.ENVIRONMENT]
    ids = [token for span in spans for token in rollout.token_ids[span.start : span.end]]
    return "".join("#" if token == 1 else chr(token) for token in ids if token)


# ---- arithmetic ------------------------------------------------------------------------------------------------


def test_real_processors_take_as_many_tokens_as_were_estimated(film: Path) -> None:
    engine = engine_of("qwen3_vl")
    engine.renderer.image_limits = {"min_pixels": 65_536, "max_pixels": 16_777_216}
    for resize in (0.1, 0.33, 0.5, 1.0, 2.5):
        frame = Media("image", str(film), at=1.0, scale=resize)
        grid = engine.renderer.features([frame])[0]["image_grid_thw"]
        assert int(grid.prod()) // 4 == frame_select.estimate(1, resize, 96, 128, 32, 64), resize


def test_the_smallest_picture_is_an_option(film: Path) -> None:
    said = call(start_time=0, end_time=20, nframes=40, resize=0.2)
    rollout, _ = play(asking(film), said, "<answer>B</answer>", unit=32, budget=700)
    # 19 x 26 pixels make 64 tokens: 19 * sqrt(64 / 494) = 6.84 -> 7 and 9.36 -> 10, 70 tokens a frame
    assert rollout.facts["frames"] == 10 and rollout.facts["visual_tokens"] == 700 and rollout.facts["cut_calls"] == 1
    assert (Config().least, Config(unit=32).least, Config(unit=32, min_tokens=9).least) == (4, 64, 9)
    with pytest.raises(ValueError, match=r"budget=63 is below the 64 tokens of the smallest frame; raise it"):
        Config(budget=63, unit=32)


def test_times_run_from_the_start_to_just_before_the_end() -> None:
    assert frame_select.frame_times(Call(10, 20, 1), 30) == [15.0]
    assert frame_select.frame_times(Call(0, 60, 4), 10) == pytest.approx([0, 19.9667, 39.9333, 59.9], abs=1e-4)
    assert frame_select.frame_times(Call(5, 5.01, 3), 10) == [5, 5, 5]


@pytest.mark.parametrize(
    ("start", "end", "given"),
    [(-5, 30, (0, 30)), (100, 500, (100, 120)), (200, 300, (0, 120)), (50, 50, (0, 120)), (60, 20, (0, 120))],
)
def test_windows_are_clamped_and_an_empty_one_is_the_whole_video(start: float, end: float, given: Any) -> None:
    found = frame_select.grant(Call(start, end, 4, 0.25), HD, Config())
    assert (found.start, found.end) == given and (found.nframes, found.resize) == (4, 0.25)


def test_a_call_has_a_largest_number_of_frames() -> None:
    assert frame_select.grant(Call(0, 60, 500, 0.05), HD, Config(max_frames=16)).nframes == 16


def test_clocks() -> None:
    assert [frame_select.clock(time) for time in (0, 59.99, 61.2, 3725)] == ["00:00", "00:59", "01:01", "62:05"]


# ---- reading ---------------------------------------------------------------------------------------------------

GOOD = '{"tool": "frame_select", "arguments": {"start_time": 1, "end_time": 2.5, "nframes": 4, "resize": 0.5}}'
READ = [
    (GOOD, [Call(1, 2.5, 4, 0.5)], []),
    (GOOD.replace("arguments", "parameters"), [Call(1, 2.5, 4, 0.5)], []),
    (GOOD.replace('"tool"', '"name"'), [Call(1, 2.5, 4, 0.5)], []),
    (GOOD.replace(', "resize": 0.5', ""), [Call(1, 2.5, 4, 1.0)], []),
    (GOOD.replace("0.5", "null"), [Call(1, 2.5, 4, 1.0)], []),
    (GOOD.replace('"nframes": 4', '"nframes": 4, "why": {"deep": [1]}'), [Call(1, 2.5, 4, 0.5)], []),
    (f"\n{GOOD}\n{GOOD.replace('4', '8')}\n", [Call(1, 2.5, 4, 0.5), Call(1, 2.5, 8, 0.5)], []),
    (f"[{GOOD}, {GOOD}]", [Call(1, 2.5, 4, 0.5)] * 2, []),
    (f"{GOOD} {GOOD.replace('frame_select', 'zoom')}", [Call(1, 2.5, 4, 0.5)], ["unknown tool 'zoom'"]),
    (GOOD[:-2], [], ["the call is no JSON object"]),
    ("nothing", [], ["the call is no JSON object"]),
    ('{"tool": "frame_select"}', [], ["the call has no arguments"]),
    (GOOD.replace('"end_time": 2.5, ', ""), [], ["end_time is 'None'"]),
    (GOOD.replace("2.5", '"2.5"'), [], ["end_time is '2.5'"]),
    (GOOD.replace("2.5", "true"), [], ["end_time is 'True'"]),
    (GOOD.replace("2.5", "NaN"), [], ["end_time is 'nan'"]),
    (GOOD.replace("2.5", "1" + "0" * 400), [], [f"end_time is '{'1' + '0' * 39}'"]),
    (GOOD.replace("0.5", "1e308"), [], ["resize is '1e+308'"]),
    (GOOD.replace("4", "0"), [], ["nframes is 0"]),
    (GOOD.replace("0.5", "0"), [], ["resize is 0"]),
]  # fmt: skip


@pytest.mark.parametrize(("inside", "calls", "refused"), READ)
def test_calls_are_read(inside: str, calls: list[Call], refused: list[str]) -> None:
    assert frame_select.read_calls(f"a plan <tool_call>{inside}</tool_call> and more", 8) == (calls, refused)


def test_a_reply_may_hold_so_many_calls_and_no_more(film: Path) -> None:
    inside = " ".join(GOOD.replace("4", str(frames)) for frames in (1, 2, 3, 4))
    calls, refused = frame_select.read_calls(f"<tool_call>{inside}</tool_call>", 2)
    assert [call.nframes for call in calls] == [1, 2] and refused == ["the reply holds more than 2 calls"] * 2
    said = f"<tool_call>{GOOD.replace('4', '2')} {GOOD}</tool_call>"
    rollout, _ = play(asking(film), said, "<answer>B</answer>", max_calls=1)
    assert rollout.facts["frames"] == 2 and rollout.facts["refused_calls"] == ["the reply holds more than 1 calls"]


def test_only_the_first_pair_of_tags_counts() -> None:
    assert frame_select.read_calls("a plan", 8) == ([], [])
    second = GOOD.replace("4", "8")
    text = f"<tool_call>{GOOD}</tool_call><tool_call>{second}</tool_call>"
    assert frame_select.read_calls(text, 8)[0] == [Call(1, 2.5, 4, 0.5)]


@pytest.mark.parametrize(
    ("text", "answer"),
    [("<answer> B </answer>", "B"), ("so <answer>the red box</answer>", "the red box"), ("Answer: C", "C"),
     ("the answer: (D). It is a dog.", "D"), ("<answer></answer>", None), ("I plan to answer a question", None),
     (f"The answer: I need more frames {call(start_time=0, end_time=1, nframes=1)}", None)],
)  # fmt: skip
def test_what_ends_an_episode(text: str, answer: str | None) -> None:
    assert frame_select.final_answer(text) == answer


# ---- the protocol ----------------------------------------------------------------------------------------------


def test_nothing_is_shown_before_it_is_asked_for(film: Path) -> None:
    rollout, engine = play(asking(film), "<answer>B</answer>", system="Use the tool.")
    prompt = "".join(chr(token) for token in rollout.prompt_ids)
    assert prompt == (
        "Use the tool.Video Length: 19 seconds. Original video resolution: 96p. What is shown?\n(A) a cat\n(B) a dog"
    )
    assert rollout.media == [] and engine.requests[0].media == [] and shown(rollout) == ""
    assert rollout.facts["replies"] == 1 and rollout.facts["frames"] == 0 and rollout.facts["problem"] is None


def test_frames_are_shown_as_they_were_asked_for(film: Path) -> None:
    said = f"I look at both ends. {call(start_time=4, end_time=8, nframes=2, resize=0.5)}"
    rollout, engine = play(asking(film), said, "<answer>B</answer>", reminder="Look again?")
    assert shown(rollout) == (
        "<tool_response>Frame 0 at [00:04]: #\nFrame 1 at [00:07]: #\nLook again?\n\n"
        "Question: What is shown?\n(A) a cat\n(B) a dog</tool_response>"
    )
    assert rollout.media == [Media("image", str(film), at=at, scale=0.5) for at in (4.0, 7.5)]
    assert engine.requests[1].media == rollout.media and rollout.stop is Stop.EOS
    assert [(span.author, span.stage) for span in rollout.spans] == [
        (Author.MODEL, "plan"), (Author.ENVIRONMENT, "look"), (Author.MODEL, "look"),
    ]  # fmt: skip
    assert rollout.text == f"{said}<answer>B</answer>"
    # 96 * .5 / 28 = 1.71 -> 2 and 128 * .5 / 28 = 2.29 -> 2: four tokens a frame
    assert rollout.facts == {
        "duration": 20.0, "replies": 2, "calls": [[4.0, 8.0, 2, 0.5]], "frames": 2, "visual_tokens": 8, "cut_calls": 0,
        "refused_calls": [], "problem": None,
    }  # fmt: skip


def test_several_calls_in_one_reply_are_numbered_through(film: Path) -> None:
    first, second = call(start_time=0, end_time=2, nframes=1), call(start_time=18, end_time=20, nframes=1)
    both = first.replace("</tool_call>", "") + second.replace("<tool_call>", "")
    rollout, _ = play(asking(film), both, "<answer>B</answer>")
    assert shown(rollout).startswith("<tool_response>Frame 0 at [00:01]: #\nFrame 1 at [00:19]: #\n")
    assert [item.at for item in rollout.media] == [1.0, 19.0] and rollout.facts["frames"] == 2


def test_a_call_above_the_budget_gets_less_and_is_counted(film: Path) -> None:
    said = call(start_time=0, end_time=20, nframes=40, resize=1)
    rollout, _ = play(asking(film), said, "<answer>B</answer>", budget=100)
    assert rollout.facts["cut_calls"] == 1 and 0 < rollout.facts["visual_tokens"] <= 100
    assert rollout.facts["frames"] == len(rollout.media) == rollout.facts["calls"][0][2] < 40
    assert all(item.scale < 1 for item in rollout.media)


def test_a_good_call_beside_a_bad_one_is_granted(film: Path) -> None:
    bad = '{"tool": "frame_select", "arguments": {"start_time": 0}}'
    said = call(start_time=0, end_time=20, nframes=1).replace("</tool_call>", f"{bad}</tool_call>")
    rollout, _ = play(asking(film), said, "<answer>B</answer>")
    assert rollout.facts["frames"] == 1 and rollout.facts["refused_calls"] == ["end_time is 'None'"]
    assert rollout.facts["problem"] is None


@pytest.mark.parametrize(
    ("said", "problem"),
    [("I do not know.", "neither an answer nor a call"), ("<tool_call>{}</tool_call>", "unknown tool 'None'"),
     (call(start_time=0, end_time=9, nframes=0), "nframes is 0")],
)  # fmt: skip
def test_a_reply_without_answer_or_valid_call_ends_the_episode(film: Path, said: str, problem: str) -> None:
    rollout, engine = play(asking(film), said, "<answer>B</answer>")
    assert rollout.facts["problem"] == problem and len(engine.requests) == 1 and rollout.media == []


def test_the_turn_limit(film: Path) -> None:
    said = [call(start_time=0, end_time=9, nframes=1)] * 9
    rollout, engine = play(asking(film), *said)
    assert len(engine.requests) == 6 and rollout.facts["replies"] == 6 and rollout.facts["frames"] == 5
    assert rollout.facts["problem"] == "no answer in 6 replies" and rollout.spans[-1].author is Author.MODEL
    rollout, engine = play(asking(film), *said, max_turns=2)
    assert len(engine.requests) == 2 and rollout.facts["problem"] == "no answer in 2 replies"


def test_options_stand_in_brackets_wherever_they_came_from(film: Path) -> None:
    for text in ("Q?\n\nA. a cat\nB) a dog", "Q?\n\n(A) a cat\n(B) a dog"):
        prompt = "".join(map(chr, play(asking(film, text), "<answer>B</answer>")[0].prompt_ids))
        assert prompt.endswith("Q?\n\n(A) a cat\n(B) a dog")
    prompt = "".join(map(chr, play(asking(film, "Q?"), "<answer>B</answer>")[0].prompt_ids))
    assert prompt.endswith(" Q?\n(A) a cat\n(B) a dog")
    prompt = "".join(map(chr, play(asking(film, "Q?", options=None), "<answer>B</answer>")[0].prompt_ids))
    assert prompt.endswith("96p. Q?")


def test_a_part_of_a_file_is_a_video_of_its_own(film: Path) -> None:
    given = asking(film)
    part = Sample(given.id, given.messages, [Media("video", str(film), span=(10.0, 16.0))], "B", None, given.facts)
    rollout, _ = play(part, call(start_time=0, end_time=99, nframes=2), "<answer>B</answer>")
    assert "Video Length: 5 seconds." in "".join(map(chr, rollout.prompt_ids))
    assert [item.at for item in rollout.media] == [10.0, 15.5] and all(item.span is None for item in rollout.media)
    assert "Frame 0 at [00:00]" in shown(rollout) and "Frame 1 at [00:05]" in shown(rollout)


def test_a_sample_without_a_video_is_named(film: Path) -> None:
    given = asking(film)
    for media, kinds in (([], "no media"), ([*given.media, *given.media], "video, video")):
        parts = [*({"type": item.kind} for item in media), {"type": "text", "text": "?"}]
        with pytest.raises(UserError, match=f"sample 'q' shows {kinds}[\\s\\S]*one video"):
            play(Sample("q", [{"role": "user", "content": parts}], media))


def test_an_evaluation_by_the_command_line(run_cli: Callable[..., tuple[int, str]], film: Path, tmp_path: Path) -> None:
    row = {
        "id": "q",
        "question": "What is shown?",
        "videos": [str(film)],
        "answer": "B",
        "facts": {"options": ["cat", "dog"]},
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    said = [call(start_time=0, end_time=20, nframes=4, resize=0.5), "It grows. <answer>B</answer>"]
    (tmp_path / "said.jsonl").write_text(json.dumps({"sample_id": "q", "replies": said}))
    source = {"output": str(tmp_path / "data"), "source": str(tmp_path / "rows.jsonl"), "validation": 0.0}
    assert run_cli("build", {"builder": "rows", **source})[0] == 0
    code, text = run_cli(
        "eval",
        {"benchmark": "dataset", "output": str(tmp_path / "run"), "model": "tiny", "data": {"path": str(tmp_path / "data")},
         "environment": {"name": "frame_select", "min_tokens": 16}, "engine": {"name": "scripted", "replies": str(tmp_path / "said.jsonl")},
         "max_new_tokens": 2000},
    )  # fmt: skip
    assert code == 0, text
    record = json.loads((tmp_path / "run/samples.jsonl").read_text())
    assert record["final_correct"] is True and record["facts"]["frames"] == 4 and record["facts"]["replies"] == 2
    assert record["facts"]["visual_tokens"] == 4 * 20, "48 x 64 pixels at 16 tokens: 3.46 -> 4 by 4.62 -> 5"
    assert [item["at"] for item in record["media"]] == pytest.approx([0, 6.5, 13, 19.5])


# ---- real processors and models --------------------------------------------------------------------------------


def template(name: str) -> str:
    """A released chat template, in the copy that TRL carries."""
    file = resources.files("trl") / "chat_templates" / f"{name}.jinja"
    if not file.is_file():
        pytest.skip(f"this TRL carries no {name}.jinja")
    return file.read_text()


class Told:
    """A real engine whose model's first reply is put in its mouth."""

    def __init__(self, engine: Any, first: str) -> None:
        self.engine, self.first = engine, first

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        if not requests or requests[0].token_ids:
            return list(self.engine.generate(requests, sampling))
        ids = [*self.engine.tokenize(self.first), self.engine.end_id]
        return [Reply(self.first, ids, Stop.EOS) for _ in requests]


def engine_of(family: str) -> Any:
    from mmreflect.data.rendering import Renderer
    from mmreflect.models import ModelConfig, load_model
    from mmreflect.rollouts.engines._generation import TransformersEngine
    from mmreflect.tiny import TinyConfig

    shape = TinyConfig(family=family, hidden_size=32, layers=2, heads=2, vision_hidden_size=32)  # type: ignore[arg-type]
    texts = ["Frame 0 at [00:01]: What is shown? <tool_response> Question: the frame"] * 4
    loaded = load_model(ModelConfig(path="tiny", tiny=shape), texts, seed=1)
    return TransformersEngine(loaded, Renderer(loaded.tokenizer, loaded.processor), 8)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_real_model_goes_on_from_the_frames_that_it_asked_for(family: str, film: Path) -> None:
    """Its greedy words after the tool's turn are the argmax of one forward over everything, pictures included."""
    import torch

    engine = engine_of(family)
    said = call(start_time=0, end_time=20, nframes=3, resize=0.75)
    environment = frame_select.create(Config(unit=28 if family in ("qwen2_vl", "qwen2_5_vl") else 32, min_tokens=1))
    sampling = Sampling(temperature=0, max_new_tokens=8, budget=2000)
    rollout = roll_out(Told(engine, said), environment, [asking(film)], 1, sampling, seed=0)[0].rollouts[0]  # type: ignore[arg-type]
    assert [item.at for item in rollout.media] == [0.0, 9.75, 19.5] and rollout.facts["replies"] == 2
    assert rollout.token_ids.count(engine.renderer.image_pad) == rollout.facts["visual_tokens"]
    ids = [*rollout.prompt_ids, *rollout.token_ids]
    inputs = engine.renderer.model_inputs([ids], [rollout.media])
    tokens = torch.tensor([ids])
    types = engine.renderer.token_types(tokens)
    with torch.no_grad():
        logits = engine.model(
            input_ids=tokens, attention_mask=torch.ones_like(tokens), mm_token_type_ids=types, **inputs
        ).logits[0]
    logits[:, engine._suppressed] = -torch.inf
    predicted = logits[len(rollout.prompt_ids) - 1 : -1].argmax(-1).tolist()
    last = rollout.spans[-1]
    assert last.author is Author.MODEL and last.end - last.start > 0
    assert predicted[last.start : last.end] == rollout.token_ids[last.start : last.end]


@pytest.mark.parametrize(
    ("family", "name", "role", "header"),
    [("qwen2_vl", "qwen2_5_vl", "tool", "tool"), ("qwen2_5_vl", "qwen2_5_vl", "tool", "tool"),
     ("qwen2_5_vl", "qwen2_5_vl", "user", "user"), ("qwen3_vl", "qwen3_vl", "user", "user"),
     ("qwen3_5", "qwen3_5_nothink", "user", "user"), ("qwen3_5", "qwen3_5_think", "user", "user")],
)  # fmt: skip
def test_released_templates_show_the_tools_turn_once(
    family: str, name: str, role: str, header: str, film: Path
) -> None:
    engine = engine_of(family)
    engine.renderer.processor.chat_template = template(name)
    frame = Media("image", str(film), at=1.0)
    turn = Turn(role, ["<tool_response>Frame 0 at [00:01]: ", frame, "\nQuestion: Q?</tool_response>"])
    text = engine.renderer.tokenizer.decode(engine.encode_turn(turn))
    assert text.strip().startswith(f"<|im_start|>{header}\n<tool_response>Frame 0 at [00:01]: <|vision_start|>")
    assert text.count("<tool_response>") == text.count("</tool_response>") == 1
    assert "<|im_end|>\n<|im_start|>assistant\n" in text


@pytest.mark.parametrize(("family", "name"), [("qwen3_vl", "qwen3_vl"), ("qwen3_5", "qwen3_5_nothink")])
def test_newer_templates_put_the_tags_round_a_tools_turn_themselves(family: str, name: str) -> None:
    """Which is why `reply_role: user` is the right one there."""
    engine = engine_of(family)
    engine.renderer.processor.chat_template = template(name)
    text = engine.renderer.tokenizer.decode(engine.encode_turn(Turn("tool", ["<tool_response>Frame</tool_response>"])))
    assert text.strip().startswith("<|im_start|>user\n<tool_response>\n<tool_response>Frame</tool_response>\n</tool_")
