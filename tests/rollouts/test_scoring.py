"""Rewards from the command line: parts, reasons, users' functions, and what happens when they are wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmreflect.rewards.native_wait_bonus import shaped

Cli = Callable[..., tuple[int, str]]

ROLLOUTS = [
    {"sample_id": "a", "text": "<think>x</think><answer>3</answer>", "answer": "3", "facts": {"level": 2}},
    {"sample_id": "a", "text": "<think>x</think><answer>4</answer>", "answer": "3", "facts": {"level": 2}},
    {"sample_id": "b", "text": "no tags", "answer": "red", "stop": "length"},
]

REWARDS = """
from mmreflect.records import Score

def length(completions, completion_ids, answer, level=None, **kwargs):
    assert completions[0][0]["role"] == "assistant" and len(answer) == len(completions)
    return [None if text[0]["content"] == "no tags" else len(ids) / 10 for text, ids in zip(completions, completion_ids)]

def best_of_group(group):
    return [Score(1.0 if place == 0 else 0.0, reason="first") for place, _ in enumerate(group.rollouts)]

def one_for_all(group):
    return [1.0]

def text(group):
    return ["good"] * len(group.rollouts)

def nan(group):
    return [float("nan")] * len(group.rollouts)

def raises(group):
    raise KeyError("segment")
