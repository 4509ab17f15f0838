"""What is said about the engine `vllm` before anything is loaded."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_vllm
import pytest

from mmreflect.components import load
from mmreflect.config import component_parser, to_tree
from mmreflect.errors import UserError
from mmreflect.rollouts.engines import vllm

MISSING = pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed")


@MISSING
def test_training_without_vllm_ends_before_anything_is_loaded(
    run_cli: Callable[..., tuple[int, str]], grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = {
        "method": "grpo",
        "output": str(tmp_path / "run"),
        "model": str(tiny_model("qwen2_5_vl")),
        "data": {"path": str(grid), "split": "rl"},
        "rewards": [{"name": "accuracy"}],
        "rollout": {"engine": "vllm"},
        "trainer": {"num_generations": 2, "per_device_train_batch_size": 2},
    }
    code, text = run_cli("train", settings)
    assert code == 2 and "engine vllm needs the package vllm, which is not installed" in text
    assert "pip install 'mmreflect[vllm]'" in text and "Traceback" not in text and not (tmp_path / "run").exists()


@MISSING
def test_without_vllm() -> None:
    option = component_parser("engine", load)({"name": "vllm", "mode": "server", "server_port": 8001})
    with pytest.raises(UserError, match=r"engine vllm needs the package vllm(.|\n)*pip install 'mmreflect\[vllm\]'"):
        option.module.check(option.options)
    with pytest.raises(UserError, match="needs the package vllm"):
        option.module.create(option.options, None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tensor_parallel_size": 2}, "tensor_parallel_size is 2 with mode colocate"),
        ({"server_base_url": "http://gpu:8000"}, "server_base_url is http://gpu:8000 with mode colocate"),
        ({"mode": "server", "enable_sleep_mode": True}, "enable_sleep_mode is on with mode server"),
    ],
)
def test_contradictions(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str) -> None:
    fake_vllm.install(monkeypatch, lambda request, asked: "x")
    with pytest.raises(UserError, match=message):
        vllm.check(vllm.Config(**options))


def test_options_are_checked_and_read_back() -> None:
    with pytest.raises(ValueError, match="did you mean 'gpu_memory_utilization'"):
        component_parser("engine", load)({"name": "vllm", "gpu_memory_utilisation": 0.5})
    option = component_parser("engine", load)({"name": "vllm", "gpu_memory_utilization": 0.5})
    assert component_parser("engine", load)(to_tree(option)) == option
    assert {"tokens", "continue", "media", "policy"} == vllm.CAPABILITIES
