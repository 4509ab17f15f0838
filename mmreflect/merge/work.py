"""The tasks of a merge: what one thread does with one piece. None of them knows of the others.

What works with numpy is imported where it is needed: compiled arithmetic does without.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmreflect.errors import UserError
from mmreflect.merge.arithmetic import Arithmetic, Fused
from mmreflect.merge.checkpoint import ITEM_BYTES
from mmreflect.merge.experts import expert_matrices
from mmreflect.merge.gate import FINITE
from mmreflect.merge.halting import check
from mmreflect.merge.kernels import ROOM, NotFinite, Unreadable
from mmreflect.merge.names import canonical_name, is_fused_experts
from mmreflect.merge.outputs import Outputs
from mmreflect.merge.pieces import PIECE, Buffers, Loaded, Piece, Reader, gaps
from mmreflect.merge.plan import MergePlan
from mmreflect.merge.raw import Raw
from mmreflect.merge.reading import ReadAhead, Span
from mmreflect.merge.rule import Array, Pair, Rule, TensorRule, WeightRule
from mmreflect.merge.statistics import Sums

COPY_BYTES = 1 << 22
MOST_THREADS = 16
TENSOR_VALUES = 24_000_000
"""Values that whole tensors in work may have together; a larger tensor waits until it is alone."""


_LOOK_UP_S = 0.2
Measured = tuple[Sums, Loaded | None]
"""A piece's sums, and its bytes where they are kept."""


class _Room:
    """Lets tasks in while what they need fits; one that never fits is let in alone."""

    def __init__(self, size: int) -> None:
        self._size, self._used, self._changed = size, 0, threading.Condition()

    @contextmanager
    def of(self, count: int) -> Iterator[None]:
        with self._changed:
            while not self._changed.wait_for(lambda: self._used == 0 or self._used + count <= self._size, _LOOK_UP_S):
                check()
            check()
            self._used += count
        try:
            yield
        finally:
            with self._changed:
                self._used -= count
                self._changed.notify_all()


