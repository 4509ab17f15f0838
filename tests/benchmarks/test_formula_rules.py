r"""The rules of MATH-Vision and EMMA, and the formulas that they compare, worked out by hand from their descriptions."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from mmreflect import recipes
from mmreflect.evaluation.benchmark import Reading
from mmreflect.evaluation.rules.latex import same_expression, same_value, value_of
from mmreflect.evaluation.rules.number_words import number_in_words

Read = Callable[..., Reading]


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("It must be (C).", "c"),
        ("B\nbecause of the angle", "b"),
        ("(D)\nas it is", "d"),
        ("the length is 4.50.", "4.50"),
        ("The answer is 12. Then we stop", "12"),
        ("Thus the final answer is x=5\nDone", "5"),
        ("\\boxed{3} or rather \\boxed{4}", "4"),
        ("\\boxed{\\dfrac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{0.5}", "\\frac{1}{2}"),
        ("\\boxed{3/4}", "\\frac{3}{4}"),
        ("\\boxed{15 \\text{ km}}", "15"),
        ("\\boxed{45^\\circ}", "45"),
        ("\\boxed{x \\approx 3.1}", "3.1"),
        ("\\boxed{\\sqrt3}", "\\sqrt{3}"),
        ("\\boxed{\\frac12\\sqrt5}", "\\frac{1}{2}\\sqrt{5}"),
        ("\\boxed{\\frac12}", "\\frac12"),  # fractions are braced beside a root alone
        ("\\boxed{.5 + 1}", "0.5+1"),
        ("\\boxed{(e)}", "e"),
        ("\\boxed{20\\%}", "20"),
    ],
)  # fmt: skip
def test_mathvision_extraction(response: str, answer: str) -> None:
    assert recipes.load("benchmark", "mathvision").extract(response) == answer


@pytest.mark.parametrize(
    ("given", "wanted", "equal"),
    [
        ("a", "A", True), ("", "", False), (" ", " ", False), ("1/2", "0.5", True), ("0.333", "\\frac{1}{3}", True),
        ("(1/2,3)", "(0.5, 3)", True), ("(1,2)", "(2,1)", False), ("[1,2]", "(1,2)", False), ("2\\pi", "6.28", True),
        ("(-\\infty,1/2)", "(-\\infty,0.5)", True), ("x+1", "1+x", False), ("6\\frac{1}{4}", "6.25", False),
        ("1.994", "1.99", True), ("1.996", "1.99", False), ("12:30", "0.4", True),
    ],
)  # fmt: skip
def test_mathvision_equality(given: str, wanted: str, equal: bool) -> None:
    assert recipes.load("benchmark", "mathvision").equal(given, wanted) is equal


@pytest.mark.parametrize(
    ("answer", "options", "response", "extraction", "correct", "how"),
    [
        ("B", ["red", "blue"], "It is B.", None, True, "the response itself"),
        ("B", ["red", "blue"], "It is A.", "B", False, "the response itself"),
        ("B", ["red", "blue"], "Both, red and blue", "blue", True, "recorded extraction"),
        ("B", ["red", "blue"], "Both, red and blue", "neither", False, "recorded extraction"),
        ("0.333", [], "so it is", "\\frac{1}{3}", False, "recorded extraction"),  # two decimals are not enough
        ("0.3333333", [], "so it is", "\\frac{1}{3}", True, "recorded extraction"),
        ("12", [], "12.0", None, True, "the response itself"),
        ("12", [], "So \\boxed{12}", None, True, "extracted by rule"),
        ("12", [], "<think>12</think>", None, False, "empty response"),
        ("2^{20000}", [], "so it is", "2.5", False, "recorded extraction"),
    ],
)
def test_mathvision_under_vlmevalkit(
    rescore_cli: Any, answer: str, options: list[str], response: str, extraction: str | None, correct: bool, how: str
) -> None:
    row = {"id": "1", "options": options, "answer": answer, "level": 1, "subject": "algebra", "response": response}
    [scored], summary = rescore_cli("mathvision", [{**row, "extraction": extraction}], "rule=vlmevalkit")
    assert (scored["correct"], summary["rescore"]["answers_from"]) == (correct, {how: 1})
    by_rule = how == "extracted by rule"
    assert summary["rescore"]["approximate"] == by_rule and bool(summary["rescore"]["label"]) is by_rule


def test_mathvision_accepts_letter_or_text_and_counts_as_the_official_table(rescore_cli: Any) -> None:
    row = {"options": ["$\\frac{1}{4}$", "$2$"], "answer": "A", "level": 3, "subject": "algebra"}
    rows = [
        {**row, "id": str(place), "response": text}
        for place, text in enumerate(["\\boxed{A}", "\\boxed{0.25}", "\\boxed{B}"])
    ]
    scored, summary = rescore_cli("mathvision", rows)
    assert [item["correct"] for item in scored] == [True, True, False]
    assert summary["overall"] == "2/3=66.67%" and summary["subject_level"] == {"algebra": {"level3": "2/3=66.67%"}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/2\\pi", 4 / 3.141592653589793), ("6\\frac{1}{4}", 1.5), ("12:30", 0.4), ("2^3^2", 64), ("-2^2", -4), ("5)", 5),
        ("1,000", 1000), ("1,00", None), ("1,2", None), ("3!", 6), ("50\\%", 0.5), ("50%", None), ("\\sqrt[3]{27}", 3.0),
        ("x=5", 5), ("5=5", None), ("a", None), ("e", None), ("e^2", 7.38905609893065), ("|3|", None), ("\\frac12", None),
        ("9^{9^{9}}", None), ("1000!", None), ("(" * 5000, None), ("{" * 40 + "1" + "}" * 40, None), ("1/0", None), ("", None),
        ("\\sqrt{-1}", None), ("3" * 2000, None), ("10^{99999}", None),
    ],
)  # fmt: skip
def test_values_of_formulas(text: str, value: float | None) -> None:
    found = value_of(text, "math")
    if text == "1000!":
        assert found is not None and found > 10**100  # within bounds
    else:
        assert found == (value if value is None else pytest.approx(value))


def test_values_under_sympy_know_more_names() -> None:
    assert value_of("e", "sympy") == pytest.approx(2.718281828) and value_of("|-3|", "sympy") == 3
    assert same_value("\\ln e^2", "2", "sympy") and not same_value("\\ln e^2", "2", "math")
    assert same_value("\\infty", "\\infty", "sympy") and not same_value("x", "x", "sympy")


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("x+1", "1+x", True), ("2x", "x*2", True), ("x^2-1", "(x-1)(x+1)", True), ("\\frac{a}{2}", "0.5a", True),
        ("\\sin^2 x+\\cos^2 x", "1", True), ("\\frac{x^2-1}{x-1}", "x+1.", True), ("(n+1)!", "(n+1)n!", True),
        ("kx/m", "\\frac{kx}{m}", True), ("x/2y", "x/(2y)", True), ("e^{2x}", "(e^x)^2", True), ("x-x", "0", True),
        ("\\theta_1+\\alpha", "\\alpha+\\theta_1", True), ("y=2x", "x+x", True),
        ("x+1", "x+1.00001", False), ("x_1", "x_2", False), ("f'", "f", False), ("x", "y", False), ("x", "", False),
        ("\\sqrt{x^2}", "x", False), ("\\sqrt{x^2}", "|x|", True),  # variables have either sign
        ("2x+1=0", "1+2x=0", False), ("x)", "x", False), ("listen", "silent", False), ("\\infty x", "\\infty x", False),
        ("2+2", "4", False),  # without variables values are compared, and elsewhere
        ("\\sqrt{-x^2-1}", "\\sqrt{-x^2-2}", False),  # nowhere real
        ("x^2", "2^{20000}", False), ("x+2^{20000}", "2^{20000}+x", False),  # more than a float holds
        ("x" + "+1" * 150, "x+150", False), ("+".join("abcdfghjklmno"), "+".join("onmlkjhgfdcba"), False),  # too much
    ],
)  # fmt: skip
def test_formulas_with_variables(left: str, right: str, same: bool) -> None:
    assert same_expression(left, right) is same and same_expression(right, left) is same


def test_emma_compares_symbolically_and_errors_are_wrong(rescore_cli: Any) -> None:
    pairs = [
        ("x+1", "1+x", True),
        ("\\frac{a}{2}", "0.5A", True),
        ("x+1", "x+2", False),
        ("\\begin{x", "x", False),
        ("\\int x", "x", False),
    ]
    rows = [
        {"pid": str(place), "type": "Open-ended", "answer": wanted, "response": f"So \\boxed{{{given}}}."}
        for place, (given, wanted, _) in enumerate(pairs)
    ]
    scored, summary = rescore_cli("emma", rows)
    assert [row["correct"] for row in scored] == [correct for _, _, correct in pairs]
    assert summary["overall"]["correct"] == 2


def test_emma_scores_a_thousand_rows_within_the_limit(read: Read) -> None:
    base = {"pid": "1", "type": "Open-ended"}
    texts = ["(" * 25 + "x+" + ")" * 25, "\\frac{a}{2}+b", "^".join("x" * 60), "x^{99}" * 30, "\\boxed{" * 300]
    start = time.process_time()
    for place in range(1000):
        text = texts[place % len(texts)]
        answer = f"0.5a+b+{place}-{place}"
        assert read("emma", {**base, "response": f"\\boxed{{{text}}}", "answer": answer}).correct is (place % 5 == 1)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("response", "extraction"),
    [
        ("b", "B"), ("C: because", "C"), ("D. because", "D"), ("3.50", "3.50"), ("x \\boxed{a{b}} \\boxed{\\text{E}}", "E"),
        ("\\boxed{4 \\boxed{5}", "5"), ("\\boxed{3} \\boxed{4", "3"), ("\\boxed{1 \\boxed{2}}", "1 \\boxed{2}"),
        ("\\boxed{12", ""), ("answer: 3.5", "3"), ("The final answer is 7\nok", "7"), ("none", ""), ("", None),
        ("The answer is \\boxed{x", "\\boxed{x"), ("The answer is X. \\boxed{y}", "y"),
    ],
)  # fmt: skip
def test_emma_extraction(response: str, extraction: str | None) -> None:
    assert recipes.load("benchmark", "emma").extract(response) == extraction


def test_emma_accepts_letter_text_words_and_values(read: Read) -> None:
    row = {"pid": "1", "type": "Open-ended", "options": [], "answer": "5"}
    verdicts = [
        read("emma", {**row, "response": text}).correct
        for text in ("\\boxed{five}", "\\boxed{10/2}", "\\boxed{six}", "")
    ]
    assert verdicts == [True, True, False, False]
    chosen = {"pid": "1", "type": "Multiple choice", "options": ["x^2", "0.5"], "answer": "B"}
    assert [read("emma", {**chosen, "response": text}).correct for text in ("B", "\\boxed{\\frac{1}{2}}", "A")] == [
        True,
        True,
        False,
    ]


def test_emma_categories_count_for_each(rescore_cli: Any) -> None:
    row = {
        "type": "Open-ended",
        "options": None,
        "answer": "1",
        "subject": "Coding",
        "task": "Vis",
        "category": "Color; Axis",
    }
    _, summary = rescore_cli(
        "emma", [{**row, "pid": "1", "response": "1"}, {**row, "pid": "2", "category": "Axis", "response": "2"}]
    )
    assert summary["category"] == {
        "Color": {"accuracy": 1.0, "correct": 1, "total": 1},
        "Axis": {"accuracy": 0.5, "correct": 1, "total": 2},
    }
    assert list(summary["subject_task"]) == ["Coding_Vis"]


@pytest.mark.parametrize(
    ("text", "number"),
    [("five", 5), ("Twenty-one", 21), ("two hundred and six apples", 206), ("two or three", 5), ("three point five", 3.5),
     ("one thousand two", 1002), ("3", 3), ("about 3", None), ("red", None), ("million million", None)],
)  # fmt: skip
def test_numbers_in_words(text: str, number: float | None) -> None:
    assert number_in_words(text) == number
