"""Weights that are no numbers are not exported, and the tensor is named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from mmreflect.cli import main

Models = Callable[[str], Path]


@pytest.mark.parametrize(
    ("value", "words", "said"),
    [
        ("nan", [], "'{}' holds NaN"),
        ("nan", ["verify=headers"], "'{}' holds NaN"),
        ("inf", [], "'{}' holds infinity, and the model's logits are no numbers"),
    ],
)
def test_weights_that_are_no_numbers_are_named(
    value: str, words: list[str], said: str, tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, name = tmp_path / "model", "model.layers.1.mlp.up_proj.weight"
    shutil.copytree(tiny_model("qwen2_5_vl"), base)
    tensors = load_file(base / "model.safetensors")
    tensors[name][3] = float(value)
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    assert main(["export", str(base), f"output={tmp_path / 'hub'}", *words]) == 2
    text = capsys.readouterr().err
    assert not (tmp_path / "hub").exists() and list(tmp_path.glob(".hub*")) == []
    assert said.format(name) in text and "take an earlier checkpoint of the training" in text
