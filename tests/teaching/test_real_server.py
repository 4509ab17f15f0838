"""The whole circle with a real server: a set is built, a model learns it, is served by transformers, and teaches."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Act, Server
from rollouts.test_openai_engine import transformers_serve
from teaching.schooling import scripted, speaker, truth

from mmreflect.answers.extract import boxes
from mmreflect.data.store import open_dataset

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("uvicorn") is None, reason="transformers[serving] is not installed"),
]
SHAPE = {"hidden_size": 64, "layers": 2, "heads": 2, "vision_hidden_size": 32}
TRAINER = {
    "max_steps": 170, "per_device_train_batch_size": 20, "learning_rate": 5e-3, "lr_scheduler_type": "linear",
    "warmup_steps": 10,
}  # fmt: skip
PLAIN = {"kinds": ["distilled"], "min_chosen": 0, "min_tokens": 0}


def test_a_served_model_teaches(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """Forty sums; the model has learnt by heart the solutions of all of them, and is asked with some chance in it."""
    source = sums(40, pictures=False)
    script = {}
    for row in open_dataset(str(source)).rows("train"):
        question = row["messages"][0]["content"][0]["text"]
        left, right = question.removeprefix("How much is ").removesuffix("?").split(" + ")
        script[row["id"]] = [f"I add {left} and {right}. So it is \\boxed{{{truth(question)}}}"]

    def tree(output: str, teacher: Any, **more: Any) -> dict[str, Any]:
        place = {"output": str(tmp_path / output), "source": {"path": str(source)}, "teacher": teacher}
        return {"builder": "cold_start", **place, **PLAIN, **more}

    code, text = run_cli("build", tree("lessons", scripted(tmp_path / "teacher.jsonl", script), samples=1))
    assert code == 0, text
    sft = {
        "method": "sft", "output": str(tmp_path / "sft"), "model": {"path": "tiny", "tiny": SHAPE},
        "data": {"path": str(tmp_path / "lessons")}, "trainer": TRAINER,
    }  # fmt: skip
    code, text = run_cli("train", sft)
    assert code == 0, text
    model = str(tmp_path / "sft/model")
    with transformers_serve(Path(model)) as url:
        server = Server(lambda body, number: Act(b""))
        server.url = url
        teacher = speaker(server, model, tmp_path / "cache", temperature=1.0, max_new_tokens=64)
        code, text = run_cli("build", tree("taught", teacher, samples=2))
        assert code == 0, text
        result = json.loads((tmp_path / "taught/result.json").read_text())["this_start"]
        assert (result["answered"], result["failed"]) == (80, 0)
    dataset = open_dataset(str(tmp_path / "taught"))
    rows = list(dataset.samples("train"))
    print(len(rows), dataset.manifest["rejects"], dataset.manifest["counted"])
    assert len(rows) >= 20, dataset.manifest["rejects"]
    for row in rows:
        (box,) = boxes(row.response or "")
        assert box.text == row.gold == str(truth(row.question)), row.response
    counted = dataset.manifest["counted"]
    wrong = counted.get("distilled: teacher's samples wrong", 0)
    assert wrong + counted["distilled: teacher's samples right"] == 80
    assert sum(dataset.manifest["rejects"].values()) + len(rows) == 40
