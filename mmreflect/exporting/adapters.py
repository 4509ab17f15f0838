"""Adapters of peft merged into their base, tensor by tensor: LoRA, rsLoRA, DoRA, and modules that were trained whole.

    LoRA    W + s B A, s = alpha / r, or alpha / sqrt(r) for rsLoRA (arXiv 2106.09685, 2312.03732)
    DoRA    m (W + s B A) / ||W + s B A||, the norm over each output's weights (arXiv 2402.09353)

Everything is computed in float32 and cast once, last. peft's merge_and_unload adds to the weights in their own dtype:
with a bfloat16 base the update is rounded to bfloat16, and then the sum once more. It also wants the whole model in
memory.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmreflect.errors import UserError
from mmreflect.exporting.finding import ADAPTER_CONFIG
from mmreflect.exporting.pickles import read_pickled
from mmreflect.exporting.weights import Held, Loose, Weights
from mmreflect.files import read_json
from mmreflect.merge import canonical_name

_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_KEY = re.compile(
    r"(.+)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(?:\.default)?(?:\.(weight|bias))?"
)
_OTHER_VARIANTS = (
    "alora_invocation_tokens", "arrow_config", "use_bdlora", "velora_config", "monteclora_config", "kasa_config",
    "layer_replication", "target_parameters", "trainable_token_indices", "megatron_config", "use_qalora",
)  # fmt: skip
_KEEPS_BASE = (True, False, None, "gaussian", "eva", "orthogonal")
"""Ways to initialise that leave the base's weights as they are; PiSSA, CorDA, OLoRA, LoftQ and others change them."""


@dataclass(slots=True)
class _Update:
    """What an adapter knows of one module; matrices as peft saves them."""

    a: torch.Tensor | None = None
    b: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    magnitude: torch.Tensor | None = None
    embedding: bool = False


@dataclass(slots=True)
class Adapter:
    """An adapter, read.

    Attributes:
        config: adapter_config.json.
        replaced: canonical names of tensors that were trained whole.
        updates: canonical names of modules with low-rank updates.
    """

    folder: Path
    config: dict[str, Any]
    replaced: dict[str, torch.Tensor] = field(default_factory=dict)
    updates: dict[str, _Update] = field(default_factory=dict)

    @property
    def base(self) -> str | None:
        """The model that it was trained on, as peft noted it."""
        return self.config.get("base_model_name_or_path") or None

    @property
    def kind(self) -> str:
        """Its name in a model card."""
        return "DoRA" if self.config.get("use_dora") else "rsLoRA" if self.config.get("use_rslora") else "LoRA"

    @property
    def trained_class(self) -> str | None:
        """The class of the model that it was trained on; peft notes it where no task was named."""
        return (self.config.get("auto_mapping") or {}).get("base_model_class") or None

    def scale(self, module: str, rank: int) -> float:
        """Return s of a module: peft's patterns by the end of its name, first match."""
        patterns: Mapping[str, float] = self.config.get("alpha_pattern") or {}
        own = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module))
        alpha = float(next(own, self.config["lora_alpha"]))
        return alpha / math.sqrt(rank) if self.config.get("use_rslora") else alpha / rank


def open_adapter(folder: Path) -> Adapter:
    """Read an adapter.

    Raises:
        UserError: it is none of LoRA, rsLoRA and DoRA, changes the base's weights, or its file is missing or damaged.
    """
    config = read_json(folder / ADAPTER_CONFIG)
    if config.get("peft_type") != "LORA":
        raise UserError(
            f"{folder} holds an adapter of type {config.get('peft_type')}", "LoRA, rsLoRA or DoRA", "merge it with peft"
        )
    if other := [name for name in _OTHER_VARIANTS if config.get(name)]:
        raise UserError(
            f"{folder / ADAPTER_CONFIG} sets {', '.join(other)}",
            "LoRA, rsLoRA or DoRA without it",
            "merge it with peft",
        )
    start = config.get("init_lora_weights", True)
    if start not in _KEEPS_BASE:
        raise UserError(
            f"{folder / ADAPTER_CONFIG} has init_lora_weights {start!r}, which changes the base's weights",
            "an adapter on the base as it was published",
            "save it with path_initial_model_for_weight_conversion, which peft offers for this",
        )
    adapter = Adapter(folder, config)
    for name, value in _tensors(folder).items():
        plain = name.removeprefix("base_model.model.").replace(".base_layer.", ".").replace(".modules_to_save.", ".")
        match = _KEY.fullmatch(plain)
        if match is None:
            adapter.replaced[canonical_name(plain.replace(".default.", "."))] = value
            continue
        update = adapter.updates.setdefault(canonical_name(match[1]), _Update())
        _fill(update, match[2], match[3], value)
    if half := [name for name, update in adapter.updates.items() if update.a is None or update.b is None]:
        raise UserError(f"{folder}: the adapter of {half[0]!r} is half missing", "both matrices", "copy it again")
    return adapter


