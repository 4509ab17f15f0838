"""Reading ahead: only what is not there yet, never further than it may, and no harm where it cannot be had."""

import threading
import time

import pytest
from small import models

from mmreflect.merge import reading
from mmreflect.merge.checkpoint import open_checkpoint
from mmreflect.merge.reading import Handles, ReadAhead, Span


@pytest.fixture
def asked(monkeypatch):
    """Places and sizes that are asked for, 500 bytes at a time; nothing is in the cache."""
    found = []
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
        ((), [(20, 500), (520, 500), (1020, 400)]),
        ((20, 519, 1020, 1419), [(520, 500)]),
        ((20, 520, 1020), [(20, 500), (520, 500), (1020, 400)]),  # a part of each step that somebody read
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
    assert not ahead._thread.is_alive() and len(asked) <= 2
    handles.close()


def test_where_the_system_takes_no_advice_nothing_happens(tmp_path, monkeypatch):
    monkeypatch.delattr(reading.os, "posix_fadvise")
    with ReadAhead([[Span(str(tmp_path / "gone"), 0, 9)]], Handles()) as ahead:
        ahead.reached(0)
    assert ahead._thread.ident is None
