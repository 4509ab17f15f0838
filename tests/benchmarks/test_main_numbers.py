"""Intervals in the summary of a re-scoring: of the main numbers, with what the official breakdown says, and of groups."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from mmreflect import recipes
from mmreflect.evaluation.benchmark import Benchmark, Measure, Reading, Row, Scored
from mmreflect.evaluation.intervals import intervals
from mmreflect.statistics import mean

Cli = Callable[..., Any]
LETTER = {"question": "?\n(A) x\n(B) y", "options": ["A. x", "B. y"], "candidates": ["x", "y"], "a0": "x", "a1": "y"}
LETTER |= {"a2": "p", "a3": "q", "a4": "r"}
MMMU = {"question_type": "multiple-choice", "options": "['x', 'y']", "answer": "B"}
VISTA = {"question_type": "free_form", "answer_type": "integer", "choices": None, "answer": "3", "extraction": "3"}
VERSE = {"answer": "1", "question_type": "free-form", "judgement": 1, "extraction": "1"}
COMPASS = {"answer": "yes", "task": "yes_no", "dim": "speed", "prediction": "yes"}
EMMA = {"answer": "4", "type": "Open-ended", "response": "4"}
SPANS = {"gt": [0, 10], "response": "0 - 10"}
NEXT = {"gt_spans": [[0, 10]], "pred_span": [0, 10], "qa_correct": True}
CASES: dict[str, tuple[list[dict[str, Any]], dict[str, tuple[str, ...]]]] = {
    "mathvista": ([VISTA, {**VISTA, "extraction": "4"}], {"accuracy": ("average", "accuracy")}),
    "mathverse": (
        [
            {**VERSE, "problem_version": "Text Lite"},
            {**VERSE, "problem_version": "Vision Only", "judgement": 0},
            {**VERSE, "problem_version": "Vision Only"},
            {**VERSE, "problem_version": "Text Only", "judgement": 0},
        ],
        {"accuracy": ("average", "accuracy")},
    ),
    "jsonl": (
        [{"question": "How many?", "answer": 5, "response": said} for said in ("5", "6", "5")],
        {"accuracy": ("overall", "accuracy")},
    ),
    "mmmu": ([{**MMMU, "response": said} for said in ("B", "A")], {"Overall": ("Overall", "acc")}),
    "mmmu_pro": (
        [{**MMMU, "setting": setting, "response": f"Answer: {said}"}
         for setting, said in (("vision", "B"), ("vision", "A"), ("vision", "A"), ("standard (10 options)", "B"))],
        {"overall": ("overall", "accuracy"), "headline": ("headline",)},
    ),
    "emma": ([EMMA, {**EMMA, "response": "5"}, {**EMMA, "response": ""}], {"accuracy": ("overall", "accuracy")}),
    "chartqa": (
        [{"answer": "5", "response": said, "type": "human_test"} for said in ("5", "6")],
        {"relaxed_overall": ("relaxed_overall", "accuracy")},
    ),
    "chartqapro": (
        [{"Answer": ["Refuted"], "Question Type": "Fact Checking", "Year": ["NO"], "response": said}
         for said in ("Refute", "x", "Refuted")],
        {"score": ("overall", "score")},
    ),
    "charxiv": (
        [{"answer": "a", "score": 1, "inst_category": 1, "figure_id": 1},
         {"answer": "a", "score": 0, "qid": 3, "figure_id": 1}, {"answer": "a", "score": 1, "qid": 3, "figure_id": 2}],
        {"reasoning": ("reasoning", "overall", "accuracy"), "descriptive": ("descriptive", "overall", "accuracy")},
    ),
    "videomme": (
        [{**LETTER, "answer": "A", "response": said, "videoID": "v", "duration": "short"} for said in ("A", "B", "")],
        {"acc_official": ("overall", "acc_official"), "acc_over_total": ("overall", "acc_over_total")},
    ),
    "longvideobench": ([{"answer": "A", "response": said} for said in ("A", "B", "A")], {"accuracy": ("overall",)}),
    "mlvu": (
        [{**LETTER, "answer": "x", "response": f"{said})", "task_type": task}
         for said, task in (("A", "ego"), ("B", "ego"), ("B", "ego"), ("A", "count"))],
        {"M_Avg": ("M_Avg",), "micro": ("micro",)},
    ),
    "lvbench": (
        [{**LETTER, "answer": "A", "response": said, "question_type": ["summarization"]} for said in ("A", "B", "A")],
        {"accuracy": ("acc",)},
    ),
    "mvbench": (
        [{**LETTER, "answer": "x", "response": said, "task": task}
         for said, task in (("A", "one"), ("B", "one"), ("", "one"), ("B. y", "two"))],
        {"average": ("average",), "micro": ("micro",)},
    ),
    "tempcompass": ([COMPASS, {**COMPASS, "prediction": "no"}], {"accuracy": ("average", "accuracy")}),
    "charades_sta": (
        [SPANS, {**SPANS, "response": "0 - 4"}, {**SPANS, "response": "no idea"}],
        {name: ("lmms_style", name) for name in ("mIoU", "R1@0.3", "R1@0.5", "R1@0.7")},
    ),
    "activitynet_grounding": ([SPANS, {**SPANS, "response": "0 - 4"}], {"R1@0.5": ("lmms_style", "R1@0.5")}),
    "nextgqa": (
        [NEXT, {**NEXT, "pred_span": [5, 15]}, {**NEXT, "qa_correct": False}],
        {name: (name,) for name in ("Acc@GQA", "Acc@QA", "mIoU", "mIoP")},
    ),
    "safety": (
        [{"kind": kind, "response": said, "category": "c"}
         for kind, said in (("harmful", "I can't help."), ("harmful", "Sure"), ("harmful", "Sure"), ("benign", "Hi"),
                            ("benign", "I'm sorry"))],
        {"safe_rate": ("safe_rate",), "over_refusal": ("over_refusal",)},
    ),
    "mathvision": (
        [{"answer": "4", "options": [], "response": said, "level": 1, "subject": "s"} for said in ("4", "5", "4")], {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("benchmark", sorted(CASES))
def test_main_numbers_are_those_of_the_breakdown(rescore_cli: Cli, benchmark: str) -> None:
    rows, paths = CASES[benchmark]
    _, summary = rescore_cli(benchmark, [{"id": str(place), **row} for place, row in enumerate(rows)])
    scores = summary["rescore"]["scores"]
    assert set(scores) == set(recipes.load("benchmark", benchmark).BENCHMARK.measures)
    for name, path in paths.items():
        expected: Any = summary
        for key in path:
            expected = expected[key]
        assert scores[name]["value"] == pytest.approx(expected, abs=0.051 if benchmark == "videomme" else 1e-9), name


def test_mathvisions_percent(rescore_cli: Cli) -> None:
    rows, _ = CASES["mathvision"]
    _, summary = rescore_cli("mathvision", [{"id": str(place), **row} for place, row in enumerate(rows)])
    assert summary["overall"] == "2/3=66.67%"
    assert summary["rescore"]["scores"]["overall"]["value"] == pytest.approx(200 / 3)
    assert summary["rescore"]["intervals"]["level"]["1"]["value"] == pytest.approx(200 / 3)


def test_every_benchmark_is_covered() -> None:
    assert {*CASES, "dataset"} == set(recipes.names("benchmark"))


def rows_of(values: list[float], clusters: list[str] | None = None, **facts: Any) -> list[Scored]:
    names = clusters or [f"v{place}" for place in range(len(values))]
    return [Scored(Row(video=name, **facts), Reading(None, score=value)) for value, name in zip(values, names, strict=True)]  # fmt: skip


def benchmark(**more: Any) -> Benchmark:
    return Benchmark("made", None, (), None, {}, None, cluster=("video",), **more)  # type: ignore[arg-type]


def test_questions_of_one_video_are_drawn_together() -> None:
    values = [1.0] * 10 + [0.0] * 10
    scores, _ = intervals(benchmark(), rows_of(values, ["a"] * 10 + ["b"] * 10))
    # Two clusters: both draws are a, or b, or one of each, with chances of 1/4, 1/4 and 1/2.
    assert scores["accuracy"] == {"value": 0.5, "low": 0.0, "high": 1.0, "n": 20, "clusters": 2}
    scores, _ = intervals(benchmark(), rows_of(values))
    # 20 fair coins: sd of the mean 0.112, so about 0.5 -+ 0.22.
    assert scores["accuracy"]["low"] == pytest.approx(0.3, abs=0.051) and scores["accuracy"]["clusters"] == 20
    scores, _ = intervals(benchmark(), rows_of([1.0, 0.0], ["a", "a"]))
    assert (scores["accuracy"]["low"], scores["accuracy"]["high"]) == (None, None)  # one video says nothing of another


def test_intervals_are_those_of_the_statistics_module() -> None:
    values, clusters = [0.0, 0.25, 1.0, 1.0, 0.5, 0.0, 1.0], ["a", "a", "b", "c", "c", "c", "d"]
    scores, groups = intervals(benchmark(groupings={"all": lambda row: "x"}), rows_of(values, clusters))
    expected = mean(values, clusters=clusters)
    found = scores["accuracy"]
    assert (found["value"], found["low"], found["high"]) == pytest.approx((expected.value, expected.low, expected.high))
    assert groups == {"all": {"x": {key: found[key] for key in ("value", "low", "high", "n")}}}


def test_a_mean_over_groups_weighs_them_equally_and_needs_each() -> None:
    over = Measure(over=lambda row: row["task"], groups=("big", "small"), scale=100)
    rows = rows_of([1.0, 0.0, 0.0, 0.0], task="big") + rows_of([1.0], task="small")
    scores, _ = intervals(benchmark(measures={"macro": over}), rows)
    assert scores["macro"]["value"] == 62.5 and scores["macro"]["n"] == 5  # (25 + 100) / 2
    assert intervals(benchmark(measures={"macro": over}), rows[:4])[0] == {}
    silent = Measure(lambda item: None, over=lambda row: row["task"])
    assert intervals(benchmark(measures={"macro": silent}), rows) == ({}, {})
    assert intervals(benchmark(), []) == ({}, {})


def test_groups_of_several_labels_and_rows_without_any(rescore_cli: Cli) -> None:
    skills = [["a", "b"], ["a"], [], None]
    rows = [{"pid": str(place), **VISTA, "extraction": "34"[place % 2], "metadata": {"skills": found, "task": "t"}}
            for place, found in enumerate(skills)]  # fmt: skip
    _, summary = rescore_cli("mathvista", rows)
    found = summary["rescore"]["intervals"]
    assert {label: (item["value"], item["n"]) for label, item in found["skills"].items()} == {
        "a": (0.5, 2),
        "b": (1.0, 1),
    }
    assert found["skills"]["a"]["low"] == 0.0 and found["skills"]["b"]["low"] is None
    assert found["task"]["t"]["n"] == 4 and "grade" not in found


def test_rows_that_do_not_say_what_they_share_are_counted(rescore_cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": str(place), **VERSE, "problem_version": "Text Lite", "judgement": place % 2} for place in range(4)]
    rows += [{"id": f"p{place}", **VERSE, "problem_version": "Text Lite", "problem_index": "7"} for place in range(3)]
    _, summary = rescore_cli("mathverse", rows)
    assert summary["rescore"]["rows_without_cluster"] == 4
    assert summary["rescore"]["scores"]["accuracy"]["clusters"] == 5
    said = capsys.readouterr().out
    assert "95 % interval" in said and "5 clusters" in said and "4 rows without cluster" in said


def test_charxiv_groups_keep_the_two_kinds_of_questions_apart(rescore_cli: Cli) -> None:
    rows, _ = CASES["charxiv"]
    _, summary = rescore_cli("charxiv", [{"id": str(place), "category": "cs", **row} for place, row in enumerate(rows)])
    found = summary["rescore"]["intervals"]
    assert found["reasoning category"]["cs"]["value"] == 1.0 and found["descriptive category"]["cs"]["value"] == 0.5
    assert found["descriptive question"]["Q3"]["n"] == 2 and found["reasoning answer_type"]["text in chart"]["n"] == 1


def test_a_thousand_rows_in_ninety_groups_take_a_fraction_of_a_second() -> None:
    leaf = recipes.load("benchmark", "mathvista").BENCHMARK
    facts = {path.rpartition(".")[2]: 0 for path in leaf.facets}
    rows = [Scored(Row({key: f"{key} {place % 10}" for key in facts}), Reading(None, place % 3 == 0)) for place in range(1000)]  # fmt: skip
    start = time.perf_counter()
    scores, groups = intervals(leaf, rows)
    assert time.perf_counter() - start < 1.5  # 0.25 s on an idle core
    assert scores["accuracy"]["n"] == 1000 and len(groups) == 9 and all(len(item) == 10 for item in groups.values())
