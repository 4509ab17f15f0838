"""Re-scoring through the command line: what it adds, what it counts, and what it refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmreflect import recipes
from mmreflect.cli import main
from mmreflect.evaluation.benchmark import Benchmark

Cli = Callable[..., Any]
MMMU = {"question_type": "multiple-choice", "options": "['red', 'blue', 'five']", "answer": "B"}
FLOAT = {"pid": "3", "question_type": "free_form", "answer_type": "float", "answer": "1.5", "response": "x"}


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must be refused, and return what it says."""
    capsys.readouterr()
    assert main(["eval", "rescore", *words]) == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return " ".join(text.split())


def written(folder: Path, rows: list[Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"responses={path}"


def test_rows_come_back_in_order_with_what_is_added(rescore_cli: Cli) -> None:
    rows = [
        {"id": "b", "own": [1], **MMMU, "response": "<think>It is (C).</think><answer>B</answer>"},
        {"id": "a", "own": None, **MMMU, "response": "(C)", "prediction": "B"},
    ]
    scored, summary = rescore_cli("mmmu", rows)
    assert [row["id"] for row in scored] == ["b", "a"] and scored[0]["own"] == [1]
    assert [(row["prediction"], row["correct"]) for row in scored] == [("B", True), ("C", False)]
    assert (scored[0]["response"], scored[0]["final_answer"]) == (rows[0]["response"], "B")  # both texts
    account = summary["rescore"]
    assert (account["reduced_to_final_answer"], account["overwritten"]) == (1, {"prediction": 1})


def test_guesses_are_wrong_unless_asked_for_and_depend_on_seed_and_id_alone(rescore_cli: Cli) -> None:
    rows = [{"id": str(place), **MMMU, "response": "no idea"} for place in range(40)]
    scored, summary = rescore_cli("mmmu", rows)
    assert {(row["prediction"], row["correct"], row["random_fallback"]) for row in scored} == {(None, False, True)}
    assert summary["rescore"]["random_fallbacks"] == summary["rescore"]["unparsed"] == 40
    first, summary = rescore_cli("mmmu", rows, "fallback=random", "seed=1")
    assert {row["prediction"] for row in first} == {"A", "B", "C"} and 0 < summary["Overall"]["acc"] < 1
    assert summary["rescore"]["seed"] == 1 and summary["rescore"]["random_fallbacks"] == 40
    backwards, _ = rescore_cli("mmmu", rows[::-1], "fallback=random", "seed=1")
    assert backwards[::-1] == first
    assert rescore_cli("mmmu", rows, "fallback=random", "seed=2")[0] != first


def test_hidden_references_are_read_and_not_scored(rescore_cli: Cli) -> None:
    rows = [{"id": "1", **MMMU, "response": "B"}, {"id": "2", **MMMU, "answer": "?", "response": "C"}]
    scored, summary = rescore_cli("mmmu", rows)
    assert [(row["prediction"], row["correct"]) for row in scored] == [("B", True), ("C", None)]
    assert (summary["rescore"]["scored"], summary["rescore"]["without_key"]) == (1, 1)
    bare = [{key: value for key, value in row.items() if key != "answer"} for row in rows]
    scored, summary = rescore_cli("mmmu", bare)
    assert [row["prediction"] for row in scored] == ["B", "C"] and set(summary) == {"rescore"}


def test_verdicts_without_responses_are_taken_over_and_counted(rescore_cli: Cli) -> None:
    rows = [
        {"id": "1", "correct": True, "question_type": "open"},
        {"id": "2", "correct": False, "question_type": "open"},
    ]
    scored, summary = rescore_cli("mmmu", rows)
    assert [row["correct"] for row in scored] == [True, False]
    assert summary["Overall"] == {"num": 2, "acc": 0.5} and summary["rescore"]["verdicts_taken_over"] == 2


def test_empty_answers_and_missing_facets_are_counted(rescore_cli: Cli) -> None:
    base = {"question_type": "free_form", "answer_type": "integer", "precision": None, "choices": None, "answer": "1"}
    rows = [
        {"pid": "1", **base, "response": "", "metadata": {"task": "t", "skills": ["a", "b"]}},
        {"pid": "2", **base, "response": None},
        {"pid": "3", **base, "response": "<think>never closed", "metadata": {"task": "t", "skills": []}},
        {"pid": "4", **base, "response": "1", "metadata": {"task": "u", "skills": ["a"]}},
    ]
    _, summary = rescore_cli("mathvista", rows)
    account = summary["rescore"]
    assert (account["empty"], account["unparsed"]) == (3, 3)
    assert account["rows_without_facet"]["metadata.task"] == 1 and "question_type" not in account["rows_without_facet"]
    assert summary["task"]["t"] == {"accuracy": 0.0, "correct": 0, "total": 2}
    assert summary["skills"]["a"]["total"] == 2 and summary["skills"]["b"]["total"] == 1
    assert list(summary["task"]) == ["u", "t"]  # the best first


def test_json_files_of_official_tools(tmp_path: Path) -> None:
    path = tmp_path / "output.json"
    path.write_text(json.dumps({"1": {**MMMU, "response": "B"}, "2": {**MMMU, "response": "A"}}))
    assert main(["eval", "rescore", "mmmu", f"responses={path}", f"output={tmp_path / 'out.jsonl'}"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["id"], row["correct"]) for row in rows] == [("1", True), ("2", False)]


def test_a_file_of_sections_is_read_for_its_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "parts.json"
    row = {"id": "1", "task_type": "order", "correct": True}
    parts = {"mlvu_dev": {"rows": [row], "expected": {"M_Avg": 100}}, "lvbench": {"rows": [{**row, "correct": False}]}}
    path.write_text(json.dumps(parts))
    for benchmark, correct in (("mlvu", True), ("lvbench", False)):
        assert main(["eval", "rescore", benchmark, f"responses={path}", f"output={tmp_path / 'out.jsonl'}"]) == 0
        [scored] = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert scored["correct"] is correct and scored["task_type"] == "order"


def test_videos_with_their_questions_inside(tmp_path: Path) -> None:
    path = tmp_path / "videomme.json"
    asked = [{"question_id": f"1-{place}", "answer": "B", "response": text} for place, text in enumerate("BA")]
    path.write_text(json.dumps([{"video_id": "1", "duration": "short", "questions": asked}]))
    assert main(["eval", "rescore", "videomme", f"responses={path}", f"output={tmp_path / 'out.jsonl'}"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["video_id"], row["question_id"], row["correct"]) for row in rows] == [
        ("1", "1-0", True),
        ("1", "1-1", False),
    ]
    summary = json.loads((tmp_path / "out.summary.json").read_text())
    assert summary["duration"]["short"]["total"] == 2 and summary["rescore"]["scores"]["acc_official"]["clusters"] == 1


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_files_that_begin_with_a_mark_of_their_encoding(tmp_path: Path, name: str) -> None:
    row = {"id": "1", **MMMU, "response": "B"}
    (tmp_path / name).write_text(json.dumps([row] if name == "rows.json" else row), encoding="utf-8-sig")
    words = [f"responses={tmp_path / name}", f"output={tmp_path / 'out.jsonl'}"]
    assert main(["eval", "rescore", "mmmu", *words]) == 0
    assert json.loads((tmp_path / "out.jsonl").read_text())["correct"] is True


def test_the_first_response_that_is_not_null_counts(rescore_cli: Cli) -> None:
    rows = [
        {"id": "1", "target": "14", "response": None, "prediction": "14"},
        {"id": "2", "target": "14", "response": "15", "prediction": "14"},
        {"id": "3", "target": "14", "response": None},
    ]
    scored, summary = rescore_cli("chartqa", rows)
    assert [row["correct"] for row in scored] == [True, False, False] and summary["rescore"]["empty"] == 1
    assert [row["correct"] for row in rescore_cli("chartqa", scored)[0]] == [True, False, False]


def test_unknown_names_name_the_nearest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = written(tmp_path, [{"id": "1", **MMMU, "response": "B"}])
    output = f"output={tmp_path / 'out.jsonl'}"
    assert "did you mean 'mathvista'?" in refused(capsys, "mathvsta", rows, output)
    assert "unknown rule of mmmu 'offical'" in refused(capsys, "mmmu", rows, output, "rule=offical")
    assert "did you mean 'official'?" in refused(capsys, "mmmu", rows, output, "rule=offical")
    assert "did you mean 'random'?" in refused(capsys, "mmmu", rows, output, "fallback=randm")
    assert "did you mean 'responses'?" in refused(capsys, "mmmu", rows, output, "response=x")
    assert "a seed draws random fallbacks" in refused(capsys, "mmmu", rows, output, "seed=1")
    assert "seed=x expected: a whole number" in refused(capsys, "mmmu", rows, output, "fallback=random", "seed=x")
    assert "missing: output=VALUE" in refused(capsys, "mmmu", rows)
    assert "no benchmark is named" in refused(capsys, rows, output)
    assert "dataset has no rules of its own" in refused(capsys, "dataset", rows, output)
    assert "is a folder" in refused(capsys, "mmmu", rows, f"output={tmp_path}")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("benchmark", "rows", "said"),
    [
        ("mmmu", [], "has no rows"),
        ("mmmu", [{"id": "7", **MMMU, "response": "B"}] * 2, "id '7' stands twice (rows 1 and 2)"),
        ("mmmu", [{"id": "7", **MMMU, "respons": "B"}], "id '7': no 'response' expected"),
        ("mmmu", [{"id": "7", **MMMU, "respons": "B"}], "did you mean 'response' where it says 'respons'?"),
        ("mmmu", [{"id": "7", "question_type": "multiple-choice", "answer": "A", "response": "A"}], "no 'options' (nor 'index2ans')"),
        ("mmmu", [{"id": "7", **MMMU, "options": "[1,", "response": "B"}], "options is '[1,', which is no Python list"),
        ("mmmu", [{"id": "1", **MMMU, "response": "B"}, {"id": "2", "question_type": "open", "response": "x"}],
         "row 2: no 'answer', which row 1 has"),
        ("mathvista", [{"pid": "3", "response": "B", "answer": "x", "answer_type": "text"}], "pid '3': no 'question_type'"),
        ("mathvista", [{"pid": "3", "response": "B", "answer": "x", "answer_type": "text", "question_type": "multi_choice", "choices": None}],
         "choices is None in a multi_choice question"),
        ("mathvision", [{"id": "3", "response": "B", "answer": "F", "options": ["x"]}], "answer is 'F' with 1 options"),
        ("charades_sta", [{"id": "3", "response": "1 - 2", "gt": [1, 2, 3]}], "gt is [1, 2, 3], which is not two numbers"),
        ("charades_sta", [{"id": "3", "response": "1 - 2", "gt": [1, "nan"]}], "which is not two numbers"),
        ("tempcompass", [{"id": "3", "prediction": "x", "answer": "y", "task": "yesno"}], "task is 'yesno', none of"),
        ("emma", [{"pid": "3", "response": "x", "answer": "9", "type": "Multiple Choice", "options": ["x"]}], "answer is '9' with 1 options"),
        ("safety", [{"id": "3", "response": "x", "kind": "bad"}], "kind is 'bad', neither harmful nor benign"),
        ("nextgqa", [{"id": "3", "gt_spans": [[0, 1]], "pred_span": [0, 1]}], "neither 'qa_correct' nor an 'answer'"),
        ("nextgqa", [{"id": "3", "gt_spans": 5, "pred_span": [0, 1], "qa_correct": True}], "gt_spans is '5', which is no list of spans"),
        ("tempcompass", [{"id": "3", "prediction": "x", "answer": "y", "task": "caption_matching", "question": 5}], "question is 5, which is no text"),
        ("mathvision", [{"id": "3", "response": "B", "answer": "B", "options": 5}], "options is '5', which is no list of at most 26"),
        ("mathvision", [{"id": "3", "response": "B", "answer": "B", "options": "red"}], "options is 'red', which is no Python list"),
        ("emma", [{"pid": "3", "response": "x", "answer": "A", "type": "Multiple Choice", "options": ["x"] * 27}], "which is no list of at most 26"),
        ("mlvu", [{"id": "3", "response": "x", "answer": "x", "candidates": "x"}], "candidates is 'x', which is no Python list"),
        ("mathvista", [{**FLOAT, "precision": "two", "rule": "strict"}], "precision is 'two', which is no number of decimals"),
        ("mathvista", [{**FLOAT, "precision": -1, "rule": "strict"}], "precision is -1, which is no number of decimals"),
        ("mathvista", [{**FLOAT, "precision": None, "rule": "strict"}], "precision is None, which is no number of decimals"),
        ("mathvista", [{**FLOAT, "precision": 1, "unit": ["g"], "rule": "strict"}], "unit is ['g'], which is no text"),
        ("mmmu", [{"id": "1", "question_type": "open", "answer": [], "response": "x", "rule": "strict"}], "answer is an empty list"),
        ("mathvista", [{**FLOAT, "answer_type": ["float"], "rule": "strict"}], "answer_type is ['float'], which is no text"),
        ("mathvista", [{**FLOAT, "answer_type": ["float"], "rule": "vlmevalkit"}], "answer_type is ['float'], which is no text"),
        ("mathverse", [{"sample_index": "3", "question_type": "free-form", "answer": "1", "extraction": "1", "rule": "lmms_eval"}],
         "no 'response' (nor 'model_answer')"),
        ("mmmu", [{"id": "1", **MMMU, "response": float("nan")}], "row 1: 'response' is nan expected: JSON, in which a missing value is null"),
        ("mmmu", [{"id": "1", **MMMU, "response": "B"}, {"id": "2", **MMMU, "response": "B", "own": [{"x": float("inf")}]}], "row 2: 'own' is inf"),
        ("mmmu", [{"id": "1", **MMMU, "response": json.loads("[" * 300 + "]" * 300)}], "row 1: 'response' is nested too deep"),
    ],
)  # fmt: skip
def test_unusable_rows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, benchmark: str, rows: Any, said: str
) -> None:
    rule = f"rule={rows[0].pop('rule', 'official')}" if rows else "rule=official"
    message = refused(capsys, benchmark, written(tmp_path, rows), f"output={tmp_path / 'out.jsonl'}", rule)
    assert said in message
    assert not (tmp_path / "out.jsonl").exists()


