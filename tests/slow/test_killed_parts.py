"""SIGKILL in the middle of a part and in the middle of the merge; started again, the dataset is that of one machine."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders.test_parts import digest
from slow.test_kill import build_config

pytestmark = pytest.mark.slow


def killed(command: list[str], folder: Path, rng: random.Random) -> bool:
    """Start a command, kill it soon after the folder has more shards than before, and tell whether it still ran."""
    before = len(list(folder.glob("*/*.jsonl")))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(folder.glob("*/*.jsonl"))) <= before:
        time.sleep(0.002)
    time.sleep(rng.random() * 0.1)
    alive = process.poll() is None
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def test_parts_and_their_merge(tmp_path: Path) -> None:
    file, rng = build_config(tmp_path, rows=2400), random.Random(0)
    mmreflect = [sys.executable, "-m", "mmreflect", "build"]

    def part(number: int) -> list[str]:
        return [*mmreflect, str(file), f"output={tmp_path / f'part{number}'}", f"shard={number}/2", "shard_rows=20"]

    whole = [*mmreflect, str(file), f"output={tmp_path / 'whole'}", "shard_rows=20"]
    merge = [*mmreflect, "merge", *(str(tmp_path / name) for name in ("out", "part1", "part2"))]
    for command in (whole, part(1)):
        subprocess.run(command, check=True, capture_output=True)
    assert killed(part(2), tmp_path / "part2", rng) and not (tmp_path / "part2/part.json").exists()
    refused = subprocess.run(merge, capture_output=True, text=True)
    assert refused.returncode == 2 and "is not finished" in refused.stderr
    subprocess.run(part(2), check=True, capture_output=True)
    kills = sum(killed(merge, tmp_path / "out", rng) for _ in range(3))
    assert kills and not (tmp_path / "out/manifest.json").exists(), "killed in the middle"
    subprocess.run(merge, check=True, capture_output=True)
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")
