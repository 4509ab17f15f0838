"""WUDI: steps that make a matrix worse are refused, and the authors' settings are never such."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from merge.small import models, recipe
from safetensors.torch import load_file, save_file

from mmreflect.errors import UserError
from mmreflect.merge.methods.wudi import merged_change

Cli = Callable[..., tuple[int, str]]


def test_a_step_past_the_place_of_an_entry_is_refused_with_both_values() -> None:
    """From 1.5: 0.5^2 + 1^2 = 1.25; to 1.5 - 10 by the first step of Adam: 9.5^2 + 9^2 = 171.25."""
    changes = [np.array([[1.0, 0.0]]), np.array([[0.5, 0.0]])]
    with pytest.raises(
        UserError, match=r"makes 'a' worse: its interference rises from 1.25 to 171.2 in 1 step at"
    ) as e:
        merged_change(changes, 1, 10.0, "a")
    assert "learning_rate 10" in e.value.given and e.value.do == "choose a smaller learning_rate"
    assert merged_change(changes, 1, 0.5)[0, 0] == pytest.approx(1.0)


def test_a_learning_rate_that_makes_no_model_is_refused(tmp_path: Path, run_cli: Cli) -> None:
    code, text = run_cli("merge", recipe(models(tmp_path), method="wudi", learning_rate=1e9, steps=3))
    assert code == 2 and "_proj.weight' worse: its interference rises from" in text
    assert "in 3 steps at learning_rate 1e+09" in text and "choose a smaller learning_rate" in text
    assert not (tmp_path / "out/result.json").exists()


def test_no_step_at_all_is_refused(tmp_path: Path, run_cli: Cli) -> None:
    code, text = run_cli("merge", recipe(models(tmp_path), method="wudi", steps=0), "--plan")
    assert code == 2 and "steps: should be greater than or equal to 1 (given: 0)" in text


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6])
def test_the_authors_settings_pass_whatever_the_dtype_and_the_changes(
    dtype: torch.dtype, size: float, tmp_path: Path, run_cli: Cli
) -> None:
    models(tmp_path)
    base = load_file(tmp_path / "base/model.safetensors")
    for role in ("base", "reason", "vlm"):
        file = tmp_path / role / "model.safetensors"
        near = {
            name: base.get(name, value) + size * (value - base.get(name, value))
            for name, value in load_file(file).items()
        }
        save_file({name: value.to(dtype) for name, value in near.items()}, file, metadata={"format": "pt"})
    code, text = run_cli("merge", recipe(tmp_path, method="wudi"))
    assert code == 0, text
