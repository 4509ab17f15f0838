"""The pure parts of the comparison of merge methods: its questions, its configurations, its figures and its table."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mmreflect.answers.grade import verify
from mmreflect.launch import prepare

SCRIPT = Path(__file__).parents[2] / "benchmarks/merging.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("merging_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def answered(*right: bool | None, checks: bool = False) -> list[dict[str, Any]]:
    return [{"id": f"q{place}", "right": one, "tokens": 10, "checks": checks} for place, one in enumerate(right)]


def test_two_colours_are_counted_added_and_checked_again(script: ModuleType) -> None:
    red, blue = ("red", "square"), ("blue", "circle")
    row = script.reasoned(["blue", "green"], [red, None, blue, blue, red, None, None, blue, ("green", "circle")])
    assert row["response"] == (
        "<think>red none blue ; blue red none ; none blue green ; 3 blue 1 green</think><answer>4</answer>"
        "<reflection>Wait, check again: 3 blue 1 green</reflection><answer>4</answer>"
    )
    assert row["answer"] == "4" and verify(row["response"], row["answer"]).passed
    assert script.how_many("blue", "green") == "How many blue or green shapes are there?"


def test_a_grid_is_read_row_by_row(script: ModuleType) -> None:
    red, blue = ("red", "square"), ("blue", "circle")
    row = script.counted("red", [red, None, blue, red, red, None, blue, None, red])
    assert row == {
        "answer": "4",
        "response": "<think>red none blue ; red red none ; blue none red</think><answer>4</answer>",
    }


def test_the_same_seed_asks_the_same(script: ModuleType, tmp_path: Path) -> None:
    made = [list(script.pictures(3, "a", tmp_path / folder, two=True)) for folder in ("one/grids", "two/grids")]
    assert made[0] == made[1]
    assert " or " in made[0][0]["question"] and "Wait, check again" in made[0][0]["response"]
    pixels = [(tmp_path / folder / made[0][0]["images"][0]).read_bytes() for folder in ("one", "two")]
    assert pixels[0] == pixels[1]
    assert list(script.words(3, "a")) != list(script.words(3, "b"))


def test_every_method_is_a_merge_that_the_front_door_takes(script: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "attention.json"
    for settings in script.METHODS.values():
        tree = script.merging(settings, Path("base"), "vlm", "reason", file) | {"output": str(tmp_path / "out")}
        job = prepare("merge", tree)
        prior = getattr(job.config, "prior", None)
        assert (prior.measured if prior else None) in (None, str(file))
    assert script.METHODS[script.PAPER]["prior"]["measured"] == script.MEASURED  # the table itself is left as it is


def test_figures_pool_the_seeds_and_leave_out_what_nobody_could_grade(script: ModuleType) -> None:
    found = script.figures([answered(True, True, False, None), answered(True, False, False, False, checks=True)])
    assert found["accuracy"][0] == pytest.approx(3 / 7)
    assert found["seeds"] == pytest.approx([2 / 3, 1 / 4])
    assert (found["tokens"], found["checks"], found["ungraded"]) == (10, 0.5, 1)
    assert 0 <= found["accuracy"][1] < 3 / 7 < found["accuracy"][2] <= 1


def test_the_table_puts_parents_first_and_then_the_best_mean(script: ModuleType) -> None:
    good, bad = answered(True, True), answered(False, False)
    layers = [{"lam_v": value, "lam_r": 1 - value} for value in (0.9, 0.5, 0.2)]
    whole = [{"lam_v": None, "lam_r": None}] * 3
    run = {
        "answers": {
            "VLM": {"pictures": good, "words": bad, "both": bad},
            "reasoning LLM": {"words": good},
            "poor": {"pictures": bad, "words": bad, "both": good},
            "rich": {"pictures": good, "words": good, "both": bad},
        },
        "layers": {"poor": layers, "rich": whole},
    }
    base = dict.fromkeys(script.KINDS, bad)
    lines = script.table(script.summarise([run, run], base)).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| base", "| VLM", "| reasoning LLM", "| rich", "| poor"]
    one, nil = "1.00 (1.00 to 1.00)", "0.00 (0.00 to 0.00)"
    assert lines[3] == f"| VLM | {one} | {nil} | {nil} | 0.50 | 10/10/10 | 0%/0%/0% | - | - |"
    assert lines[4] == f"| reasoning LLM | - | {one} | - | - | -/10/- | -/0%/- | - | - |"
    assert lines[6].endswith("| 0.90 0.50 0.20 | 0.10 0.50 0.80 |")


def test_norms_are_relative_to_the_base(script: ModuleType) -> None:
    def run(norm2_v: float) -> dict[str, Any]:
        layer = {"norm2_v": norm2_v, "norm2_r": 1.0, "norm2_base": 100.0, "cosine": 0.25}
        return {"layers": {"centroid": [layer]}, "attention": {"a": [0.4]}}

    (row,) = script.vectors([run(4.0), run(16.0)])
    assert row == pytest.approx({"vlm": 0.3, "reason": 0.1, "ratio": 10.0, "cosine": 0.25, "attention": 0.4})
