"""Answers against tables written by hand, and every question's gold and solution against the verifier."""

import random
from fractions import Fraction

import pytest

from mmreflect.answers.grade import verify
from mmreflect.answers.spec import AnswerSpec
from mmreflect.charts.making import SKILLS, askable, make_chart
from mmreflect.charts.questions import compare, compute, count, multi_step, read, scatter, trend
from mmreflect.charts.questions.view import Question, Unaskable, View
from mmreflect.charts.scales import Scale, nice_step, read_scale, tick_texts, written
from mmreflect.charts.tables import KINDS, Table


def table_of(values: list[list[int | None]], **changes: object) -> Table:
    columns = ("Women", "Men")[: len(values[0])] if len(values[0]) > 1 else ("",)
    fields: dict[str, object] = {
        "kind": "line", "noun": "revenue", "unit": "million $", "title": "Revenue", "rows": ("2019", "2020", "2021", "2022")[: len(values)],
        "columns": columns, "row_noun": "year", "column_noun": "group", "preposition": "in",
        "values": tuple(tuple(None if item is None else Fraction(item) for item in line) for line in values),
        "places": 0, "labelled": True, "ordered": True, "additive": True,
        "scale": Scale(Fraction(0), Fraction(40), Fraction(10), Fraction(5)),
    }  # fmt: skip
    return Table(**(fields | changes))  # type: ignore[arg-type]


ONE = table_of([[10], [30], [20], [25]])
TWO = table_of([[10, 12], [30, 8], [20, 25], [25, 4]])
GAPS = table_of([[10, 12], [None, 8], [20, None], [25, 4]])


def answers(form: object, table: Table, tries: int = 60) -> dict[str, Question]:
    found = {}
    for seed in range(tries):
        try:
            question = form(View(table, random.Random(seed)))  # type: ignore[operator]
        except Unaskable:
            continue
        found[question.text] = question
    return found


VECTORS = [
    (read.ask, ONE, "What is the revenue in 2020, in million $?", "30"),
    (read.ask, ONE, "Which year has a revenue of 25 million $?", "2022"),
    (compare.extreme, ONE, "Which year has the highest revenue?", "2020"),
    (compare.extreme, TWO, "Which year has the lowest revenue for Men?", "2022"),
    (compare.larger, ONE, "Is the revenue in 2021 higher than the revenue in 2022?", "no"),
    (compare.within_row, TWO, "Which group has the highest revenue in 2021?", "Men"),
    (count.beyond, ONE, "For how many years is the revenue above 15 million $?", "3"),
    (count.leads, TWO, "For how many years is the revenue for Women higher than for Men?", "2"),
    (count.missing, GAPS, "How many values are missing in this chart?", "2"),
    (compute.difference, ONE, "By how much is the revenue in 2020 higher than the revenue in 2019, in million $?", "20"),
    (compute.ratio, ONE, "How many times as high as the revenue in 2021 is the revenue in 2022? Round to one decimal.", "1.3"),  # 1.25, up
    (compute.mean, ONE, "What is the mean revenue over all 4 years, in million $? Round to one decimal.", "21.3"),  # 21.25, up
    (compute.total, TWO, "What is the total revenue in 2019 over all 2 groups, in million $?", "22"),
    (compute.part, ONE, "Which percentage of the revenue of all years together is that in 2020? Round to one decimal.", "35.3"),  # 30 of 85
    (compute.change, ONE, "By how many percent did the revenue fall from 2020 to 2022? Round to one decimal.", "16.7"),
    (trend.way, ONE, "Comparing 2022 with 2020, did the revenue rise, fall or stay the same? Answer with: rise, fall, or stay the same.", "fall"),
    (trend.steepest, ONE, "Which year shows the largest rise of the revenue compared with the year shown before it?", "2020"),
    (trend.rises, ONE, "How many times was the revenue higher than in the year shown before?", "2"),
    (multi_step.extent, ONE, "What is the difference between the highest and the lowest revenue, in million $?", "20"),
    (multi_step.runner_up, ONE, "Which year has the second highest revenue?", "2022"),
    (multi_step.lookup, TWO, "For the year with the highest revenue for Women, what is the revenue for Men, in million $?", "8"),
    (multi_step.gap, TWO, "For which year do Women and Men differ the most in revenue?", "2020"),
    (multi_step.above_mean, ONE, "For how many years is the revenue above the mean of all 4 that are shown?", "2"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "table", "text", "answer"), VECTORS, ids=[vector[2][:60] for vector in VECTORS])
