"""One real SIGKILL in the fast suite; the long ones are in tests/slow."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def digest(folder: Path) -> dict[str, str]:
    ignored = {"config.yaml", "result.json", "run.lock"}
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ignored)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_killed_build_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    file = tmp_path / "build.json"
    file.write_text(json.dumps({"builder": "grid", "output": "x", "splits": {"train": 900}, "shard_rows": 30}))

    def command(output: str) -> list[str]:
        return [sys.executable, "-m", "mmreflect", "build", str(file), f"output={tmp_path / output}"]

    subprocess.run(command("whole"), check=True, capture_output=True)
    process = subprocess.Popen(command("cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "cut").glob("train/*.jsonl")) and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut/manifest.json").exists(), "killed in the middle"
    subprocess.run(command("cut"), check=True, capture_output=True)
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
