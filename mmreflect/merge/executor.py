"""Streaming a merge: per-layer statistics, then the output shard by shard, in pieces of a few megabytes.

Shards are written as a stream instead of through `safetensors.torch.save_file`, which wants a whole shard in memory.
A shard appears under its name only when it is complete and on disk; after a kill, complete shards are kept and the
others are written again to the same bytes. For that the statistics are stored (`layers.jsonl`) before a layer is used.
"""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from mmreflect import console
from mmreflect.errors import UserError
from mmreflect.files import append_jsonl, read_json, read_jsonl, sync_folder, write_atomic, write_json
from mmreflect.merge.checkpoint import FLOATS, INDEX, Checkpoint
from mmreflect.merge.plan import Layout, MergePlan, PlannedTensor, Shard

CHUNK = 1 << 18  # values in memory at once, per model
COPY_BYTES = 1 << 22
_BLOCK = 1 << 16  # values of a chunk that are summed at a time: they stay in the processor's cache
_ROW = 4096  # values summed in one go; see _sum
_TORCH = {code: getattr(torch, name) for code, name in FLOATS.items()}


@dataclass(frozen=True, slots=True)
class LayerStats:
    """How far the two models moved from the base in one decoder block, all its tensors flattened together.

    Attributes:
        layer: index of the block, from 0.
        norm2_v: ||tau_V||^2, the squared L2 norm of VLM - base.
        norm2_r: ||tau_R||^2, the same for the reasoning model.
        dot: <tau_V, tau_R>.
    """

    layer: int
    norm2_v: float
    norm2_r: float
    dot: float

    @property
    def cosine(self) -> float | None:
        """Cosine between the two task vectors; None when one of them is zero."""
        scale = math.sqrt(self.norm2_v) * math.sqrt(self.norm2_r)
        return self.dot / scale if scale else None


@dataclass(frozen=True, slots=True)
class MergedLayer:
    """A layer's statistics and the weights that the rule gave it."""

    stats: LayerStats
    lam_v: float
    lam_r: float


Rule = Callable[[LayerStats], tuple[float, float]]


def mix(base: torch.Tensor, vlm: torch.Tensor, reason: torch.Tensor, lam_v: float, lam_r: float) -> torch.Tensor:
    """Return base + (lam_v * (vlm - base) + lam_r * (reason - base)) in float32 (FRANK, Eq. 4).

    The bracket makes the result independent of the order of the two models, to the last bit. Weights (1, 0) and
    (0, 1) return that model's own values: base + (vlm - base) need not round back to vlm.
    """
    if (lam_v, lam_r) == (1.0, 0.0):
        return vlm.float()
    if (lam_v, lam_r) == (0.0, 1.0):
        return reason.float()
    origin = base.float()
    change = (vlm.float() - origin).mul_(lam_v)
    return origin + change.add_((reason.float() - origin).mul_(lam_r))


def layer_stats(plan: MergePlan, layer: int) -> LayerStats:
    """Compute one layer's statistics: differences in float32, sums in float64, the same for any number of threads.

    Raises:
        UserError: a tensor holds NaN or infinity; it is named.
    """
    sums: tuple[list[float], list[float], list[float]] = ([], [], [])
    for tensor in plan.by_layer[layer]:
        for chunk in _chunks(plan, tensor):
            for base, vlm, reason in zip(*(torch.split(values, _BLOCK) for values in chunk), strict=True):
                origin = base.float()
                tau_v, tau_r = (vlm.float() - origin).double(), (reason.float() - origin).double()
                norms = _sum(tau_v * tau_v), _sum(tau_r * tau_r)
                if not math.isfinite(sum(norms)):
                    raise _not_finite(plan, tensor)
                for total, value in zip(sums, (*norms, _sum(tau_v * tau_r)), strict=True):
                    total.append(value)
    return LayerStats(layer, *(math.fsum(total) for total in sums))


def _sum(values: torch.Tensor) -> float:
    """Sum float64 values. torch splits one long sum among threads, which moves its last bit; short rows it does not."""
    full = values.numel() - values.numel() % _ROW
    rows: list[float] = values[:full].view(-1, _ROW).sum(dim=1).tolist()
    return math.fsum([*rows, values[full:].sum().item()])


def _chunks(plan: MergePlan, tensor: PlannedTensor) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    assert tensor.base is not None and tensor.reason is not None
    size = plan.vlm.tensors[tensor.name].count
    for first in range(0, size, CHUNK):
        count = min(CHUNK, size - first)
        yield (
            plan.base.read(tensor.base, first, count),
            plan.vlm.read(tensor.name, first, count),
            plan.reason.read(tensor.reason, first, count),
        )


def _not_finite(plan: MergePlan, tensor: PlannedTensor) -> UserError:
    names = ((plan.base, tensor.base), (plan.vlm, tensor.name), (plan.reason, tensor.reason))
    found = [model for model, name in names if name and not torch.isfinite(model.read(name)).all()]
    where = found[0] if found else plan.vlm
    what = "holds NaN or infinity" if found else "differs from the base by more than float32 can hold"
    return UserError(
        f"{where.role}: {tensor.name!r} {what} ('{where.folder}')",
        "finite weights",
        "download this model again, or take another checkpoint",
    )


