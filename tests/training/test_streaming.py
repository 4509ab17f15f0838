"""Training on a stream: the same to the bit as on samples in memory, flat in memory, bad rows named as they come."""

import gc
import json
import shutil
import statistics
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rl.test_trainer import config as grpo_config
from training.test_sft import config as sft_config
from training.test_sft import log_of

from mmreflect.answers import workers
from mmreflect.answers.grade import AnswerSpec, grade
from mmreflect.data.loading import DataConfig, load_samples
from mmreflect.data.store import open_dataset
from mmreflect.data.streaming import SampleStream
from mmreflect.errors import UserError
from mmreflect.files import read_jsonl
from mmreflect.records import Sample
from mmreflect.training import session

Cli = Callable[..., tuple[int, str]]
STREAM = "data.stream=true"


def weights(run: Path) -> bytes:
    return (run / "model/model.safetensors").read_bytes()


def test_sft_is_the_same_to_the_bit(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    model = str(tiny_model("qwen2_5_vl"))
    for name, words in (("held", ()), ("streamed", (STREAM,))):
        code, text = run_cli("train", sft_config(grid, tmp_path / name, model, max_steps=7), *words)
        assert code == 0, text
    held, streamed = tmp_path / "held", tmp_path / "streamed"
    assert log_of(streamed) == log_of(held) and log_of(held)[-1]["epoch"] > 1
    assert weights(streamed) == weights(held)
    result = json.loads((streamed / "result.json").read_text())
    assert result["left_out"] == 0 and result["samples"] == 48
    measured = json.loads((streamed / "guard.json").read_text())
    assert measured.pop("streamed") == 48 and measured == json.loads((held / "guard.json").read_text())


def test_grpo_is_the_same_and_its_history_is_known(
    run_cli: Cli, grid: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than an epoch, every rollout kept: the questions of greatest variance can be chosen afterwards.

    What the process graded before a run is not in the run's metrics.
    """
    monkeypatch.setattr(workers, "LIMIT_S", 0.3)
    assert "time limit" in grade("(x+y+z+w)^{99}", r"\log x", AnswerSpec("math")).reason
    monkeypatch.undo()
    keys = {"max_steps": 7, "save_steps": 7, "max_completion_length": 40}
    for name, words in (("held", ()), ("streamed", (STREAM,))):
        settings = grpo_config(grid, tmp_path / name, trained, **keys)
        settings |= {"selection": "dynamic_sampling", "rollout": {"keep_every": 1, "keep_groups": 1000}}
        code, text = run_cli("train", settings, *words)
        assert code == 0, text
    held, streamed = tmp_path / "held", tmp_path / "streamed"
    assert log_of(streamed) == log_of(held) and weights(streamed) == weights(held)
    assert log_of(held)[0]["reward/verify_timeouts"] == 0.0
    assert weights(held) != (trained / "model.safetensors").read_bytes()
    builder = {"builder": "pass_rate", "source": {"path": str(grid), "split": "rl"}, "output": str(tmp_path / "chosen")}
    code, text = run_cli("build", builder | {"history": [str(streamed)], "top": 3})
    assert code == 0, text
    seen: dict[str, list[float]] = defaultdict(list)
    for file in sorted((streamed / "rollouts").glob("step-*.json")):
        for group in json.loads(file.read_text()):
            right = [rollout["score"]["parts"]["accuracy"]["value"] for rollout in group["rollouts"]]
            seen[group["sample_id"]].append(statistics.fmean(right))
    spread = {name: statistics.pvariance(means) for name, means in seen.items()}
    rows = list(open_dataset(str(tmp_path / "chosen")).samples("rl"))
    assert {sample.id: sample.facts["accuracies"] for sample in rows} == {sample.id: seen[sample.id] for sample in rows}
    kept = sorted(spread[sample.id] for sample in rows)
    assert kept == sorted(spread.values())[-3:] and kept[0] > 0


@pytest.fixture
def dirty(grid: Path, tmp_path: Path) -> Path:
    """The grid with one picture missing, one line broken, and one row without an assistant's turn, of 48."""
    folder = tmp_path / "dirty"
    shutil.copytree(grid, folder)
    file = folder / "train/00000.jsonl"
    lines = file.read_text().splitlines()
    (folder / json.loads(lines[5])["images"][0]).unlink()
    lines[9] = "{broken"
    row = json.loads(lines[20])
    lines[20] = json.dumps(row | {"messages": row["messages"][:-1]})
    file.write_text("\n".join(lines) + "\n")
    return folder


def test_bad_rows_are_named_and_stood_in_for(
    run_cli: Cli, dirty: Path, tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "GUARDED_ROWS", 4)  # the bad ones come later
    model = str(tiny_model("qwen2_5_vl"))
    for name in ("whole", "cut"):
        settings = sft_config(dirty, tmp_path / name, model, max_steps=7, save_steps=3)
        code, text = run_cli("train", settings, STREAM, "data.tolerate=0.1")
        assert code == 0 and "left out a bad sample train-000005: no such image" in text, text
        assert "3 bad samples of 48 were left out" in text
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    assert json.loads((cut / "result.json").read_text())["left_out"] == 3
    bad = {row["row"]: row["reason"] for row in read_jsonl(cut / "quarantine.jsonl")}
    assert set(bad) == {5, 9, 20} and "row 10: not JSON" in bad[9] and "no assistant turn" in bad[20]
    for file in ("result.json", "model/model.safetensors", "checkpoints/checkpoint-7/complete"):
        (cut / file).unlink()
    code, text = run_cli("train", settings, STREAM, "data.tolerate=0.1")
    assert code == 0, text
    assert log_of(cut) == log_of(whole) and weights(cut) == weights(whole), "resumed, the same stand in"
    assert len(list(read_jsonl(cut / "quarantine.jsonl"))) == 3, "named once"


def test_too_many_bad_rows_end_the_run(
    run_cli: Cli, dirty: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = sft_config(dirty, tmp_path / "run", str(tiny_model("qwen2_5_vl")))
    code, text = run_cli("train", settings, STREAM)
    assert code == 2 and "1 of 48 samples of" in text and "train-000005: no such image" in text, text
    settings["data"] |= {"max_prompt_tokens": 1}
    code, text = run_cli("train", settings, STREAM, f"output={tmp_path / 'other'}", "data.tolerate=0.5")
    assert code == 2 and "data.max_prompt_tokens is 1" in text and "25 of 48" in text, text


def test_check_measures_every_row(run_cli: Cli, dirty: Path, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    settings = sft_config(dirty, tmp_path / "run", str(tiny_model("qwen2_5_vl")))
    code, text = run_cli("check", settings, STREAM, "data.tolerate=0.1")
    assert code == 0 and "45 sound samples, 3 bad" in text, text


def test_where_streaming_is_refused(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = sft_config(grid, tmp_path / "run", str(tiny_model("qwen2_5_vl")))
    settings["evaluation"] = {"data": {"path": str(grid), "split": "validation", "stream": True}, "every_steps": 2}
    code, text = run_cli("train", settings)
    assert code == 2 and "data.stream is for training" in text, text
    tree = {"benchmark": "dataset", "data": {"path": str(grid), "split": "validation", "stream": True}, "model": "tiny"}
    code, text = run_cli("eval", tree | {"output": str(tmp_path / "eval")})
    assert code == 2 and "stream is set for" in text and "all of its samples are asked" in text, text


def write_set(folder: Path, count: int) -> Path:
    """A set of text rows, written without the builder: 200,000 of them would take a minute."""
    (folder / "train").mkdir(parents=True)
    turns = [
        {"role": role, "content": [{"type": "text", "text": "x" * 100}]} for role in ("user", "assistant")
    ]  # fmt: skip
    end = json.dumps({"messages": turns, "images": [], "videos": [], "answer": "1", "facts": {}})[1:]
    (folder / "train/00000.jsonl").write_text("".join(f'{{"id": "r{place:06}", {end}\n' for place in range(count)))
    shards = [{"file": "train/00000.jsonl", "rows": count, "sha256": ""}]
    (folder / "manifest.json").write_text(json.dumps({"splits": {"train": {"rows": count, "shards": shards}}}))
    return folder


def live() -> int:
    gc.collect()
    return sum(type(item) is Sample for item in gc.get_objects())


def peak(work: Callable[[], Any]) -> tuple[int, Any]:
    tracemalloc.start()
    made = work()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most, made


def test_memory_stays_flat(tmp_path: Path) -> None:
    """200,000 streamed rows take less than 4,000 that are held, and no sample lives longer than its turn."""
    large, small = write_set(tmp_path / "large", 200_000), write_set(tmp_path / "small", 4_000)
    before = live()
    streamed, stream = peak(lambda: SampleStream(DataConfig(path=str(large)), None, need="response"))
    read, _ = peak(lambda: [stream[place].id for place in range(0, 200_000, 400)])
    assert len(stream) == 200_000 and live() == before and read < 1_000_000
    held, samples = peak(lambda: load_samples(DataConfig(path=str(small)), need="response"))
    assert live() == before + 4_000 == before + len(samples)
    assert held > streamed, (held, streamed)


def test_a_stream_is_a_sequence(grid: Path) -> None:
    data = DataConfig(path=str(grid), limit=10)
    stream, samples = SampleStream(data, None, need="response"), load_samples(data, need="response")
    assert list(stream) == samples and stream[-1] == samples[-1] and stream[2:5] == samples[2:5]
    with pytest.raises(IndexError):
        stream[10]
    with pytest.raises(UserError, match="unknown split 'trian'"):
        SampleStream(DataConfig(path=str(grid), split="trian"), None, need=None)
