"""Values in mapped files: the same bytes as those that are read, let go in time, and no death by a file that shrinks."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from small import models, recipe

from mmreflect.cli import main
from mmreflect.merge import pieces, windows, work
from mmreflect.merge.kernels import find_compiler
from mmreflect.merge.windows import Windows

compiled = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """A file of 3.5 windows of 64 KB that go on for 16 KB."""
    monkeypatch.setattr(windows, "STEP", 1 << 16)
    monkeypatch.setattr(windows, "OVERLAP", 1 << 14)
    content = np.random.default_rng(0).integers(0, 256, 7 << 15, dtype=np.uint8)
    content.tofile(tmp_path / "file")
    with open(tmp_path / "file", "rb") as file:
        yield file.fileno(), content


def test_a_view_holds_the_bytes_of_the_file_across_the_edge_of_a_window_too(opened):
    handle, content = opened
    found = Windows()
    for place, size in [(0, 10), (3, 1 << 16), ((1 << 16) - 1, 1 << 14), (1 << 16, 5), (content.size - 7, 7)]:
        assert (found.view(handle, place, size).array == content[place : place + size]).all()


def test_what_no_window_holds_is_not_mapped(opened, monkeypatch):
    handle, content = opened
    found = Windows()
    assert found.view(handle, 0, (1 << 16) + (1 << 14) + 1) is None, "longer than a window"
    assert found.view(handle, content.size - 7, 8) is None, "beyond the end"
    assert found.view(handle, 4 * content.size, 8) is None, "in a window beyond the end"

    def refuse(*_, **__):
        raise OSError(19, "No such device")

    monkeypatch.setattr(windows.mmap, "mmap", refuse)
    assert Windows().view(handle, 0, 8) is None


def test_a_window_stays_while_something_looks_at_it(opened):
    handle, _ = opened
    found = Windows()
    first, again = found.view(handle, 0, 8), found.view(handle, 8, 8)
    assert first.holder is again.holder and len(found._open) == 1
    second = found.view(handle, 1 << 16, 8)
    assert len(found._open) == 2
    del first, again
    assert list(found._open) == [(handle, 1)], "the latest one is kept for what comes next"
    found.clear()
    assert len(found._open) == 1
    del second
    assert not found._open


SHRUNK = """
import numpy as np, os, signal, sys
from mmreflect.merge.kernels import ROOM, Unreadable, load
from mmreflect.merge.raw import Raw
from mmreflect.merge.windows import Windows
path, kernels, found = sys.argv[1], load(), Windows()
values = np.ones(40_000, np.float32)
values.tofile(path)
handle, other = os.open(path, os.O_RDONLY), os.open(path + ".out", os.O_CREAT | os.O_WRONLY)
side = found.view(handle, 0, values.nbytes)
good = Raw.of(values)
codes = ("F32",) * 3
assert sum(map(sum, kernels.measure(good, side, good, codes))) == values.size
os.truncate(path, 0)
out = Raw.of(bytearray(values.nbytes))
for call in (
    lambda: kernels.measure(good, side, good, codes),
    lambda: kernels.measure(side, good, good, codes),
    lambda: kernels.combine(0, good, good, side, codes, (0.5, 0.5), out, "F32"),
    lambda: kernels.finish(0, good, good, side, codes, (0.5, 0.5), "F32", other, 0, Raw.of(bytearray(ROOM))),
):
    try:
        call()
    except Unreadable:
        print("unreadable", flush=True)
assert sum(kernels.measure(good, good, good, codes)[3]) == values.size
print("alive", flush=True)
side.view[0]
"""


@compiled
@pytest.mark.parametrize("option", [[], ["-X", "faulthandler"]])
def test_a_mapped_file_that_is_cut_short_ends_the_call_and_not_the_process(tmp_path, option):
    """What touches the file outside of our functions meets whoever was there before: here the end of the process."""
    words = [sys.executable, *option, "-c", SHRUNK, str(tmp_path / "file")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["unreadable"] * 4 + ["alive"], done.stderr
    assert done.returncode == -signal.SIGBUS
    assert ("Fatal Python error: Bus error" in done.stderr) == bool(option)


@compiled
@pytest.mark.parametrize("method", ["frank", "linear"])
@pytest.mark.parametrize("calls", [1, 5])
def test_a_model_that_is_cut_short_while_it_is_merged_is_named(tmp_path, capsys, monkeypatch, method, calls):
    root = models(tmp_path)
    real, seen = pieces.Reader.view, []

    def view(self, piece):
        loaded = real(self, piece)
        seen.append(piece)
        if len(seen) == calls:
            with open(root / "reason" / "model.safetensors", "r+b") as file:
                file.truncate(0)
        return loaded

    monkeypatch.setattr(pieces.Reader, "view", view)
    tree = recipe(root, method=method, device="cpu", arithmetic="compiled")
    (tmp_path / "merge.json").write_text(json.dumps(tree))
    assert main(["merge", str(tmp_path / "merge.json")]) == 2
    file = root / "reason" / "model.safetensors"
    assert f"reason: '{file}' is cut short or damaged" in "".join(capsys.readouterr().err.split("\n"))
    assert len(seen) >= calls


def written_over(file):
    with open(file, "r+b") as opened:
        opened.seek(-4, os.SEEK_END)
        opened.write(bytes(4))


def cut(file):
    os.truncate(file, file.stat().st_size - 40)


def replaced(file):
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    os.replace(other, file)


@pytest.mark.parametrize("change", [written_over, cut, replaced])
def test_a_model_that_changes_while_it_is_merged_is_named(tmp_path, capsys, monkeypatch, change):
    root = models(tmp_path)
    real, left, lock = work.Work.measure, [change], threading.Lock()
    file = root / "reason" / "model.safetensors"
    os.utime(file, ns=(0, 0))

    def measure(self, *words):
        with lock:
            if left:
                left.pop()(file)
        return real(self, *words)

    monkeypatch.setattr(work.Work, "measure", measure)
    (tmp_path / "merge.json").write_text(json.dumps(recipe(root, device="cpu")))
    for _ in range(2):
        assert main(["merge", str(tmp_path / "merge.json")]) == 2
        error = " ".join(capsys.readouterr().err.split())
        changed = (
            "the models changed since the merge in" in error and "was started (reason: model.safetensors)" in error
        )
        assert changed or (change is cut and f"reason: '{file}' is cut short or damaged" in error), error
    assert not (root / "out" / "result.json").exists()
