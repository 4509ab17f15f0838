"""A small pool of worker processes for expressions, each of which can be killed and replaced.

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
from typing import Any

LIMIT_S = 2.0
"""CPU seconds that a worker gives one pair."""
WALL_S = 30.0
"""Seconds after which a worker that has not answered is killed and replaced: one that works ends by its own CPU limits
long before, so that only a worker that waits comes to this, and no answer is wrong because the machine was busy."""
START_S = 60.0
"""Seconds in which a worker must have imported math-verify."""

_BOOT = "import json,sys; sys.path[:]=json.loads(sys.argv[1]); from mmreflect.answers.worker import serve; serve()"


class WorkerTimeoutError(Exception):
    """The worker did not answer in time and is dead now."""


class WorkerFailedError(Exception):
    """The worker died over a request."""


class WorkerMissingError(Exception):
    """No worker starts on this machine."""


class _Worker:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the main process, which closes the workers
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.rest = b""
        self.ready = False

    def wait(self) -> None:
        """Wait until the worker has imported what it needs."""
        if self.ready:
            return
        try:
            self._read(START_S)
            self.ready = True
        except (WorkerTimeoutError, WorkerFailedError) as error:
            why = str(error) or f"nothing within {START_S:g} s"
            raise WorkerMissingError(f"no worker starts ({why}); is math-verify installed?") from error

    def ask(self, request: dict[str, Any], wall_s: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
        except OSError as error:
            self.kill()
            raise WorkerFailedError("the worker is gone") from error
        reply: dict[str, Any] = json.loads(self._read(wall_s))
        return reply

    def _read(self, seconds: float) -> bytes:
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.rest:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self.kill()
                    raise WorkerTimeoutError
                piece = os.read(self.process.stdout.fileno(), 65536)
                if not piece:
                    self.kill()
                    if self.process.returncode == -signal.SIGPROF:  # its own last limit
                        raise WorkerTimeoutError
                    raise WorkerFailedError(f"the worker ended with code {self.process.returncode}")
                self.rest += piece
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.drop()

    def drop(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _replacement(dead: _Worker | None) -> _Worker | None:
    """Start a worker for one that was lost at work; a worker that never got ready would fail again."""
    if dead is None or not dead.ready:
        return None
    with contextlib.suppress(OSError):
        return _Worker()
    return None


class WorkerPool:
    """At most `size` workers, started when they are first needed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free: list[_Worker] = []
        self._busy = 0
        self._changed = threading.Condition()

    def ask(self, gold: str, answer: str | None) -> dict[str, Any]:
        """Compare two LaTeX formulas, or with no answer evaluate the reference; waits for a free worker.

        A worker found dead (a machine short of memory kills some) is replaced first.

        Raises:
            WorkerTimeoutError: it was killed after `WALL_S`.
            WorkerFailedError: it died over this request.
            WorkerMissingError: no worker starts here.
        """
        request = {"gold": gold, "answer": answer, "seconds": LIMIT_S}
        worker = self._take()
        alive = False
        try:
            if worker is None or worker.process.poll() is not None:
                worker = _Worker()
            worker.wait()
            reply = worker.ask(request, WALL_S)
            alive = True
            return reply
        except OSError as error:
            raise WorkerMissingError(f"no worker starts ({type(error).__name__}: {error})") from error
        finally:
            if not alive and worker is not None and worker.process.poll() is None:
                worker.kill()
            # A replacement starts while others are asked, so that the next caller does not wait for its imports.
            self._give(worker if alive else _replacement(worker))

    def _take(self) -> _Worker | None:
        with self._changed:
            while not self._free and self._busy >= self.size:
                self._changed.wait()
            self._busy += 1
            return self._free.pop() if self._free else None

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
        self.__init__(self.size)  # type: ignore[misc]


POOL = WorkerPool(max(1, min(4, (os.cpu_count() or 1) // 2)))
"""The pool of this process."""

atexit.register(POOL.close)
os.register_at_fork(after_in_child=POOL.forget)
