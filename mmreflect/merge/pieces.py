"""Cutting tensors into pieces and reading them: what one worker holds at a time."""

import contextlib
import ctypes
import mmap
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmreflect.merge.checkpoint import ITEM_BYTES, Checkpoint
from mmreflect.merge.names import canonical_name, is_fused_experts
from mmreflect.merge.plan import MergePlan, PlannedTensor, Stretch
from mmreflect.merge.raw import Raw, prefer_large_pages
from mmreflect.merge.reading import Handles, Span
from mmreflect.merge.rule import Pair
from mmreflect.merge.sources import Source, whole
from mmreflect.merge.windows import Windows

PIECE = 1 << 21
"""Values per piece; the cuts, and with them every sum, do not depend on the machine."""
LOT = 2 * PIECE
"""Values that a thread is handed at once: a norm of a thousand values is not worth a task of its own."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Values `first` to `first + count` of a stretch of a tensor."""

    tensor: PlannedTensor
    stretch: Stretch
    first: int
    count: int

    @property
    def start(self) -> int:
        """The first value's place in the VLM's tensor."""
        return self.stretch.first + self.first


@dataclass(slots=True)
class Loaded:
    """The bytes of a piece in each model, and their safetensors dtypes.

    `mapped` bytes are those of the files themselves: only compiled arithmetic may touch them.
    """

    base: Raw | None
    vlm: Raw
    reason: Raw
    base_code: str
    vlm_code: str
    reason_code: str
    mapped: bool = False

    @property
    def codes(self) -> tuple[str, str, str]:
        """The dtypes of base, VLM and reasoning model; empty where there is no base."""
        return self.base_code, self.vlm_code, self.reason_code

    @property
    def count(self) -> int:
        """Number of values."""
        return self.vlm.nbytes // ITEM_BYTES[self.vlm_code]

    def alone(self, pair: Pair) -> tuple[Raw, str] | None:
        """Return bytes and dtype of the model that alone counts, with a weight of 1; None where both do."""
        return {(1.0, 0.0): (self.vlm, self.vlm_code), (0.0, 1.0): (self.reason, self.reason_code)}.get(pair)


def cut(tensor: PlannedTensor, size: int = PIECE) -> Iterator[Piece]:
    """Cut the merged values of a tensor into pieces of at most `size` values, or of one row where that is longer."""
    for stretch in tensor.stretches:
        step = max(1, size // stretch.row) * stretch.row
        for first in range(0, stretch.count, step):
            yield Piece(tensor, stretch, first, min(step, stretch.count - first))


def lots(pieces: Iterable[Piece], size: int = LOT) -> Iterator[list[Piece]]:
    """Put pieces that follow each other together, up to `size` values, or one where that is more."""
    lot: list[Piece] = []
    for piece in pieces:
        if lot and sum(other.count for other in lot) + piece.count > size:
            yield lot
            lot = []
        lot.append(piece)
    if lot:
        yield lot


def cut_whole(tensor: PlannedTensor, plan: MergePlan) -> Iterator[list[Piece]]:
    """Yield what a rule of whole tensors sees at once, as pieces: a tensor, one of fused experts, all matched rows.

    Rows of embeddings are one tensor however they are scattered, since the rule is about all of them.
    """
    if tensor.layer is None or not 0 <= tensor.layer < plan.depth:
        yield list(cut(tensor))
        return
    size = plan.vlm.tensors[tensor.name].count
    if is_fused_experts(canonical_name(tensor.name)):
        size //= plan.vlm.tensors[tensor.name].shape[0]
    for piece in cut(tensor, size):
        yield [piece]


def gaps(tensor: PlannedTensor, count: int) -> Iterator[tuple[int, int]]:
    """Yield the values of a tensor of `count` values that are not merged: first, how many."""
    position = 0
    for stretch in sorted(tensor.stretches, key=lambda item: item.first):
        if stretch.first > position:
            yield position, stretch.first - position
        position = stretch.first + stretch.count
    if position < count:
        yield position, count - position


_SLAB, _CUT_FROM = 1 << 25, 1 << 20


class Buffers:
    """Memory that is used again and again: fresh pages cost more than the arithmetic on them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: dict[int, list[Raw]] = {}

    def take(self, size: int) -> Raw:
        """Return `size` bytes; what they hold is left over."""
        with self._lock:
            free = self._free.setdefault(size, [])
            if not free and size >= _CUT_FROM:
                slab = _slab(max(1, _SLAB // size) * size)
                free.extend(slab.part(first, size) for first in range(0, slab.nbytes, size))
            if free:
                return free.pop()
        return Raw.of(bytearray(size))

    def give_back(self, *memory: Raw | None) -> None:
        """Take memory back."""
        with self._lock:
            for raw in memory:
                if raw is not None:
                    self._free.setdefault(raw.nbytes, []).append(raw)


def _slab(size: int) -> Raw:
    """Return fresh memory, in large pages where the system has them."""
    slab = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    prefer_large_pages(slab)
    return Raw.of(slab)


def keep_small_memory() -> None:
    """Ask the C library to keep freed blocks of a few megabytes instead of handing them back to the system each time.

    numpy's temporaries would otherwise be fresh pages every time, which takes a third of a merge. Where the C library
    is not glibc nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_MMAP_THRESHOLD, 4 << 20)
        library.mallopt(_TRIM_THRESHOLD, 64 << 20)


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of malloc.h