"""


def score(run_cli: Cli, tmp_path: Path, rewards: list[Any]) -> tuple[int, str, list[dict[str, Any]]]:
    (tmp_path / "rewards.py").write_text(REWARDS)
    (tmp_path / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROLLOUTS))
    config = {"method": "grpo", "output": "x", "model": "tiny", "data": {"path": "d"}, "rewards": rewards}
    output = tmp_path / "scored.jsonl"
    code, text = run_cli("score", config, f"rollouts={tmp_path / 'rollouts.jsonl'}", f"output={output}")
    return code, text, [json.loads(line) for line in output.read_text().splitlines()] if output.is_file() else []


def test_every_part_and_reason(run_cli: Cli, tmp_path: Path) -> None:
    code, text, rows = score(run_cli, tmp_path, ["accuracy", {"name": "format", "layout": "think", "weight": 0.5}])
    assert code == 0, text
    assert [row["value"] for row in rows] == [1.5, 0.5, 0.0]
    assert rows[0]["parts"] == {"accuracy": 1.0, "format": 1.0} and rows[0]["parsed_answer"] == "3"
    assert "format: not the think layout" in rows[2]["reason"] and "format: not the think layout" in " ".join(
        text.split()
    )
    assert [row["text"] for row in rows] == [row["text"] for row in ROLLOUTS]


def test_functions_of_the_users_in_both_signatures(run_cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "rewards.py"
    code, text, rows = score(run_cli, tmp_path, [{"name": f"{path}:length", "weight": 2.0}, f"{path}:best_of_group"])
    assert code == 0, text
    assert rows[0]["parts"][f"{path}:best_of_group"] == 1.0 and rows[1]["parts"][f"{path}:best_of_group"] == 0.0
    assert rows[0]["value"] == pytest.approx(2 * rows[0]["parts"][f"{path}:length"] + 1)
    assert rows[2]["value"] is None and "could not grade" in rows[2]["reason"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("one_for_all", "returned 1 scores for a group of 2"),
        ("text", "returned 'good'"),
        ("lenght", "unknown function in"),
    ],
)
def test_wrong_functions_are_refused(function: str, message: str, run_cli: Cli, tmp_path: Path) -> None:
    code, text, _ = score(run_cli, tmp_path, [f"{tmp_path / 'rewards.py'}:{function}"])
    assert code == 2 and message in text and "Traceback" not in text
    if function == "lenght":
        assert "did you mean 'length'?" in text


@pytest.mark.parametrize(("function", "reason"), [("nan", "returned nan"), ("raises", "raised KeyError: 'segment'")])
def test_what_cannot_be_graded_is_counted_and_never_zero(
    function: str, reason: str, run_cli: Cli, tmp_path: Path
) -> None:
    code, text, rows = score(run_cli, tmp_path, ["accuracy", f"{tmp_path / 'rewards.py'}:{function}"])
    assert code == 0 and [row["value"] for row in rows] == [None] * 3
    assert reason in rows[0]["reason"] and "could not be graded" in text


def test_a_limit_of_the_system_is_no_answer_that_cannot_be_graded(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "hungry.py").write_text("def large(group):\n    raise OSError(24, 'many', 'a.bin')\n")
    (tmp_path / "plain.py").write_text("def broken(group):\n\n    raise ValueError('Cannot allocate memory')\n")
    code, text, _ = score(run_cli, tmp_path, [f"{tmp_path / 'hungry.py'}:large"])
    assert code == 2 and "too many files are open to open a.bin" in text and "ulimit -n" in text
    code, text, rows = score(run_cli, tmp_path, [f"{tmp_path / 'plain.py'}:broken"])
    assert code == 0 and "raised ValueError: Cannot allocate memory (plain.py, line 3)" in rows[0]["reason"]


def test_missing_arguments(run_cli: Cli, tmp_path: Path) -> None:
    config = {"method": "grpo", "output": "x", "model": "tiny", "data": {"path": "d"}, "rewards": ["accuracy"]}
    code, text = run_cli("score", config, "rollouts=a.jsonl")
    assert code == 2 and "missing: output" in text
    code, text = run_cli("score", config, f"rollouts={tmp_path / 'gone.jsonl'}", "output=x.jsonl")
    assert code == 2 and "no such file" in text


@pytest.mark.parametrize(
    ("valid", "correct", "words", "forced", "value"),
    [
        (1, 1, 0, 0, 1.0), (1, 1, 1, 0, 1.1), (1, 1, 2, 0, 1.1), (1, 1, 3, 0, 0.4), (1, 1, 4, 0, 0.2), (1, 1, 6, 0, -0.1),
        (1, 0, 0, 0, 0.0), (0, 0, 0, 0, -0.1), (1, 1, 3, 1, 1.0), (0, 1, 1, 0, -0.1),
    ],
)  # fmt: skip
def test_t8_shaped_reward(valid: int, correct: int, words: int, forced: int, value: float) -> None:
    assert shaped(bool(valid), bool(correct), words, bool(forced)) == pytest.approx(value)


def test_t8_quirk_of_the_code() -> None:
    assert shaped(False, True, 1, False, code_quirk=True) == 1.1


def test_bonus_beside_accuracy_adds_up_to_the_codes_value(run_cli: Cli, tmp_path: Path) -> None:
    rows = [
        {"sample_id": "a", "text": r"Wait, let me see. \boxed{3}", "answer": "3"},
        {"sample_id": "a", "text": r"\boxed{4}", "answer": "3"},
        {"sample_id": "a", "text": "3", "answer": "3", "stop": "length"},
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "method": "grpo",
        "output": "x",
        "model": "tiny",
        "data": {"path": "d"},
        "rewards": ["accuracy", "native_wait_bonus"],
    }
    code, text = run_cli("score", config, f"rollouts={tmp_path / 'r.jsonl'}", f"output={tmp_path / 'o.jsonl'}")
    assert code == 0, text
    scored = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [row["value"] for row in scored] == pytest.approx([1.1, 0.0, -0.1])
    assert [row["parts"]["accuracy"] for row in scored] == [1.0, 0.0, 0.0]


def test_graded_types_give_a_share(run_cli: Cli, tmp_path: Path) -> None:
    """OCR: one of two words wrong is 0.5; an interval that overlaps by half of the hull is 0.5."""
    rows = [
        {
            "sample_id": "a",
            "text": "<answer>stop here</answer>",
            "answer": "stop there",
            "facts": {"answer_type": "ocr"},
        },
        {
            "sample_id": "b",
            "text": "<answer>0 to 5</answer>",
            "answer": "0 to 10",
            "facts": {"answer_type": "temporal_iou"},
        },
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {"method": "grpo", "output": "x", "model": "tiny", "data": {"path": "d"}, "rewards": ["accuracy"]}
    code, text = run_cli("score", config, f"rollouts={tmp_path / 'r.jsonl'}", f"output={tmp_path / 'o.jsonl'}")
    assert code == 0, text
    scored = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [row["value"] for row in scored] == pytest.approx([0.5, 0.5])


def test_a_file_of_rollouts_may_hold_probes_and_facts(tmp_path: Path, run_cli: Callable[..., tuple[int, str]]) -> None:
    """DADR on recorded rollouts: questions and grounding in one file have different parts."""
    look = "<think>x</think><time_interval>[3.0, 7.5]</time_interval>"
    rows = [
        {
            "sample_id": "q",
            "text": f"{look}<think>y</think><answer>B</answer>",
            "answer": "B",
            "facts": {"options": ["x", "y"]},
            "probes": {"sufficiency": "B"},
            "rollout_facts": {"segment": [3.0, 7.5]},
        },
        {
            "sample_id": "g",
            "text": look,
            "answer": "[3, 7.5]",
            "facts": {"task": "grounding", "gt_interval": [3.0, 7.5], "answer_type": "temporal_iou"},
        },
    ]
    (tmp_path / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Path(__file__).parent.parent.parent / "configs/events/grpo.yaml"
    code, text = run_cli(
        "score", recipe.read_text(), f"rollouts={tmp_path / 'rollouts.jsonl'}", f"output={tmp_path / 'out.jsonl'}"
    )
    assert code == 0, text
    first, second = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert first["value"] == pytest.approx(1.0) and first["parts"]["dadr.sufficiency"] == 1.0
    assert second["value"] == pytest.approx(1.0) and second["parts"] == {"dadr.iou": 1.0, "dadr.format": 0.0}


def test_the_records_of_an_evaluation_can_be_scored(tmp_path: Path, run_cli: Callable[..., tuple[int, str]]) -> None:
    """There `facts` are the rollout's, and the question's are `sample_facts`."""
    row = {
        "id": "q",
        "text": "<think>x</think><time_interval>[3, 7.5]</time_interval><think>y</think><answer>B</answer>",
        "gold": "B",
        "facts": {"segment": [3.0, 7.5], "task": "grounding"},
        "sample_facts": {"options": ["x", "y"]},
        "probes": {"sufficiency": "A"},
        "stop": "eos",
    }
    (tmp_path / "samples.jsonl").write_text(json.dumps(row) + "\n")
    config = {"method": "grpo", "output": "x", "model": "tiny", "data": {"path": "d"}, "rewards": ["dadr"]}
    output = tmp_path / "out.jsonl"
    code, text = run_cli("score", config, f"rollouts={tmp_path / 'samples.jsonl'}", f"output={output}")
    assert code == 0, text
    parts = json.loads(output.read_text())["parts"]
    assert parts == {"dadr.final": 1.0, "dadr.sufficiency": 0.0, "dadr.format": 0.0, "dadr.tool": 1.0}
