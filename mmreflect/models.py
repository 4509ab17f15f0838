"""Loading a model with its processor: Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Qwen3.5, or only their text decoder."""

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from mmreflect.config import config
from mmreflect.errors import UserError
from mmreflect.files import read_json
from mmreflect.tiny import FAMILIES, TinyConfig, build_processor, build_vlm, train_tokenizer

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

VLM_TYPES = (*FAMILIES, "qwen3_vl_moe", "qwen3_5_moe")
LLM_TYPES = ("qwen2", "qwen3", "qwen3_5_text")
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


@config
class LoraOptions:
    """Low-rank adapters, as in peft. `target: decoder` adapts every linear layer of the decoder, none of vision."""

    r: Annotated[int, Field(gt=0)] = 16
    alpha: Annotated[int, Field(gt=0)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target: Literal["decoder", "all"] = "decoder"


@config
class ModelConfig:
    """Which model.

    Attributes:
        path: a folder, a Hub name, or `tiny` for a model built on the spot in the shape of `tiny`.
        part: `decoder` takes the text decoder out of a VLM and trains it as a text-only LLM.
        attention: `auto` is FlashAttention 2 where it is installed and a GPU is there, else SDPA.
        dtype: of the weights; `auto` is bfloat16 on a GPU, float32 on a CPU.
        freeze: parts whose weights do not move: `vision` (the tower), `projector` (the mergers), `decoder` (with its
            embeddings), or of that only the `embeddings`: the table of tokens and the head.
    """

    path: str
    revision: str | None = None
    part: Literal["whole", "decoder"] = "whole"
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    freeze: list[Literal["vision", "projector", "decoder", "embeddings"]] = Field(default_factory=list)
    lora: LoraOptions | None = None
    tiny: TinyConfig = Field(default_factory=TinyConfig)


def _from_path(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


ModelOption = Annotated[ModelConfig, BeforeValidator(_from_path)]
"""A `ModelConfig`, or just its path: `model: tiny`, `model: outputs/demo/sft/model`."""


@dataclass(slots=True)
class Loaded:
    """A model ready to train or to ask.

    Attributes:
        processor: None for a text-only model.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    processor: "ProcessorMixin | None"

    def save(self, folder: Path) -> None:
        """Save model, tokenizer and processor as safetensors and JSON, in the layout of the Hub."""
        self.model.save_pretrained(folder)
        (self.processor or self.tokenizer).save_pretrained(folder)


def load_model(options: ModelConfig, corpus: Iterable[str] = (), seed: int = 0) -> Loaded:
    """Load a model, its processor and its tokenizer; freeze what shall not move.

    Args:
        corpus: texts that a tiny model's tokenizer is trained on.
        seed: of a tiny model's weights.

    Raises:
        UserError: the folder is missing, holds no model, no processor, another architecture, or an adapter.
    """
    _quiet()
    if options.path == "tiny":
        tokenizer = train_tokenizer(corpus, options.tiny.vocabulary)
        loaded = Loaded(build_vlm(options.tiny, tokenizer, seed), tokenizer, build_processor(options.tiny, tokenizer))
    else:
        loaded = _load_saved(options)
    if options.part == "decoder" and loaded.processor is not None:
        loaded = Loaded(extract_decoder(loaded.model), loaded.tokenizer, None)
    loaded.model.config.use_cache = True
    freeze(loaded.model, options.freeze)
    return loaded


def _quiet() -> None:
    """Silence the progress bars of transformers and its notes on renamed settings; other warnings stay."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def check_model(options: ModelConfig) -> None:
    """Check what can be known about a model without loading it; a Hub name passes."""
    if options.path != "tiny":
        _model_type(options)


def _model_type(options: ModelConfig) -> str | None:
    """Return `model_type` of a local folder, or None for a Hub name."""
    folder = Path(options.path)
    if not folder.exists():
        if re.fullmatch(r"[\w.-]+/[\w.-]+", options.path):
            return None
        raise UserError(
            f"no such model: {options.path}",
            "a folder, a Hub name such as Qwen/Qwen3-VL-2B-Instruct, or 'tiny'",
            "check the path",
        )
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise UserError(
            f"{options.path} is a LoRA adapter", "a whole model", f"mmreflect export {options.path} output=FOLDER"
        )
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{options.path} holds no config.json", "a model folder as save_pretrained writes it", "check the path"
        )
    try:
        model_type = str(read_json(folder / "config.json").get("model_type"))
    except ValueError as error:
        raise UserError(f"{folder / 'config.json'} is broken: {error}", "a JSON file", "restore the file") from None
    if model_type not in (*VLM_TYPES, *LLM_TYPES):
        known = ", ".join((*VLM_TYPES, *LLM_TYPES))
        raise UserError(
            f"{options.path} is a model of type {model_type!r}", f"one of: {known}", "choose a Qwen-VL model"
        )
    if model_type in VLM_TYPES and not any((folder / name).is_file() for name in _PROCESSOR_FILES):
        raise UserError(
            f"{options.path} holds a vision-language model but no processor (no {' or '.join(_PROCESSOR_FILES)})",
            "the processor's files beside the weights",
            "copy them from the model it was trained from, or save it again with processor.save_pretrained",
        )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise UserError(
            f"{options.path} holds no tokenizer (no tokenizer.json or vocab.json)",
            "the tokenizer's files beside the weights",
            "copy them from the model it was trained from",
        )
    return model_type


def _load_saved(options: ModelConfig) -> Loaded:
    import transformers
    from safetensors import SafetensorError

    model_type = _model_type(options)
    place = {"revision": options.revision}
    try:
        if model_type is None:
            model_type = transformers.AutoConfig.from_pretrained(options.path, **place).model_type
        settings = {**place, "dtype": _dtype(options), "attn_implementation": attention_backend(options)}
        if model_type in LLM_TYPES:
            tokenizer = transformers.AutoTokenizer.from_pretrained(options.path, **place)
            return Loaded(transformers.AutoModelForCausalLM.from_pretrained(options.path, **settings), tokenizer, None)
        processor = transformers.AutoProcessor.from_pretrained(options.path, **place)
        model = transformers.AutoModelForImageTextToText.from_pretrained(options.path, **settings)
    except (OSError, ValueError, SafetensorError) as error:
        first = str(error).splitlines()[0]
        here = "" if Path(options.path).is_dir() else " (no folder here, so taken for a Hub name)"
        given = f"{options.path}{here} cannot be loaded: {first}"
        raise UserError(given, "a readable model folder or Hub name", "check the path and the network") from None
    return Loaded(model, processor.tokenizer, processor)


def _dtype(options: ModelConfig) -> Any:
    import torch

    if options.dtype != "auto":
        return getattr(torch, options.dtype)
    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def attention_backend(options: ModelConfig) -> str:
    """Return the attention implementation that a model will be loaded with."""
    import torch
    from transformers.utils import is_flash_attn_2_available

    if options.attention == "flash_attention_2" and not is_flash_attn_2_available():
        raise UserError(
            "model.attention is flash_attention_2, which is not installed",
            "sdpa, eager or auto, or an installed flash-attn",
            "pip install 'mmreflect[flash-attn]' on a machine with CUDA",
        )
    if options.attention != "auto":
        return options.attention
    return "flash_attention_2" if torch.cuda.is_available() and is_flash_attn_2_available() else "sdpa"


def part_of(name: str) -> Literal["vision", "projector", "decoder"]:
    """Tell which part of a VLM a parameter belongs to, by its name in memory."""
    if "visual." not in name:
        return "decoder"
    return "projector" if "merger" in name else "vision"


def is_embedding(name: str) -> bool:
    """Tell whether a parameter is the decoder's table of tokens or its head, by its name in memory."""
    return part_of(name) == "decoder" and name.endswith(("embed_tokens.weight", "lm_head.weight"))


def freeze(model: "PreTrainedModel", parts: Iterable[str]) -> None:
    """Take the gradients of the named parts away."""
    frozen = set(parts)
    for name, parameter in model.named_parameters():
        if part_of(name) in frozen or ("embeddings" in frozen and is_embedding(name)):
            parameter.requires_grad_(False)


def lora_settings(options: LoraOptions) -> "PeftConfig":
    """Return peft's configuration of the adapters."""
    from peft import LoraConfig

    exclude = r".*visual\..*" if options.target == "decoder" else None
    return LoraConfig(
        r=options.r,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules="all-linear",
        exclude_modules=exclude,
        task_type="CAUSAL_LM",
    )


def extract_decoder(vlm: "PreTrainedModel") -> "PreTrainedModel":
    """Return a VLM's text decoder as a text-only causal LLM with the same weights.

    On text the two are equal: the three position ids of M-RoPE are then the same number.
    """
    import transformers

    text = vlm.config.get_text_config().to_dict()
    rope = {key: value for key, value in text.pop("rope_parameters").items() if not key.startswith("mrope")}
    kind = {"qwen2_vl_text": "Qwen2", "qwen2_5_vl_text": "Qwen2", "qwen3_vl_text": "Qwen3"}.get(
        text.pop("model_type"), "Qwen3_5"
    )
    config_name = "Qwen3_5TextConfig" if kind == "Qwen3_5" else f"{kind}Config"
    for key in ("architectures", "dtype", "transformers_version"):
        text.pop(key, None)
    text["tie_word_embeddings"] = bool(vlm.config.tie_word_embeddings)
    llm = getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, config_name)(**text, rope_parameters=rope))
    weights = {f"model.{name}": value for name, value in vlm.model.language_model.state_dict().items()}
    weights["lm_head.weight"] = vlm.lm_head.weight
    llm.load_state_dict(weights)
    llm.generation_config = vlm.generation_config
    return llm.to(vlm.dtype)


def visual_token_ids(model: "PreTrainedModel") -> list[int]:
    """Return the ids that only media may put into a sequence: pads, vision start and end. None in a text-only model."""
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    ids = [getattr(model.config, name, None) for name in names]
    return sorted({token for token in ids if isinstance(token, int)})


def end_token_ids(loaded: Loaded) -> list[int]:
    """Return every id that ends a turn: the tokenizer's and those that the generation config declares."""
    declared = loaded.model.generation_config.eos_token_id
    ids = [declared] if isinstance(declared, int) else list(declared or [])
    return list(dict.fromkeys([loaded.tokenizer.eos_token_id, *ids]))
