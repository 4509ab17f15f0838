"""GRPO through the engine `vllm`, entered by the command line; vLLM itself is a stand-in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_vllm
import pytest
from accelerate import Accelerator

RETHINK = {
    "name": "forced_rethinking", "append_probability": 0.0, "cuts": [{"text": "</answer>", "which": "first"}],
    "min_second_tokens": 1, "max_new_tokens": 8, "keep_probability": 1.0,
    "triggers": dict.fromkeys(("bare", "self_questioning", "self_verification", "self_correction"), "Wait:"),
}  # fmt: skip


def settings(grid: Path, model: Path, output: Path, engine: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": "grpo",
        "output": str(output),
        "model": str(model),
        "data": {"path": str(grid), "split": "rl"},
        "rewards": ["accuracy", "format"],
        "rollout": {"engine": engine, "stages": [RETHINK]},
        "evaluation": {"data": {"path": str(grid), "split": "validation"}, "every_steps": 2},
        "trainer": {
            "num_generations": 4,
            "per_device_train_batch_size": 8,
            "max_steps": 3,
            "max_completion_length": 24,
            "save_steps": 3,
        },
    }


@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_training_follows_the_policy(
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
    run_cli: Callable[..., tuple[int, str]],
    grid: Path,
    tiny_model: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """Weights move once a step for its validation and its rollouts, stages included, and once for the last validation."""

    def script(request: Any, asked: int) -> str:
        return f"<answer>{asked % 4}</answer>"

    Accelerator(cpu=True)
    fake_vllm.install(monkeypatch, script)
    model = tiny_model("qwen2_5_vl")
    with fake_vllm.serve(monkeypatch, str(model), script) as (address, brain, updates):
        engine = {"name": "vllm", "mode": mode} | ({"server_base_url": address} if mode == "server" else {})
        code, text = run_cli("train", settings(grid, model, tmp_path / "run", engine))
    assert code == 0, text
    if mode == "server":
        assert len(updates) == 4 and len(brain.heard) > 3 * 8
    else:
        assert fake_vllm.LLM.made[-1].log == [
            *["load", "reset", "generate", "generate"] * 2,
            *["load", "reset", "generate", "generate", "generate"],
            *["load", "reset", "generate"],
        ]
