"""Streaming a merge: each layer is read once, measured, weighed, combined and written, by a few threads.

Order and memory: the pool works first in, first out. The pieces of the next layer are asked for only behind those
that finish this one, so that reading goes on while values are combined, and yet little more than one layer is ever
held. A rule that must know all layers reads twice. After a kill complete shards are kept and the others are written
again to the same bytes; for that the statistics are stored (`layers.jsonl`) before a layer is used.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count, zip_longest
from pathlib import Path
from threading import Lock, Timer
from typing import Any, TypeVar

from mmreflect import console
from mmreflect.files import write_atomic
from mmreflect.merge.arithmetic import Arithmetic
from mmreflect.merge.checkpoint import INDEX
from mmreflect.merge.halting import Halt, Halted
from mmreflect.merge.inputs import keep_inputs
from mmreflect.merge.layout import Layout
from mmreflect.merge.notes import Notes
from mmreflect.merge.outputs import SHARDS, Outputs
from mmreflect.merge.pieces import Piece, cut, cut_whole, keep_small_memory, lots
from mmreflect.merge.plan import MergePlan
from mmreflect.merge.reading import ReadAhead
from mmreflect.merge.rule import Rule, TensorRule, WeightRule
from mmreflect.merge.statistics import LayerStats, Sums, add_up, total
from mmreflect.merge.work import MOST_THREADS, Measured, Work

T = TypeVar("T")
Task = Callable[[], Any]
HOLD_BYTES = 4_000_000_000
"""A layer whose inputs are larger is read a second time instead of being held."""
PATIENCE_S = 10
"""How long the tasks before one that failed may take: theirs is the error that is told, where they have one."""


@dataclass(frozen=True, slots=True)
class MergedLayer:
    """A layer's statistics, and the weights that the rule gave it (None for a rule of whole tensors)."""

    stats: LayerStats
    lam_v: float | None
    lam_r: float | None


def execute(
    plan: MergePlan,
    layout: Layout,
    rule: Rule,
    folder: Path,
    arithmetic: Arithmetic,
    hold: int = HOLD_BYTES,
) -> tuple[list[MergedLayer], dict[str, str], list[str]]:
    """Write the merged weights to `folder / "model"`, or finish writing them after a kill.

    Args:
        plan: what comes from where.
        layout: the files to write.
        rule: what is done with the values; must be pure.
        folder: the run's folder; `layers.jsonl`, `shards.jsonl` and `inputs.json` are kept there for resuming.
        arithmetic: what computes.
        hold: largest layer, in bytes of its inputs, that is kept in memory between measuring and combining.

    Returns:
        One entry per merged layer, in ascending order; the CRC-32 of every tensor written; and the names of copied
        tensors that hold NaN or infinity, where that was forced.

    Raises:
        UserError: the inputs changed since the run was started, or while it went on; values are not finite, neither
            those of the models nor the merged ones; a value is too large for the output's dtype; or the disk is full.
    """
    model = folder / "model"
    model.mkdir(parents=True, exist_ok=True)
    keep_inputs(plan.models, folder)
    keep_small_memory()
    with console.progress_bar("merging", len(plan.tensors)) as bar:
        outputs = Outputs(layout, model, folder / SHARDS, bar.advance, arithmetic.checksum)
        stats = _Stats(folder / "layers.jsonl")
        work = Work(plan, rule, outputs, arithmetic)
        threads = max(2, min(MOST_THREADS, os.cpu_count() or 2))
        halt, pool = Halt(), ThreadPoolExecutor(threads)
        try:
            outputs.touch()
            _Stream(plan, layout, rule, work, stats, pool, hold, threads, halt).run()
        finally:
            halt.all()
            pool.shutdown(wait=True, cancel_futures=True)
            outputs.close()
            work.close()
    # once more: what was written over meanwhile would be half of the one, half of the other
    keep_inputs(plan.models, folder)
    if layout.index is not None:
        write_atomic(model / INDEX, layout.index)
    merged = [MergedLayer(stats[layer], *_weights(rule, layer, stats, plan)) for layer in plan.by_layer]
    return merged, outputs.checksums(), [tensor.name for tensor in plan.tensors if tensor.name in set(outputs.unsound)]


