"""Several processes on one dataset: killed, dying, failing, and a builder of the user's own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmreflect.data.store import open_dataset

Cli = Callable[..., tuple[int, str]]

LEAF = """
import os, signal, time
from mmreflect.building import Example, Workers
from mmreflect.config import config
from mmreflect.errors import UserError

@config
class Config:
    output: str
    rows: int = 40
    fault: str = ""
    seed: int = 0
    shard_rows: int = 5
    workers: Workers = 1

def splits(config):
    return {"train": config.rows}

def make(config, split, index):
    print("a builder may print")
    time.sleep(0.01)
    if index == 12 and config.fault == "bad":
        raise UserError("row 12 is bad")
    if index == 12 and config.fault == "bug":
        raise ZeroDivisionError("a bug in the builder")
    if index == 12 and config.fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return Example(f"{split}-{index}", [{"role": "user", "content": f"How much is {index} + 1?"}], answer=str(index + 1))
"""


@pytest.fixture
def leaf(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(LEAF)
    return path


def config_of(leaf: Path, output: str, **changes: Any) -> dict[str, Any]:
    return {"builder": str(leaf), "output": str(leaf.parent / output), "workers": 3, **changes}


def test_any_builder_can_have_workers(leaf: Path, run_cli: Cli) -> None:
    for output, workers in (("one", 1), ("three", 3), ("auto", "auto")):
        code, text = run_cli("build", config_of(leaf, output, workers=workers))
        assert code == 0, text
    rows = [(leaf.parent / output / "manifest.json").read_bytes() for output in ("one", "three", "auto")]
    assert rows[0] == rows[1] == rows[2]
    assert [sample.gold for sample in open_dataset(str(leaf.parent / "three")).samples("train")] == [
        str(n) for n in range(1, 41)
    ]


def test_a_rejected_row_is_counted_as_in_one_process(leaf: Path, run_cli: Cli) -> None:
    code, text = run_cli("build", config_of(leaf, "out", fault="bad"))
    assert code == 0 and "rejected 1 row: the row is bad (1)" in text
    assert open_dataset(str(leaf.parent / "out")).manifest["rejects"] == {"the row is bad": 1}


def test_a_bug_keeps_its_traceback(leaf: Path, run_cli: Cli) -> None:
    with pytest.raises(
        RuntimeError, match=r"a worker process of the build failed:[\s\S]*in make[\s\S]*a bug in the builder"
    ):
        run_cli("build", config_of(leaf, "out", fault="bug"))


def test_a_worker_that_dies_is_said(leaf: Path, run_cli: Cli) -> None:
    code, text = run_cli("build", config_of(leaf, "out", fault="killed"))
    assert code == 2 and "a worker process of the build died (SIGKILL)" in text and "with fewer workers" in text
    assert not (leaf.parent / "out/manifest.json").exists()


def test_a_killed_build_takes_its_workers_along_and_goes_on(leaf: Path) -> None:
    import json

    file = leaf.parent / "build.json"
    file.write_text(json.dumps(config_of(leaf, "cut", rows=600)))
    command = [sys.executable, "-m", "mmreflect", "build", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cut = leaf.parent / "cut"
    while not list(cut.glob("train/*.jsonl")) and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    left = sorted(path.name for path in cut.glob("train/*"))
    time.sleep(0.5)
    assert sorted(path.name for path in cut.glob("train/*")) == left, "an orphan went on"
    assert not (cut / "manifest.json").exists(), "killed in the middle"
    subprocess.run(command, check=True, capture_output=True)
    assert open_dataset(str(cut)).manifest["splits"]["train"]["rows"] == 600
