"""Real Qwen-VL architectures at about one million parameters, with a tokenizer trained on the spot.

Built from transformers' own classes and saved with `save_pretrained`, so that everything which works on them works on
the released checkpoints: tests, the demo and dry runs of recipes use them. The released weights are drawn wider than
transformers' default (0.02): about 1/sqrt(hidden) learns from scratch clearly faster.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mmreflect.config import config
from mmreflect.reflection.tags import TAGS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

Family = Literal["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5"]
FAMILIES: tuple[Family, ...] = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5")
Positive = Annotated[int, Field(gt=0)]


@config
class TinyConfig:
    """The shape of a tiny model. `max_pixels` is the processor's limit per picture."""

    family: Family = "qwen2_5_vl"
    hidden_size: Positive = 128
    layers: Positive = 3
    heads: Positive = 4
    vision_hidden_size: Positive = 64
    vision_layers: Positive = 2
    vocabulary: Positive = 500
    text_init: float = 0.06
    vision_init: float = 0.1
    max_pixels: Positive = 28 * 28 * 64
    tie_embeddings: bool = True

    def __post_init__(self) -> None:
        """Check that the heads fit.

        Raises:
            ValueError: a head would have no even width, or none for the three axes of M-RoPE.
        """
        if self.hidden_size % self.heads or (self.hidden_size // self.heads) % 8:
            raise ValueError(
                f"hidden_size={self.hidden_size} with heads={self.heads} gives heads that are no multiple of 8 wide; "
                f"try heads={max(1, self.hidden_size // 32)}"
            )

    @property
    def patch(self) -> int:
        """Pixels per side of a vision patch; two by two of them are one visual token."""
        return 14 if self.family in ("qwen2_vl", "qwen2_5_vl") else 16


SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
ADDED_TOKENS = ("<tool_call>", "</tool_call>", *TAGS)

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part['type'] == 'video' -%}{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
{%- else -%}{{- part['text'] -}}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""
"""The form of Qwen2.5-VL's template, without its default system turn."""

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(corpus: Iterable[str], vocabulary: int = 500) -> "PreTrainedTokenizerFast":
    """Train a byte-level BPE in Qwen's form: its word split, its special tokens, its end of turn.

    Args:
        corpus: texts; the merges follow the order of their frequencies, so the result is deterministic.
        vocabulary: size before the special and added tokens; at least the 256 bytes.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_SPLIT), "isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_only])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    backend.train_from_iterator(["system user assistant", *corpus], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens(list(ADDED_TOKENS))
    tokenizer.image_token, tokenizer.video_token = "<|image_pad|>", "<|video_pad|>"
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_vlm(shape: TinyConfig, tokenizer: "PreTrainedTokenizerFast", seed: int = 0) -> "PreTrainedModel":
    """Build a model of the family with seeded random weights, in float32."""
    import torch
    import transformers

    text, vision = _text_config(shape, tokenizer, mrope=True), _vision_config(shape)
    names = {
        "qwen2_vl": "Qwen2VL",
        "qwen2_5_vl": "Qwen2_5_VL",
        "qwen3_vl": "Qwen3VL",
        "qwen3_5": "Qwen3_5",
    }
    name = names[shape.family]
    model_config = getattr(transformers, f"{name}Config")(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=shape.tie_embeddings,
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"{name}ForConditionalGeneration")(model_config)
    return _with_end_tokens(model, tokenizer)


def build_llm(shape: TinyConfig, tokenizer: "PreTrainedTokenizerFast", seed: int = 0) -> "PreTrainedModel":
    """Build the text-only model whose decoder has the same shape: Qwen2, Qwen3 or Qwen3.5 by family."""
    import torch
    import transformers

    name = {"qwen2_vl": "Qwen2", "qwen2_5_vl": "Qwen2", "qwen3_vl": "Qwen3", "qwen3_5": "Qwen3_5"}[shape.family]
    config_name = "Qwen3_5TextConfig" if name == "Qwen3_5" else f"{name}Config"
    model_config = getattr(transformers, config_name)(**_text_config(shape, tokenizer, mrope=False))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"{name}ForCausalLM")(model_config)
    return _with_end_tokens(model, tokenizer)


def build_processor(shape: TinyConfig, tokenizer: "PreTrainedTokenizerFast") -> "ProcessorMixin":
    """Build the family's own processor around the tokenizer."""
    import transformers

    unit = (2 * shape.patch) ** 2
    if shape.patch == 14:
        pixels: dict[str, Any] = {"min_pixels": unit, "max_pixels": shape.max_pixels}
        video = transformers.Qwen2VLVideoProcessor(patch_size=14, **pixels)
        name = "Qwen2VLProcessor" if shape.family == "qwen2_vl" else "Qwen2_5_VLProcessor"
    else:
        pixels = {"size": {"shortest_edge": unit, "longest_edge": shape.max_pixels}}
        video = transformers.Qwen3VLVideoProcessor(patch_size=16, **pixels)
        name = "Qwen3VLProcessor"
    image = transformers.Qwen2VLImageProcessor(patch_size=shape.patch, **pixels)
    return getattr(transformers, name)(
        image_processor=image, tokenizer=tokenizer, video_processor=video, chat_template=tokenizer.chat_template
    )


def _text_config(shape: TinyConfig, tokenizer: "PreTrainedTokenizerFast", *, mrope: bool) -> dict[str, Any]:
    head = shape.hidden_size // shape.heads
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0}
    if shape.family == "qwen3_5":
        rope["partial_rotary_factor"] = 0.5
    if mrope:
        rope["mrope_section"] = _mrope_section(head // 4 if shape.family == "qwen3_5" else head // 2)
        if shape.family in ("qwen3_vl", "qwen3_5"):
            rope["mrope_interleaved"] = True
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.hidden_size * 3,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": max(1, shape.heads // 2),
        "max_position_embeddings": 4096,
        "initializer_range": shape.text_init,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "rope_parameters": rope,
        "tie_word_embeddings": shape.tie_embeddings,
    }
    if shape.family in ("qwen3_vl", "qwen3_5"):
        text["head_dim"] = head
    if shape.family == "qwen3_5":
        kinds = ["full_attention" if layer % 2 else "linear_attention" for layer in range(shape.layers)]
        text |= {"linear_key_head_dim": 16, "linear_value_head_dim": 16, "layer_types": kinds}
        text |= {"linear_num_key_heads": shape.heads, "linear_num_value_heads": shape.heads}
    return text


