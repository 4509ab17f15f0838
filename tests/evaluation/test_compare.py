"""Two results are ranked only under one contract; then question by question."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmreflect.errors import UserError
from mmreflect.evaluation.compare import compare
from mmreflect.evaluation.contract import Contract, differences, hash_of
from mmreflect.files import read_json

CONTRACT = Contract(
    model={"path": "a", "weights": "1"},
    benchmark={"name": "dataset", "split": "test", "questions": 4, "content": "x"},
    prompt={"environment": "e", "template": "t"},
    pixels={"max_pixels": None},
    decoding={"engine": "transformers", "temperature": 0.0},
    rule="verifier",
    versions={"mmreflect": "0"},
)


def write(folder: Path, right: str, contract: Contract | None = CONTRACT, **facts: Any) -> str:
    """Write a result whose n-th final answer is right where the n-th letter is `1`, ungraded where it is `?`."""
    folder.mkdir()
    rows = []
    for place, letter in enumerate(right):
        final = None if letter == "?" else letter == "1"
        rows.append(
            {"id": f"q{place}", "first": "x", "final": "x", "first_correct": final if final is None else False, "final_correct": final, "reflected": True,
             "corrective": bool(final), "tokens": 9, "tokens_first": 4, "sample_facts": {"video": place // 2, **facts}}
        )  # fmt: skip
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "result.json").write_text(json.dumps({"contract": contract.to_json()} if contract else {}))
    return str(folder)


def test_the_model_is_the_subject_and_no_term() -> None:
    other = replace(CONTRACT, model={"path": "b", "weights": "2"})
    assert other.hash == CONTRACT.hash and differences(CONTRACT.to_json(), other.to_json()) == []
    pixels = replace(CONTRACT, pixels={"max_pixels": 200704})
    assert pixels.hash != CONTRACT.hash
    assert differences(CONTRACT.to_json(), pixels.to_json()) == ["pixels.max_pixels: None against 200704"]
    judged = replace(CONTRACT, judge={"model": "j"})
    assert differences(CONTRACT.to_json(), judged.to_json()) == ["judge: None against {'model': 'j'}"]
    assert hash_of("a", {"b": 1}) == hash_of("a", {"b": 1}) != hash_of("a", {"b": 2})


def test_two_models_under_one_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left, right = write(tmp_path / "a", "1000"), write(tmp_path / "b", "0111")
    found = compare(left, right, [f"output={tmp_path / 'c.json'}", "cluster=video"])
    assert found["difference"]["gain"]["value"] == 0.5 and (
        found["difference"]["wins"],
        found["difference"]["losses"],
    ) == (3, 1)
    assert (
        found["changed"] == {"better": ["q1", "q2", "q3"], "worse": ["q0"]} and found["difference"]["p_value"] == 0.625
    )
    assert read_json(tmp_path / "c.json")["shared"] == 4
    text = capsys.readouterr().out
    assert "4 questions that both answered" in text and "sign test p = 0.62" in text


def test_other_terms_are_refused_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = write(tmp_path / "a", "10")
    right = write(
        tmp_path / "b", "01", replace(CONTRACT, prompt={"environment": "f", "template": "t"}, rule="official")
    )
    with pytest.raises(UserError) as error:
        compare(left, right, [])
    assert "prompt.environment: 'e' against 'f'" in str(error.value) and "rule: 'verifier' against 'official'" in str(
        error.value
    )
    assert "anyway=true" in str(error.value)
    found = compare(left, right, ["anyway=true"])
    assert len(found["contract_differences"]) == 2 and "ranked all the same" in capsys.readouterr().out


def test_a_result_without_a_contract_is_another_contract(tmp_path: Path) -> None:
    left, right = write(tmp_path / "a", "10"), write(tmp_path / "b", "01", None)
    with pytest.raises(UserError, match=r"no contract was recorded in .*b"):
        compare(left, right, [])


def test_what_one_of_them_lacks_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left, right = write(tmp_path / "a", "10?1"), write(tmp_path / "b", "110")
    found = compare(left, right, [])
    assert (found["shared"], found["only_left"], found["only_right"], found["not_graded"]) == (3, 1, 0, 1)
    assert found["difference"]["n"] == 2
    assert "1 left out: only left" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("left", "right", "settings", "message"),
    [
        ("a", "nowhere", [], "nowhere holds no answers"),
        ("a", "open", [], "the evaluation in .*open is not finished"),
        ("a", "other", [], "share no question"),
        ("a", "a", ["anyhow=true"], "unknown setting 'anyhow'"),
        ("a", "a", ["anyway=yes"], "anyway=yes"),
        ("a", "a", ["cluster=film"], "question 'q0' has no fact 'film'"),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, left: str, right: str, settings: list[str], message: str) -> None:
    write(tmp_path / "a", "10")
    write(tmp_path / "open", "10")
    (tmp_path / "open/result.json").unlink()
    write(tmp_path / "other", "1")
    (tmp_path / "other/samples.jsonl").write_text(json.dumps({"id": "z", "final_correct": True}) + "\n")
    with pytest.raises(UserError, match=message):
        compare(str(tmp_path / left), str(tmp_path / right), settings)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mmreflect.cli import main

    left, right = write(tmp_path / "a", "1000"), write(tmp_path / "b", "0111")
    assert main(["eval", "compare", left, right, f"output={tmp_path / 'c.json'}"]) == 0
    assert read_json(tmp_path / "c.json")["difference"]["wins"] == 3
    assert main(["eval", "compare", left]) == 2
    assert "1 results are named" in capsys.readouterr().err
