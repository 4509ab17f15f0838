"""What a merge will cost, told before it starts, against what it really takes."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from merge.small import TEXT, models, recipe
from safetensors.torch import save_file

from mmreflect.merge import costs, open_checkpoint, plan_merge
from mmreflect.merge.methods import wudi
from mmreflect.merge.rule import TensorRule

Cli = Callable[..., tuple[int, str]]


@pytest.mark.parametrize("shape", [(64, 2048), (700, 700), (2048, 256), (3, 200, 300)])
def test_the_memory_of_wudi_is_that_of_its_gram_matrices_too(shape: tuple[int, ...]) -> None:
    rule = wudi.create(wudi.Config(base="b", vlm="v", reason="r", output="o", steps=2))(1)
    assert isinstance(rule, TensorRule)
    size = int(np.prod(shape))
    models = [np.full(size, value, np.float32) + np.arange(size, dtype=np.float32) for value in (0.0, 1.0, 3.0)]
    tracemalloc.start()
    rule.merge("x", shape, *models)
    peak = tracemalloc.get_traced_memory()[1] + 3 * 4 * size  # the three that are handed over
    tracemalloc.stop()
    told = rule.memory(shape)
    assert peak <= told * 1.02 and told <= peak * 1.3


def test_a_plan_tells_the_memory_of_the_widest_matrices(
    tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matrices (4, 6000): three Gram matrices of 288 MB each, where its own values are 96 kB; two threads work at two."""
    monkeypatch.setattr(costs.os, "cpu_count", lambda: 2)
    models(tmp_path)
    for role in ("base", "vlm", "reason"):
        tensors = {f"model.layers.{layer}.mlp.down_proj.weight": torch.zeros(4, 6000) for layer in range(2)}
        save_file(tensors, tmp_path / role / "model.safetensors", metadata={"format": "pt"})
    told = {}
    for method in ("wudi", "ties"):
        code, text = run_cli("merge", recipe(tmp_path, method=method), "--plan")
        assert code == 0, text
        told[method] = next(line for line in text.splitlines() if line.startswith("memory"))
    assert "about 1.88 GB at most" in told["wudi"] and "about 0.15 GB at most" in told["ties"]


def write_hole(folder: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Write a bfloat16 model whose values are a hole in its file: nothing of it is on the disk."""
    header, place = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with open(folder / "model.safetensors", "ab") as opened:
        opened.truncate(8 + len(text) + place)


@pytest.mark.parametrize(
    ("cores", "arithmetic", "said"),
    [
        # 150 MB, a layer of three models (120), and per thread 2 * 2^21 values of three models and 2^21 that are written
        (2, "numpy", "0.33"),  # 58.7
        (16, "numpy", "0.58"),  # 240 + 67.1: all of the model's 40 million values
        (64, "numpy", "0.58"),  # never more than 16 threads
        (16, "compiled", "0.70"),  # three windows of 40 MiB
    ],
)
def test_a_plan_tells_the_memory_of_many_threads(
    cores: int, arithmetic: str, said: str, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs.os, "cpu_count", lambda: cores)
    models(tmp_path)
    for role in ("base", "vlm", "reason"):
        write_hole(tmp_path / role, {f"model.layers.{layer}.mlp.up_proj.weight": (10_000, 2_000) for layer in range(2)})
    code, text = run_cli("merge", recipe(tmp_path, arithmetic=arithmetic, device="cpu"), "--plan")
    assert code == 0 and f"about {said} GB at most" in text, text


@pytest.mark.parametrize(
    ("steps", "gpu", "said"),
    [
        # (6 + steps) products of 2 * 64 * 6000^2, 1000 operations per entry and step and 1000 per entry of a Gram matrix,
        # two layers, at 25 GFLOP/s on each of 2 cores; and 46 ms for 768,000 values
        (1, False, "about 3 s"),  # 2 * (32.256 + 0.384 + 36) = 137.3 GFLOP: 2.7 s
        (200, False, "about 43 s"),  # 2 * (949.25 + 76.8 + 36) = 2124.1 GFLOP: 42.5 s
        (30000, True, "about 1.7 h"),  # 2 * (138267.6 + 11520 + 36) = 299647 GFLOP: 5993 s
    ],
)
def test_a_plan_tells_the_time_of_products_of_matrices(
    steps: int, gpu: bool, said: str, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(costs, "DRIVER", tmp_path if gpu else tmp_path / "none")
    models(tmp_path)
    for role in ("base", "vlm", "reason"):
        tensors = {f"model.layers.{layer}.mlp.down_proj.weight": torch.zeros(64, 6000) for layer in range(2)}
        save_file(tensors, tmp_path / role / "model.safetensors", metadata={"format": "pt"})
    code, text = run_cli("merge", recipe(tmp_path, method="wudi", steps=steps), "--plan")
    shown = " ".join(text.split())
    assert code == 0 and f"time {said}, at the" in shown, text
    assert "; matrices multiplied at 25 GFLOP/s on each of 2 cores" in shown
    assert ("less time on a GPU" in shown) == gpu
    code, text = run_cli("merge", recipe(tmp_path, method="ties"), "--plan")
    assert code == 0 and "GFLOP" not in text


@pytest.mark.parametrize("turned", [False, True])
def test_fused_experts_are_multiplied_one_by_one(turned: bool, tmp_path: Path) -> None:
    """Per expert gate and up (5, 8), and down (8, 5), however the slabs lie; 8 products each at 2 steps."""
    models(tmp_path)
    shapes = {"gate_up_proj": (3, 8, 10) if turned else (3, 10, 8), "down_proj": (3, 5, 8) if turned else (3, 8, 5)}
    names = {f"model.layers.{layer}.mlp.experts.{part}": shape for layer in range(2) for part, shape in shapes.items()}
    for role in ("base", "vlm", "reason"):
        tensors = {name: torch.zeros(shape) for name, shape in names.items()}
        tensors["model.layers.1.mlp.gate.bias"] = torch.zeros(9)
        save_file(tensors, tmp_path / role / "model.safetensors", metadata={"format": "pt"})
    plan = plan_merge(
        *(open_checkpoint(role, tmp_path / role) for role in ("base", "vlm", "reason")),
    )
    rule = wudi.create(wudi.Config(base="b", vlm="v", reason="r", output="o", steps=2))(2)
    assert isinstance(rule, TensorRule)
    gate = 8 * 2 * 5 * 64 + 1000 * (2 * 40 + 64)
    down = 8 * 2 * 8 * 25 + 1000 * (2 * 40 + 25)
    assert costs._operations(plan, rule) == 2 * 3 * (2 * gate + down)


@pytest.mark.parametrize(
    ("dtype", "gpu", "said"),
    [
        ("auto", False, "0.16 GB in float32"),
        ("auto", True, "0.08 GB in bfloat16"),
        ("float16", False, "0.08 GB in float16"),
    ],
)
def test_the_vlm_takes_the_memory_of_the_dtype_that_it_is_loaded_in(
    dtype: str, gpu: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 million values in bfloat16 are 80 MB on disk, and twice that on a CPU."""
    monkeypatch.setattr(costs, "DRIVER", tmp_path if gpu else tmp_path / "none")
    size = 40_000_000
    header = json.dumps({"a": {"dtype": "BF16", "shape": [size], "data_offsets": [0, 2 * size]}}).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    with open(file, "ab") as opened:
        opened.truncate(8 + len(header) + 2 * size)  # a hole: nothing is read
    (tmp_path / "config.json").write_text(json.dumps(TEXT))
    assert costs.loading(open_checkpoint("vlm", tmp_path), dtype) == f"before that the VLM is loaded, {said}"
