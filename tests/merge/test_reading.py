"""Reading ahead: only what is not there yet, never further than it may, and no harm where it cannot be had."""

import os
import threading
import time

import pytest
from small import models

from mmreflect.merge import reading
from mmreflect.merge.checkpoint import open_checkpoint
from mmreflect.merge.reading import Handles, ReadAhead, Span


@pytest.fixture
def asked(monkeypatch):
    """Places and sizes that are asked for by advice, at most 500 bytes at a time; nothing is in the cache."""
    found = []
    monkeypatch.setattr(reading, "_fetch", lambda *place: False)
    monkeypatch.setattr(reading, "_READERS", 1)
    monkeypatch.setattr(reading.os, "posix_fadvise", lambda handle, *place: found.append(place[:2]))
    monkeypatch.setattr(reading, "_STEP", 500)
    monkeypatch.setattr(reading, "_is_cached", lambda *place: False)
    return found


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_span_is_where_the_values_lie(tmp_path):
    root = models(tmp_path)
    opened, name = open_checkpoint("base", root / "base"), "model.layers.0.mlp.up_proj.weight"
    start = opened.tensors[name].start
    span = opened.span(name, 10, 50)
    assert span == Span(str(root / "base" / "model.safetensors"), start + 40, start + 240)


@pytest.mark.parametrize(
    "cached, places",
    [
        ((), [(20, 480), (500, 500), (1000, 420)]),
        ((20, 499, 1000, 1419), [(500, 500)]),
        ((20, 500, 1000), [(20, 480), (500, 500), (1000, 420)]),  # a part of each step that somebody read
    ],
)
def test_what_the_systems_cache_has_is_passed_over(tmp_path, asked, monkeypatch, cached, places):
    (tmp_path / "file").write_bytes(bytes(2000))
    monkeypatch.setattr(reading, "_is_cached", lambda handle, place: place in cached)
    handles = Handles()
    with ReadAhead([[Span(str(tmp_path / "file"), 20, 1420)]], handles):
        wait_for(lambda: len(asked) == len(places))
    assert asked == places
    handles.close()


def test_it_goes_as_far_ahead_as_it_may_and_always_to_the_next_group(tmp_path, asked):
    (tmp_path / "file").write_bytes(bytes(2000))
    groups = [[Span(str(tmp_path / "file"), start, start + 100)] for start in range(0, 1000, 100)]
    handles = Handles()
    for most, reach in ((0, 1), (250, 2), (10_000, 9)):
        asked.clear()
        with ReadAhead(groups, handles, most) as ahead:
            for number in range(10):
                ahead.reached(number)
                goal = min(10, number + reach + 1)
                wait_for(lambda goal=goal: len(asked) >= goal)
                time.sleep(0.005)
                assert len(asked) == goal
    handles.close()


def test_what_cannot_be_opened_is_left_to_who_reads_it(tmp_path, asked):
    (tmp_path / "file").write_bytes(bytes(2000))
    handles = Handles()
    with ReadAhead([[Span(str(tmp_path / "gone"), 0, 9)], [Span(str(tmp_path / "file"), 0, 9)]], handles):
        wait_for(lambda: len(asked) == 1)
    assert asked == [(0, 9)]
    handles.close()


def test_it_ends_with_the_work_though_much_is_left(tmp_path, asked, monkeypatch):
    (tmp_path / "file").write_bytes(bytes(2000))
    going, started = threading.Event(), threading.Event()

    def slow(handle, *place):
        started.set()
        going.wait(30)
        asked.append(place)

    monkeypatch.setattr(reading.os, "posix_fadvise", slow)
    handles, spans = Handles(), [Span(str(tmp_path / "file"), 0, 500 * 10**6)]
    with pytest.raises(KeyError), ReadAhead([spans, spans], handles) as ahead:
        started.wait(30)
        threading.Timer(0.05, going.set).start()
        raise KeyError("of the work")
    assert not any(thread.is_alive() for thread in ahead._threads) and len(asked) <= 2
    handles.close()


def test_where_the_system_takes_no_advice_nothing_happens(tmp_path, monkeypatch):
    monkeypatch.delattr(reading.os, "posix_fadvise")
    with ReadAhead([[Span(str(tmp_path / "gone"), 0, 9)]], Handles()) as ahead:
        ahead.reached(0)
    assert all(thread.ident is None for thread in ahead._threads)


@pytest.fixture
def on_disk(tmp_path):
    """A file of 5 MB of which the system's cache has nothing, open for reading."""
    (tmp_path / "file").write_bytes(os.urandom(5_000_000))
    with open(tmp_path / "file", "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if reading._is_cached(file.fileno(), 0):
            pytest.skip("this file system keeps what it is told to give up")
        yield file.fileno()


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="the system does not say what it has")
def test_what_is_fetched_is_there(on_disk):
    assert reading._fetch(on_disk, 4096 * 3 + 5, 2_000_000)
    assert reading._is_cached(on_disk, 4096 * 3 + 5) and reading._is_cached(on_disk, 2_012_000)
    assert reading._fetch(on_disk, 2_100_000, 5_000_000 - 2_100_000)
    assert reading._is_cached(on_disk, 4_999_999)


def test_what_cannot_be_fetched_is_asked_for_by_advice(tmp_path, on_disk, monkeypatch):
    found = []
    monkeypatch.setattr(reading.os, "posix_fadvise", lambda handle, *place: found.append(place[:2]))
    assert not reading._fetch(on_disk, 0, 6_000_000), "more than the file has"
    monkeypatch.setattr(reading, "_POPULATE_READ", 12345)  # as a system that does not know it
    handles = Handles()
    with ReadAhead([[Span(str(tmp_path / "file"), 0, 5_000_000)]], handles):
        wait_for(lambda: len(found) == 3)
    assert sorted(found) == [(0, 1 << 21), (1 << 21, 1 << 21), (1 << 22, 5_000_000 - (1 << 22))]
    handles.close()


def test_readers_share_the_steps(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(bytes(2000))
    found = []
    monkeypatch.setattr(reading, "_STEP", 10)
    monkeypatch.setattr(reading, "_is_cached", lambda *place: False)
    monkeypatch.setattr(reading, "_fetch", lambda handle, *place: found.append(place) or True)
    handles, spans = Handles(), [Span(str(tmp_path / "file"), start, start + 205) for start in (3, 500, 900)]
    with ReadAhead([spans], handles) as ahead:
        for thread in ahead._threads:
            thread.join(30)
    assert len(set(found)) == len(found) and sum(size for _, size in found) == 3 * 205
    assert len(ahead._threads) > 1
    handles.close()


def test_advice_that_is_refused_is_left_to_who_reads(tmp_path, asked, monkeypatch, capfd):
    (tmp_path / "file").write_bytes(bytes(2000))
    tried = []

    def refuse(*place):
        tried.append(place)
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(reading.os, "posix_fadvise", refuse)
    handles = Handles()
    with ReadAhead([[Span(str(tmp_path / "file"), 0, 1000)]], handles):
        wait_for(lambda: len(tried) == 2)
    assert not capfd.readouterr().err
    handles.close()
