"""Attention maps of a VLM, one decoder block's at a time, and what share of them falls on the picture.

Maps come from eager attention (FlashAttention and SDPA return none), through hooks: those of one block are in memory at
a time, heads * T^2 values, where `output_attentions` would keep all blocks'. One picture is one forward pass.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch

from mmreflect import console
from mmreflect.data.rendering import Conversation, Renderer
from mmreflect.errors import UserError
from mmreflect.models import ModelConfig, load_model
from mmreflect.records import Media


def image_share(weights_HQT: torch.Tensor, is_image_T: torch.Tensor) -> float:
    """Return the mean over heads and queries of image mass / (image mass + text mass), summed in float64 (Eq. 39).

    Args:
        weights_HQT: attention of some queries to all keys, by head; rows need not sum to 1.
        is_image_T: which keys are image tokens; all others are text.

    Raises:
        UserError: a weight is NaN or infinite, or a query sees nothing.
    """
    weights = weights_HQT.double()
    image, whole = weights[..., is_image_T].sum(-1), weights.sum(-1)
    share = float((image / whole).mean())
    if not math.isfinite(share):
        raise UserError("attention is not finite", "finite weights", "choose dtype: float32, or check the model")
    return share


class Probe:
    """A VLM with eager attention, asked for the shares of one picture at a time.

    Args:
        vlm: its folder; `prompt`: the text behind the picture; `max_tokens`: larger pictures are shrunk to it.

    Raises:
        UserError: the model cannot be loaded, is no VLM, or has blocks without attention maps.
    """

    def __init__(
        self, vlm: str, prompt: str, max_tokens: int, dtype: Literal["float32", "bfloat16", "float16"]
    ) -> None:
        self._prompt = prompt
        loaded = load_model(ModelConfig(path=vlm, attention="eager", dtype=dtype))
        if loaded.processor is None:
            raise UserError(f"{vlm} is a text-only model", "a vision-language model", "name the VLM of the merge")
        self._blocks = attention_blocks(loaded.model, vlm)
        self.model: Any = loaded.model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        picture = loaded.processor.image_processor
        side = picture.patch_size * picture.merge_size
        self._renderer = Renderer(
            loaded.tokenizer, loaded.processor, max_pixels=max_tokens * side * side, cache_bytes=1 << 26
        )

    def __call__(self, item: Media) -> list[float]:
        """Return a_l of one picture, one number per decoder block.

        Raises:
            UserError: the picture cannot be read, is none that the processor takes (200 times as wide as high, say), or
                an attention is not finite.
        """
        parts = [{"type": "image"}, {"type": "text", "text": self._prompt}]
        try:
            (ids,) = self._renderer.encode([Conversation([{"role": "user", "content": parts}], [item])], reply=True)
            seen = self._renderer.model_inputs([ids], [[item]], self.model.device)
        except ValueError as error:
            raise UserError(f"{item.path}: {error}", "a picture that the VLM's processor takes", "remove it") from None
        ids_BT = torch.tensor([ids], device=self.model.device)
        is_image_T = ids_BT[0] == self._renderer.image_pad
        first = int(is_image_T.nonzero()[-1]) + 1
        shares: dict[int, float] = {}
        handles = [
            block.register_forward_hook(_share_into(shares, layer, is_image_T, first))
            for layer, block in enumerate(self._blocks)
        ]
        try:
            with torch.inference_mode():
                self.model(
                    input_ids=ids_BT,
                    attention_mask=torch.ones_like(ids_BT),
                    mm_token_type_ids=self._renderer.token_types(ids_BT),
                    **seen,
                    use_cache=False,
                    logits_to_keep=1,
                )
        finally:
            for handle in handles:
                handle.remove()
        return [shares[layer] for layer in range(len(self._blocks))]


def _share_into(shares: dict[int, float], layer: int, is_image_T: torch.Tensor, first: int) -> Callable[..., Any]:
    """Return a hook that keeps a block's share and lets go of its maps before the next block makes its own."""

    def hook(module: Any, arguments: Any, output: Any) -> Any:
        shares[layer] = image_share(output[1][0, :, first:], is_image_T)
        return (output[0], None, *output[2:])

    return hook


def attention_blocks(model: Any, name: str) -> list[Any]:
    """Return the attention module of every decoder block of a VLM, first to last.

    Raises:
        UserError: some block has linear attention, which has no map.
    """
    layers = model.model.language_model.layers
    without = [layer for layer, block in enumerate(layers) if not hasattr(block, "self_attn")]
    if without:
        raise UserError(
            f"{name}: {console.count(len(without), 'decoder block')} of {len(layers)} have no softmax attention",
            "attention maps in every block, as in Qwen2-VL, Qwen2.5-VL and Qwen3-VL",
            "choose a prior that is not measured",
        )
    return [block.self_attn for block in layers]
