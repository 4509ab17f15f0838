"""Which tensor of the merged model comes from where, and whether it may be merged at all.

Decoder block tensors that all models hold with one shape are merged; every other tensor of the VLM is copied, so that
nothing of it can get lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

from mmreflect.console import count
from mmreflect.errors import UserError
from mmreflect.merge.checkpoint import FLOATS, Checkpoint
from mmreflect.merge.gate import (
    TITLES,
    Difference,
    Find,
    check_force,
    find_differences,
    not_compared,
    noted_differences,
    rope_theta,
    sees_nothing,
)
from mmreflect.merge.names import EMBEDDINGS, HEAD, Scope, block_of, canonical_name, in_scope
from mmreflect.merge.sources import Segment, Source, lookup, whole
from mmreflect.merge.vocabulary import matching_rows

Embeddings = Literal["vlm", "matching_tokens"]
BEFORE_BLOCKS = -1
"""The layer number of the embedding matrix; the head's is the number of blocks."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Values `first` to `first + count` of a tensor that are merged; `row` is the smallest piece it may be cut into."""

    first: int
    count: int
    row: int
    base: Source | None
    reason: Source


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One tensor of the output; what lies in no stretch is the VLM's. `layer` counts from 0, None when copied."""

    name: str
    layer: int | None = None
    stretches: tuple[Stretch, ...] = ()

    @property
    def merged(self) -> int:
        """Number of values that are merged."""
        return sum(stretch.count for stretch in self.stretches)


@dataclass(frozen=True)
class MergePlan:
    """Everything that is known before a value is read.

    Attributes:
        base: the common ancestor; None where the method needs none and none was given.
        tensors: one per tensor of the VLM, in the order of its files.
        depth: number of decoder blocks of the VLM.
        rope_theta: what each of the models states.
        warnings: what was forced.
        notes: what could not be checked, and lesser differences.
        skipped: role to the tensors of a model that nothing was made of.
        force: names of the checks that are skipped.
    """

    base: Checkpoint | None
    vlm: Checkpoint
    reason: Checkpoint
    tensors: tuple[PlannedTensor, ...]
    depth: int
    rope_theta: dict[str, Any]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    skipped: dict[str, list[str]] = field(default_factory=dict)
    force: tuple[str, ...] = ()

    @property
    def models(self) -> list[Checkpoint]:
        """The models that are read."""
        return [model for model in (self.base, self.vlm, self.reason) if model is not None]

    @cached_property
    def by_layer(self) -> dict[int, list[PlannedTensor]]:
        """The merged tensors of every layer, layers in ascending order."""
        layers: dict[int, list[PlannedTensor]] = {}
        for tensor in self.tensors:
            if tensor.layer is not None:
                layers.setdefault(tensor.layer, []).append(tensor)
        return dict(sorted(layers.items()))

    @property
    def blocks(self) -> list[int]:
        """The decoder blocks that are merged."""
        return [layer for layer in self.by_layer if 0 <= layer < self.depth]

    @property
    def merged_tensors(self) -> list[PlannedTensor]:
        """The tensors of which values are merged."""
        return [tensor for tensor in self.tensors if tensor.layer is not None]

    @property
    def merged(self) -> list[str]:
        """Names of the merged tensors."""
        return [tensor.name for tensor in self.merged_tensors]

    @property
    def copied(self) -> list[str]:
        """Names of the tensors that are taken from the VLM as they are."""
        return [tensor.name for tensor in self.tensors if tensor.layer is None]


def plan_merge(
    base: Checkpoint | None,
    vlm: Checkpoint,
    reason: Checkpoint,
    force: Sequence[str] = (),
    scope: Scope = "decoder_blocks",
    embeddings: Embeddings = "vlm",
) -> MergePlan:
    """Decide where each tensor of the output comes from.

    Args:
        base: the common ancestor, or None.
        vlm: the model whose tensors, names and order the output has.
        reason: the reasoning model.
        force: names of checks to skip, one by one (see `CHECKS`). A tensor that cannot be paired is then copied
            from the VLM; a difference in a configuration value is then ignored. What was skipped ends up in
            `MergePlan.warnings`.
        scope: which tensors of the decoder blocks are merged.
        embeddings: `matching_tokens` also merges the rows of embeddings and head whose token every model knows.

    Raises:
        UserError: the checkpoints do not fit; every reason is listed at once. Also when a model lacks decoder blocks
            that its configuration states, or has others, the VLM has none, blocks are stored in a dtype that cannot
            be averaged, or tokens cannot be matched.
    """
    check_force(force)
    others = [other for other in (base, reason) if other is not None]
    finds: dict[str, Find] = {other.role: lookup(vlm, other) for other in others}
    problems = [item for other in others for item in find_differences(vlm, other, finds[other.role], scope)]
    _refuse([item for item in problems if item.check not in force], force)
    for model in (*others, vlm):
        _check_depth(model)
    depth = max(vlm.blocks, default=-1) + 1
    embedded = _embeddings(vlm, others, depth) if embeddings == "matching_tokens" else {}
    tensors = tuple(embedded.get(name) or _place(name, vlm, finds, scope) for name in vlm.tensors)
    plan = MergePlan(
        *(base, vlm, reason),
        tensors,
        depth=depth,
        rope_theta={model.role: rope_theta(model.text_config) for model in (*others, vlm)},
        warnings=tuple(f"forced {item.text}" for item in problems),
        notes=tuple(dict.fromkeys([*sees_nothing(vlm), *(note for other in others for note in _noted(vlm, other))])),
        skipped={other.role: _unused(other, tensors) for other in others},
        force=tuple(force),
    )
    _check_blocks(plan)
    return plan


def _noted(vlm: Checkpoint, other: Checkpoint) -> list[str]:
    return [*noted_differences(vlm, other), *not_compared(vlm, other)]


