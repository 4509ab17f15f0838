"""The pool of worker processes that decode videos, each of which can be killed and replaced.

Workers are fresh interpreters that talk over pipes: nothing is forked (a fork after CUDA starts is broken) and nothing
re-imports the caller's main script. Any number of threads may ask at the same time.
"""

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

START_S = 120.0
"""Seconds in which a worker must have imported its decoder; torchcodec brings torch along."""
KILL_S = 2.0
"""Seconds to wait for a killed process; one that waits for a dead drive cannot end yet and is left to the system."""
THREADS = 8
"""The most threads that one decoder is given."""

_BOOT = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from mmreflect.media.worker import serve
serve(sys.argv[2])
"""


class WorkerTimeoutError(Exception):
    """The worker did not answer in time and is dead now."""


class WorkerFailedError(Exception):
    """The worker died over a request; the message says how."""


class _Worker:
    def __init__(self, decoder: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), decoder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the main process, which closes the workers
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )
        self._rest = b""
        self._ready = False

    def wait(self) -> None:
        """Wait until the worker has imported what it needs."""
        if self._ready:
            return
        try:
            self._read(START_S)
        except WorkerTimeoutError:
            raise WorkerFailedError(f"it did not start within {START_S:g} s") from None
        self._ready = True

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
        except OSError as error:
            self.kill()
            raise WorkerFailedError("it was gone already") from error
        reply: dict[str, Any] = json.loads(self._read(seconds))
        return reply

    def _read(self, seconds: float) -> bytes:
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self.kill()
                    raise WorkerTimeoutError
                piece = os.read(self.process.stdout.fileno(), 65536)
                if not piece:
                    self.kill()
                    raise WorkerFailedError(_ending(self.process.returncode))
                self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def kill(self) -> None:
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(KILL_S)
        self.drop()

    def drop(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"{name}; perhaps the machine ran out of memory" if name == "SIGKILL" else name


class WorkerPool:
    """At most `size` workers for one decoder, started when they are first needed.

    Attributes:
        started: workers started so far.
    """

    def __init__(self, decoder: str, size: int) -> None:
        self.decoder, self.size = decoder, size
        self.started = 0
        self._free: list[_Worker] = []
        self._busy = 0
        self._changed = threading.Condition()
        _POOLS.add(self)

    def ask(self, request: dict[str, Any], seconds: float) -> tuple[dict[str, Any], float]:
        """Send a request and return the reply and the seconds it took; waits for a free worker first, uncounted.

        Cores that no other request uses are the decoder's. A worker found dead (a machine short of memory kills some)
        is replaced first, one that is worn out afterwards.

        Raises:
            WorkerTimeoutError: it was killed after `seconds`.
            WorkerFailedError: it died over this request, or none starts.
        """
        worker, busy = self._take()
        threads = max(1, min(THREADS, cores() // busy))
        alive = False
        try:
            if worker is None or worker.process.poll() is not None:
                worker = self._start()
            worker.wait()
            began = time.monotonic()
            reply = worker.ask({**request, "threads": threads, "seconds": seconds}, seconds)
            alive = not reply.pop("retire")
            return reply, time.monotonic() - began
        finally:
            if not alive and worker is not None:
                if worker.process.poll() is None:
                    worker.kill()
                # A replacement starts while others are asked, so that the next caller does not wait for its imports.
                worker = self._replacement(worker)
            self._give(worker)

    def _start(self) -> _Worker:
        with self._changed:
            self.started += 1
        try:
            return _Worker(self.decoder)
        except OSError as error:
            raise WorkerFailedError(f"no process starts: {error}") from error

    def _replacement(self, dead: _Worker) -> _Worker | None:
        """Start a worker for one that was lost at work; one that never got ready would fail again."""
        if dead._ready:
            with contextlib.suppress(WorkerFailedError):
                return self._start()
        return None

    def _take(self) -> tuple[_Worker | None, int]:
        with self._changed:
            while not self._free and self._busy >= self.size:
                self._changed.wait()
            self._busy += 1
            return self._free.pop() if self._free else None, self._busy

    def _give(self, worker: _Worker | None) -> None:
        with self._changed:
            self._busy -= 1
            if worker is not None:
                self._free.append(worker)
            self._changed.notify()

    def close(self) -> None:
        """End all idle workers; the next request starts new ones."""
        with self._changed:
            idle, self._free = self._free, []
        for worker in idle:
            worker.kill()

    def forget(self) -> None:
        """Leave the workers to the parent process, in a child that was forked."""
        for worker in self._free:
            worker.drop()
        self._free, self._busy, self._changed = [], 0, threading.Condition()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_POOLS: "weakref.WeakSet[WorkerPool]" = weakref.WeakSet()


def _close_all() -> None:
    for pool in list(_POOLS):
        pool.close()


def _forget_all() -> None:
    for pool in list(_POOLS):
        pool.forget()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)