def test_unusable_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = f"output={tmp_path / 'out.jsonl'}"
    assert "no such file" in refused(capsys, "mmmu", f"responses={tmp_path / 'none.jsonl'}", output)
    (tmp_path / "broken.jsonl").write_text('{"id": 1}\n{"id": \n')
    assert "line 2: not JSON" in refused(capsys, "mmmu", f"responses={tmp_path / 'broken.jsonl'}", output)
    (tmp_path / "plain.json").write_text("[1, 2]")
    assert "holds something else" in refused(capsys, "mmmu", f"responses={tmp_path / 'plain.json'}", output)
    for name, text, said in (
        ("deep.json", "[" * 100_000, "is nested too deep to be read"),
        ("deep.jsonl", "[" * 100_000, "line 1: nested too deep, or a number too long, to be read"),
        ("long.json", "9" * 5000, "not JSON (Exceeds the limit"),
        ("long.jsonl", "9" * 5000, "line 1: nested too deep, or a number too long, to be read"),
    ):
        (tmp_path / name).write_text(text)
        assert said in refused(capsys, "mmmu", f"responses={tmp_path / name}", output)
    parts = {name: {"rows": [{"id": "1", "correct": True}]} for name in ("mlvu_dev", "mlvu_test", "lvbench")}
    (tmp_path / "parts.json").write_text(json.dumps(parts))
    for benchmark in ("mlvu", "mmmu"):
        message = refused(capsys, benchmark, f"responses={tmp_path / 'parts.json'}", output)
        assert f"has the sections mlvu_dev, mlvu_test, lvbench expected: one section of {benchmark}" in message


