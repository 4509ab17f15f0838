"""The token guard: every sample through the real processor, before training and by `mmreflect check`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmreflect.data.guard import Limits, guard, learnt
from mmreflect.data.rendering import Conversation, Renderer
from mmreflect.data.store import open_dataset
from mmreflect.models import ModelConfig, load_model
from mmreflect.records import Media, Sample
from mmreflect.tiny import FAMILIES

Cli = Callable[..., tuple[int, str]]


def renderer_of(folder: Path) -> Renderer:
    loaded = load_model(ModelConfig(path=str(folder)))
    return Renderer(loaded.tokenizer, loaded.processor)


def asked(sample: Sample) -> Conversation:
    return Conversation(sample.messages, sample.media)


@pytest.mark.parametrize("family", FAMILIES)
def test_sound_samples_pass_with_their_counts(family: str, tiny_model: Callable[[str], Path], grid: Path) -> None:
    samples = list(open_dataset(str(grid)).samples("train"))
    renderer = renderer_of(tiny_model(family))
    good, report = guard(samples, renderer, Limits(), learnt)
    assert good == samples and report.bad == []
    assert len(set(report.visual_tokens)) == 1 and report.visual_tokens[0] in (4, 9)
    expected = len(renderer.encode([], reply=False)) or report.whole_tokens[0]
    assert report.whole_tokens[0] == expected and report.prompt_tokens[0] < report.whole_tokens[0]
    summary = report.summary()["prompt_tokens"]
    assert sum(summary["histogram"].values()) == 48 and summary["least"] <= summary["median"] <= summary["most"]


def test_bad_samples_are_named_with_numbers(tiny_model: Callable[[str], Path], grid: Path, tmp_path: Path) -> None:
    picture = next(open_dataset(str(grid)).samples("train")).media
    (tmp_path / "cut.png").write_bytes(Path(picture[0].path).read_bytes()[:80])
    ask = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "how many?"}]}]
    pad = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is <|image_pad|>?"}]}]
    samples = [
        Sample("good", ask, picture),
        Sample("pad", pad, picture),
        Sample("cut", ask, [Media("image", str(tmp_path / "cut.png"))]),
        Sample("long", [{"role": "user", "content": "word " * 300}]),
    ]
    good, report = guard(samples, renderer_of(tiny_model("qwen2_5_vl")), Limits(prompt=100), asked)
    assert [sample.id for sample in good] == ["good"]
    reasons = {item.id: item.reason for item in report.bad}
    assert "control token <|image_pad|>" in reasons["pad"] and "cannot be decoded" in reasons["cut"]
    assert reasons["long"].endswith("data.max_prompt_tokens is 100")


def config(grid: Path, output: Path, model: Path, **keys: Any) -> dict[str, Any]:
    data = {"path": str(grid), "split": "rl", **keys.pop("data", {})}
    base = {"method": "grpo", "output": str(output), "model": str(model), "data": data, "rewards": ["accuracy"]}
    return base | {"trainer": {"max_steps": 1, "max_completion_length": 16, **keys}}


def test_check_prints_a_histogram_and_the_offenders(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    code, text = run_cli("check", config(grid, tmp_path / "run", tiny_model("qwen3_vl")))
    assert code == 0 and "12 sound samples, 0 bad" in text and "####" in text and not (tmp_path / "run").exists()
    code, text = run_cli(
        "check", config(grid, tmp_path / "run", tiny_model("qwen3_vl"), data={"max_prompt_tokens": 10})
    )
    assert code == 2 and "12 samples are bad (100.0%)" in text and "####" in text
    assert all(f"rl-{place:06}: prompt of" in text for place in range(12)) and "data.max_prompt_tokens is 10" in text


def test_the_guard_measures_what_the_environment_shows(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = config(grid, tmp_path / "run", tiny_model("qwen2_5_vl"), data={"max_prompt_tokens": 200})
    environment = {"name": "single_turn", "instruction": "count well " * 150}
    code, text = run_cli("check", settings | {"rollout": {"environment": environment}})
    assert code == 2 and "12 samples are bad" in text


def test_training_refuses_what_does_not_fit(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    code, text = run_cli("train", config(grid, tmp_path / "run", tiny_model("qwen2_5_vl"), max_completion_length=5000))
    assert code == 2 and "with 5000 for the answer" in text and "the model's context is 4096" in text


def test_training_keeps_what_the_guard_found(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    assert run_cli("train", config(grid, tmp_path / "run", tiny_model("qwen2_5_vl")))[0] == 0
    assert json.loads((tmp_path / "run/guard.json").read_text())["samples"] == 12


def test_a_reference_that_cannot_be_graded_is_left_out_before_training(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "data"
    shutil.copytree(grid, folder)
    shard = folder / "rl/00000.jsonl"
    rows = [json.loads(line) for line in shard.read_text().splitlines()]
    rows[0]["answer"] = "$$"
    shard.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, text = run_cli("train", config(folder, tmp_path / "run", tiny_model("qwen2_5_vl"), data={"tolerate": 0.2}))
    assert code == 0 and "left out 1 bad sample of 12" in text and "the reference '$$' cannot be graded against" in text
