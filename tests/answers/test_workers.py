import os
import threading
import time

import pytest

from mmreflect.answers import remote, workers
from mmreflect.answers.grade import AnswerSpec, clear_cache, grade
from mmreflect.answers.stats import grading_stats

MATH = AnswerSpec("math")
REMOTE = ("3+4i", "4i+3")


@pytest.fixture(autouse=True)
def fresh() -> None:
    clear_cache()
    grading_stats(reset=True)


def test_a_worker_that_hangs_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert grade(*REMOTE, MATH).correct is True  # the worker is running now
    monkeypatch.setattr(workers, "WALL_S", 0.3)
    start = time.monotonic()
    verdict = grade("(x+y+z+w)^{99}", r"\log x", MATH)
    assert verdict.correct is False and verdict.reason == "not compared within the time limit"
    assert time.monotonic() - start < 3
    monkeypatch.undo()
    clear_cache()
    assert grade(*REMOTE, MATH).correct is True
    assert (grading_stats().timeouts, grading_stats().sent) == (1, 3)


def test_the_worker_stops_by_itself_within_its_cpu_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    grade(*REMOTE, MATH)
    idle = workers.POOL._free[0]
    monkeypatch.setattr(workers, "LIMIT_S", 0.3)
    assert grade("(x+y+z+w)^{99}", r"\log x", MATH).reason == "not compared within the time limit"
    assert workers.POOL._free[0] is idle and idle.process.poll() is None


def test_a_worker_that_dies_is_counted_and_replaced() -> None:
    grade(*REMOTE, MATH)
    workers.POOL._free[0].process.kill()
    workers.POOL._free[0].process.wait()
    assert grade("i+1", "1+i", MATH).correct is True
    assert grading_stats().errors == 0


def test_without_a_worker_nothing_is_graded_and_nothing_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "POOL", workers.WorkerPool(1))
    monkeypatch.setattr(remote, "POOL", workers.POOL)
    with monkeypatch.context() as patch:
        patch.setattr(workers, "_BOOT", "raise SystemExit(3)")
        verdict = grade("2+3i", "3i+2", MATH)
    assert (
        verdict.score is None
        and "no worker starts (the worker ended with code 3); is math-verify installed?" in verdict.reason
    )
    assert grading_stats().errors == 1 and grading_stats().ungraded == 1
    assert grade("2+3i", "3i+2", MATH).correct is True
    workers.POOL.close()


def test_threads_share_the_pool() -> None:
    pool_size, results = workers.POOL.size, []

    def work(index: int) -> None:
        for number in range(3):
            results.append(grade(f"{index}+{number + 1}i", f"{number + 1}i+{index}", MATH).correct)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 18
    assert len(workers.POOL._free) <= pool_size


def test_close_ends_the_processes() -> None:
    grade(*REMOTE, MATH)
    processes = [worker.process for worker in workers.POOL._free]
    workers.POOL.close()
    assert processes and all(process.returncode is not None for process in processes)
    assert not any(os.path.exists(f"/proc/{process.pid}") for process in processes)


def test_verdicts_are_cached_and_still_counted() -> None:
    for _ in range(3):
        grade(*REMOTE, MATH)
    stats = grading_stats()
    assert (stats.right, stats.sent) == (3, 1)


def test_a_timeout_from_the_cache_counts_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metrics of a step must not depend on what the process graded before."""
    monkeypatch.setattr(workers, "LIMIT_S", 0.3)
    for _ in range(3):
        grade("(x+y+z+w)^{99}", r"\log x", MATH)
        grade("9999!i", "i", MATH)
    stats = grading_stats()
    assert (stats.timeouts, stats.capped, stats.wrong, stats.sent) == (3, 3, 6, 1)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("9^{9^{9^{9}}}+i", "a tower of powers"), ("1" + "0" * 70 + "i", "a number of more than 60 digits"), ("(x+i)^{9999}", "a huge power or factorial"), ("9999!i", "a huge power or factorial"),
        ("(" * 30 + "i" + ")" * 30, "brackets nested more than 20 deep"),
    ],
)  # fmt: skip
def test_caps(answer: str, reason: str) -> None:
    verdict = grade(answer, "i", MATH)
    assert verdict.correct is False and verdict.reason == f"too big to compare: {reason}"
    assert (grading_stats().capped, grading_stats().sent) == (1, 0)


def test_a_long_number_operation_cannot_hold_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    grade(*REMOTE, MATH)
    start = time.monotonic()
    assert grade(r"\binom{99999999}{49999999}", r"\log 5", MATH).correct is False
    assert time.monotonic() - start < workers.WALL_S + 2
