"""Which tensor of the merged model comes from where and goes into which file, and whether it may be merged at all.

Decoder block tensors that all three models hold with one shape are merged; every other tensor of the VLM is copied,
so that nothing of it can get lost.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from mmreflect.console import count
from mmreflect.errors import UserError, unknown_name
from mmreflect.merge.checkpoint import FLOATS, INDEX, ITEM_BYTES, SINGLE, Checkpoint, canonical_name

OutputDtype = Literal["keep", "float32", "bfloat16", "float16"]
_CODES = {name: code for code, name in FLOATS.items()}
_BLOCK = re.compile(r"layers\.(\d+)\.(.+)")
_TITLES = {"base": "the base", "vlm": "the VLM", "reason": "the reasoning model"}


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One tensor of the output. `layer` counts from 0; it and the other models' names are None for a copied tensor."""

    name: str
    layer: int | None = None
    base: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class MergePlan:
    """Everything that is known before a value is read.

    Attributes:
        tensors: one per tensor of the VLM, in the order of its files.
        depth: number of decoder blocks of the VLM.
        rope_theta: what each of the three models states.
        warnings: what was forced.
    """

    base: Checkpoint
    vlm: Checkpoint
    reason: Checkpoint
    tensors: tuple[PlannedTensor, ...]
    depth: int
    rope_theta: dict[str, Any]
    warnings: tuple[str, ...]

    @cached_property
    def by_layer(self) -> dict[int, list[PlannedTensor]]:
        """The merged tensors of every layer, layers in ascending order."""
        layers: dict[int, list[PlannedTensor]] = {}
        for tensor in self.tensors:
            if tensor.layer is not None:
                layers.setdefault(tensor.layer, []).append(tensor)
        return dict(sorted(layers.items()))

    @property
    def merged(self) -> list[str]:
        """Names of the merged tensors."""
        return [tensor.name for tensor in self.tensors if tensor.layer is not None]

    @property
    def copied(self) -> list[str]:
        """Names of the tensors that are taken from the VLM as they are."""
        return [tensor.name for tensor in self.tensors if tensor.layer is None]


def _heads(config: dict[str, Any]) -> Any:
    return config.get("num_key_value_heads") or config.get("num_attention_heads")


