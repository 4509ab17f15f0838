"""The whole way on videos, by the recipes in configs/events: build, sft, grpo, eval, view."""

from collections.abc import Callable
from pathlib import Path

from mmreflect.files import read_json, read_jsonl

Cli = Callable[..., tuple[int, str]]
ROOT = Path(__file__).parent.parent
SMALL = "model={path: tiny, tiny: {hidden_size: 32, layers: 2, heads: 2, vision_hidden_size: 32}}"


def test_from_videos_to_a_page(run_cli: Cli, tmp_path: Path) -> None:
    from mmreflect.cli import main

    data = tmp_path / "data"

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
    )
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
    records = list(read_jsonl(tmp_path / "eval/samples.jsonl"))
    assert len(records) == 6
    for record in records:
        assert record["media"][0]["frames"]["fps"] == 1 and record["facts"]["duration"] == 12.0
        assert record["sample_facts"]["gt_interval"][0] >= 1
        assert len(record["media"]) == 1 + (record["facts"]["segment"] is not None)
        assert ("sufficiency" in record["probes"]) == (record["facts"]["segment"] is not None)
    kept = read_json(next((tmp_path / "grpo/rollouts").glob("step-*.json")))
    assert len(kept[0]["rollouts"]) == 4 and "facts" in kept[0]["rollouts"][0]
    assert main(["view", str(tmp_path / "eval")]) == 0
    page = (tmp_path / "eval/index.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 6, "every look is a strip of frames"