def _refuse(refused: Sequence[Difference], force: Sequence[str]) -> None:
    if not refused:
        return
    lines = "\n".join(f"  - {item.text}" for item in refused)
    names = list(dict.fromkeys([*force, *(item.check for item in refused)]))
    raise UserError(
        f"these checkpoints cannot be merged: {count(len(refused), 'problem')}\n{lines}",
        "a VLM and a reasoning model that were both tuned from the given base, with its decoder unchanged",
        f"replace the checkpoint that differs; to skip a check at your own risk: force: [{', '.join(names)}]",
    )


def _place(name: str, vlm: Checkpoint, finds: dict[str, Find], scope: Scope) -> PlannedTensor:
    key = canonical_name(name)
    block = block_of(key)
    if block is None or not in_scope(key, scope):
        return PlannedTensor(name)
    found = {role: find(key) for role, find in finds.items()}
    reason = found["reason"]
    if reason is None or None in found.values():
        return PlannedTensor(name)
    matrices = [source.matrix for source in found.values() if source and source.matrix]
    row = matrices[0][0] * matrices[0][1] if matrices else 1
    own = whole(vlm, name)
    if not own.count:
        return PlannedTensor(name)  # there is nothing to merge
    return PlannedTensor(name, block[0], (Stretch(0, own.count, row, found.get("base"), reason),))


def _embeddings(vlm: Checkpoint, others: Sequence[Checkpoint], depth: int) -> dict[str, PlannedTensor]:
    """Plan the rows of the embedding matrix, and of the head where there is one, whose tokens all models know."""
    vocabularies = [model.vocabulary for model in (vlm, *others)]
    mute = [model for model, known in zip((vlm, *others), vocabularies, strict=True) if known is None]
    if mute or vlm.hidden_size is None:
        raise UserError(
            f"embeddings: matching_tokens, but {TITLES[(mute or [vlm])[0].role]} has no readable tokenizer or no width",
            "tokenizer.json or vocab.json beside the weights of every model",
            "add the tokenizer's files, or choose embeddings: vlm",
        )
    known = [vocabulary for vocabulary in vocabularies if vocabulary is not None]
    planned = {}
    for key, layer in ((EMBEDDINGS, BEFORE_BLOCKS), (HEAD, depth)):
        name = vlm.canonical.get(key)
        # a tied model has no head on disk: its rows are those of its embeddings
        theirs = [other.canonical.get(key) or other.canonical.get(EMBEDDINGS) for other in others]
        if name is None or None in theirs:
            continue
        width = vlm.tensors[name].shape[-1]
        shapes = [other.tensors[str(its)].shape for other, its in zip(others, theirs, strict=True)]
        if any(shape[-1] != width for shape in shapes):
            continue
        runs = matching_rows(known[0], known[1:], [vlm.tensors[name].shape[0], *(shape[0] for shape in shapes)])
        stretches = []
        for first, rows, firsts in runs:
            sources = {
                other.role: Source(
                    whole(other, str(its)).code, (Segment(str(its), row * width, rows * width),)
                )
                for other, its, row in zip(others, theirs, firsts, strict=True)
            }  # fmt: skip
            stretches.append(Stretch(first * width, rows * width, width, sources.get("base"), sources["reason"]))
        if stretches:
            planned[name] = PlannedTensor(name, layer, tuple(stretches))
    return planned


def _unused(other: Checkpoint, tensors: Sequence[PlannedTensor]) -> list[str]:
    used = set()
    for tensor in tensors:
        for stretch in tensor.stretches:
            source = stretch.base if other.role == "base" else stretch.reason
            used |= {segment.name for segment in source.segments} if source else set()
    return [name for name in other.tensors if name not in used]


def _check_depth(model: Checkpoint) -> None:
    """Refuse a model whose decoder blocks are not those that it states; a model of no blocks is refused elsewhere.

    Blocks that predict further tokens may follow them (`num_nextn_predict_layers`), where a family numbers them on.
    """
    stated = model.text_config.get("num_hidden_layers")
    last = max(model.blocks, default=-1)
    depth = last + 1 if stated is None else stated
    missing = _runs([-1, *(block for block in model.blocks if block < depth), depth])
    beyond = last >= depth + (model.text_config.get("num_nextn_predict_layers") or 0)
    if not model.blocks or not (missing or beyond):
        return
    wrong = [f"missing: {', '.join(missing)}"] if missing else []
    wrong += [f"beyond: {', '.join(str(block) for block in model.blocks if block >= depth)}"] if beyond else []
    config = model.folder / "config.json"
    raise UserError(
        f"{model.role}: num_hidden_layers in '{config}' is {'not stated' if stated is None else stated}, and the "
        f"weights hold {count(len(model.blocks), 'decoder block')}, up to number {last} ({'; '.join(wrong)})",
        "tensors of every block that the configuration states, counted from 0, and of no other",
        "download the model again, or save it again with save_pretrained",
    )


def _runs(edges: Sequence[int]) -> list[str]:
    """Return what lies between ascending numbers, as texts: 3, or 3 to 5."""
    gaps = [(one + 1, two - 1) for one, two in pairwise(edges) if two - one > 1]
    return [str(first) if first == stop else f"{first} to {stop}" for first, stop in gaps]


def _check_blocks(plan: MergePlan) -> None:
    if not plan.blocks:
        raise UserError(
            f"the VLM in '{plan.vlm.folder}' and the other models have no decoder block in common",
            "tensors named like 'model.layers.0.mlp.up_proj.weight' in all of them",
            "check that vlm, base and reason are the right folders",
        )
    for name in plan.merged:
        if plan.vlm.tensors[name].dtype not in FLOATS:
            whole(plan.vlm, name)
