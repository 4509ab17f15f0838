"""The compatibility gate: may these models be merged at all? Each check is refused, and forced, by its own name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mmreflect.errors import unknown_name
from mmreflect.merge.checkpoint import Checkpoint
from mmreflect.merge.names import EMBEDDINGS, Scope, expert_of, in_scope, is_bias
from mmreflect.merge.sources import Source
from mmreflect.merge.vocabulary import clashing_ids, moved_added, moved_tokens

TITLES = {"base": "the base", "vlm": "the VLM", "reason": "the reasoning model"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One check that fails between the VLM and another model, and what a person is told."""

    check: str
    text: str


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of the text config that must agree; `lenient`: only where both models state it."""

    read: Callable[[dict[str, Any]], Any]
    means: str
    do: str
    lenient: bool = False


def rope_theta(config: dict[str, Any]) -> Any:
    """Return a text config's rotary base: `rope_parameters.rope_theta`, or the older `rope_theta`; None if unstated.

    A model with one base per attention type gives a dict.
    """
    parameters = config.get("rope_parameters") or {}
    nested = {
        key: item["rope_theta"] for key, item in parameters.items() if isinstance(item, dict) and "rope_theta" in item
    }
    return nested or parameters.get("rope_theta", config.get("rope_theta"))


def _rotated(config: dict[str, Any]) -> Any:
    return (config.get("rope_parameters") or {}).get("partial_rotary_factor", config.get("partial_rotary_factor"))


def _key_value_heads(config: dict[str, Any]) -> Any:
    return config.get("num_key_value_heads") or config.get("num_attention_heads")


def _head_dim(config: dict[str, Any]) -> Any:
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    return config.get("head_dim") or (hidden // heads if hidden and heads else None)


def _plain(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda config: config.get(key)


_SAME_SIZE = "take three checkpoints of one size"
_OTHER_WAY = "experts stored in another way"
_SAME_FAMILY = "take three models of one architecture"
_VALUES = {
    "num_hidden_layers": _Value(
        _plain("num_hidden_layers"), "the blocks cannot be paired one to one", _SAME_SIZE
    ),
    "hidden_size": _Value(_plain("hidden_size"), "the matrices have different shapes", _SAME_SIZE),
    "num_attention_heads": _Value(
        _plain("num_attention_heads"), "the same rows belong to different heads", _SAME_SIZE
    ),
    "num_key_value_heads": _Value(_key_value_heads, "the same rows belong to different heads", _SAME_SIZE),
    "head_dim": _Value(_head_dim, "the same rows belong to different heads", _SAME_SIZE),
    "intermediate_size": _Value(_plain("intermediate_size"), "the MLPs have different shapes", _SAME_SIZE),
    "rope_theta": _Value(
        rope_theta,
        "attention was trained for other rotations: the models share no ancestor, expect garbage",
        "take a model that descends from the same base (of the R1 distillations, 14B and 32B descend from Qwen2.5, "
        "1.5B and 7B from Qwen2.5-Math)",
    ),
    "partial_rotary_factor": _Value(
        _rotated, "attention rotates another share of each head", _SAME_FAMILY, lenient=True
    ),
    "hidden_act": _Value(_plain("hidden_act"), "the MLPs compute different functions", _SAME_FAMILY, lenient=True),
    "layer_types": _Value(
        _plain("layer_types"), "the same block is full attention here and linear there", _SAME_FAMILY, lenient=True
    ),
    "num_experts": _Value(_plain("num_experts"), "the experts cannot be paired one to one", _SAME_SIZE, lenient=True),
    "num_experts_per_tok": _Value(
        _plain("num_experts_per_tok"), "the experts were trained in other company", _SAME_FAMILY, lenient=True
    ),
    "moe_intermediate_size": _Value(
        _plain("moe_intermediate_size"), "the experts have different shapes", _SAME_SIZE, lenient=True
    ),
}  # fmt: skip
FINITE = "finite"
"""The one check that is made while values are copied, since it is about them."""
CHECKS = (*_VALUES, "biases", "block_tensors", "shapes", "vocabulary", "special_tokens", FINITE)
Find = Callable[[str], Source | None]


def check_force(force: Sequence[str]) -> None:
    """Refuse names in `force` that are no checks.

    Raises:
        UserError: names the nearest check.
    """
    for name in force:
        if name not in CHECKS:
            raise unknown_name("check in force", name, CHECKS)


def find_differences(vlm: Checkpoint, other: Checkpoint, find: Find, scope: Scope) -> list[Difference]:
    """Compare one model with the VLM, all checks.

    Args:
        find: from the canonical name of a tensor of the VLM to where the other model has it.
        scope: which tensors are to be merged; biases, names and shapes are compared there only.
    """
    found = []
    title = TITLES[other.role]
    for name, check in _VALUES.items():
        mine, its = check.read(vlm.text_config), check.read(other.text_config)
        if mine != its and not (check.lenient and None in (mine, its)):
            text = f"the VLM has {_shown(mine)}, {title} has {_shown(its)}: {check.means}; {check.do}"
            found.append(Difference(name, f"{name}: {text}"))
    return [*found, *_tensor_differences(vlm, other, find, scope), *_token_differences(vlm, other)]


def _norm_epsilon(config: dict[str, Any]) -> Any:
    return config.get("rms_norm_eps")


def _rope_kind(config: dict[str, Any]) -> Any:
    """Return what stretches the rotations, None for none; the sections of a VLM (mrope) stretch nothing."""
    stated = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = stated.get("rope_type", stated.get("type"))
    if kind in (None, "default", "mrope"):
        return None
    return f"{kind} by {_shown(stated['factor'])}" if "factor" in stated else kind


def _window(config: dict[str, Any]) -> Any:
    return config.get("sliding_window") if config.get("use_sliding_window") else None


_NOTED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "rms_norm_eps": (_norm_epsilon, "its norms divide by a little more or less"),
    "rope scaling": (_rope_kind, "its positions were stretched"),
    "sliding window": (_window, "its attention saw another part of long texts"),
}
"""What well-known pairs differ in and are merged all the same: no reason to refuse, but to be told."""


def noted_differences(vlm: Checkpoint, other: Checkpoint) -> list[str]:
    """Say in which lesser values two models differ; the merged model has the VLM's."""
    found = []
    for name, (read, means) in _NOTED.items():
        mine, its = read(vlm.text_config), read(other.text_config)
        if mine != its and not (name == "rms_norm_eps" and None in (mine, its)):
            shown = [_shown(value) if value is not None else "none" for value in (mine, its)]
            text = f"the VLM has {shown[0]}, {TITLES[other.role]} {shown[1]}: {means}; the VLM's is kept"
            found.append(f"{name}: {text}")
    return found