def test_answers_by_hand(form: object, table: Table, text: str, answer: str) -> None:
    found = answers(form, table, 200)
    assert text in found, sorted(found)
    assert found[text].answer == answer and answer not in found[text].wrong


def test_ties_are_not_asked_about() -> None:
    tied = table_of([[30, 8], [30, 8], [10, 8], [10, 8]])
    for form in (compare.extreme, multi_step.extent, multi_step.runner_up, multi_step.gap):
        assert not answers(form, tied)
    assert not answers(trend.steepest, table_of([[10], [20], [30], [40]]))


def test_shades_are_compared_only_where_they_differ() -> None:
    cells = [[10, 12], [30, 8], [29, 25], [25, 4]]
    assert "Which year has the highest revenue for Women?" not in answers(
        compare.extreme, table_of(cells, kind="heat_map", labelled=False)
    )
    assert "Which year has the highest revenue for Women?" in answers(
        compare.extreme, table_of(cells, kind="heat_map", labelled=True)
    )


BOX = table_of([[1, 4, 6, 9, 12], [2, 3, 7, 10, 11], [0, 5, 8, 13, 20]], kind="box", ordered=False, additive=False, noun="delay", unit="days",
               rows=("A", "B", "C"), columns=("minimum", "lower quartile", "median", "upper quartile", "maximum"), outliers=((), (), ()))  # fmt: skip


def test_box_plots() -> None:
    found = answers(compute.spread, BOX)
    assert found["What is the interquartile range of the delay in A, in days?"].answer == "5"
    assert found["What is the distance between the ends of the whiskers of the delay in C, in days?"].answer == "20"
    assert answers(multi_step.widest, BOX)["Which year has the largest interquartile range of the delay?"].answer == "C"
    assert answers(compare.extreme, BOX)["Which year has the lowest median delay?"].answer == "A"


def test_correlation() -> None:
    assert scatter.correlation([(0, 1), (1, 3), (2, 5)]) == pytest.approx(1)
    assert scatter.correlation([(0, 1), (1, 0), (2, 1)]) == pytest.approx(0)
    assert scatter.correlation([(0, 1), (0, 2)]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_verifier_agrees_with_every_answer_and_with_no_wrong_one(kind: str) -> None:
    for skill in askable(kind, SKILLS):
        for number in range(2):
            chart = make_chart("verifier", number, kinds=[kind], skills=[skill])
            question = chart.question
            spec = AnswerSpec(question.type, precision=question.places)
            assert verify(f"<think>x</think><answer>{question.answer}</answer>", question.answer, spec).correct is True
            for wrong in question.wrong:
                assert verify(f"<answer>{wrong}</answer>", question.answer, spec).correct is False, (
                    question.text,
                    wrong,
                )
            steps = chart.annotation().steps
            assert question.steps and any(places for _, places in steps), question.text
            assert all(places for (_, looks), (_, places) in zip(question.steps, steps, strict=True) if looks), (
                question.text
            )


def test_numbers_as_they_are_written() -> None:
    assert written(Fraction(5, 4), 1) == "1.3" and written(Fraction(-5, 4), 1) == "-1.3"
    assert written(Fraction(12345678, 10), 1, comma=True) == "1,234,567.8" and written(Fraction(1, 20), 2) == "0.05"
    assert tick_texts([Fraction(0), Fraction(2500), Fraction(5000)], "short", "") == ["0", "2.5K", "5.0K"]
    assert tick_texts([Fraction(0), Fraction(1, 2), Fraction(1)], "comma", "%") == ["0.0%", "0.5%", "1.0%"]
    assert tick_texts([Fraction(0), Fraction(2000)], "comma", "$ per kg") == ["$0", "$2,000"]


def test_scales() -> None:
    assert nice_step(Fraction(95), 5) == 20 and nice_step(Fraction(9), 5) == 2 and nice_step(Fraction(100), 4) == 25
    log = Scale(Fraction(1), Fraction(1000), Fraction(10), Fraction(1), True, True)
    assert log.ticks() == [1, 10, 100, 1000] and log.share(Fraction(100)) == pytest.approx(2 / 3)
    assert log.small_ticks()[:3] == [2, 3, 4] and len(log.small_ticks()) == 24
    for seed in range(200):
        scale = read_scale(random.Random(seed), Fraction(95), Fraction(1))
        assert scale.high >= 95 and scale.resolution.denominator == 1 and scale.step % scale.resolution == 0
        assert scale.step / scale.resolution <= 2 or scale.minor  # halfway is read by eye, finer only on small ticks