def test_evaluating_a_configuration_goes_on_working(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "eval.yaml"
    config.write_text("benchmark: datset\noutput: x\n")
    assert main(["eval", str(config)]) == 2
    assert "did you mean 'dataset'?" in " ".join(capsys.readouterr().err.split())


def test_a_thousand_rows_without_torch(tmp_path: Path) -> None:
    options = str([f"text number {letter}" for letter in "ABCDEFGHIJ"])
    texts = ["Let us think. " * 60 + f"Answer: {letter}" for letter in "ABCDEFGHIJ"]
    rows = [
        {"id": str(place), "options": options, "answer": "C", "response": texts[place % 10]} for place in range(1000)
    ]
    responses = written(tmp_path, rows)
    code = f"""
import sys
sys.modules["torch"] = None
from mmreflect.cli import main
assert main(["eval", "rescore", "mmmu_pro", {responses!r}, "output={tmp_path / "out.jsonl"}"]) == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    summary = json.loads((tmp_path / "out.summary.json").read_text())
    assert summary["overall"] == {"accuracy": 0.1, "correct": 100, "total": 1000}


def test_every_benchmark_states_an_official_rule_and_its_release() -> None:
    leaves = {name: recipes.load("benchmark", name) for name in recipes.names("benchmark") if name != "dataset"}
    assert len(leaves) == 20
    for name, leaf in leaves.items():
        benchmark = leaf.BENCHMARK
        assert isinstance(benchmark, Benchmark) and benchmark.name == name
        assert (
            next(iter(benchmark.rules)) == "official"
            and benchmark.columns
            and benchmark.source.splits
            and benchmark.styles
        )
        assert set(benchmark.source.hidden) <= set(benchmark.source.splits)
        assert leaf.__doc__ and f"mmreflect eval rescore {name} " in leaf.__doc__