def _head_dim(config: dict[str, Any]) -> Any:
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    return config.get("head_dim") or (hidden // heads if hidden and heads else None)


def rope_theta(config: dict[str, Any]) -> Any:
    """Return a text config's rotary base: `rope_parameters.rope_theta`, or the older `rope_theta`; None if unstated.

    A model with one base per attention type gives a dict.
    """
    parameters = config.get("rope_parameters") or {}
    nested = {
        key: item["rope_theta"] for key, item in parameters.items() if isinstance(item, dict) and "rope_theta" in item
    }
    return nested or parameters.get("rope_theta", config.get("rope_theta"))


@dataclass(frozen=True, slots=True)
class _Check:
    """A value of the text config that must agree."""

    read: Callable[[dict[str, Any]], Any]
    means: str
    do: str


_SAME_SIZE = "take three checkpoints of one size"
_CONFIG_CHECKS = {
    "num_hidden_layers": _Check(
        lambda config: config.get("num_hidden_layers"), "the blocks cannot be paired one to one", _SAME_SIZE
    ),
    "hidden_size": _Check(lambda config: config.get("hidden_size"), "the matrices have different shapes", _SAME_SIZE),
    "num_attention_heads": _Check(
        lambda config: config.get("num_attention_heads"), "the same rows belong to different heads", _SAME_SIZE
    ),
    "num_key_value_heads": _Check(_heads, "the same rows belong to different heads", _SAME_SIZE),
    "head_dim": _Check(_head_dim, "the same rows belong to different heads", _SAME_SIZE),
    "intermediate_size": _Check(
        lambda config: config.get("intermediate_size"), "the MLPs have different shapes", _SAME_SIZE
    ),
    "rope_theta": _Check(
        rope_theta,
        "attention was trained for other rotations: the models share no ancestor, expect garbage",
        "take a model that descends from the same base (of the R1 distillations, 14B and 32B descend from Qwen2.5, "
        "1.5B and 7B from Qwen2.5-Math)",
    ),
}
CHECKS = (*_CONFIG_CHECKS, "block_tensors", "shapes")


def check_force(force: Sequence[str]) -> None:
    """Refuse names in `force` that are no checks.

    Raises:
        UserError: names the nearest check.
    """
    for name in force:
        if name not in CHECKS:
            raise unknown_name("check in force", name, CHECKS)


def plan_merge(base: Checkpoint, vlm: Checkpoint, reason: Checkpoint, force: Sequence[str] = ()) -> MergePlan:
    """Decide where each tensor of the output comes from.

    Args:
        base: the common ancestor.
        vlm: the model whose tensors, names and order the output has.
        reason: the reasoning model.
        force: names of checks to skip, one by one (see `CHECKS`). A tensor that cannot be paired is then copied
            from the VLM; a difference in a configuration value is then ignored. What was skipped ends up in
            `MergePlan.warnings`.

    Raises:
        UserError: the checkpoints do not fit; every reason is listed at once. Also when the VLM has no decoder
            blocks, or blocks are stored in a dtype that cannot be averaged.
    """
    check_force(force)
    others = (base, reason)
    problems = [(name, text) for other in others for name, text in _differences(vlm, other)]
    refused = [text for name, text in problems if name not in force]
    if refused:
        lines = "\n".join(f"  - {text}" for text in refused)
        names = list(dict.fromkeys(name for name, _ in problems if name not in force))
        raise UserError(
            f"these checkpoints cannot be merged: {count(len(refused), 'problem')}\n{lines}",
            "a VLM and a reasoning model that were both tuned from the given base, with its decoder unchanged",
            f"replace the checkpoint that differs; to skip a check at your own risk: force: [{', '.join(names)}]",
        )
    tensors = tuple(_place(name, vlm, others) for name in vlm.tensors)
    blocks = [int(match[1]) for name in vlm.canonical if (match := _BLOCK.fullmatch(name))]
    plan = MergePlan(
        *(base, vlm, reason),
        tensors,
        depth=max(blocks, default=-1) + 1,
        rope_theta={item.role: rope_theta(item.text_config) for item in (base, vlm, reason)},
        warnings=tuple(f"forced {text}" for _, text in problems),
    )
    _check_blocks(plan)
    return plan


def _differences(vlm: Checkpoint, other: Checkpoint) -> list[tuple[str, str]]:
    """Compare one model with the VLM: the check's name and what a person is told."""
    found = []
    title = _TITLES[other.role]
    for name, check in _CONFIG_CHECKS.items():
        mine, its = check.read(vlm.text_config), check.read(other.text_config)
        if mine != its:
            text = f"the VLM has {_shown(mine)}, {title} has {_shown(its)}: {check.means}; {check.do}"
            found.append((name, f"{name}: {text}"))
    ours, theirs = _blocks(vlm), _blocks(other)
    for owner, lacking, names in (("the VLM", title, ours - theirs), (title, "the VLM", theirs - ours)):
        if names:
            text = f"{owner} has {_some(sorted(names))}, which {lacking} lacks"
            means = "the blocks are built differently (biases, norms, depth); take models of one architecture"
            found.append(("block_tensors", f"block_tensors: {text}: {means}"))
    shapes = [name for name in sorted(ours & theirs) if _shape(vlm, name) != _shape(other, name)]
    if shapes:
        example = f"{_shape(vlm, shapes[0])} in the VLM, {_shape(other, shapes[0])} in {title}"
        text = f"shapes: {_some(shapes)} differ ({example}): these blocks cannot be averaged; {_SAME_SIZE}"
        found.append(("shapes", text))
    return found


def _shown(value: Any) -> str:
    if value is None:
        return "nothing stated"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _some(names: Sequence[str]) -> str:
    return f"{names[0]!r}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _blocks(model: Checkpoint) -> set[str]:
    return {name for name in model.canonical if _BLOCK.fullmatch(name)}


def _shape(model: Checkpoint, canonical: str) -> tuple[int, ...]:
    return model.tensors[model.canonical[canonical]].shape


def _place(name: str, vlm: Checkpoint, others: tuple[Checkpoint, Checkpoint]) -> PlannedTensor:
    key = canonical_name(name)
    block = _BLOCK.fullmatch(key)
    if not block or any(
        key not in other.canonical or _shape(other, key) != vlm.tensors[name].shape for other in others
    ):
        return PlannedTensor(name)
    return PlannedTensor(name, int(block[1]), *(other.canonical[key] for other in others))


def _check_blocks(plan: MergePlan) -> None:
    if not plan.by_layer:
        raise UserError(
            f"the VLM in '{plan.vlm.folder}' and the other models have no decoder block in common",
            "tensors named like 'model.layers.0.mlp.up_proj.weight' in all three",
            "check that vlm, base and reason are the right folders",
        )
    for tensor in plan.tensors:
        if tensor.layer is None or tensor.base is None or tensor.reason is None:
            continue
        for model, name in ((plan.base, tensor.base), (plan.vlm, tensor.name), (plan.reason, tensor.reason)):
            if model.tensors[name].dtype not in FLOATS:
                raise UserError(
                    f"{model.role}: {name!r} is stored as {model.tensors[name].dtype}, which cannot be averaged",
                    f"one of {', '.join(FLOATS)}",
                    "use the unquantised release of this model",
                )


@dataclass(frozen=True, slots=True)
class Shard:
    """One safetensors file of the output.

    Attributes:
        header: its first bytes, length field included.
        tensors: name to safetensors dtype, in the order of the bytes.
        size: bytes of the whole file.
    """

    file: str
    header: bytes
    tensors: Mapping[str, str]
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """All files of the output; `index` is the text of the index file, None when there is a single file."""

    shards: tuple[Shard, ...]
    index: bytes | None

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for shard in self.shards)