def sees_nothing(vlm: Checkpoint) -> list[str]:
    """Say that what is given as VLM is a language model."""
    if "vision_config" in vlm.config:
        return []
    return [f"the model given as vlm in '{vlm.folder}' has no vision_config: it seems to be a language model only"]


def not_compared(vlm: Checkpoint, other: Checkpoint) -> list[str]:
    """Say what of two models could not be compared."""
    mute = [model for model in (vlm, other) if model.vocabulary is None]
    notes = [f"{TITLES[model.role]} has no readable tokenizer: vocabularies were not compared" for model in mute]
    rows = [
        model.tensors[model.canonical[EMBEDDINGS]].shape[0] for model in (vlm, other) if EMBEDDINGS in model.canonical
    ]
    if len(set(rows)) > 1:
        notes.append(
            f"the embeddings have {rows[0]:,} rows in the VLM and {rows[1]:,} in {TITLES[other.role]} (padding); rows "
            "are never merged by their number"
        )
    return notes


def _shown(value: Any) -> str:
    if value is None:
        return "nothing stated"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _some(names: Sequence[str]) -> str:
    return f"{names[0]!r}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _logical(model: Checkpoint, scope: Scope) -> dict[str, str]:
    """Name the block tensors alike, however experts are stored: logical name to one canonical name of it."""
    names: dict[str, str] = {}
    for key in model.canonical:
        if in_scope(key, scope):
            expert = expert_of(key)
            names.setdefault(expert[0] if expert else key, key)
    return names


