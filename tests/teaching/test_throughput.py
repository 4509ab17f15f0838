"""The benchmark of how busy a server is kept, on a few rows; what it finds there is no measure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_benchmark_of_throughput(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    sizes = ["--rows", "24", "--shard-rows", "8", "--slots", "4", "--mean-seconds", "0.2"]
    command = [sys.executable, "benchmarks/teacher_throughput.py", *sizes, "--json", str(found)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1) and "of the slots busy" in done.stdout, done.stderr
    numbers = json.loads(found.read_text())
    assert 0.1 < numbers["busy_share"] <= 1 and 0.1 < numbers["busy_share_in_rounds"] <= 1
    assert numbers["slots"] == 4 and 0 < numbers["rows"] <= 24
