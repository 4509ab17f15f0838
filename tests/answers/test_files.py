import json
from pathlib import Path
from typing import Any

import pytest

from mmreflect.answers.files import grade_file
from mmreflect.answers.spec import AnswerSpec, spec_of
from mmreflect.errors import UserError

CASES = Path(__file__).parent / "verifier_cases.jsonl"
GOOD = {"prediction": "B", "reference": "B", "answer_type": "multiple_choice", "options": ["12", "15"]}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_the_public_cases_agree_and_keep_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = grade_file(CASES, tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    cases = [json.loads(line) for line in CASES.read_text().splitlines()]
    assert [row["id"] for row in rows] == [case["id"] for case in cases]
    for row, case in zip(rows, cases, strict=True):
        assert row["verdict"] == case["verdict"] and {"parsed_answer", "parsed_gold", "reason"} <= set(row)
        assert row["score"] == pytest.approx(case.get("score", float(bool(case["verdict"]))))
    assert counts == {"right": 67, "wrong": 34, "scored": 9}
    text = capsys.readouterr().out
    assert "67 right, 34 wrong, 9 scored" in text
    assert "agrees with the file's own verdicts in 110 of 110 rows" in text


def test_what_cannot_be_graded_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        GOOD,
        {**GOOD, "reference": None},
        {**GOOD, "answer_type": "float", "reference": "many", "verdict": True, "id": "q7"},
    ]
    counts = grade_file(write(tmp_path / "in.jsonl", *rows), tmp_path / "out.jsonl")
    assert counts == {"right": 1, "not gradable": 2}
    text = capsys.readouterr().out
    assert (
        "not gradable: 1 row: no reference answer" in text and "not gradable: 1 row: the reference is no number" in text
    )
    assert "in 0 of 1 rows" in text and "disagrees in: q7" in text
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert out[2]["expected_verdict"] is True and out[2]["verdict"] is None and out[2]["score"] is None


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"prediction": "B", "refrence": "B", "answer_type": "text"}, "line 2: key 'reference' is missing\n  expected: the keys prediction, reference, answer_type\n  to do: did you mean 'reference' where it says 'refrence'?"),
        ({"prediction": "B", "reference": "B"}, "line 2: key 'answer_type' is missing"),
        ({**GOOD, "answer_type": "multiple_chioce"}, "line 2: unknown answer_type 'multiple_chioce'"),
        ({**GOOD, "answer_type": "multiple_chioce"}, "did you mean 'multiple_choice'?"),
        ({**GOOD, "options": "AB"}, "line 2: options='AB'\n  expected: a mapping such as {A: 12, B: 15}"),
        ({**GOOD, "precision": -1}, "line 2: precision=-1\n  expected: a number of decimals from 0 to 15"),
        ("[1]", "line 2: a list\n  expected: a JSON object"),
        ("{", "line 2: not JSON"),
        ('{"prediction": NaN, "reference": "1", "answer_type": "math"}', "line 2: not JSON (NaN is no JSON value)"),
    ],
)  # fmt: skip
def test_bad_rows_name_their_line_and_nothing_is_written(row: Any, text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", GOOD, row)
    with pytest.raises(UserError) as error:
        grade_file(path, tmp_path / "out.jsonl")
    assert text in str(error.value)
    assert not (tmp_path / "out.jsonl").exists()


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.jsonl is not a file"):
        grade_file(tmp_path / "no.jsonl", tmp_path / "out.jsonl")
    with pytest.raises(UserError, match="has no rows"):
        grade_file(write(tmp_path / "empty.jsonl"), tmp_path / "out.jsonl")
    with pytest.raises(UserError, match="is a folder"):
        grade_file(write(tmp_path / "in.jsonl", GOOD), tmp_path)


def test_spec_of_facts() -> None:
    facts = {"answer_type": "float", "precision": 2.0, "unit": "years", "options": {"(a)": 1, "b": 2}, "other": 3}
    assert spec_of(facts) == AnswerSpec("float", (("A", "1"), ("B", "2")), 2, "years")
    assert spec_of({}) == AnswerSpec()
