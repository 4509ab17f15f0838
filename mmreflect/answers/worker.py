"""The worker process: math-verify behind a pipe, one request a line, in the main thread and under limits of its own.

Nothing but `workers.py` starts it. math-verify's own alarms stay off: they are whole seconds of wall clock for each of
three steps, while one CPU timer around all of them does not depend on how busy the machine is.
"""

import contextlib
import importlib
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any

MEMORY_BYTES = 3 << 30


class OutOfTime(BaseException):
    """The CPU limit of a request passed; no `Exception`, because sympy and math-verify swallow those."""


@contextlib.contextmanager
def _limit(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise OutOfTime

    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    # Big integers hold on to the interpreter and no handler runs; this signal has none and ends the process,
    # so that it dies even where nobody is left to kill it.
    signal.setitimer(signal.ITIMER_PROF, 2 * seconds + 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)


class _Verifier:
    def __init__(self) -> None:
        self.library = importlib.import_module("math_verify")
        self.config = [self.library.LatexExtractionConfig()]
        for text in (r"\frac{1}{2}x^2+1", r"\{1,2\}", r"x \le 2"):  # builds the grammar's tables
            self.verify(self.parse(text), self.parse("x"))

    def parse(self, text: str) -> list[Any]:
        parsed = self.library.parse(
            f"${text}$", extraction_config=self.config, fallback_mode="no_fallback", parsing_timeout=None
        )
        return list(parsed)

    def verify(self, gold: list[Any], answer: list[Any]) -> bool:
        return bool(self.library.verify(gold, answer, timeout_seconds=None, allow_set_relation_comp=True))

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Parse the reference, then the answer, and compare: `stage` says how far it came."""
        reply: dict[str, Any] = {"stage": "gold", "equal": False, "value": None}
        with _limit(request["seconds"]):
            try:
                gold = self.parse(request["gold"])
                if not gold:
                    return reply | {"stage": "gold_unparsed"}
                if request["answer"] is None:
                    return reply | {"stage": "value", "value": str(gold[0].evalf(30))}
                reply["stage"] = "answer"
                given = self.parse(request["answer"])
                if not given:
                    return reply | {"stage": "answer_unparsed"}
                reply["stage"] = "verify"
                return reply | {"equal": self.verify(gold, given), "stage": "done"}
            except OutOfTime:
                return reply | {"timeout": True}
            except (Exception, RecursionError, MemoryError) as error:  # named in the reply and counted by the asker
                return reply | {"error": f"{type(error).__name__}: {str(error)[:120]}"}


def serve() -> None:
    """Answer requests until standard input ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print must not mix with the replies
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    verifier = _Verifier()
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(verifier.answer(json.loads(line))), file=replies, flush=True)
