"""The whole way on videos, by the recipes in configs/events: build, sft, grpo, eval, view."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mmreflect.files import read_json, read_jsonl
from mmreflect.records import Media, Reply, Stop
from mmreflect.rollouts.actions import Request, Sampling

Cli = Callable[..., tuple[int, str]]
ROOT = Path(__file__).parent.parent
SMALL = "model={path: tiny, tiny: {hidden_size: 32, layers: 2, heads: 2, vision_hidden_size: 32}}"


FIRST = "<think>0 - 2 box 4 box</think><time_interval>[2.0, 6.0]</time_interval>"


@pytest.fixture
def towers(monkeypatch: pytest.MonkeyPatch) -> list[Media]:
    """Let every first reply name a segment, which three steps do not teach; what follows the model says itself.

    Returns:
        what the vision tower sees while the model speaks.
    """
    from mmreflect.rollouts.engines._generation import TransformersEngine
    from mmreflect.rollouts.engines._vision import VisionCache

    speak, look, seen = TransformersEngine.generate, VisionCache._look, []

    def generate(self: TransformersEngine, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        first = [not item.token_ids and all(medium.span is None for medium in item.media) for item in requests]
        others = [item for item, is_first in zip(requests, first, strict=True) if not is_first]
        spoken = iter(speak(self, others, sampling) if others else [])
        words = [*self.tokenize(FIRST), self.end_id]
        return [Reply(FIRST, list(words), Stop.EOS) if is_first else next(spoken) for is_first in first]

    def watched(self: VisionCache, model: Any, media: Sequence[Media]) -> Any:
        seen.extend(media)
        return look(self, model, media)

    monkeypatch.setattr(TransformersEngine, "generate", generate)
    monkeypatch.setattr(VisionCache, "_look", watched)
    return seen


def check_records(run: Path) -> None:
    records = list(read_jsonl(run / "samples.jsonl"))
    assert len(records) == 6
    for record in records:
        assert record["media"][0]["frames"]["fps"] == 1 and record["facts"]["duration"] == 12.0
        assert record["sample_facts"]["gt_interval"][0] >= 1
        assert [item["span"] for item in record["media"]] == [None, [2.0, 6.0]] and "sufficiency" in record["probes"]
        assert record["facts"]["segment"] == [2.0, 6.0] and record["facts"]["looks"] == 1


def check_rollouts(run: Path) -> None:
    kept = read_json(next((run / "rollouts").glob("step-*.json")))
    assert len(kept[0]["rollouts"]) == 4
    for rollout in kept[0]["rollouts"]:
        assert [item["stage"] for item in rollout["segments"]] == ["propose", "revise", "revise"]
        assert rollout["score"]["parts"]["dadr.tool"]["value"] == 1.0 and "sufficiency" in rollout["probes"]


def check_page(run: Path) -> None:
    page = (run / "index.html").read_text()
    looks = re.findall(r'<figure class="film">\s*<figcaption><b>(Look \d)</b>', page)
    assert looks.count("Look 1") >= 2 and looks.count("Look 2") >= 2, "every look is a strip of frames"
    assert page.count("data:image/jpeg;base64,") >= 4 * len(set(looks))
    drawn = re.findall(r'<figure class="timeline">.*?</figure>', page, re.DOTALL)
    assert len(drawn) >= 2 and all('<rect class="segment"' in item and "chosen 2.0 to 6.0" in item for item in drawn)


def test_from_videos_to_a_page(run_cli: Cli, tmp_path: Path, towers: list[Media]) -> None:
    from mmreflect.cli import main
    from mmreflect.config import load_yaml

    data = tmp_path / "data"
    environment = load_yaml(ROOT / "configs/events/eval.yaml")["environment"]

    def step(verb: str, name: str, *settings: str) -> None:
        recipe = (ROOT / f"configs/events/{name}.yaml").read_text()
        code, text = run_cli(verb, recipe, f"output={tmp_path / name}", *settings)
        assert code == 0, text

    step("build", "data", "splits={sft: 24, train: 8, validation: 4, test: 6}", "shard_rows=12")
    step(
        "train",
        "sft",
        SMALL,
        f"data.path={data}",
        "trainer.max_steps=3",
        "trainer.per_device_train_batch_size=8",
        "trainer.warmup_steps=1",
        f"environment={json.dumps(environment)}",
        f"evaluation={{data: {{path: {data}, split: validation}}, every_steps: 3, max_new_tokens: 72, budget: 280}}",
    )
    assert len(towers) == len(set(towers)) == 8, "four videos and a clip of each: once in a whole validation"
    step(
        "train", "grpo", f"model={tmp_path / 'sft/model'}", f"data.path={data}", f"evaluation.data.path={data}", "evaluation.every_steps=2",
        "trainer.max_steps=2", "trainer.per_device_train_batch_size=8", "trainer.num_generations=4", "trainer.save_steps=2", "rollout.keep_every=1",
    )  # fmt: skip
    step("eval", "eval", f"model={tmp_path / 'grpo/model'}", f"data.path={data}")

    published = (ROOT / "configs/train/revisor_qwen2_5_vl_7b.yaml").read_text()
    code, text = run_cli(
        "train", published, SMALL, f"output={tmp_path / 'revisor'}", f"data.path={data}", "data.max_prompt_tokens=2000", "trainer.max_steps=1",
        "trainer.per_device_train_batch_size=4", "trainer.num_generations=4", "trainer.gradient_accumulation_steps=1", "trainer.bf16=false",
        "trainer.max_completion_length=600", "rollout.max_reply_tokens=16", "trainer.save_steps=1",
    )  # fmt: skip
    assert code == 0, text

    assert read_json(tmp_path / "sft/result.json")["videos"]["decoded"] > 0
    log = [row for row in read_jsonl(tmp_path / "grpo/log.jsonl") if "reward" in row]
    assert len(log) == 2 and all(
        f"rewards/dadr.{part}/mean" in log[0] for part in ("final", "sufficiency", "format", "tool")
    )
    check_records(tmp_path / "eval")
    check_rollouts(tmp_path / "grpo")
    for run in ("eval", "grpo"):
        assert main(["view", str(tmp_path / run)]) == 0
        check_page(tmp_path / run)
