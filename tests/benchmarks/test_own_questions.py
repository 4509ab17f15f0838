"""A user's own JSONL as a benchmark: its verdicts, and the breakdown by whatever its rows name."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from mmreflect.evaluation.releases import Release, questions

Cli = Callable[..., Any]
COLOURS = {"id": "1", "question": "Which?", "options": ["red", "green"], "answer": "green"}


@pytest.mark.parametrize(
    ("fields", "response", "correct"),
    [
        ({}, "The answer is (B).", True), ({}, "<answer>green</answer>", True), ({}, "A", False), ({"answer": "B"}, "B", True),
        ({"options": {"A": "red", "B": "green"}}, "\\boxed{B}", True), ({"options": None, "answer": "7"}, "It is 3. <answer>7</answer>", True),
        ({"options": None, "answer": 7}, "\\boxed{7.0}", True), ({"options": None, "answer": 2.344, "answer_type": "float", "precision": 2}, "2.35", False),
        ({"options": None, "answer": 2.344, "answer_type": "float", "precision": 2}, "<answer>2.34</answer>", True),
        ({"options": None, "answer": [1, 2]}, "<answer>[1, 2]</answer>", True), ({"options": None, "answer": "yes"}, "Yes, it is.", True),
        ({"options": None, "answer": 12, "unit": "cm"}, "<answer>12 kg</answer>", False), ({"answer": None}, "B", None), ({"answer": ""}, "B", None),
    ],
)  # fmt: skip
def test_verdicts(rescore_cli: Cli, fields: dict[str, Any], response: str, correct: bool | None) -> None:
    (row,), summary = rescore_cli("jsonl", [{**COLOURS, **fields, "response": response}])
    assert row["correct"] is correct and summary["rescore"]["without_key"] == (correct is None)


def test_breakdown_by_category_or_by_what_rows_name(rescore_cli: Cli) -> None:
    rows = [
        {**COLOURS, "id": str(place), "response": "AB"[place % 2], "category": "abc"[place % 3], "level": place // 3}
        for place in range(6)
    ]
    _, summary = rescore_cli("jsonl", rows)
    assert summary["overall"] == {"accuracy": 0.5, "correct": 3, "total": 6}
    assert {name: cell["total"] for name, cell in summary["category"].items()} == {"a": 2, "b": 2, "c": 2}
    assert "level" not in summary
    _, summary = rescore_cli("jsonl", [{**row, "facets": ["level", "none"]} for row in rows])
    assert set(summary) == {"overall", "level", "rescore"}
    # rows 0, 2 of level 0 say A, and 1 says B, which is right; of level 1, row 4 says A
    assert {name: cell["correct"] for name, cell in summary["level"].items()} == {"0": 1, "1": 2}
    _, summary = rescore_cli("jsonl", [{**row, "facets": "level"} for row in rows[:3]] + rows[3:])
    assert set(summary) == {"overall", "level", "category", "rescore"}


def test_bad_fields_are_named(rescore_cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    for fields, said in (({"answer_type": "numbr"}, "unknown answer_type 'numbr'"), ({"options": 3}, "options='3'"), ({"precision": -1, "options": None}, "precision=-1")):  # fmt: skip
        with pytest.raises(AssertionError):  # the command is refused
            rescore_cli("jsonl", [{**COLOURS, **fields, "response": "B"}])
        assert said in capsys.readouterr().err


def test_samples_are_graded_like_the_benchmark(open_replica: Callable[..., Release]) -> None:
    from mmreflect.answers.grade import verify
    from mmreflect.answers.spec import spec_of

    for question in questions(open_replica("jsonl")).asked:
        sample = question.sample
        if sample.gold is not None:
            assert verify(f"<answer>{sample.gold}</answer>", sample.gold, spec_of(sample.facts)).correct, question.id
        assert json.loads(json.dumps(sample.facts)) == sample.facts