def lay_out(vlm: Checkpoint, dtype: OutputDtype, shard_bytes: int) -> Layout:
    """Cut the output into files.

    With `keep` the VLM's own files, headers and index are used again byte for byte. Otherwise floating-point tensors
    change their dtype and the VLM's order of tensors is packed into files of at most `shard_bytes` bytes of values
    (a tensor larger than that gets a file of its own).
    """
    if dtype == "keep":
        return _layout_of(vlm)
    parts: list[dict[str, str]] = [{}]
    filled = 0
    for name, entry in vlm.tensors.items():
        code = _CODES[dtype] if entry.dtype in FLOATS else entry.dtype
        size = _bytes(vlm, name, code)
        if parts[-1] and filled + size > shard_bytes:
            parts.append({})
            filled = 0
        parts[-1][name] = code
        filled += size
    if len(parts) == 1 and not vlm.indexed:
        return Layout((_shard(vlm, SINGLE, parts[0]),), None)
    shards = tuple(
        _shard(vlm, f"model-{number:05}-of-{len(parts):05}.safetensors", part)
        for number, part in enumerate(parts, start=1)
    )
    return Layout(shards, _index(vlm, shards))


def _layout_of(vlm: Checkpoint) -> Layout:
    parts: dict[str, dict[str, str]] = {file: {} for file in vlm.headers}
    for name, entry in vlm.tensors.items():
        parts[entry.file][name] = entry.dtype
    shards = tuple(
        Shard(file, header, parts[file], (vlm.folder / file).stat().st_size) for file, header in vlm.headers.items()
    )
    return Layout(shards, (vlm.folder / INDEX).read_bytes() if vlm.indexed else None)


def _bytes(vlm: Checkpoint, name: str, code: str) -> int:
    entry = vlm.tensors[name]
    return entry.stop - entry.start if code == entry.dtype else entry.count * ITEM_BYTES[code]


def _shard(vlm: Checkpoint, file: str, part: dict[str, str]) -> Shard:
    # wide dtypes first, as safetensors itself writes them: every tensor is then aligned to its own item size
    ordered = dict(sorted(part.items(), key=lambda item: (-ITEM_BYTES.get(item[1], 1), item[0])))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, code in ordered.items():
        stop = position + _bytes(vlm, name, code)
        header[name] = {"dtype": code, "shape": list(vlm.tensors[name].shape), "data_offsets": [position, stop]}
        position = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return Shard(file, len(text).to_bytes(8, "little") + text, ordered, 8 + len(text) + position)


def _index(vlm: Checkpoint, shards: tuple[Shard, ...]) -> bytes:
    weight_map = {name: shard.file for shard in shards for name in shard.tensors}
    total = sum(_bytes(vlm, name, code) for shard in shards for name, code in shard.tensors.items())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    return (json.dumps(index, indent=2) + "\n").encode()
