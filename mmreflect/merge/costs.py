"""What a merge will cost, told before it starts: bytes, memory, time."""

import math
import os
import time
from dataclasses import dataclass

from mmreflect.console import count
from mmreflect.merge.arithmetic import DRIVER
from mmreflect.merge.checkpoint import FLOATS, ITEM_BYTES, Checkpoint
from mmreflect.merge.experts import expert_matrices
from mmreflect.merge.layout import Layout
from mmreflect.merge.memory import available
from mmreflect.merge.names import canonical_name, is_fused_experts
from mmreflect.merge.pieces import LOT, PIECE, cut_whole
from mmreflect.merge.plan import MergePlan, PlannedTensor
from mmreflect.merge.rule import Rule, TensorRule
from mmreflect.merge.windows import OVERLAP, STEP
from mmreflect.merge.work import MOST_THREADS, TENSOR_VALUES

PROCESS_BYTES = 150_000_000  # the interpreter with numpy, and the pieces in the hands of the threads
SECONDS_PER_VALUE = 4e-9  # of one core, for reading, measuring, combining and rounding a value of three bfloat16 models
NUMPY_SECONDS_PER_VALUE = 12e-9  # the same without compiled arithmetic
TENSOR_SECONDS_PER_VALUE = 6e-8  # the same for rules of whole tensors, which sort or draw random numbers
OPERATIONS_PER_SECOND = 2.5e10  # of one core, in products of float64 matrices
SAMPLE = 8_000_000
ASSUMED_SPEED = 1e9  # bytes per second


@dataclass(frozen=True, slots=True)
class Costs:
    """Texts for the plan."""

    reads: str
    memory: str
    time: str


def estimate(plan: MergePlan, layout: Layout, rule: Rule, hold: int, compiled: bool = True) -> Costs:
    """Estimate what a merge costs on this machine. A sample of each input is read to see how fast it comes.

    Args:
        hold: largest layer, in bytes of its inputs, that is kept in memory.
        compiled: whether the arithmetic is, on a CPU; it looks through windows at the files.
    """
    cores = max(1, os.cpu_count() or 1)
    threads = max(2, min(MOST_THREADS, cores))
    layers = {layer: _layer_bytes(plan, layer) for layer in plan.by_layer}
    copied = sum(entry.stop - entry.start for entry in plan.vlm.tensors.values()) - _own_bytes(plan)
    once = sum(layers.values()) + copied
    passes = rows = ""
    if not isinstance(rule, TensorRule) and rule.needs == "model":
        once, passes = once + sum(layers[layer] for layer in plan.blocks), ", the decoder blocks twice"
    elif not isinstance(rule, TensorRule) and rule.needs == "layer" and max(layers.values()) > hold:
        once, passes = once + sum(size for size in layers.values() if size > hold), ", large layers twice"
    if isinstance(rule, TensorRule):
        memory = PROCESS_BYTES + _at_once(plan, rule, threads)
        rows = _rows(max(plan.merged_tensors, key=lambda tensor: max(_sizes(plan, tensor, rule))), plan)
    else:
        memory = PROCESS_BYTES + (
            max(size for size in layers.values() if size <= hold) if _holds(rule, layers, hold) else 0
        )
        memory += sum(min(model.size, STEP + OVERLAP) for model in plan.models) if compiled else 0
        memory += _in_hands(plan, layout, threads)
    speeds = [speed for model in plan.models if (speed := _speed(model)) is not None]
    speed = min(speeds, default=ASSUMED_SPEED)
    measured = "at which a sample of the inputs was read just now" if speeds else "that is assumed of inputs so small"
    seconds = max(_work(plan, rule, compiled, cores), once / speed) + layout.size / speed / cores
    return Costs(
        f"{once / 1e9:.2f} GB{passes}",
        f"about {memory / 1e9:.2f} GB at most{rows}{_beyond(memory)}",
        f"about {_time(seconds)}, at the {speed / 1e6:,.0f} MB/s {measured}"
        + (_products(cores) if isinstance(rule, TensorRule) and _operations(plan, rule) else ""),
    )


def _work(plan: MergePlan, rule: Rule, compiled: bool, cores: int) -> float:
    """Return the seconds of a CPU's arithmetic."""
    values = sum(tensor.merged for tensor in plan.tensors)
    if isinstance(rule, TensorRule):
        return values * TENSOR_SECONDS_PER_VALUE + _operations(plan, rule) / OPERATIONS_PER_SECOND / cores
    return values * (SECONDS_PER_VALUE if compiled else NUMPY_SECONDS_PER_VALUE) / cores


def _operations(plan: MergePlan, rule: TensorRule) -> float:
    """Return the operations of a rule's products; fused experts are matrices of their own, upright ones."""
    found = 0.0
    for tensor in plan.merged_tensors:
        key, whole = canonical_name(tensor.name), plan.vlm.tensors[tensor.name].shape
        if is_fused_experts(key):
            found += whole[0] * sum(rule.work(matrix.shape) for matrix in expert_matrices(plan.vlm, key, 0))
        else:
            found += sum(rule.work(shape) for shape, _ in _parts(plan, tensor))
    return found


