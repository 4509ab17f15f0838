"""What grading did: how many answers were right, wrong, scored or not gradable, and what went wrong on the way."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from mmreflect.answers.verdict import Verdict


@dataclass(slots=True)
class GradingStats:
    """Counts since the last reset.

    Attributes:
        right, wrong, scored, ungraded: verdicts given; scored are the types without right and wrong.
        capped: answers that were refused for their size before anything was computed.
        sent: pairs that went to a worker process.
        timeouts: pairs that a worker did not finish in time; they count as wrong.
        errors: failures of the machinery (a worker that died or could not start); these pairs are ungraded.
        reasons: why answers were ungraded.
    """

    right: int = 0
    wrong: int = 0
    scored: int = 0
    ungraded: int = 0
    capped: int = 0
    sent: int = 0
    timeouts: int = 0
    errors: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def graded(self) -> int:
        """Answers that got a verdict or a score."""
        return self.right + self.wrong + self.scored

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "reasons": dict(self.reasons)}


_LOCK = threading.Lock()
_STATS = GradingStats()
_HELD = threading.local()


@contextmanager
def held() -> Iterator[Counter[str]]:
    """Keep what this thread counts from now on, instead of adding it: a verdict from a cache must count as its first.

    What went to a worker is added all the same, as a verdict from a cache sends nothing; so is everything if it raises.
    """
    outer, _HELD.amounts = getattr(_HELD, "amounts", None), Counter()
    try:
        yield (amounts := _HELD.amounts)
    except BaseException:
        _HELD.amounts = outer
        count(**amounts)
        raise
    _HELD.amounts = outer


def count(**amounts: int) -> None:
    """Add to counters, from any thread."""
    if (kept := getattr(_HELD, "amounts", None)) is not None:
        kept.update(amounts)
        amounts = {"sent": kept.pop("sent", 0)}
    with _LOCK:
        for name, amount in amounts.items():
            setattr(_STATS, name, getattr(_STATS, name) + amount)


def count_verdict(verdict: Verdict) -> None:
    """Count one verdict."""
    with _LOCK:
        if verdict.correct is not None:
            if verdict.correct:
                _STATS.right += 1
            else:
                _STATS.wrong += 1
        elif verdict.score is not None:
            _STATS.scored += 1
        else:
            _STATS.ungraded += 1
            _STATS.reasons[verdict.reason] += 1


def grading_stats(reset: bool = False) -> GradingStats:
    """Return a copy of the counts, and start them anew on `reset`."""
    global _STATS
    with _LOCK:
        copy = GradingStats(**{**asdict(_STATS), "reasons": Counter(_STATS.reasons)})
        if reset:
            _STATS = GradingStats()
    return copy