class Work:
    """The tasks that the threads do."""

    def __init__(self, plan: MergePlan, rule: Rule, outputs: Outputs, arithmetic: Arithmetic) -> None:
        self._plan, self._rule, self._outputs, self._arithmetic = plan, rule, outputs, arithmetic
        self._buffers = Buffers()
        self._reader = Reader(plan, self._buffers)
        self._room = _Room(TENSOR_VALUES)

    def read_ahead(self, groups: Sequence[Sequence[Span]]) -> ReadAhead:
        """Return what reads groups of spans ahead, while it is entered."""
        return ReadAhead(groups, self._reader.handles)

    def spans(self, layer: int, known: bool) -> list[Span]:
        """Return what is read of a layer whose sums are known or not."""
        tensors = [tensor for tensor in self._plan.by_layer[layer] if not known or self._outputs.place(tensor.name)]
        return [span for tensor in tensors for span in self._reader.spans(tensor)]

    def copy_spans(self, parts: Sequence[tuple[str, int, int]]) -> list[Span]:
        """Return what is read of values that are copied."""
        return [self._plan.vlm.span(*part) for part in parts]

    def close(self) -> None:
        """Close the files that are read."""
        self._reader.close()

    def input_bytes(self, piece: Piece) -> int:
        """Bytes of a piece in all models."""
        codes = [self._plan.vlm.tensors[piece.tensor.name].dtype, piece.stretch.reason.code]
        codes += [piece.stretch.base.code] if piece.stretch.base else []
        return sum(ITEM_BYTES[code] for code in codes) * piece.count

    def copies(self) -> Iterator[tuple[str, int, int]]:
        """Yield what is taken from the VLM as it is: tensor, first value or byte, how many."""
        for tensor in self._plan.tensors:
            place, entry = self._outputs.place(tensor.name), self._plan.vlm.tensors[tensor.name]
            if place is None:
                continue
            step = COPY_BYTES // ITEM_BYTES.get(entry.dtype, 1)
            size = entry.count if entry.dtype in ITEM_BYTES else entry.stop - entry.start
            for first, count in gaps(tensor, size):
                for start in range(first, first + count, step):
                    yield tensor.name, start, min(step, first + count - start)

    def copy(self, name: str, first: int, count: int) -> None:
        """Copy values of the VLM, bit for bit where the dtype stays. They must be finite unless that is forced."""
        check()
        entry, place = self._plan.vlm.tensors[name], self._outputs.place(name)
        assert place is not None
        item = ITEM_BYTES.get(entry.dtype, 1)
        data = self._buffers.take(count * item)
        self._plan.vlm.fill(name, first, data.view, self._reader.handles)
        lost = self._arithmetic.lost(data, entry.dtype)
        if lost and FINITE not in self._plan.force:
            from mmreflect.merge.soundness import unsound

            raise unsound(self._plan, name)
        if lost:
            self._outputs.name_unsound(name)
        if place.code == entry.dtype:
            self._outputs.write(name, first * item, data.view)
        else:
            from mmreflect.merge.soundness import converted

            self._write(name, first, converted(name, data, entry.dtype, place.code).data)
        self._buffers.give_back(data)

    def measure(self, lot: Sequence[Piece], keep: bool) -> list[Measured]:
        """Read pieces and return the sums of each, and its bytes if they are to be kept."""
        found: list[Measured] = []
        for piece in lot:
            check()
            loaded, sums = self._measured(piece)
            kept = keep and self._outputs.place(piece.tensor.name) is not None
            if not kept:
                self._reader.release(loaded)
            found.append((sums, loaded if kept else None))
        return found

    def finish(self, lot: Sequence[Piece], held: Sequence[Loaded | None], pair: Pair) -> None:
        """Combine pieces and write them, unless their file is complete."""
        for piece, loaded in zip(lot, held, strict=True):
            check()
            if self._outputs.place(piece.tensor.name) is not None:
                self._combine(piece, loaded, pair)
            elif loaded is not None:
                self._reader.release(loaded)

    def merge(self, lot: Sequence[Piece], pair: Pair, measure: bool) -> list[Sums]:
        """Read, measure, combine and write pieces whose weights are known beforehand."""
        found = []
        for piece in lot:
            loaded, sums = self._measured(piece) if measure else (None, None)
            self.finish([piece], [loaded], pair)
            found += [] if sums is None else [sums]
        return found

    def merge_tensor(self, pieces: Sequence[Piece], measure: bool) -> list[Sums]:
        """Read what a rule sees as one tensor, merge and write it."""
        if self._outputs.place(pieces[0].tensor.name) is None and not measure:
            return []
        with self._room.of(sum(piece.count for piece in pieces)):
            return self._merge_tensor(pieces, measure)

    def _merge_tensor(self, pieces: Sequence[Piece], measure: bool) -> list[Sums]:
        from mmreflect.merge.arrays import joined
        from mmreflect.merge.soundness import encoded

        name = pieces[0].tensor.name
        place = self._outputs.place(name)
        found: list[Sums] = []
        sides: list[list[Array]] = [[], [], []]
        for piece in pieces:
            loaded = self._reader.load(piece)
            found += [self._sums(piece, loaded)] if measure else []
            if place is not None:
                widen = self._arithmetic.decode
                sides[0] += [] if loaded.base is None else [widen(loaded.base, loaded.base_code)]
                sides[1].append(widen(loaded.vlm, loaded.vlm_code))
                sides[2].append(widen(loaded.reason, loaded.reason_code))
            self._reader.release(loaded)
        if place is None:
            return found
        base, vlm, reason = (joined(parts) if (parts := sides.pop(0)) else None for _ in range(3))
        values = self._ruled(pieces[0], base, vlm, reason)
        position = 0
        for piece in pieces:
            for first in range(0, piece.count, PIECE):
                size = min(PIECE, piece.count - first)
                data = encoded(name, values[position : position + size], place.code, self._arithmetic)
                self._write(name, piece.start + first, data.data)
                position += size
        return found

    def _ruled(self, piece: Piece, base: Array | None, vlm: Array, reason: Array) -> Array:
        """Apply the rule to a tensor, of which `piece` is the first; what is not finite is found when it is written."""
        import numpy as np

        with np.errstate(all="ignore"):
            return self._apply(piece, base, vlm, reason)

    def _apply(self, piece: Piece, base: Array | None, vlm: Array, reason: Array) -> Array:
        """Apply the rule to a tensor; to fused experts matrix by matrix."""
        assert isinstance(self._rule, TensorRule)
        key, shape = canonical_name(piece.tensor.name), self._plan.vlm.tensors[piece.tensor.name].shape
        if not is_fused_experts(key):
            row = piece.stretch.row
            whole = shape if vlm.shape[0] == math.prod(shape) else (vlm.shape[0] // row, row)
            return self._rule.merge(f"{key}@0", whole, base, vlm, reason)
        for matrix in expert_matrices(self._plan.vlm, key, piece.start // math.prod(shape[1:])):
            one, two, three = (None if side is None else matrix.view(side).reshape(-1) for side in (base, vlm, reason))
            values = self._rule.merge(f"{matrix.name}@0", matrix.shape, one, two, three)
            matrix.view(vlm)[...] = values.reshape(matrix.shape)
        return vlm

    def _load(self, piece: Piece, pair: Pair | None) -> Loaded:
        """Return a piece to be measured, or to be combined with a pair: where it lies, else read."""
        mapped = isinstance(self._rule, WeightRule) and self._arithmetic.maps(self._rule.combine, pair)
        return (self._reader.view(piece) if mapped else None) or self._reader.load(piece)

    def _measured(self, piece: Piece) -> tuple[Loaded, Sums]:
        loaded = self._load(piece, None)
        try:
            return loaded, self._sums(piece, loaded)
        except Unreadable:
            loaded = self._reader.load(piece)  # says what is wrong with the file
            return loaded, self._sums(piece, loaded)

    def _sums(self, piece: Piece, loaded: Loaded) -> Sums:
        sums = self._arithmetic.measure(loaded)
        if not math.isfinite(sums[0] + sums[1]):
            from mmreflect.merge.soundness import not_finite

            raise not_finite(self._plan, piece, self._reader)
        return sums

    def _combine(self, piece: Piece, loaded: Loaded | None, pair: Pair) -> None:
        """Combine a piece and write it; a weight of 1 alone takes the model's own bytes. `loaded` is taken back."""
        assert isinstance(self._rule, WeightRule)
        name, place = piece.tensor.name, self._outputs.place(piece.tensor.name)
        assert place is not None
        if loaded is None or (loaded.mapped and not self._arithmetic.maps(self._rule.combine, pair)):
            loaded = self._load(piece, pair)
        own = _taken(loaded, pair, place.code)
        if own is not None:
            self._write(name, piece.start, own.view)
        elif fused := self._arithmetic.fused(self._rule.combine, pair):
            self._finish(piece, loaded, pair, fused)
        else:
            written = self._buffers.take(piece.count * ITEM_BYTES[place.code])
            self._combined(piece, loaded, pair, place.code, written)
            self._write(name, piece.start, written.view)
            self._buffers.give_back(written)
        self._reader.release(loaded)

    def _finish(self, piece: Piece, loaded: Loaded, pair: Pair, fused: Fused) -> None:
        """Combine a piece and write it in one go."""
        place = self._outputs.place(piece.tensor.name)
        assert place is not None
        item, room = ITEM_BYTES[place.code], self._buffers.take(ROOM)

        def write(handle: int, position: int) -> int:
            try:
                return fused(loaded, place.code, handle, position, room)
            except Unreadable:  # reading says what is wrong with the file
                return fused(self._reader.load(piece), place.code, handle, position, room)

        try:
            self._outputs.have_written(piece.tensor.name, piece.start * item, piece.count * item, write)
        except NotFinite:
            raise self._not_finite_merged(piece, pair, place.code) from None
        self._buffers.give_back(room)

    def _combined(self, piece: Piece, loaded: Loaded, pair: Pair, code: str, out: Raw) -> None:
        """Combine a piece into `out`; what is not finite then is an error."""
        assert isinstance(self._rule, WeightRule)
        self._arithmetic.combine(self._rule.combine, loaded, pair, code, out)
        if self._arithmetic.lost(out, code):
            raise self._not_finite_merged(piece, pair, code)

    def _not_finite_merged(self, piece: Piece, pair: Pair, code: str) -> UserError:
        """Combine a piece again, to say what is wrong with it."""
        assert isinstance(self._rule, WeightRule)
        wide = self._buffers.take(piece.count * ITEM_BYTES["F32"])
        self._arithmetic.combine(self._rule.combine, self._reader.load(piece), pair, "F32", wide)
        from mmreflect.merge.soundness import not_writable

        return not_writable(piece.tensor.name, wide.array.view("f4"), code)

    def _write(self, name: str, first: int, data: memoryview) -> None:
        place = self._outputs.place(name)
        assert place is not None
        self._outputs.write(name, first * ITEM_BYTES[place.code], data)


def _taken(loaded: Loaded, pair: Pair, code: str) -> Raw | None:
    """Return the bytes of the model that alone counts, where they are what is to be written."""
    alone = loaded.alone(pair)
    return alone[0] if alone is not None and alone[1] == code else None