def _weights(rule: Rule, layer: int, stats: "_Stats", plan: MergePlan) -> tuple[float | None, float | None]:
    if isinstance(rule, TensorRule):
        return (None, None)
    if rule.needs == "nothing":
        return rule.weights(layer, None)
    measured = stats[layer] if rule.needs == "layer" else total([stats[other] for other in plan.blocks])
    return rule.weights(layer, measured)


class _Stats:
    """What was measured, remembered on disk."""

    def __init__(self, path: Path) -> None:
        self._notes = Notes(path, lambda row: LayerStats(**row).is_sound)
        self._known = {row["layer"]: LayerStats(**row) for row in self._notes.rows}

    def __contains__(self, layer: int) -> bool:
        return layer in self._known

    def __getitem__(self, layer: int) -> LayerStats:
        return self._known[layer]

    def add(self, layer: int, parts: Sequence[Sums]) -> None:
        self._known[layer] = add_up(layer, parts)
        self._notes.add(asdict(self._known[layer]))


class _Stream:
    """The order of the work: which tasks are handed to the pool, and when."""

    def __init__(
        self,
        plan: MergePlan,
        layout: Layout,
        rule: Rule,
        work: Work,
        stats: _Stats,
        pool: ThreadPoolExecutor,
        hold: int,
        threads: int,
        halt: Halt,
    ) -> None:
        self._bridge, self._halt, self._numbers = threads, halt, count()
        self._open, self._failed = dict[int, Future[Any]](), dict[int, BaseException]()
        self._patience = Timer(PATIENCE_S, halt.all)
        self._patience.daemon, self._looking = True, Lock()
        self._plan, self._rule, self._work, self._stats, self._pool, self._hold = plan, rule, work, stats, pool, hold
        self._order = _order(plan, layout)

    def run(self) -> None:
        """Merge everything that is not complete yet; the first error, in the order of the tasks, ends all."""
        try:
            return self._run()
        except Exception:
            self._look_at_open()
            if not self._failed:
                raise
            wait([future for number, future in self._open.copy().items() if number < min(self._failed)])
            self._look_at_open()
        finally:
            self._patience.cancel()
        raise self._failed[min(self._failed)]  # in there it would lose what it was raised for

    def _submit(self, task: Callable[[], T]) -> "Future[T]":
        number = next(self._numbers)
        future = self._open[number] = self._pool.submit(self._halt.run, number, task)
        future.add_done_callback(partial(self._look, number))
        return future

    def _look(self, number: int, future: "Future[Any]") -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None and not isinstance(error, Halted):
            with self._looking:
                if not self._failed:
                    self._patience.start()
                self._failed[number] = error
            self._halt.behind(number)
        self._open.pop(number, None)

    def _look_at_open(self) -> None:
        """Look at the tasks that have ended, without waiting until their threads do it."""
        for number, future in self._open.copy().items():
            if future.done():
                self._look(number, future)

    def _submit_in_turns(self, *lists: Sequence[Task]) -> list[list[Future[Any]]]:
        """Hand in the first task of each list, then the second of each, and so on."""
        found: list[list[Future[Any]]] = [[] for _ in lists]
        for tasks in zip_longest(*lists):
            for futures, task in zip(found, tasks, strict=True):
                if task is not None:
                    futures.append(self._submit(task))
        return found

    def _run(self) -> None:
        if isinstance(self._rule, WeightRule) and self._rule.needs == "model":
            self._measure_all()
        copies = list(self._work.copies())
        share = -(-len(copies) // len(self._order))
        parts = [copies[place * share : (place + 1) * share] for place in range(len(self._order))]
        spans = [
            self._work.spans(layer, layer in self._stats) + self._work.copy_spans(part)
            for layer, part in zip(self._order, parts, strict=True)
        ]
        with self._work.read_ahead(spans) as reading:
            self._merge_all(parts, reading)

    def _measure_all(self) -> None:
        """Measure every block whose sums are not known, in the order in which they are added up."""
        layers = [layer for layer in self._plan.blocks if layer not in self._stats]
        with self._work.read_ahead([self._work.spans(layer, False) for layer in layers]) as reading:
            begun: list[tuple[int, list[Future[list[Measured]]]]] = []
            for number, layer in enumerate(layers):
                begun.append(
                    (layer, [self._submit(partial(self._work.measure, lot, False)) for lot in self._lots(layer)])
                )
                if number:
                    self._note(*begun[number - 1])
                reading.reached(number)
            for last in begun[-1:]:
                self._note(*last)

    def _note(self, layer: int, measured: "Sequence[Future[list[Measured]]]") -> None:
        self._stats.add(layer, [sums for future in measured for sums, _ in future.result()])

    def _merge_all(self, copies: Sequence[Sequence[tuple[str, int, int]]], reading: ReadAhead) -> None:
        """Merge layer by layer; with each goes a share of what is copied."""
        running: list[Future[Any]] = []
        (ahead,) = self._submit_in_turns(self._first(self._order[0]))
        for place, layer in enumerate(self._order):
            reading.reached(place)
            firsts = self._first(self._order[place + 1]) if place + 1 < len(self._order) else []
            # what holds nothing in memory is asked for early; of the rest only what keeps the threads busy until this
            # layer's weights are known, and the others in turns with what frees memory: threads that all write to one
            # file wait for each other
            early = len(firsts) if self._streams else self._bridge
            copying, begun = self._submit_in_turns(
                [partial(self._work.copy, *part) for part in copies[place]], firsts[:early]
            )
            finishing, others = self._submit_in_turns(self._second(layer, ahead), firsts[early:])
            ahead = [*begun, *others]
            for future in running:
                future.result()
            running = [*finishing, *copying]
        for future in running:
            future.result()

    @property
    def _streams(self) -> bool:
        return isinstance(self._rule, TensorRule) or self._rule.needs == "nothing"

    def _lots(self, layer: int) -> list[list[Piece]]:
        return list(lots(piece for tensor in self._plan.by_layer[layer] for piece in cut(tensor)))

    def _first(self, layer: int) -> list[Task]:
        """Return what can be done before the layer's weights are known."""
        known = layer in self._stats
        if isinstance(self._rule, TensorRule):
            wholes = [whole for tensor in self._plan.by_layer[layer] for whole in cut_whole(tensor, self._plan)]
            return [partial(self._work.merge_tensor, whole, not known) for whole in wholes]
        own = self._lots(layer)
        if self._rule.needs == "nothing":
            pair = self._rule.weights(layer, None)
            return [partial(self._work.merge, lot, pair, not known) for lot in own]
        if known:
            return []
        keep = sum(self._work.input_bytes(piece) for lot in own for piece in lot) <= self._hold
        return [partial(self._work.measure, lot, keep) for lot in own]

    def _second(self, layer: int, ahead: Sequence[Future[Any]]) -> list[Task]:
        """Wait for what was done first, and return the rest of the layer's work."""
        known = layer in self._stats
        done = [future.result() for future in ahead]
        if self._streams:
            if not known:
                self._stats.add(layer, [sums for part in done for sums in part])
            return []
        if not known:
            self._stats.add(layer, [sums for part in done for sums, _ in part])
        pair = _weights(self._rule, layer, self._stats, self._plan)
        assert pair[0] is not None and pair[1] is not None
        own = self._lots(layer)
        held = [[None] * len(lot) for lot in own] if known else [[loaded for _, loaded in part] for part in done]
        return [
            partial(self._work.finish, lot, loaded, (pair[0], pair[1])) for lot, loaded in zip(own, held, strict=True)
        ]


def _order(plan: MergePlan, layout: Layout) -> list[int]:
    """Return the layers in the order in which the files need them."""
    number = {name: place for place, shard in enumerate(layout.shards) for name in shard.tensors}
    first = {layer: min(number[tensor.name] for tensor in tensors) for layer, tensors in plan.by_layer.items()}
    return sorted(plan.by_layer, key=lambda layer: (first[layer], layer))
