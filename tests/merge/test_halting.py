"""An interrupted merge, and one that failed, ends with the tasks that are in work, not with all that were handed out."""

import threading
import time

import numpy as np
import pytest
from small import models, recipe

from mmreflect.launch import prepare
from mmreflect.merge import executor, halting, work
from mmreflect.merge.methods import wudi


def test_who_watches_nothing_goes_on():
    halting.check()


def test_steps_of_wudi_end_when_nobody_waits_for_them():
    halt, ended = halting.Halt(), False
    changes = [np.random.default_rng(seed).standard_normal((4, 6)) for seed in range(2)]

    def task():
        wudi.merged_change(changes, 3, 1e-6, "x")
        halt.behind(6)
        wudi.merged_change(changes, 3, 1e-6, "x")

    for number in (5, 6):  # what stands before the one that failed goes on
        halt.run(number, task)
    with pytest.raises(halting.Halted):
        halt.run(7, lambda: ended)
    halt = halting.Halt()
    with pytest.raises(halting.Halted):
        halt.run(7, task)
    halt.all()
    with pytest.raises(halting.Halted):
        halt.run(0, task)
    wudi.merged_change(changes, 3, 1e-6, "x")


def test_of_two_errors_the_one_that_stands_first_is_told(tmp_path, monkeypatch):
    """The second task fails at once, the first one later."""
    begun, second = [], threading.Event()

    def merge(self, pieces, measure):
        begun.append(pieces)
        if len(begun) > 1:
            second.set()
            raise ValueError("the second")
        second.wait(30)
        time.sleep(0.2)
        raise ZeroDivisionError("the first")

    monkeypatch.setattr(executor.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(work.Work, "_merge_tensor", merge)
    with pytest.raises(ZeroDivisionError):
        prepare("merge", recipe(models(tmp_path), method="ties", device="cpu")).run()
    assert len(begun) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_tasks_that_wait_for_room_are_given_up(tmp_path, monkeypatch, error):
    """With room for one tensor all threads but one wait, and would work off what was handed out."""
    monkeypatch.setattr(work, "TENSOR_VALUES", 1)
    monkeypatch.setattr(executor.os, "cpu_count", lambda: 16)
    done, real, lock = [], work.Work._merge_tensor, threading.Lock()

    def merge(self, pieces, measure):
        with lock:
            done.append(pieces)
        if len(done) == 1:
            raise error
        time.sleep(0.3)
        return real(self, pieces, measure)

    monkeypatch.setattr(work.Work, "_merge_tensor", merge)
    job = prepare("merge", recipe(models(tmp_path), method="ties", device="cpu"))
    with pytest.raises(error):
        job.run()
    assert len(done) <= 2, "one may have been let in before the other's error was known"
    assert not (tmp_path / "out/result.json").exists()


def test_an_error_in_what_is_copied_ends_the_tensors_that_are_in_work_and_is_the_one_that_is_told(
    tmp_path, monkeypatch
):
    """Two tensors are in work when the copy behind them fails: they have a little time, and none is begun after that."""
    monkeypatch.setattr(executor, "PATIENCE_S", 0.1)
    begun, failed = [], threading.Event()

    def merge(self, pieces, measure):
        begun.append(pieces)
        failed.wait(30)
        for _ in range(1000):  # the halt is set by who looks at the failed task
            time.sleep(0.01)
            halting.check()

    def copy(self, *words):
        failed.set()
        raise ZeroDivisionError

    monkeypatch.setattr(executor.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(work.Work, "_merge_tensor", merge)
    monkeypatch.setattr(work.Work, "copy", copy)
    job = prepare("merge", recipe(models(tmp_path), method="ties", device="cpu"))
    with pytest.raises(ZeroDivisionError):
        job.run()
    assert len(begun) <= 4
