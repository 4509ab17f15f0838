"""The ledger of other people's result files, through the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from mmreflect.cli import main
from mmreflect.files import read_json

ROWS: list[dict[str, Any]] = [
    {"response": "<answer>3</answer> Wait. <answer>4</answer>", "target": "4", "video": "a", "n": 20},
    {"response": "<answer>4</answer> Let me check. <answer>4</answer>", "target": "4", "video": "a", "n": 30},
    {"response": "<answer>4</answer> Hmm. <answer>5</answer>", "target": "4", "video": "b", "n": 10},
    {"response": "I give up", "target": "4", "video": "b", "n": 5},
]


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "theirs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_that_is_not_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "ledger.json"
    code = main(["ledger", str(write(tmp_path, ROWS)), f"output={output}", "tokens=n", "cluster=video"])
    text = capsys.readouterr().out
    assert code == 0 and "From one candidate answer to the next" in text
    found = read_json(output)
    assert found["ledger"]["first_accuracy"]["value"] == 0.5 and found["ledger"]["final_accuracy"]["value"] == 0.5
    assert (found["ledger"]["fixed"], found["ledger"]["harmed"], found["ledger"]["n"]) == (1, 1, 4)
    assert found["transitions"]["steps"] == {
        "T->T": pytest.approx(1 / 3),
        "F->F (same)": 0.0,
        "F->T": pytest.approx(1 / 3),
        "F->F (different)": 0.0,
        "T->F": pytest.approx(1 / 3),
    }
    assert found["transitions"]["p_corrected"] == 1.0 and found["transitions"]["without_candidate"] == 1
    assert [point["k"] for point in found["stopping_curve"]] == [1.0, 2.0]
    assert found["stopping_curve"][1] == {"k": 2.0, "accuracy": 0.5, "spent": 1.0}
    assert found["cut_share"] is None and found["columns"]["cluster"] == "video"


def test_our_own_records_know_their_options(tmp_path: Path) -> None:
    rows = [
        {
            "text": "<answer>a cup</answer>",
            "gold": "B",
            "tokens": 4,
            "stop": "eos",
            "sample_facts": {"options": ["a book", "a cup"]},
        },
        {
            "text": "<answer>A</answer>",
            "gold": "B",
            "tokens": 9,
            "stop": "length",
            "sample_facts": {"options": ["a book", "a cup"]},
        },
    ]
    assert main(["ledger", str(write(tmp_path, rows)), f"output={tmp_path / 'o.json'}"]) == 0
    found = read_json(tmp_path / "o.json")
    assert found["ledger"]["final_accuracy"]["value"] == 0.5
    assert found["cut_share"] == 0.5 and found["mean_stopped_tokens"] == 4.0


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (ROWS, [], "missing: output=VALUE"),
        (ROWS, ["output=x", "txt=response"], "unknown setting 'txt'"),
        (ROWS, ["output=x", "text="], "'text=' sets nothing"),
        (ROWS, ["output=x", "text=reply"], "line 1: no 'reply'; it has response, target, video, n"),
        ([{"words": "x", "gold": "1"}], ["output=x"], "line 1: no text or response or prediction_text or output or pred; it has words, gold"),
        ([{"text": 3, "gold": "1"}], ["output=x"], "line 1: the text is 3"),
        ([{"text": "x", "gold": "1", "tokens": "many"}], ["output=x"], "line 1: tokens is 'many'"),
        ([], ["output=x"], "holds no rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[dict[str, Any]], settings: list[str], message: str
) -> None:
    code = main(["ledger", str(write(tmp_path, rows)), *settings])
    captured = capsys.readouterr()
    assert code == 2 and message in " ".join((captured.out + captured.err).split())
