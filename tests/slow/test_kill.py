"""SIGKILL in the middle of build, SFT and GRPO; started again, the artefacts are those of an uninterrupted run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mmreflect.files import read_jsonl

TIMED = ("runtime", "per_second", "step_time", "seconds")


def command(verb: str, file: Path, output: Path) -> list[str]:
    return [sys.executable, "-m", "mmreflect", verb, str(file), f"output={output}"]


def run_whole(verb: str, file: Path, output: Path) -> None:
    subprocess.run(command(verb, file, output), check=True, capture_output=True, env=os.environ)


def run_with_kills(verb: str, file: Path, output: Path, sign: str, kills: int, rng: random.Random) -> int:
    """Kill `kills` times, each at a random moment after the folder shows more of `sign` than before; then finish."""
    done = 0
    for _ in range(kills):
        seen = len(list(output.glob(sign)))
        process = subprocess.Popen(command(verb, file, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(output.glob(sign))) <= seen:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.4)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            done += 1
        process.wait()
    run_whole(verb, file, output)
    return done


def content(folder: Path) -> dict[str, bytes]:
    ignored = {"run.lock", "config.yaml", "result.json"}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ignored
    }


def log(run: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if not any(word in key for word in TIMED)}
        for row in read_jsonl(run / "log.jsonl")
    ]


def write(path: Path, tree: dict[str, Any]) -> Path:
    path.write_text(json.dumps(tree))
    return path


def build_config(folder: Path, rows: int = 600) -> Path:
    return write(
        folder / "build.json",
        {"builder": "grid", "output": "x", "splits": {"train": rows, "validation": 60}, "shard_rows": 60},
    )


def test_build(tmp_path: Path) -> None:
    file = build_config(tmp_path)
    run_whole("build", file, tmp_path / "whole")
    assert run_with_kills("build", file, tmp_path / "cut", "train/*.jsonl", 3, random.Random(0)) >= 1
    assert content(tmp_path / "whole") == content(tmp_path / "cut")


SHAPE = {"hidden_size": 32, "layers": 2, "heads": 2, "vision_hidden_size": 32}


@pytest.fixture(scope="module")
def cold_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cold")
    run_whole("build", build_config(folder), folder / "data")
    tree = sft_config(folder / "data") | {
        "trainer": {"max_steps": 150, "per_device_train_batch_size": 16, "learning_rate": 5e-3, "save_steps": 150}
    }
    run_whole("train", write(folder / "sft.json", tree), folder / "sft")
    return folder


def sft_config(data: Path) -> dict[str, Any]:
    trainer = {
        "max_steps": 120,
        "per_device_train_batch_size": 8,
        "learning_rate": 2e-3,
        "save_steps": 10,
        "logging_steps": 3,
        "save_total_limit": 2,
    }
    model = {"path": "tiny", "tiny": SHAPE}
    return {"method": "sft", "output": "x", "model": model, "data": {"path": str(data)}, "trainer": trainer}


def test_sft(cold_start: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "sft.json", sft_config(cold_start / "data"))
    run_whole("train", file, tmp_path / "whole")
    assert (
        run_with_kills("train", file, tmp_path / "cut", "checkpoints/checkpoint-*/complete", 3, random.Random(1)) >= 1
    )
    assert content(tmp_path / "whole/model") == content(tmp_path / "cut/model")
    assert log(tmp_path / "whole") == log(tmp_path / "cut") and log(tmp_path / "whole")[-1]["epoch"] > 1


def test_grpo_with_replay_and_forced_rethinking(cold_start: Path, tmp_path: Path) -> None:
    word = "<reflection>Wait, check again:"
    triggers = dict.fromkeys(("bare", "self_questioning", "self_verification", "self_correction"), word)
    stage = {
        "name": "forced_rethinking",
        "append_probability": 0.0,
        "cuts": [{"text": "<reflection>", "which": "first"}],
        "min_second_tokens": 1,
        "max_new_tokens": 32,
        "triggers": triggers,
    }
    tree = {
        "method": "grpo", "output": "x", "model": str(cold_start / "sft/model"), "data": {"path": str(cold_start / "data"), "split": "validation"},
        "rollout": {"stages": [stage], "keep_every": 5}, "rewards": ["accuracy", {"name": "format", "layout": "cold_start", "weight": 0.5}],
        "selection": "ssr",
        "evaluation": {"data": {"path": str(cold_start / "data"), "split": "validation", "limit": 8}, "every_steps": 7, "max_new_tokens": 32},
        "trainer": {
            "max_steps": 40, "per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": 48, "learning_rate": 1e-3,
            "save_steps": 3, "logging_steps": 2, "save_total_limit": 2, "loss_type": "dapo",
        },
    }  # fmt: skip
    file = write(tmp_path / "grpo.json", tree)
    run_whole("train", file, tmp_path / "whole")
    assert (
        run_with_kills("train", file, tmp_path / "cut", "checkpoints/checkpoint-*/complete", 4, random.Random(2)) >= 1
    )
    assert content(tmp_path / "whole/model") == content(tmp_path / "cut/model")
    assert log(tmp_path / "whole") == log(tmp_path / "cut") and log(tmp_path / "whole")[-1]["epoch"] > 1
    assert content(tmp_path / "whole/rollouts") == content(tmp_path / "cut/rollouts")


pytestmark = pytest.mark.slow


def test_a_benchmark(cold_start: Path, tmp_path: Path) -> None:
    """Killed between batches and while scoring: no question is asked twice, and every file ends the same."""
    script = Path(__file__).parent.parent / "benchmarks/replicas.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "releases"), "mathvista"], check=True)
    tree = {
        "benchmark": "mathvista", "output": "x", "model": str(cold_start / "sft/model"), "release": {"source": str(tmp_path / "releases/mathvista")},
        "max_new_tokens": 48, "batch_size": 2, "num_generations": 2, "temperature": 1.0,
    }  # fmt: skip
    file = write(tmp_path / "eval.json", tree)
    run_whole("eval", file, tmp_path / "whole")
    assert run_with_kills("eval", file, tmp_path / "cut", "samples.jsonl", 1, random.Random(3)) == 1
    kept = (tmp_path / "whole/samples.jsonl").read_bytes()
    for place, cut in enumerate((200, len(kept) // 2, len(kept) - 3)):  # a kill in the middle of a line
        folder = tmp_path / f"cut{place}"
        folder.mkdir()
        for name in ("config.yaml", "run.json"):
            text = (tmp_path / "whole" / name).read_text()
            (folder / name).write_text(text.replace(str(tmp_path / "whole"), str(folder)))
        (folder / "samples.jsonl").write_bytes(kept[:cut])
        run_whole("eval", file, folder)
        assert content(folder) == content(tmp_path / "whole") | {"run.json": content(folder)["run.json"]}
    assert content(tmp_path / "whole") == content(tmp_path / "cut")
    results = [json.loads((tmp_path / name / "result.json").read_text()) | {"seconds": 0} for name in ("whole", "cut")]
    assert results[0] == results[1]
