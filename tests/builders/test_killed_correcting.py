"""SIGKILL in the middle of the builders of corrections: the same dataset in the end, and nothing asked twice."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders.test_lemma import teach as lemma
from builders.test_re_rest import teach as re_rest
from builders.test_super_correct import teach as super_correct
from teaching.schooling import School, schooling, speaker
from teaching.test_srpo_reflection import bytes_of

pytestmark = pytest.mark.slow

BUILDERS: dict[str, tuple[Callable[..., str], list[str], dict[str, Any]]] = {
    "lemma": (lemma, ["student", "teacher"], {"attempts": 4, "types": ["calculation", "misread_value"], "shard_rows": 48}),
    "re_rest": (re_rest, ["agent", "reflector"], {"kinds": ["agent", "repair", "reflector"], "shard_rows": 20}),
    "super_correct": (super_correct, ["student", "teacher"], {"stage": "pairs", "attempts": 3, "shard_rows": 12}),
}  # fmt: skip
KILLS, SLOTS = 2, 8


@pytest.mark.parametrize("builder", BUILDERS)
def test_killed(builder: str, tmp_path: Path, sums: Callable[[int], Path]) -> None:
    say, parts, more = BUILDERS[builder]
    source, school = sums(20), School(say, faults=0.2, delay=0.02)

    def command(server: Any, name: str) -> list[str]:
        asked = {part: speaker(server, part, tmp_path / f"cache-{name}", temperature=1.0) for part in parts}
        tree = {"builder": builder, "output": str(tmp_path / name), "source": {"path": str(source)}}
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(tree | asked | more))
        return [sys.executable, "-m", "mmreflect", "build", str(file)]

    with schooling(school) as server:
        for _ in range(KILLS):
            process = subprocess.Popen(command(server, "cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before = sum(school.came.values())
            while process.poll() is None and sum(school.came.values()) < before + 40:
                time.sleep(0.005)
            assert process.poll() is None, "killed in the middle"
            process.send_signal(signal.SIGKILL)
            process.wait()
        subprocess.run(command(server, "cut"), check=True, capture_output=True)
        fresh = School(say)
        server.behave = fresh.behave
        subprocess.run(command(server, "whole"), check=True, capture_output=True)
    again = sum(count - 1 for count in school.answered.values())
    assert again <= KILLS * 2 * SLOTS, "only what was under way at a kill was asked again"
    assert set(school.answered) == set(fresh.answered) and set(fresh.answered.values()) == {1}
    cut, whole = bytes_of(tmp_path / "cut"), bytes_of(tmp_path / "whole")
    for found, name in ((cut, b"cache-cut"), (whole, b"cache-whole")):
        for file in ("manifest.json", "run.json"):
            found[file] = found[file].replace(name, b"cache")
    assert cut == whole and len(list((tmp_path / "cut/train").iterdir())) >= 3
