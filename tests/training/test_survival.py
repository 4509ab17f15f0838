"""SIGTERM, numbers that are not finite, and memory that runs out."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from mmreflect.errors import UserError
from mmreflect.training.survival import PATIENCE, explained_memory

Cli = Callable[..., tuple[int, str]]


def config(grid: Path, output: Path, model: Path, **trainer: Any) -> dict[str, Any]:
    settings = {
        "max_steps": 8,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_steps": 100,
    }
    return {
        "method": "sft",
        "output": str(output),
        "model": str(model),
        "data": {"path": str(grid)},
        "trainer": settings | trainer,
    }


class _At(TrainerCallback):
    """Do something at the beginning of one step."""

    def __init__(self, step: int, action: Callable[[Any], None]) -> None:
        self.step, self.action = step, action

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            self.action(kwargs["model"])


def inject(monkeypatch: pytest.MonkeyPatch, step: int, action: Callable[[Any], None]) -> None:
    from mmreflect.training.sft import ReflectSFTTrainer

    before = ReflectSFTTrainer.train_or_resume

    def train(self: Any) -> Any:
        self.add_callback(_At(step, action))
        return before(self)

    monkeypatch.setattr(ReflectSFTTrainer, "train_or_resume", train)


def test_sigterm_saves_and_the_run_goes_on_to_the_same_end(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("qwen2_5_vl")
    assert run_cli("train", config(grid, tmp_path / "whole", model))[0] == 0
    with monkeypatch.context() as patch:
        inject(patch, 3, lambda model: os.kill(os.getpid(), signal.SIGTERM))
        code, text = run_cli("train", config(grid, tmp_path / "cut", model))
    assert code == 143 and "step 4 is saved, start the same command again to go on" in text
    assert not (tmp_path / "cut/result.json").exists()
    assert run_cli("train", config(grid, tmp_path / "cut", model))[0] == 0
    weights = [(tmp_path / name / "model/model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_sigterm_in_the_last_step_ends_the_run_as_it_would_have_ended(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject(monkeypatch, 7, lambda model: os.kill(os.getpid(), signal.SIGTERM))
    code, text = run_cli("train", config(grid, tmp_path / "run", tiny_model("qwen2_5_vl")))
    assert code == 0, text
    assert json.loads((tmp_path / "run/result.json").read_text())["steps"] == 8


def test_one_update_that_is_not_finite_is_left_out_and_counted(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(model: Any) -> None:
        handle = model.model.language_model.norm.weight.register_hook(
            lambda gradient: handle.remove() or gradient * float("nan")
        )

    inject(monkeypatch, 2, poison)
    assert run_cli("train", config(grid, tmp_path / "run", tiny_model("qwen2_5_vl")))[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "guard/skipped_updates" in row] == [3]
    from mmreflect.models import ModelConfig, load_model

    model = load_model(ModelConfig(path=str(tmp_path / "run/model"))).model
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def test_a_run_that_stays_not_finite_is_given_up(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(model: Any) -> None:
        model.model.language_model.norm.weight.register_hook(lambda gradient: gradient * float("nan"))

    inject(monkeypatch, 0, poison)
    code, text = run_cli("train", config(grid, tmp_path / "run", tiny_model("qwen2_5_vl")))
    assert code == 2 and f"the gradient was not finite {PATIENCE} steps in a row" in text and "learning_rate" in text


def test_memory_names_the_settings_to_change() -> None:
    expected = r"out of memory: CUDA out of memory[\s\S]*lower trainer.a, or trainer.b"
    with pytest.raises(UserError, match=expected), explained_memory("trainer.a", "trainer.b"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nmore")