class Reader:
    """Reads pieces from all models of a plan; safe for many threads."""

    def __init__(self, plan: MergePlan, buffers: Buffers) -> None:
        self._plan, self._buffers, self.handles, self._windows = plan, buffers, Handles(), Windows()
        self._rows: dict[tuple[str, str], tuple[int, int, int]] = {}

    def load(self, piece: Piece) -> Loaded:
        """Read a piece from every model."""
        plan, stretch, name = self._plan, piece.stretch, piece.tensor.name
        own = whole(plan.vlm, name)
        base = None
        if plan.base is not None and stretch.base is not None:
            base = self._read(plan.base, stretch.base, piece.first, piece.count)
        return Loaded(
            base,
            self._read(plan.vlm, own, piece.start, piece.count),
            self._read(plan.reason, stretch.reason, piece.first, piece.count),
            stretch.base.code if stretch.base else "",
            own.code,
            stretch.reason.code,
        )

    def view(self, piece: Piece) -> Loaded | None:
        """Return a piece where it lies in the files; None where it does not lie there as the VLM holds it."""
        plan, stretch, name = self._plan, piece.stretch, piece.tensor.name
        base = None
        if plan.base is not None and stretch.base is not None:
            base = self._mapped(plan.base, stretch.base, piece.first, piece.count)
            if base is None:
                return None
        vlm = self._in_a_row(plan.vlm, name, piece.start, piece.count)
        reason = self._mapped(plan.reason, stretch.reason, piece.first, piece.count)
        if vlm is None or reason is None:
            return None
        code = plan.vlm.tensors[name].dtype
        return Loaded(base, vlm, reason, stretch.base.code if stretch.base else "", code, stretch.reason.code, True)

    def spans(self, tensor: PlannedTensor) -> Iterator[Span]:
        """Yield where the merged values of a tensor lie in every model."""
        plan = self._plan
        for stretch in tensor.stretches:
            yield plan.vlm.span(tensor.name, stretch.first, stretch.count)
            for model, source in ((plan.base, stretch.base), (plan.reason, stretch.reason)):
                for segment in source.segments if model is not None and source is not None else ():
                    assert model is not None
                    yield model.span(segment.name, segment.first, segment.count)

    def release(self, loaded: Loaded) -> None:
        """Take a piece's memory back."""
        if not loaded.mapped:
            self._buffers.give_back(loaded.base, loaded.vlm, loaded.reason)

    def close(self) -> None:
        """Close the files."""
        self._windows.clear()
        self.handles.close()

    def _mapped(self, model: Checkpoint, source: Source, first: int, count: int) -> Raw | None:
        if source.matrix is not None:
            return None
        if len(source.segments) == 1:
            return self._in_a_row(model, source.segments[0].name, source.segments[0].first + first, count)
        segments = source.cut(first, count)
        return self._in_a_row(model, segments[0].name, segments[0].first, count) if len(segments) == 1 else None

    def _in_a_row(self, model: Checkpoint, name: str, first: int, count: int) -> Raw | None:
        """Map values of one tensor; where that lies is looked up once, since pieces are many."""
        row = self._rows.get((model.role, name))
        if row is None:
            span = model.span(name, 0, 0)
            row = self.handles.of(span.path), span.start, ITEM_BYTES[model.tensors[name].dtype]
            self._rows[model.role, name] = row
        handle, start, item = row
        return self._windows.view(handle, start + first * item, count * item)

    def _read(self, model: Checkpoint, source: Source, first: int, count: int) -> Raw:
        item = ITEM_BYTES[source.code]
        raw = self._buffers.take(count * item)
        view, position = raw.view, 0
        for segment in source.cut(first, count):
            size = segment.count * item
            model.fill(segment.name, segment.first, view[position : position + size], self.handles)
            position += size
        if source.matrix is None:
            return raw
        turned = self._buffers.take(count * item)
        matrices = raw.array.view(f"u{item}").reshape(-1, *source.matrix)
        turned.array.view(f"u{item}").reshape(-1, source.matrix[1], source.matrix[0])[...] = matrices.transpose(0, 2, 1)
        self._buffers.give_back(raw)
        return turned