def _tensor_differences(vlm: Checkpoint, other: Checkpoint, find: Find, scope: Scope) -> list[Difference]:
    title, found = TITLES[other.role], []
    ours, theirs = _logical(vlm, scope), _logical(other, scope)
    for owner, lacking, names in (
        ("the VLM", title, ours.keys() - theirs.keys()),
        (title, "the VLM", theirs.keys() - ours.keys()),
    ):
        biases = sorted(name for name in names if is_bias(name))
        rest = sorted(name for name in names if not is_bias(name))
        if biases:
            text = f"biases: {owner} has {_some(biases)}, {lacking} has no such bias"
            means = "one was trained with the bias and one without it; take models of one architecture"
            found.append(Difference("biases", f"{text}: {means}"))
        if rest:
            text = f"block_tensors: {owner} has {_some(rest)}, which {lacking} lacks"
            means = "the blocks are built differently (norms, depth, experts); take models of one architecture"
            found.append(Difference("block_tensors", f"{text}: {means}"))
    keys = [key for key in vlm.canonical if in_scope(key, scope) and _is_in(key, theirs)]
    unpaired = sorted(key for key in keys if find(key) is None)
    if unpaired:
        example = f"{_shape(vlm, unpaired[0])} in the VLM, {_shape(other, unpaired[0])} in {title}"
        advice = "save both models with one version of transformers" if _OTHER_WAY in example else _SAME_SIZE
        text = f"shapes: {_some(unpaired)} differ ({example}): these blocks cannot be averaged; {advice}"
        found.append(Difference("shapes", text))
    return found


def _is_in(key: str, logical: dict[str, str]) -> bool:
    expert = expert_of(key)
    return key in logical or (expert is not None and expert[0] in logical)


def _shape(model: Checkpoint, key: str) -> str:
    if key in model.canonical:
        return str(model.tensors[model.canonical[key]].shape)
    return _OTHER_WAY


def _token_differences(vlm: Checkpoint, other: Checkpoint) -> list[Difference]:
    ours, theirs = vlm.vocabulary, other.vocabulary
    if ours is None or theirs is None:
        return []
    title, found = TITLES[other.role], []
    moved = moved_tokens(ours, theirs)
    if moved:
        first = moved[0]
        text = f"the VLM gives the token {first!r} the id {ours.ids[first]:,}, {title} {theirs.ids[first]:,}"
        more = f", and {len(moved) - 1:,} more tokens differ" if len(moved) > 1 else ""
        means = "its blocks were trained on the embeddings of other words; take a model with the same tokenizer"
        found.append(Difference("vocabulary", f"vocabulary: {text}{more}: {means}"))
    late = moved_added(ours, theirs)
    if late:
        first, mine_id, its_id = late[0]
        more = f", and {len(late) - 1:,} more added tokens differ" if len(late) > 1 else ""
        means = "each model learnt it in a row that the other has for nothing or for something else"
        means += "; take a model with the same tokenizer"
        text = f"the added token {first!r} has the id {mine_id:,} in the VLM and {its_id:,} in {title}{more}: {means}"
        found.append(Difference("special_tokens", f"special_tokens: {text}"))
    clashes = clashing_ids(ours, theirs)
    if clashes:
        number, mine, its = clashes[0]
        more = f", and {len(clashes) - 1:,} more ids clash" if len(clashes) > 1 else ""
        means = (
            f"where {title} learnt to say {its!r} the merged model would say {mine!r}; the id stays the VLM's "
            f"token, so write {its!r} as plain text in prompts"
        )
        text = f"id {number:,} is {mine!r} in the VLM and {its!r} in {title}{more}: {means}"
        found.append(Difference("special_tokens", f"special_tokens: {text}"))
    return found
