"""SIGKILL in the middle of every builder that asks a teacher: the same dataset in the end, and nothing asked twice."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from teaching.schooling import School, schooling, speaker
from teaching.test_cold_start import teach as cold_start
from teaching.test_first_try import think as first_try
from teaching.test_srpo_reflection import bytes_of
from teaching.test_srpo_reflection import teach as srpo_reflection

pytestmark = pytest.mark.slow

KINDS = ["distilled", "reflection", "caption", "self_critic"]
BUILDERS: dict[str, tuple[Callable[..., str], dict[str, Any]]] = {
    "srpo_reflection": (srpo_reflection, {}),
    "cold_start": (cold_start, {"kinds": KINDS, "samples": 2}),
    "first_try": (first_try, {"extractor": "teacher", "cuts": [1, 3]}),
}
KILLS = 3
SLOTS = 8


@pytest.mark.parametrize("builder", BUILDERS)
def test_killed(builder: str, tmp_path: Path, sums: Callable[[int], Path]) -> None:
    say, more = BUILDERS[builder]
    source, school, rng = sums(60), School(say, faults=0.2, delay=0.02), random.Random(builder)

    def command(server: Any, name: str) -> list[str]:
        parts = {
            part: speaker(server, part, tmp_path / f"cache-{name}", temperature=1.0) for part in ("policy", "teacher")
        }
        tree = {"builder": builder, "output": str(tmp_path / name), "source": {"path": str(source)}, "shard_rows": 24}
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(tree | parts | more))
        return [sys.executable, "-m", "mmreflect", "build", str(file)]

    killed = 0
    with schooling(school) as server:
        for number in range(KILLS):
            process = subprocess.Popen(command(server, "cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before = sum(school.came.values())
            while process.poll() is None and sum(school.came.values()) < before + 40:
                time.sleep(0.005)
            time.sleep(rng.random() * 0.3)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                killed += 1
            process.wait()
            assert not (tmp_path / "cut/manifest.json").exists(), number
        subprocess.run(command(server, "cut"), check=True, capture_output=True)
        fresh = School(say)
        server.behave = fresh.behave
        subprocess.run(command(server, "whole"), check=True, capture_output=True)
    assert killed == KILLS
    again = sum(count - 1 for count in school.answered.values())
    assert again <= KILLS * 2 * SLOTS, "only what was under way at a kill was asked again"
    assert set(school.answered) == set(fresh.answered) and set(fresh.answered.values()) == {1}
    cut, whole = bytes_of(tmp_path / "cut"), bytes_of(tmp_path / "whole")
    for found, name in ((cut, b"cache-cut"), (whole, b"cache-whole")):
        found["manifest.json"] = found["manifest.json"].replace(name, b"cache")
    assert cut == whole and len(list((tmp_path / "cut/train").iterdir())) >= 3