def _mrope_section(half: int) -> list[int]:
    """Split the rotary pairs of a head between time, height and width, as 1 : 1.5 : 1.5 like Qwen2-VL."""
    side = (half - half // 4) // 2
    return [half - 2 * side, side, side]


def _vision_config(shape: TinyConfig) -> dict[str, Any]:
    vision: dict[str, Any] = {
        "initializer_range": shape.vision_init,
        "depth": shape.vision_layers,
        "num_heads": max(2, shape.vision_hidden_size // 32),
        "patch_size": shape.patch,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    if shape.family == "qwen2_vl":
        return vision | {"embed_dim": shape.vision_hidden_size, "hidden_size": shape.hidden_size, "mlp_ratio": 2}
    vision |= {
        "hidden_size": shape.vision_hidden_size,
        "intermediate_size": shape.vision_hidden_size * 2,
        "out_hidden_size": shape.hidden_size,
    }
    if shape.family == "qwen2_5_vl":
        return vision | {"window_size": 112, "fullatt_block_indexes": [shape.vision_layers - 1]}
    vision["num_position_embeddings"] = 64
    return vision | {"deepstack_visual_indexes": [0]} if shape.family == "qwen3_vl" else vision


def _with_end_tokens(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast") -> "PreTrainedModel":
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.bos_token_id = None
    return model
