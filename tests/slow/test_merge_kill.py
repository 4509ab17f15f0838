"""SIGKILL at random moments of a merge; started again as often as it takes, its files are those of an undisturbed one."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

pytestmark = pytest.mark.slow

LAYERS, WIDTH, INNER = 6, 192, 512
SHAPES = {"self_attn.q_proj.weight": (WIDTH, WIDTH), "mlp.up_proj.weight": (INNER, WIDTH), "norm.weight": (WIDTH,)}
TEXT = {"num_hidden_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": 4, "intermediate_size": INNER}
CHILD = """
import os, random, signal, sys, threading, time
from mmreflect.cli import main
from mmreflect.merge import kernels, notes, outputs, pieces
pieces.cut.__defaults__ = (4096,)  # many pieces, so that there are many moments
calls, last, lock = [0], int(sys.argv[2]), threading.Lock()
def deadly(function):
    def call(*arguments):
        with lock:
            calls[0] += 1
            if calls[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call
outputs._write_all, os.replace = deadly(outputs._write_all), deadly(os.replace)
notes.Notes.add, kernels.Kernels.finish = deadly(notes.Notes.add), deadly(kernels.Kernels.finish)
code = main(["merge", sys.argv[1]])
print("moments", calls[0])
sys.exit(code)
"""


def write_models(root: Path) -> None:
    """Write a base, a VLM in three files that cut through layers, and a reasoning model."""
    generator = torch.Generator().manual_seed(0)
    base = {
        f"layers.{layer}.{name}": torch.randn(shape, generator=generator)
        for layer in range(LAYERS)
        for name, shape in SHAPES.items()
    }
    for role, amount in (("base", 0.0), ("vlm", 0.1), ("reason", 0.05)):
        tensors = {name: value + amount * torch.randn(value.shape, generator=generator) for name, value in base.items()}
        tensors = {f"model.{name}": value.to(torch.bfloat16) for name, value in tensors.items()}
        tensors["model.embed_tokens.weight"] = torch.randn(900, WIDTH, generator=generator).to(torch.bfloat16)
        (root / role).mkdir()
        names = list(tensors)
        files = {f"model-{part + 1:05}-of-00003.safetensors": names[part::3] for part in range(3)}
        for file, part in files.items():
            save_file({name: tensors[name] for name in part}, root / role / file, metadata={"format": "pt"})
        weight_map = {name: file for file, part in files.items() for name in part}
        (root / role / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        nested = {"text_config": TEXT, "vision_config": {}} if role == "vlm" else TEXT
        (root / role / "config.json").write_text(json.dumps(nested))


def merge(root: Path, output: str, method: str, last: int) -> subprocess.CompletedProcess[str]:
    """Merge in a process that kills itself at its `last`-th write, rename or note; 0 never comes."""
    tree = {
        "method": method,
        "output": str(root / output),
        **{role: str(root / role) for role in ("base", "vlm", "reason")},
    }
    file = root / f"{output}.json"
    file.write_text(json.dumps(tree))
    command = [sys.executable, "-c", CHILD, str(file), str(last)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("method", ["frank", "metagpt", "linear", "dare_ties"])
def test_ten_kills_at_random_moments_change_no_byte(tmp_path: Path, method: str) -> None:
    write_models(tmp_path)
    whole = merge(tmp_path, "whole", method, 0)
    assert whole.returncode == 0, whole.stderr
    moments = int(whole.stdout.split("moments")[1])
    assert moments > 20
    rng, killed = random.Random(method), 0
    for attempt in range(10):
        output = f"cut{attempt}"
        first = merge(tmp_path, output, method, rng.randint(1, moments))
        assert first.returncode == -9, first.stdout + first.stderr
        killed += 1
        while (again := merge(tmp_path, output, method, rng.choice([0, rng.randint(1, moments)]))).returncode == -9:
            killed += 1
        assert again.returncode == 0, again.stdout + again.stderr
        assert content(tmp_path / output / "model") == content(tmp_path / "whole" / "model")
        reports = [json.loads((tmp_path / name / "merge_report.json").read_text()) for name in (output, "whole")]
        assert reports[0] == reports[1]
    assert killed >= 10