def _products(cores: int) -> str:
    """Say how fast a CPU is taken to multiply matrices, where that decides."""
    text = f"; matrices multiplied at {OPERATIONS_PER_SECOND / 1e9:.0f} GFLOP/s on each of {count(cores, 'core')}"
    return f"{text}, less time on a GPU" if DRIVER.exists() else text


def _beyond(memory: int) -> str:
    free = available()
    return f": more than the {free / 1e9:.2f} GB that are free" if free is not None and memory > free else ""


def _holds(rule: Rule, layers: dict[int, int], hold: int) -> bool:
    held = not isinstance(rule, TensorRule) and rule.needs == "layer"
    return held and any(size <= hold for size in layers.values())


def _sizes(plan: MergePlan, tensor: PlannedTensor, rule: TensorRule) -> list[tuple[int, int]]:
    """Return what a rule sees at once of a tensor: each part's bytes in work, and its values."""
    return [(rule.memory(shape), size) for shape, size in _parts(plan, tensor)]


def _parts(plan: MergePlan, tensor: PlannedTensor) -> list[tuple[tuple[int, ...], int]]:
    """Return the shape of each part of a tensor that is in work at once, and its values."""
    whole, found = plan.vlm.tensors[tensor.name].shape, []
    for pieces in cut_whole(tensor, plan):
        size, row = sum(piece.count for piece in pieces), pieces[0].stretch.row
        part = whole[1:] if is_fused_experts(canonical_name(tensor.name)) else (size // row, row)
        found.append((whole if size == math.prod(whole) else part, size))
    return found


def _in_hands(plan: MergePlan, layout: Layout, threads: int) -> int:
    """Return the bytes that threads have read of the next layer, or write, beside the layer that is held."""
    merged = sum(tensor.merged for tensor in plan.tensors)
    read = sum(_layer_bytes(plan, layer) for layer in plan.by_layer) / max(1, merged)
    written = layout.size / max(1, sum(entry.count for entry in plan.vlm.tensors.values()))
    return int(min(merged, threads * LOT) * read + min(merged, threads * PIECE) * written)


def _at_once(plan: MergePlan, rule: TensorRule, threads: int) -> int:
    """Return the bytes of the tensors that may be in work together: one per thread, of any layer, the largest first."""
    most, together, values, taken = 0, 0, 0, 0
    parts = [part for tensor in plan.merged_tensors for part in _sizes(plan, tensor, rule)]
    for size, number in sorted(parts, reverse=True):
        most = max(most, size)
        if taken < threads and values + number <= TENSOR_VALUES:
            together, values, taken = together + size, values + number, taken + 1
    return max(most, together)


def _rows(tensor: PlannedTensor, plan: MergePlan) -> str:
    """Say of rows of embeddings that they are one tensor."""
    if tensor.layer is None or 0 <= tensor.layer < plan.depth:
        return ""
    rows = tensor.merged // tensor.stretches[0].row
    return f" (the {rows:,} matched rows of {tensor.name!r} are one tensor to this rule)"


def loading(vlm: Checkpoint, dtype: str) -> str:
    """Say what memory the whole VLM takes while attention is measured, in a dtype or `auto` (see `attention.py`)."""
    if dtype == "auto":
        dtype = "bfloat16" if DRIVER.exists() else "float32"
    item = ITEM_BYTES[next(code for code, name in FLOATS.items() if name == dtype)]
    size = sum(
        entry.count * item if entry.dtype in FLOATS else entry.stop - entry.start for entry in vlm.tensors.values()
    )
    return f"before that the VLM is loaded, {size / 1e9:.2f} GB in {dtype}"


def _layer_bytes(plan: MergePlan, layer: int) -> int:
    size = 0
    for tensor in plan.by_layer[layer]:
        item = ITEM_BYTES[plan.vlm.tensors[tensor.name].dtype]
        for stretch in tensor.stretches:
            sources = [stretch.reason, *([stretch.base] if stretch.base else [])]
            size += stretch.count * (item + sum(ITEM_BYTES[source.code] for source in sources))
    return size


def _own_bytes(plan: MergePlan) -> int:
    return sum(tensor.merged * ITEM_BYTES.get(plan.vlm.tensors[tensor.name].dtype, 1) for tensor in plan.tensors)


def _speed(model: Checkpoint) -> float | None:
    """Read some of a model and return bytes per second; None where there is too little of it to tell."""
    file = next(iter(model.headers))
    path = model.folder / file
    data = bytearray(1 << 18)  # fresh memory would take longer than reading
    start, size = time.perf_counter(), 0
    with open(path, "rb", buffering=0) as opened:
        opened.seek(max(0, path.stat().st_size // 2 - SAMPLE // 2))
        while size < SAMPLE and (read := opened.readinto(data)):
            size += read
    return size / max(time.perf_counter() - start, 1e-6) if size > 1_000_000 else None


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
