"""Synthetic checkpoints of Qwen2.5-VL's shapes and names, for merge.py: true sizes, random values."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmreflect.merge.arithmetic_numpy import encode

ROLES = ("base", "vlm", "reason")
TILE = 1 << 22
"""Random values that a model's tensors are cut from, over and over: the disk cannot tell."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a Qwen2.5-VL; its language model alone is a Qwen2. Heads are of 128 values, or of 16 in a toy."""

    layers: int
    hidden: int
    inner: int
    key_value: int
    vocabulary: int
    vision_layers: int
    vision_hidden: int
    vision_inner: int
    files: int = 1

    def text(self) -> dict[str, tuple[int, ...]]:
        """Return the tensors of the language model with tied embeddings: name to shape."""
        wide, narrow, inner = self.hidden, self.key_value, self.inner
        block = {
            "input_layernorm.weight": (wide,),
            "mlp.down_proj.weight": (wide, inner),
            "mlp.gate_proj.weight": (inner, wide),
            "mlp.up_proj.weight": (inner, wide),
            "post_attention_layernorm.weight": (wide,),
            "self_attn.k_proj.bias": (narrow,),
            "self_attn.k_proj.weight": (narrow, wide),
            "self_attn.o_proj.weight": (wide, wide),
            "self_attn.q_proj.bias": (wide,),
            "self_attn.q_proj.weight": (wide, wide),
            "self_attn.v_proj.bias": (narrow,),
            "self_attn.v_proj.weight": (narrow, wide),
        }
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocabulary, wide)}
        shapes |= {f"model.layers.{layer}.{name}": s for layer in range(self.layers) for name, s in block.items()}
        return shapes | {"model.norm.weight": (wide,)}

    def vision(self) -> dict[str, tuple[int, ...]]:
        """Return the tensors of the vision tower."""
        wide, inner, joined = self.vision_hidden, self.vision_inner, 4 * self.vision_hidden
        block = {
            "attn.proj.bias": (wide,),
            "attn.proj.weight": (wide, wide),
            "attn.qkv.bias": (3 * wide,),
            "attn.qkv.weight": (3 * wide, wide),
            "norm1.weight": (wide,),
            "norm2.weight": (wide,),
            **{f"mlp.{part}_proj.bias": (inner,) for part in ("gate", "up")},
            **{f"mlp.{part}_proj.weight": (inner, wide) for part in ("gate", "up")},
            "mlp.down_proj.bias": (wide,),
            "mlp.down_proj.weight": (wide, inner),
        }
        shapes = {
            f"visual.blocks.{number}.{name}": s for number in range(self.vision_layers) for name, s in block.items()
        }
        return shapes | {
            "visual.merger.ln_q.weight": (wide,),
            "visual.merger.mlp.0.bias": (joined,),
            "visual.merger.mlp.0.weight": (joined, joined),
            "visual.merger.mlp.2.bias": (self.hidden,),
            "visual.merger.mlp.2.weight": (self.hidden, joined),
            "visual.patch_embed.proj.weight": (wide, 3, 2, 14, 14),
        }

    def config(self, vision: bool) -> dict[str, Any]:
        """Return config.json."""
        head = 128 if self.key_value % 128 == 0 else 16
        text = {
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.hidden // head,
            "num_key_value_heads": self.key_value // head,
            "vocab_size": self.vocabulary,
            "rope_theta": 1000000.0,
            "tie_word_embeddings": True,
            "hidden_act": "silu",
            "torch_dtype": "bfloat16",
        }
        if not vision:
            return {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], **text}
        sizes = {"depth": self.vision_layers, "hidden_size": self.vision_hidden, "intermediate_size": self.vision_inner}
        name = "Qwen2_5_VLForConditionalGeneration"
        return {"model_type": "qwen2_5_vl", "architectures": [name], **text, "vision_config": sizes}


SHAPES = {
    "1.3gb": Shape(36, 1280, 3584, 256, 8192, 4, 320, 864),
    "3b": Shape(36, 2048, 11008, 256, 151936, 32, 1280, 3420, files=2),
}
SMALL = Shape(2, 32, 48, 16, 40, 1, 16, 24)
"""The models on which start, imports and fixed work are measured."""


def write_models(root: Path, shape: Shape) -> None:
    """Write base, vlm and reason to `root`, and for mergekit `vlm_text`, the VLM's own files seen as a text model."""
    draw = np.random.Generator(np.random.Philox(0))
    count = min(TILE, sum(math.prod(item) for item in (shape.text() | shape.vision()).values()))
    base = draw.standard_normal(count, np.float32) * np.float32(0.02)
    for role in ROLES:
        moved = 0.0 if role == "base" else 0.002
        tile = encode(base + np.float32(moved) * draw.standard_normal(count, np.float32), "BF16")
        shapes = shape.text() | (shape.vision() if role == "vlm" else {})
        write_model(root / role, shapes, shape.files, tile)
        (root / role / "config.json").write_text(json.dumps(shape.config(role == "vlm")))
    (root / "vlm_text").mkdir()
    for path in (root / "vlm").glob("model*"):
        (root / "vlm_text" / path.name).symlink_to(path)
    (root / "vlm_text" / "config.json").write_text(json.dumps(shape.config(False)))


def write_model(folder: Path, shapes: dict[str, tuple[int, ...]], files: int, tile: np.ndarray) -> None:
    """Write one model as bfloat16, cut into files of about one size."""
    folder.mkdir(parents=True)
    sizes = {name: 2 * int(np.prod(shape)) for name, shape in shapes.items()}
    share, before = sum(sizes.values()) / files, 0
    parts: list[list[str]] = [[] for _ in range(files)]
    for name, size in sizes.items():
        parts[min(files - 1, int(before / share))].append(name)
        before += size
    names = [f"model-{number:05}-of-{files:05}.safetensors" for number in range(1, files + 1)]
    names = ["model.safetensors"] if files == 1 else names
    for file, part in zip(names, parts, strict=True):
        header, position = {"__metadata__": {"format": "pt"}}, 0
        for name in part:
            place = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [position, position + sizes[name]]}
            header[name], position = place, position + sizes[name]  # type: ignore[assignment]
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(folder / file, "wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            left = position
            while left:
                left -= out.write(tile.data[: min(left, tile.size)])
    if files > 1:
        weight_map = {name: file for file, part in zip(names, parts, strict=True) for name in part}
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
