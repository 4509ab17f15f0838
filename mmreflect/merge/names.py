"""Names of tensors across families: which ones are the same, which part of a decoder block they are.

    family                   decoder block                              the rest of the decoder
    Qwen2, Qwen3, Qwen3.5    model.layers.N.x                           model.embed_tokens, model.norm, lm_head
    Qwen2-VL, Qwen2.5-VL     model.layers.N.x (old and on the Hub),     lm_head in every layout, absent when tied
                             model.language_model.layers.N.x (new)
    Qwen3-VL, Qwen3.5 (VL)   model.language_model.layers.N.x            model.language_model.embed_tokens, ...
    InternVL                 language_model.model.layers.N.x            language_model.lm_head

Mixtures of experts store a block's experts one by one (`mlp.experts.E.gate_proj.weight`: Qwen2-MoE, Qwen3-MoE,
Qwen3.5-MoE) or all together (`mlp.experts.gate_up_proj`: Qwen3-VL-MoE), the matrices upright or transposed.
"""

import re
from functools import cache
from typing import Literal

Scope = Literal["decoder_blocks", "attention", "mlp"]
EMBEDDINGS, HEAD = "embed_tokens.weight", "lm_head.weight"
_BLOCK = re.compile(r"layers\.(\d+)\.(.+)")
_EXPERT = re.compile(r"(layers\.\d+\.mlp\.experts)\.(\d+)\.(gate|up|down)_proj\.weight")
_FUSED = re.compile(r"layers\.\d+\.mlp\.experts\.(gate_up|down)_proj")
_SCOPES = {"decoder_blocks": "", "attention": r"(self_attn|linear_attn)\.", "mlp": r"mlp\."}


@cache
def canonical_name(name: str) -> str:
    """Return a tensor's name without the prefixes in which families differ; `model.visual.x` becomes `visual.x`."""
    stripped = name.removeprefix("model.").removeprefix("language_model.")
    return stripped if stripped == name else canonical_name(stripped)


@cache
def block_of(canonical: str) -> tuple[int, str] | None:
    """Return the decoder block (from 0) and the name inside it, or None for a tensor of no block."""
    match = _BLOCK.fullmatch(canonical)
    return (int(match[1]), match[2]) if match else None


@cache
def in_scope(canonical: str, scope: Scope) -> bool:
    """Tell whether a tensor is of a decoder block, and of the named half of it. Norms are in neither half."""
    block = block_of(canonical)
    return block is not None and re.match(_SCOPES[scope], block[1]) is not None


def is_bias(canonical: str) -> bool:
    """Tell whether a tensor is the bias of a linear layer."""
    return canonical.endswith("_proj.bias")


@cache
def expert_of(canonical: str) -> tuple[str, int] | None:
    """Return the name of all experts together, and which of them this tensor is, for experts stored one by one."""
    match = _EXPERT.fullmatch(canonical)
    if not match:
        return None
    return f"{match[1]}.{'down' if match[3] == 'down' else 'gate_up'}_proj", int(match[2])


def is_fused_experts(canonical: str) -> bool:
    """Tell whether a tensor holds all experts of a block together."""
    return _FUSED.fullmatch(canonical) is not None


def experts_one_by_one(fused: str, number: int) -> list[str]:
    """Return the names of one expert's tensors, in the order in which the fused tensor holds them."""
    stem, _, kind = fused.rpartition(".")
    parts = ("gate", "up") if kind == "gate_up_proj" else ("down",)
    return [f"{stem}.{number}.{part}_proj.weight" for part in parts]
