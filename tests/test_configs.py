"""Every file under configs/ is read; the recipes run on a tiny model."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmreflect.config import load_yaml
from mmreflect.launch import VERBS, prepare_call
from mmreflect.suites import Suite

Cli = Callable[..., tuple[int, str]]
ROOT = Path(__file__).parent.parent
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if path.name != "demo.yaml")
VERB_OF = {"builder": "build", "benchmark": "eval", "reason": "merge"}


def verb_of(path: Path) -> str:
    tree = load_yaml(path)
    return next((verb for key, verb in VERB_OF.items() if key in tree), "train")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_is_valid_and_resolves_to_itself(path: Path) -> None:
    job = prepare_call(verb_of(path), str(path))
    again = prepare_call(job.verb, job.tree)
    assert again.tree == job.tree and job.verb in VERBS
    if isinstance(job, Suite) and isinstance(again, Suite):
        assert {label: one.tree for label, one in job.jobs.items()} == {
            label: one.tree for label, one in again.jobs.items()
        }


TINY = [
    "model={path: tiny, tiny: {hidden_size: 32, layers: 2, heads: 2, vision_hidden_size: 32}}",
    "trainer.max_steps=1", "trainer.per_device_train_batch_size=8", "trainer.gradient_accumulation_steps=1", "trainer.bf16=false",
]  # fmt: skip


@pytest.mark.parametrize("name", ["sft", "grpo", "vl_rethinker_7b_stage1", "vl_rethinker_7b_stage2"])
def test_training_recipes_run_on_a_tiny_model(name: str, run_cli: Cli, grid: Path, tmp_path: Path) -> None:
    path = ROOT / f"configs/train/{name}.yaml"
    settings = [*TINY, f"data.path={grid}", f"output={tmp_path / 'run'}"]
    settings += [
        f"evaluation.data={{path: {grid}, split: validation}}",
        "evaluation.max_new_tokens=4",
        "evaluation.every_steps=1",
    ]
    settings += ["trainer.save_steps=1"]
    if name != "sft":
        settings += ["data.split=rl", "trainer.max_completion_length=16", "trainer.steps_per_generation=1"]
    code, text = run_cli("train", path.read_text(), *settings)
    assert code == 0, text
    assert (tmp_path / "run/model/model.safetensors").is_file()
