"""A written checkpoint, loaded again and asked: does it say what the model in training says?

    shards    parameters loaded by their names in memory, in the dtype that is written: equal logits, to the last bit
    model     the model as it lay there, loaded in that dtype: equal logits, to the last bit
    adapter   base and adapter in peft, float32, against the merge in float32: close; then, in the written dtype, the
              merge against what was written: equal to the last bit

One model is in memory at a time. The question is a few words, with a picture where the model sees.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmreflect.errors import UserError
from mmreflect.exporting.architecture import Architecture, fitted
from mmreflect.exporting.weights import Weights

CLOSE = 1e-3
"""Largest difference of two logits, over the largest logit, for a merge in float32 against peft in float32."""
_WORDS = "Look again and check the answer: 12 + 30 = 42."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison found.

    Attributes:
        logits: how many were compared.
        difference: the largest one, over the largest logit; 0 is equal to the last bit.
        adapter: the same of the merge against peft; None where there is no adapter, or peft could not be asked.
    """

    logits: int
    difference: float
    adapter: float | None = None


def question(folder: Path, sees: bool) -> dict[str, Any]:
    """Return the inputs of one forward pass, made by the written processor or tokenizer."""
    import transformers

    if not sees:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        return dict(tokenizer(_WORDS, return_tensors="pt"))
    from PIL import Image

    processor = transformers.AutoProcessor.from_pretrained(folder)
    picture = Image.linear_gradient("L").convert("RGB").resize((112, 112))
    text = f"<|vision_start|><|image_pad|><|vision_end|>{_WORDS}"
    return dict(processor(images=[picture], text=[text], return_tensors="pt"))


def answer(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Return the logits of every position, in float32."""
    with torch.inference_mode():
        logits: torch.Tensor = model.eval()(**inputs, use_cache=False).logits
    return logits.float()


def _kind(sees: bool) -> Any:
    import transformers

    return transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM


def load(folder: Path, sees: bool, dtype: str = "auto") -> Any:
    """Load a model folder, quietly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _kind(sees).from_pretrained(folder, dtype=dtype)


def reload(folder: Path, sees: bool, extra: Sequence[str]) -> Any:
    """Load what was written as anybody would.

    Args:
        extra: names that transformers is known not to load.

    Raises:
        RuntimeError: names are missing, unknown or do not fit: a bug.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, info = _kind(sees).from_pretrained(folder, dtype="auto", output_loading_info=True)
    wrong = {key: list(value) for key, value in dict(info).items() if value and key != "unexpected_keys"}
    strange = set(info["unexpected_keys"]) - set(extra)
    if wrong or strange:
        raise RuntimeError(f"transformers does not load {folder} whole: {wrong or sorted(strange)}")
    return model


def from_memory(architecture: Architecture, weights: Weights) -> Any:
    """Build the model of the training from tensors by their names in memory, without any renaming for the disk."""
    names = fitted(weights.tensors, architecture.memory)
    model = architecture.empty()
    model.load_state_dict({name: weights.read(own) for name, own in names.items()}, strict=False, assign=True)
    model.tie_weights()
    return model


def from_disk_names(folder: Path, architecture: Architecture, weights: Weights, dtype: str) -> Any:
    """Build a model of a written configuration from tensors by their names on disk."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    state = {name: weights.read(name) for name in weights.tensors}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return type(architecture.model).from_pretrained(None, config=config, state_dict=state, dtype=dtype)


def with_adapter(base: Path, sees: bool, adapter: Path) -> Any | None:
    """Return base and adapter in peft, in float32; None where peft does not find all of the adapter's modules."""
    from peft import PeftConfig, PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = PeftConfig.from_pretrained(str(adapter))
        settings.inference_mode = True
        plain = load(base, sees, "float32")
        try:
            model = PeftModel(plain, settings, adapter_name="checked")
        except ValueError:  # peft found none of them
            return None
        result = model.load_adapter(str(adapter), adapter_name="checked")
    return None if result.unexpected_keys else model


def demand_finite(logits: torch.Tensor, weights: Weights) -> None:
    """Check that a model gives numbers.

    Raises:
        UserError: it does not; the first tensor that holds infinity is named.
    """
    if torch.isfinite(logits).all():
        return
    floats = (name for name, held in weights.tensors.items() if held.dtype.is_floating_point)
    wrong = next((name for name in floats if not torch.isfinite(weights.read(name)).all()), None)
    raise UserError(
        f"{wrong!r} holds infinity, and the model's logits are no numbers"
        if wrong
        else "the model's logits are no numbers, though all of its weights are finite",
        "a model that can be asked",
        "take an earlier checkpoint of the training, or choose dtype=float32",
    )


def compare(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the largest difference of two sets of logits over the largest of them; 0 when equal to the last bit."""
    if torch.equal(first, second):
        return 0.0
    return float((first - second).abs().max() / first.abs().max().clamp_min(1e-30))


def demand(difference: float, limit: float, what: str) -> float:
    """Return the difference.

    Raises:
        UserError: it is above the limit, or no number.
    """
    if not difference <= limit:
        raise UserError(
            f"{what} gives other logits: they differ by {difference:.2g} of the largest",
            f"at most {limit:g}" if limit else "equal ones, to the last bit",
            "nothing was exported; please report this with the checkpoint's configuration",
        )
    return difference
