"""Two evaluations side by side, entered by `mmreflect view RUN RUN`."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from evaluation.asked import HARMED, REPLIES, ask

from mmreflect.cli import main

OTHER = REPLIES | {"q2": "<answer>3</answer>", "q3": "<answer>6</answer>", "q5": "<answer>7</answer>", "q4": "<answer>2</answer>"}  # fmt: skip
"""By hand: q2 and q5 are fixed, q3 is broken, q1 is right and q4 and q6 are wrong in both."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("pair")
    return tuple(
        ask(root / name, said, output=str(root / name / name)) for name, said in (("one", REPLIES), ("two", OTHER))
    )  # type: ignore[return-value]


def view(left: Path, right: Path, *more: str) -> str:
    assert main(["view", str(left), str(right), *more]) == 0
    return (right / f"against-{left.name}.html").read_text()


def words(page: str) -> str:
    body = re.sub(r"<style>.*?</style>|<desc>.*?</desc>|<script[^>]*>.*?</script>", "", page, flags=re.S)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body))).replace("\u00a0", " ")


def cards(page: str) -> dict[str, dict[str, Any]]:
    found = json.loads(re.findall(r'id="answers-data">(.*?)</script>', page, flags=re.S)[0])
    return {card["i"]: card for card in found["cards"]}


def test_the_difference_and_what_changed(runs: tuple[Path, Path], tmp_path: Path) -> None:
    text = words(view(*runs))
    compared = tmp_path / "compared.json"
    assert main(["eval", "compare", *map(str, runs), f"output={compared}"]) == 0
    gain = json.loads(compared.read_text())["difference"]["gain"]
    low, high = (f"{100 * gain[name]:+.1f}".replace("-", "\u2212") for name in ("low", "high"))
    assert f"No difference is shown: +16.7 points ({low} to {high}) on 6 questions that both answered." in text
    assert "B is better on 2 and worse on 1 of them (exact sign test, p = 1.000)." in text
    assert "fixed by B 2 33.3 % broken by B 1 16.7 % both right 1 16.7 % both wrong 2 33.3 %" in text
    # of counts A has q3 of q2, q3, q5; B has q2 and q5
    assert "counts 33.3 % 66.7 % +33.3 3" in text and "colours 50.0 % 50.0 % 0.0 2" in text
    assert "The same contract: they differ in nothing but the model." in text and "model: weights" in text


def test_both_answers_stand_next_to_each_other(runs: tuple[Path, Path]) -> None:
    found = cards(view(*runs))
    changes = {name: card["f"]["change"][0] for name, card in found.items()}
    assert changes == {
        "q1": "both right", "q2": "fixed by B", "q3": "broken by B", "q4": "both wrong", "q5": "fixed by B", "q6": "both wrong",
    }  # fmt: skip
    one, two = found["q2"]["r"]
    assert (one["l"], two["l"]) == ("A · one", "B · two")
    assert "".join(piece[0] for block in one["b"] for piece in block["p"]) == HARMED
    assert found["q2"]["f"]["transition, A"] == ["harmed"] and found["q2"]["f"]["verdict, B"] == ["right"]
    assert (found["q2"]["s"], found["q2"]["t"], found["q2"]["u"]) == ("4", "wrong", ["3", "right"])


def test_different_contracts_are_shown_and_said(runs: tuple[Path, Path], tmp_path: Path) -> None:
    third = ask(tmp_path, REPLIES, max_new_tokens=310)
    text = words(view(runs[0], third))
    assert "Not made under the same contract: 1 term differs, see below." in text and "this is no ranking" in text
    assert "decoding: max new tokens 300 310" in text


def test_runs_of_different_questions(runs: tuple[Path, Path], tmp_path: Path) -> None:
    from evaluation.asked import QUESTIONS

    fewer = ask(tmp_path, REPLIES, QUESTIONS[:2])
    page = view(runs[0], fewer)
    assert set(cards(page)) == {"q1", "q2"} and "4 questions in A alone." in words(page)


def test_evaluations_of_a_dataset(grid: Path, tmp_path: Path) -> None:
    golds = {
        row["id"]: row["answer"] for row in map(json.loads, (grid / "validation/00000.jsonl").read_text().splitlines())
    }
    runs = []
    for name, right in (("first", list(golds)[:2]), ("second", list(golds)[1:6])):
        script = [{"sample_id": key, "replies": [f"<answer>{gold if key in right else 'x'}</answer>"]} for key, gold in golds.items()]  # fmt: skip
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in script))
        config = {
            "benchmark": "dataset", "output": str(tmp_path / name), "data": {"path": str(grid), "split": "validation"},
            "engine": {"name": "scripted", "replies": str(tmp_path / f"{name}.jsonl")}, "max_new_tokens": 100,
        }  # fmt: skip
        (tmp_path / f"{name}.yaml").write_text(json.dumps(config))
        assert main(["eval", str(tmp_path / f"{name}.yaml")]) == 0
        runs.append(tmp_path / name)
    page = view(*runs)
    assert len(golds) == 6 and "fixed by B 4 66.7 % broken by B 1 16.7 % both right 1 16.7 %" in words(page)
    assert "colour A B points answers" in words(page) and cards(page)[next(iter(golds))]["f"]["change"] == [
        "broken by B"
    ]


def test_what_cannot_be_put_side_by_side(
    runs: tuple[Path, Path], grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_run = tmp_path / "open"
    open_run.mkdir()
    (open_run / "run.json").write_text(json.dumps({"verb": "eval", "name": "mathvista"}))
    (open_run / "samples.jsonl").write_text("")
    for left, right, said in (
        (runs[0], grid, "is a build run"),
        (runs[0], open_run, "is not finished"),
        (runs[0], tmp_path / "nowhere", "is not a run of mmreflect"),
    ):
        assert main(["view", str(left), str(right)]) == 2
        assert said in capsys.readouterr().err
    assert main(["view", "a", "b", "c"]) == 2 and "3 runs are named" in capsys.readouterr().err
