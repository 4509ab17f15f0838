"""The 110 public rows of the grading policy, and rows of the same policy that are not among them."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mmreflect.answers.files import reference_text
from mmreflect.answers.grade import AnswerSpec, reference_problem, verify
from mmreflect.answers.spec import spec_of

CASES = [json.loads(line) for line in (Path(__file__).parent / "verifier_cases.jsonl").read_text().splitlines()]
SHAPES = (("A", "12"), ("B", "15"), ("C", "18"), ("D", "21"))
CARS = (("A", "a red car"), ("B", "a blue van"), ("C", "a green bus"), ("D", "a white truck"))
FORMULAS = (("A", r"\frac{1}{2}"), ("B", r"2\sqrt{3}"), ("C", "(1,2)"), ("D", "[1,2]"), ("E", "None of the above"))


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_public_case(case: dict[str, Any]) -> None:
    start = time.monotonic()
    verdict = verify(case["prediction"], reference_text(case["reference"]), spec_of(case))
    assert verdict.correct is case["verdict"], verdict
    if "score" in case:
        assert verdict.score == pytest.approx(case["score"], abs=1e-9)
    assert time.monotonic() - start < case.get("max_seconds", 8)


@pytest.mark.parametrize(
    ("prediction", "gold", "options", "right"),
    [
        ("[C]", "C", SHAPES, True), ("D: 21", "D", SHAPES, True), ("**(D)** 21", "D", SHAPES, True), ("C 18", "C", SHAPES, True), ("18.0", "C", SHAPES, True),
        (r"$\boxed{\textbf{(C)}}$", "C", SHAPES, True), ("The correct choice is **C**", "C", SHAPES, True), ("I think it's C because it is 18", "C", SHAPES, True),
        ("I choose option b", "B", SHAPES, True), ("C. 15", "C", SHAPES, False), ("A/C", "A", SHAPES, False), ("either A or B", "B", SHAPES, False),
        (r"\boxed{A} or \boxed{B}", "B", SHAPES, False), (r"\boxed{A} then \boxed{B}", "B", SHAPES, True), (r"\boxed{Because}", "B", SHAPES, False), ("AB", "A", SHAPES, False),
        ("The options are A, B, C, D. I pick B.", "B", SHAPES, True), ("（Ｂ）", "B", SHAPES, True), ("B", "15", SHAPES, True), ("I", "B", SHAPES, False),
        ("A large van", "A", CARS, False), ("A is the right answer", "A", CARS, True), ("blue van", "B", CARS, True), ("It's not a red car, it's a blue van", "B", CARS, True),
        ("The answer is not A.", "A", CARS, False), ("a red car or a blue van", "A", CARS, False), ("(D) A WHITE TRUCK", "D", CARS, True), ("B", "B. a blue van", CARS, True),
        ("0.5", "A", FORMULAS, True), (r"\sqrt{12}", "B", FORMULAS, True), ("(1,2)", "C", FORMULAS, True), ("[1,2]", "C", FORMULAS, False), ("none of the above", "E", FORMULAS, True),
    ],
)  # fmt: skip
def test_multiple_choice(prediction: str, gold: str, options: tuple[tuple[str, str], ...], right: bool) -> None:
    assert verify(prediction, gold, AnswerSpec("multiple_choice", options)).correct is right


def test_options_with_the_same_text_are_the_same_option() -> None:
    assert verify("C", "A", AnswerSpec("multiple_choice", (("A", "5"), ("B", "6"), ("C", "5")))).correct is True


@pytest.mark.parametrize(
    ("prediction", "gold"),
    [
        ("7 000", "7000"), ("1,234,567.5", "1234567.5"), ("€5", "5"), ("5 dollars", "$5"), ("3 hrs", "3 hours"), ("5 meters per second", "5 m/s"), ("5 cm^2", "5 cm²"),
        (r"5\text{ cm}^2", "5 square centimeters"), ("25 °C", "25"), ("50%", "0.5"), ("50", "50%"), ("50 percent", r"50\%"), ("- 7", "−7"), ("2½", "5/2"), (r"-1\frac{1}{2}", "-1.5"),
        ("2 1/2", "2.5"), (r"\frac34", "0.75"), ("1.5 x 10^-3", "0.0015"), ("3×10⁵", r"3\cdot10^{5}"), ("3e5", "300000"), ("５", "5"), ("0.333333", "1/3"), ("007", "7"), ("3!", "6"),
        ("√8", r"2\sqrt{2}"), ("2*sqrt(2)", r"\sqrt8"), (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}"), (r"25\pi \text{ cm}^2", "25π"), (r"\frac{x^2-1}{x-1}", "x+1"), ("3.141593", r"\pi"),
        (r"\sin^2 x + \cos^2 x", "1"), ("e^{2x}", "(e^x)^2"), (r"\log_2 8", "3"), ("7", "x=7"), ("y=2x+1", "2x+1"), ("2x+3y=6", "4x+6y=12"), ("3<x", r"x > 3"), ("9x < 34", r"x<\frac{34}{9}"),
        ("x=1 or x=2", "x=2 or x=1"), ("{1, 2}", r"\{2,1\}"), (r"\left(\frac12, 3\right]", "(0.5,3]"), (r"[0,\infty)", "[0, ∞)"), (r"x \in [1,2]", "[1,2]"), ("x>3", r"(3,\infty)"),
        (r"(1,2)\cup(3,4)", r"(3,4)\cup(1,2)"), ("3+4i", "4i+3"), (r"\int_0^1 x dx", r"\frac12"), (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1& \frac42\\ 3&4\end{pmatrix}"),
        ("There are 12 apples and 3 oranges, so 15 fruits.", "15"), ("Thus the area is 25π.", r"25\pi"), ("#### 42", "42"), ("**Answer:** 42", "42"), (r"The final answer is: $42$. I hope it is correct.", "42"),
        (r"reasoning</think>\boxed{6}", "6"), ("3 : 4", "3:4"), ("No solution.", "no solution"), (r"\boxed{5} \boxed{6}", "6"), ("12 apple", "12 apples"), ("0.5 m", "1/2 m"), ("100 USD", r"\$100"),
    ],
)  # fmt: skip
def test_math_right(prediction: str, gold: str) -> None:
    assert verify(prediction, gold, AnswerSpec("math")).correct is True


@pytest.mark.parametrize(
    ("prediction", "gold"),
    [
        ("0.333", "1/3"), ("3.14", r"\pi"), ("1.414", r"\sqrt{2}"), ("12 kg", "12 g"), ("3 hours", "3 minutes"), ("5 cm^2", "5 cm"), ("25 °C", "25 °F"), ("$5", "€5"), ("1 m", "100 cm"),
        ("12 apples", "12 oranges"), (r"25\pi cm^2", r"25\pi m^2"), ("90 rad", "90°"), ("5 or 6", "5"), ("5; 6", "6"), (r"\boxed{5}, \boxed{6}", "6"), ("between 20 and 22", "22"), ("It is 7 (or 8).", "7"),
        ("y=7", "x=7"), ("2x=5", "5"), ("5x", "5"), ("y", "x"), (r"\sqrt{x^2}", "x"), ("a-b", "b-a"), (r"\{1,2,3\}", r"\{1,2\}"), ("(3,2)", "(2,3)"), ("(2,3]", "[2,3)"), ("x>3", "x<3"),
        ("3:4", "3:5"), ("3:4", "0.75"), ("0.75", "3:4"), ("5", "no solution"), ("twelve", "12"), (r"\frac{1}{0}", "1"), (r"<think>\boxed{5}", "5"), ("2^{2^{2^{2^2}}}", "5"), ("1000000!", "5"),
        ("123456789^{987654321}", "5"), ("9" * 200, "5"), ("3,4", "3.4"), (r"\begin{pmatrix}1&2\\3&5\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"), ("<answer></answer> 5", "5"),
    ],
)  # fmt: skip
def test_math_wrong(prediction: str, gold: str) -> None:
    assert verify(prediction, gold, AnswerSpec("math")).correct is False


@pytest.mark.parametrize("gold", ["", "???", r"\frac{1}{", "9" * 80 + "+i"])
def test_a_reference_that_does_not_parse_is_not_graded(gold: str) -> None:
    verdict = verify("5", gold, AnswerSpec("math"))
    assert (verdict.correct, verdict.score) == (None, None) and "reference" in verdict.reason


@pytest.mark.parametrize(
    ("kind", "gold", "problem"),
    [
        ("math", r"\frac{1}{", "the reference does not parse"), ("math", "3+4i", None), ("math", "no solution", None), ("math", "x=1 or x=2", None), ("math", "12 km", None), ("math", "x^{99999}+i", "too big"),
        (None, "", "no reference answer"), ("float", "many", "the reference is no number"), ("ocr", "a b", None), ("temporal_iou", "[5, 15]", None), ("temporal_iou", "5", "not one interval"),
    ],
)  # fmt: skip
def test_references_are_checked_before_training(kind: str | None, gold: str, problem: str | None) -> None:
    found = reference_problem(gold, AnswerSpec(kind))
    assert found == problem or (problem is not None and problem in (found or ""))


@pytest.mark.parametrize(
    ("prediction", "gold", "precision", "right"),
    [
        ("3.14", r"\pi", 2, True), ("3.15", r"\pi", 2, False), ("2.675", "2.68", 2, True), ("2.675", "2.67", 2, True), ("1.2 or 1.3", "1.2", 1, False), ("12,500.04", "12500", 1, True),
        ("1.25 kg", "1.25 g", 2, False), ("x = 1.41", "1.41", 2, True), ("about 1.41", "1.41", 2, True), (r"\log_{10} 50", "1.70", 2, True), ("1.414", r"\sqrt{2}", None, False), ("1.26", "1.2", None, False),
        ("-1.26", "−1.3", 1, True), ("1.2e1", "12.0", 1, True), ("", "1.2", 1, False), ("1.2", "abc", 1, None),
    ],
)  # fmt: skip
def test_float(prediction: str, gold: str, precision: int | None, right: bool | None) -> None:
    assert verify(prediction, gold, AnswerSpec("float", precision=precision)).correct is right


def test_the_unit_of_the_sample_stands_for_a_missing_one() -> None:
    assert verify("12 months", "12", AnswerSpec("math", unit="years")).correct is False
    assert verify("12 years", "12", AnswerSpec("float", unit="years")).correct is True


@pytest.mark.parametrize(
    ("prediction", "gold", "right"),
    [
        ("(2007, 2008)", "[2007, 2008]", True), ("2007 and 2008", "[2007, 2008]", True), ("The years are 2007 and 2008.", "[2007, 2008]", True), ("[2007]", "[2007, 2008]", False),
        ("red, blue", "['Red', 'Blue']", True), ("blue, red", "[red, blue]", False), (r"\{b, a\}", "{a, b}", True), ("[1/2, 3]", "[0.5, 3.0]", True), ("0 2 0 2", "[0, 2, 0, 2]", True),
        ("- 2007\n- 2008", "[2007, 2008]", True), ("[]", "[1]", False), ("[1]", "[]", None),
    ],
)  # fmt: skip
def test_list(prediction: str, gold: str, right: bool | None) -> None:
    assert verify(prediction, gold, AnswerSpec("list")).correct is right


@pytest.mark.parametrize(
    ("kind", "prediction", "gold", "right"),
    [
        ("yes_no", "**No**", "no", True), ("yes_no", "Nothing", "no", False), ("yes_no", "yes or no", "yes", False), ("yes_no", "The answer is yes.", "yes", True), ("yes_no", "Know", "no", False),
        ("yes_no", "There are two. Yes, it is.", "yes", True), ("yes_no", "yes", "maybe", None), ("text", "The answer is Red.", "red", True), ("text", "St. Louis", "st. louis", True),
        ("text", "don’t", "Don't", True), ("text", "not red", "red", False), ("text", "4:3", "3:4", False), ("text", r"\textit{café}", "Cafe\u0301", True),
    ],
)  # fmt: skip
def test_words(kind: str, prediction: str, gold: str, right: bool | None) -> None:
    assert verify(prediction, gold, AnswerSpec(kind)).correct is right


@pytest.mark.parametrize(
    ("kind", "prediction", "gold", "score"),
    [
        ("ocr", "a b x d", "a b c d", 0.75), ("ocr", "a b c d e", "a b c d", 0.75), ("ocr", "x y z u v w", "a b", 0), ("ocr", r"\boxed{\text{a b}}", "a b", 1), ("ocr", "b c", "a b c d", 0.5),
        ("regression", "<answer>8 kg</answer>", "10", 0.8), ("regression", "-9", "-10", 0.9), ("regression", "0", "0", 1), ("regression", "1", "0", 0), ("regression", "many", "10", 0),
        ("temporal_iou", "5-15 seconds", "[5,15]", 1), ("temporal_iou", "0:05 to 0:15", "5 to 15", 1), ("temporal_iou", "15 to 5", "[5,15]", 1), ("temporal_iou", "10 to 10", "[5,15]", 0),
        ("temporal_iou", "1 to 2 and 5 to 15", "[5,15]", 0), ("temporal_iou", "It happens from 5.0 seconds to 10 seconds.", "5.0 to 15.0", 0.5), ("temporal_iou", "0 to 20", "[5,15]", 0.5),
    ],
)  # fmt: skip
def test_scores(kind: str, prediction: str, gold: str, score: float) -> None:
    verdict = verify(prediction, gold, AnswerSpec(kind))
    assert verdict.correct is None and verdict.score == pytest.approx(score) and verdict.passed is (score >= 0.5)


@pytest.mark.parametrize(
    ("prediction", "gold", "right"),
    [
        ("[2007,2008]", "[2007, 2008]", True), ("(x+1)^2", "x^2+2x+1", True), ("No.", "no", True), ("12 km", "12 m", False), ("a dog", "A dog", True), ("12:30", "12:30", True), ("C", "(C)", True),
    ],
)  # fmt: skip
def test_without_a_type_the_reference_decides(prediction: str, gold: str, right: bool) -> None:
    assert verify(prediction, gold).correct is right


def test_letters_numbers_and_words_load_no_computer_algebra() -> None:
    code = """
import sys
from mmreflect.answers.grade import verify, AnswerSpec
from mmreflect.answers.stats import grading_stats
for text, gold in [("B", "(B)"), ("12 cm", "12"), ("1/2", "0.5"), ("Red.", "red"), ("yes", "no"), (r"\\sqrt{12}", r"2\\sqrt{3}")]:
    verify(text, gold)
assert not {"sympy", "math_verify", "torch"} & set(sys.modules)
assert grading_stats().sent == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)
