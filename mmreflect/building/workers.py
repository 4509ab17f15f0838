"""Processes that build the shards of a dataset at the same time; what they write is the same for any number of them.

Workers are fresh interpreters that talk over pipes: nothing is forked and nothing re-imports the caller's main script.
A worker ends at once when the process that started it does, so that no orphan writes into a folder that another run
has claimed since.
"""

import contextlib
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmreflect.config import Tree, parse, to_tree
from mmreflect.errors import UserError
from mmreflect.limits import met

Shard = tuple[str, int, int]
"""A split, a shard's number in it, and how many rows the whole split has."""

_BOOT = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from mmreflect.building.workers import serve
serve()
"""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build_shards(
    builder: Any, config: Any, folder: Path, shards: Sequence[Shard], workers: int, done: Callable[[Shard], None]
) -> None:
    """Build shards in worker processes; `done` hears of each one, in any order.

    Raises:
        UserError: a worker met one outside a row, or died.
        RuntimeError: a worker failed; its traceback is in the message.
    """
    waiting: queue.SimpleQueue[Shard] = queue.SimpleQueue()
    replies: queue.SimpleQueue[tuple[Shard, dict[str, Any]]] = queue.SimpleQueue()
    for shard in shards:
        waiting.put(shard)
    setup = setup_of(builder, to_tree(config), folder)
    crew = [_start(setup) for _ in range(min(workers, len(shards)))]
    try:
        for worker in crew:
            threading.Thread(target=_feed, args=(worker, waiting, replies), daemon=True).start()
        for _ in shards:
            shard, reply = replies.get()
            _check(reply)
            done(shard)
    finally:
        for worker in crew:
            worker.kill()
            worker.wait()


def setup_of(builder: Any, config: Tree, folder: Path) -> dict[str, Any]:
    """Return in plain values what another process needs to build shards of a dataset: `prepare` reads it."""
    place = {"folder": str(folder.absolute()), "cwd": str(Path.cwd())}
    return {"name": builder.__name__, "file": str(builder.__file__), "config": config, **place}


def _start(setup: dict[str, Any]) -> "subprocess.Popen[str]":
    worker = subprocess.Popen(
        [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the main process, whose end ends the workers
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # a worker that is dead already is noticed by its feeder
        worker.stdin.write(json.dumps(setup) + "\n")
        worker.stdin.flush()
    return worker


def _feed(worker: "subprocess.Popen[str]", waiting: Any, replies: Any) -> None:
    """Give a worker one shard after another until none is left."""
    assert worker.stdin is not None and worker.stdout is not None
    while True:
        try:
            shard = waiting.get_nowait()
        except queue.Empty:
            return
        line = ""
        with contextlib.suppress(BrokenPipeError, ValueError):
            worker.stdin.write(json.dumps(shard) + "\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
        if not line:
            replies.put((shard, {"died": worker.wait()}))
            return
        replies.put((shard, json.loads(line)))


def _check(reply: dict[str, Any]) -> None:
    if "died" in reply:
        code = reply["died"]
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise UserError(
            f"a worker process of the build died ({how})",
            "workers that live",
            "start the same command again, it goes on; with fewer workers if memory ran out",
        )
    refuse_failure(reply, "worker process")


def serve() -> None:
    """Build the shards that are named on standard input, one line each; replies go to standard output."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a builder prints is no reply
    setup = json.loads(sys.stdin.readline())
    os.chdir(setup["cwd"])
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    prepared: tuple[Any, Any] | None = None
    while True:
        split, number, size = json.loads(orders.get())
        reply: dict[str, Any] = {}
        try:
            prepared = prepared or prepare(setup)
            from mmreflect.building.shards import make_shard

            make_shard(*prepared, Path(setup["folder"]), (split, number, size))
        except Exception as error:
            reply = failure_of(error)
        out.write(json.dumps(reply) + "\n")
        out.flush()


def failure_of(error: Exception) -> dict[str, Any]:
    """Return what went wrong in plain values: `refuse_failure` raises it in another process."""
    told = error if isinstance(error, UserError) else met(error)
    if told is not None:
        return {"user_error": [told.given, told.expected, told.do]}
    return {"bug": "".join(traceback.format_exception(error))}


def refuse_failure(reply: dict[str, Any], where: str) -> None:
    """Raise what went wrong in another process, if anything has.

    Args:
        where: what kind of process it was.

    Raises:
        UserError: the other process has raised it.
        RuntimeError: it failed; its traceback is in the message.
    """
    if "user_error" in reply:
        raise UserError(*reply["user_error"])
    if "bug" in reply:
        raise RuntimeError(f"a {where} of the build failed:\n{reply['bug']}")


def _listen(orders: "queue.SimpleQueue[str]") -> None:
    """Read orders ahead; when the main process is gone, end in the middle of whatever is being done."""
    for line in sys.stdin:
        orders.put(line)
    os._exit(0)


def prepare(setup: dict[str, Any]) -> tuple[Any, Any]:
    """Import the leaf under the name that it has in the main process, and read its configuration.

    Args:
        setup: from `setup_of`.
    """
    spec = importlib.util.spec_from_file_location(setup["name"], setup["file"])
    assert spec is not None and spec.loader is not None
    builder = importlib.util.module_from_spec(spec)
    sys.modules[setup["name"]] = builder
    spec.loader.exec_module(builder)
    return builder, parse(builder.Config, setup["config"], "the configuration")
