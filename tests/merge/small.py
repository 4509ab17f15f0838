"""Three small models in a folder, whatever their weights say, and the configuration of a merge of them."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

TEXT = {
    "num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 12, "rope_theta": 1e6,
}  # fmt: skip
PARTS = {"self_attn.q_proj.weight": (8, 8), "self_attn.q_proj.bias": (8,), "mlp.up_proj.weight": (12, 8)}
SIDE_FILES = {"tokenizer_config.json": '{"a": 1}', "chat_template.jinja": "{{ messages }}", "merges.txt": "a b"}


def write(folder: Path, amount: float, seed: int, vlm: bool = False, **config: Any) -> Path:
    """Write a model in one file, `amount` away from values that all of them share."""
    own, shared = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(99)
    tensors = {
        f"model.layers.{layer}.{part}": torch.randn(shape, generator=shared)
        + amount * torch.randn(shape, generator=own)
        for layer in range(2)
        for part, shape in PARTS.items()
    }
    tensors["model.embed_tokens.weight"] = torch.ones(10, 8)
    text = {**TEXT, **config}
    if vlm:
        tensors["visual.patch.weight"] = torch.ones(4, 4)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"text_config": text, "vision_config": {}} if vlm else text))
    return folder


def models(root: Path) -> Path:
    """Write `base`, `vlm` with files beside its weights, and `reason`."""
    write(root / "base", 0.0, 0)
    write(root / "reason", 0.05, 1)
    write(root / "vlm", 0.05, 2, vlm=True)
    for name, text in SIDE_FILES.items():
        (root / "vlm" / name).write_text(text)
    return root


def recipe(root: Path, **tree: Any) -> dict[str, Any]:
    """Return the configuration of a merge of them."""
    folders = {role: str(root / role) for role in ("base", "vlm", "reason")}
    return {"method": "frank", "output": str(root / "out"), **folders, **tree}


def edit(folder: Path, name: str, values: torch.Tensor | None) -> None:
    """Put a tensor into a model, or take it out."""
    tensors = load_file(folder / "model.safetensors")
    tensors = {key: value for key, value in tensors.items() if key != name} | ({} if values is None else {name: values})
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
