"""Three tiny models whose decoders are near one another, as folders that transformers loads."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="session")
def triple(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `vlm`, `base` (a VLM as well) and `reason` (its decoder alone), each block moved a little."""
    from mmreflect.models import ModelConfig, load_model

    root = tmp_path_factory.mktemp("triple")
    shutil.copytree(tiny_model("qwen2_5_vl"), root / "vlm")
    shutil.copytree(root / "vlm", root / "base")
    load_model(ModelConfig(path=str(root / "vlm"), part="decoder")).save(root / "reason")
    for role, seed in (("base", 1), ("reason", 2)):
        generator = torch.Generator().manual_seed(seed)
        file = root / role / "model.safetensors"
        tensors = load_file(file)
        for name, value in tensors.items():
            if ".layers." in name:
                tensors[name] = value + 0.01 * torch.randn(value.shape, generator=generator).to(value.dtype)
        save_file(tensors, file, metadata={"format": "pt"})
    return root