def _fill(update: _Update, what: str, suffix: str | None, value: torch.Tensor) -> None:
    if what == "lora_magnitude_vector":
        update.magnitude = value
    elif suffix == "bias":
        update.bias = value
    elif what.endswith("_A"):
        update.a, update.embedding = value, "embedding" in what
    else:
        update.b = value


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if file is None:
        raise UserError(f"{folder} holds {ADAPTER_CONFIG} and no weights", f"{_FILES[0]}", "copy the adapter again")
    if file.suffix == ".bin":
        return dict(read_pickled(file))
    try:
        return dict(load_file(file))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is cut short or damaged: {error}", "a whole file", "copy the adapter again") from None


def merge_adapter(base: Weights, adapter: Adapter, tied: bool, dtype: str) -> tuple[Weights, bool]:
    """Return the base's tensors with the adapter merged in, by the base's names on disk.

    Args:
        tied: whether the base's output head is its embedding.
        dtype: of floating-point tensors; `keep` takes each tensor's own in the base.

    Returns:
        The weights, and whether the head has come apart from the embedding: then both are there.

    Raises:
        UserError: a module or tensor of the adapter is not in the base, or has another shape: it belongs to another.
    """
    names = {canonical_name(name): name for name in base.tensors}
    head, embedding = "lm_head.weight", "embed_tokens.weight"
    changed = {*adapter.replaced, *(f"{module}.weight" for module in adapter.updates)}
    untied = tied and head not in names and bool({head, embedding} & changed)
    sources = dict(names)
    if untied:
        sources[head] = names[embedding]
        names[head] = head
    own = {name: key for key, name in names.items()}
    _check_modules(base, adapter, sources)

    def held_of(name: str) -> Held:
        held = base.tensors[sources[own[name]]]
        return held if dtype == "keep" or not held.dtype.is_floating_point else Held(held.shape, getattr(torch, dtype))

    held = {name: held_of(name) for name in names.values()}

    def read(name: str) -> torch.Tensor:
        key = own[name]
        value = adapter.replaced.get(key)
        value = base.read(sources[key]) if value is None else value
        module, _, kind = key.rpartition(".")
        update = adapter.updates.get(module)
        if update is None or kind not in ("weight", "bias") or (kind == "bias" and update.bias is None):
            return value.to(held[name].dtype).contiguous()
        scale = adapter.scale(module, _rank(update))
        if kind == "bias" and update.bias is not None:
            value = value.float() + scale * update.bias.float()
        else:
            value = merged_weight(value, update, scale, bool(adapter.config.get("fan_in_fan_out")))
        if not torch.isfinite(value).all():
            raise UserError(f"{name!r} is not finite after the merge", "finite weights", "check the adapter")
        return value.to(held[name].dtype).contiguous()

    return Loose(held, read), untied


def _rank(update: _Update) -> int:
    assert update.a is not None
    return int(update.a.shape[0])


def merged_weight(weight: torch.Tensor, update: _Update, scale: float, fan_in_fan_out: bool = False) -> torch.Tensor:
    """Return one merged weight in float32: W + s B A, for DoRA scaled to the trained norms of its rows."""
    assert update.a is not None and update.b is not None
    low_rank = update.b.float() @ update.a.float()
    delta = scale * (low_rank.T if update.embedding or fan_in_fan_out else low_rank)
    whole = weight.float() + delta
    if update.magnitude is None:
        return whole
    axis = 0 if fan_in_fan_out else 1
    norm = torch.linalg.norm(whole, dim=axis, keepdim=True)
    scaled: torch.Tensor = update.magnitude.float().reshape(norm.shape) * whole / norm
    return scaled


def _check_modules(base: Weights, adapter: Adapter, sources: Mapping[str, str]) -> None:
    """Check that every part of the adapter has its counterpart in the base, of the right shape."""

    def other(given: str, expected: str) -> UserError:
        return UserError(
            f"the adapter in {adapter.folder} was trained on another base: {given}",
            expected,
            "name its base: base=FOLDER" + (f" (it says {adapter.base})" if adapter.base else ""),
        )

    for key, value in adapter.replaced.items():
        if key not in sources:
            raise other(f"it holds {key!r}, which the base does not have", "tensors of the base")
        shape = base.tensors[sources[key]].shape
        if tuple(value.shape) != shape:
            raise other(f"its {key!r} has the shape {list(value.shape)}", f"{list(shape)}, the base's")
    for module, update in adapter.updates.items():
        assert update.a is not None and update.b is not None
        if f"{module}.weight" not in sources:
            raise other(f"it adapts {module!r}, which the base does not have", "modules of the base")
        shape = base.tensors[sources[f"{module}.weight"]].shape
        if update.a.ndim != 2 or update.b.ndim != 2 or len(shape) != 2:
            raise UserError(f"{module!r} is no linear layer or embedding", "adapters of such", "merge it with peft")
        if update.embedding and update.magnitude is not None:
            raise UserError(f"{module!r} is an embedding with DoRA", "DoRA on linear layers", "merge it with peft")
        fits = (update.b.shape[0], update.a.shape[1])
        if update.embedding or adapter.config.get("fan_in_fan_out"):
            fits = fits[::-1]
        if fits != shape or update.b.shape[1] != update.a.shape[0]:
            raise other(
                f"for {module!r} it holds matrices of {list(update.b.shape)} and {list(update.a.shape)}",
                f"their product in the base's shape {list(shape)}",
            )
        if update.bias is not None and f"{module}.bias" not in sources:
            raise other(f"it has a bias for {module!r}, which the base does not have", "a bias in the base")