def execute(plan: MergePlan, layout: Layout, rule: Rule, folder: Path) -> list[MergedLayer]:
    """Write the merged weights to `folder / "model"`, or finish writing them after a kill.

    Args:
        plan: what comes from where.
        layout: the files to write.
        rule: from a layer's statistics to (lam_v, lam_r); must be a pure function.
        folder: the run's folder; `layers.jsonl` and `inputs.json` are kept there for resuming.

    Returns:
        One entry per merged layer, in ascending order.

    Raises:
        UserError: the inputs changed since the run was started, values are not finite, or a value is too large for
            the output's dtype.
    """
    model = folder / "model"
    model.mkdir(parents=True, exist_ok=True)
    _check_inputs(plan, folder / "inputs.json")
    layers = _Layers(plan, rule, folder / "layers.jsonl")
    with console.progress_bar("merging", len(plan.tensors)) as bar:
        for shard in layout.shards:
            path = model / shard.file
            if path.is_file() and path.stat().st_size == shard.size:
                bar.advance(len(shard.tensors))
            else:
                _write_shard(plan, shard, layers, path, bar.advance)
    if layout.index is not None:
        write_atomic(model / INDEX, layout.index)
    return [layers[layer] for layer in plan.by_layer]


class _Layers:
    """The weights of each layer, computed when first asked for and remembered on disk."""

    def __init__(self, plan: MergePlan, rule: Rule, path: Path) -> None:
        self._plan, self._rule, self._path = plan, rule, path
        rows = read_jsonl(path) if path.is_file() else ()
        self._stats = {row["layer"]: LayerStats(**row) for row in rows}

    def __getitem__(self, layer: int) -> MergedLayer:
        if layer not in self._stats:
            self._stats[layer] = layer_stats(self._plan, layer)
            append_jsonl(self._path, [asdict(self._stats[layer])])
        stats = self._stats[layer]
        return MergedLayer(stats, *self._rule(stats))


def _check_inputs(plan: MergePlan, path: Path) -> None:
    """Refuse to mix shards of two different sets of inputs."""
    inputs = {model.role: _files(model) for model in (plan.base, plan.vlm, plan.reason)}
    if not path.is_file():
        write_json(path, inputs)
        return
    before = read_json(path)
    changed = [
        f"{role}: {file}" for role in inputs for file in inputs[role] if before[role].get(file) != inputs[role][file]
    ]
    if changed or any(before[role].keys() != inputs[role].keys() for role in inputs):
        raise UserError(
            f"weights changed since this merge was started ({', '.join(changed[:3]) or 'other files'})",
            "the same three models, to go on",
            f"delete '{path.parent}' to start again, or choose another output",
        )


def _files(model: Checkpoint) -> dict[str, list[int]]:
    stats = {file: (model.folder / file).stat() for file in model.headers}
    return {file: [stat.st_size, stat.st_mtime_ns] for file, stat in stats.items()}


def _write_shard(plan: MergePlan, shard: Shard, layers: _Layers, path: Path, advance: Callable[[], None]) -> None:
    planned = {tensor.name: tensor for tensor in plan.tensors}
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "wb") as file:
        file.write(shard.header)
        for name, code in shard.tensors.items():
            for piece in _pieces(plan, planned[name], code, layers):
                file.write(piece)
            advance()
        file.flush()
        os.fsync(file.fileno())
    if partial.stat().st_size != shard.size:
        raise RuntimeError(f"{partial} has {partial.stat().st_size} bytes, planned were {shard.size}")
    os.replace(partial, path)
    sync_folder(path.parent)


def _pieces(plan: MergePlan, tensor: PlannedTensor, code: str, layers: _Layers) -> Iterator[bytes | memoryview]:
    """Yield the bytes of one output tensor."""
    if tensor.layer is None:
        yield from _converted(plan.vlm, tensor.name, code)
        return
    merged = layers[tensor.layer]
    if (merged.lam_v, merged.lam_r) == (1.0, 0.0):
        yield from _converted(plan.vlm, tensor.name, code)
    elif (merged.lam_v, merged.lam_r) == (0.0, 1.0) and tensor.reason is not None:
        yield from _converted(plan.reason, tensor.reason, code)
    else:
        for base, vlm, reason in _chunks(plan, tensor):
            yield _encode(mix(base, vlm, reason, merged.lam_v, merged.lam_r), code, tensor.name)


def _converted(model: Checkpoint, name: str, code: str) -> Iterator[bytes | memoryview]:
    """Yield one model's own tensor, bit for bit where the dtype stays."""
    entry = model.tensors[name]
    if entry.dtype == code:
        yield from model.read_bytes(name, COPY_BYTES)
        return
    for first in range(0, entry.count, CHUNK):
        yield _encode(model.read(name, first, min(CHUNK, entry.count - first)), code, name)


def _encode(values: torch.Tensor, code: str, name: str) -> memoryview:
    encoded = values.to(_TORCH[code])
    if code == "F16" and not torch.isfinite(encoded).all():
        raise UserError(
            f"{name!r} holds values that {FLOATS[code]} cannot represent (up to {values.abs().max().item():.3g})",
            "finite weights",
            "choose dtype: bfloat16 or float32",
        )
    return memoryview(encoded.view(torch.uint8).numpy())  # type: ignore[arg-type]
