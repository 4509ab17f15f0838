r"""The rules of the picture benchmarks on rows of our own making, worked out by hand from their descriptions."""

from collections.abc import Callable
from typing import Any

import pytest

from mmreflect.evaluation.benchmark import Reading
from mmreflect.evaluation.rules.mmmu import mmmu_letter, mmmu_pro_letter, open_answers

Read = Callable[..., Reading]


def mathvista(kind: str, answer: str, **more: Any) -> dict[str, Any]:
    row = {
        "pid": "1",
        "question_type": "free_form",
        "answer_type": kind,
        "precision": None,
        "choices": None,
        "answer": answer,
    }
    return {**row, **more}


def choice(answer: str, choices: list[str], **more: Any) -> dict[str, Any]:
    return mathvista("text", answer, question_type="multi_choice", choices=choices, **more)


@pytest.mark.parametrize(
    ("extraction", "prediction"),
    [
        ("5.9", "5"), ("-5.9", "-5"), ("1e3", "1000"), (" 7 ", "7"), ("1,200", None), ("12 cm", None), ("", None),
        ("inf", None), ("nan", None), ("five", None), (7, "7"),
    ],
)  # fmt: skip
def test_mathvista_integers_are_truncated(read: Read, extraction: Any, prediction: str | None) -> None:
    assert read("mathvista", mathvista("integer", "5", extraction=extraction)).prediction == prediction


@pytest.mark.parametrize(
    ("extraction", "precision", "prediction"),
    [("2.675", 2, "2.67"), ("12.50", 2, "12.5"), ("3", 1, "3.0"), ("3.14159", 1.0, "3.1"), ("1/2", 1, None), ("0.25", None, None)],
)  # fmt: skip
def test_mathvista_floats_are_rounded(read: Read, extraction: str, precision: Any, prediction: str | None) -> None:
    assert (
        read("mathvista", mathvista("float", "1", extraction=extraction, precision=precision)).prediction == prediction
    )


@pytest.mark.parametrize(
    ("extraction", "choices", "prediction"),
    [
        ("B", ["Yes", "No"], "No"),
        ("b", ["Yes", "No"], "No"),  # no letter: "No" is two edits away, "Yes" three
        ("(b)", ["Yes", "No"], "No"),  # in brackets a small letter counts
        ("the answer (B) or (A)", ["Yes", "No"], "No"),  # the first one
        ("f(x)=2", ["2", "f of x"], "2"),  # X is no option: the nearest text to "X"
        ("", ["long option", "ab"], "ab"),  # nothing selects the shortest
        ("No", ["Yes", "No"], "No"),
        ("55", ["50°", "55°"], "55°"),
        ("cat", ["cap", "car"], "cap"),  # a tie goes to the first
        ("E", ["ten", "one"], "ten"),  # beyond the options: by distance, three each
    ],
)
def test_mathvista_options(read: Read, extraction: str, choices: list[str], prediction: str) -> None:
    assert read("mathvista", choice("No", choices, extraction=extraction)).prediction == prediction


def test_mathvista_lists_are_plain_texts(read: Read) -> None:
    assert read("mathvista", mathvista("list", "[1, 2]", extraction="[1, 2]")).correct is True
    assert read("mathvista", mathvista("list", "[1, 2]", extraction="[1,2]")).correct is False


def test_mathvista_compares_without_folding_case(read: Read) -> None:
    assert read("mathvista", choice("yes", ["yes", "Yes"], extraction="(B)")).correct is False
    assert read("mathvista", choice("Yes", ["Yes", "no"], extraction="(A)")).correct is True


@pytest.mark.parametrize(
    ("response", "row", "prediction", "how"),
    [
        ("No", choice("No", ["Yes", "No"]), "No", "the response itself"),
        (" 12\n", mathvista("integer", "12"), "12", "the response itself"),
        ("", mathvista("integer", "12"), None, "empty response"),
        ('So. The answer is "14".', mathvista("integer", "14"), "14", "extracted by rule"),
        ("First 3 boxes, so the answer is 14 apples.", mathvista("integer", "14"), "14", "extracted by rule"),
        ("It costs \\boxed{1,250} dollars", mathvista("integer", "1250"), "1250", "extracted by rule"),
        ("Therefore the answer is (B) No.", choice("No", ["Yes", "No"]), "No", "extracted by rule"),
        ("The list is [0,2, 1].", mathvista("list", "[0, 2, 1]"), "[0, 2, 1]", "extracted by rule"),
        ("<think>A</think><answer>B</answer>", choice("No", ["Yes", "No"]), "No", "extracted by rule"),
    ],
)
def test_mathvista_extraction_without_an_llm(read: Read, response: str, row: Any, prediction: Any, how: str) -> None:
    reading = read("mathvista", {**row, "response": response})
    assert (reading.prediction, reading.how, reading.approximate) == (prediction, how, how == "extracted by rule")


def test_mathvista_flag_for_empty_extractions(read: Read) -> None:
    row = choice("No", ["Yes", "No"], extraction="  ")
    assert read("mathvista", row).prediction == "No"
    reading = read("mathvista", row, "official_ignore_empty")
    assert (reading.prediction, reading.correct, reading.parsed) == (None, False, False)


def test_mathvista_under_lmms_eval_loses_every_float(read: Read) -> None:
    for precision in (1, 1.0):  # a file's own type of number changes nothing
        row = mathvista("float", "1.2", extraction="1.23", precision=precision)
        reading = read("mathvista", row, "lmms_eval")
        assert (reading.prediction, reading.correct, reading.parsed) == (None, False, False)
        assert read("mathvista", row).correct is True
    assert read("mathvista", mathvista("integer", " 3 ", extraction="3.7"), "lmms_eval").correct is True


@pytest.mark.parametrize(
    ("row", "response", "extraction", "correct"),
    [
        (mathvista("integer", "3"), "so 3.0", "3.0", False),  # int("3.0") fails
        (mathvista("integer", "3"), "3", "4", True),  # the raw response is the reference
        (mathvista("integer", "3"), "5", "3", True),  # it is not, so the extraction counts
        (mathvista("float", "1.2", precision=1), "about", "1.23", False),  # no rounding
        (mathvista("float", "1.2", precision=1), "about", "1.20", True),
        (mathvista("list", "[1, 2]"), "[1, 2]", "[1, 2]", False),  # lists are never right
        (choice("No", ["Yes", "No"]), "It is B.", "Yes", True),  # a letter in the raw response
        (choice("No", ["Yes", "No"]), "hmm", "Nope", True),  # one option's text inside
        (choice("55°", ["50°", "55°"]), "hmm", "55", False),  # no edit distance
        (choice("No", ["Yes", "No"]), "Cannot determine the answer", "B", False),  # a refusal
    ],
)
def test_mathvista_under_vlmevalkit(read: Read, row: Any, response: str, extraction: str, correct: bool) -> None:
    reading = read("mathvista", {**row, "response": response, "extraction": extraction}, "vlmevalkit")
    assert reading.correct is correct


@pytest.mark.parametrize(
    ("row", "rule", "prediction"),
    [
        (mathvista("integer", "3", response="x", extraction=10**400), "vlmevalkit", 10**400),
        (mathvista("float", "3", response="x", extraction="inf", precision=1), "vlmevalkit", None),
        (mathvista("float", "3", response="nan", extraction="x", precision=1), "vlmevalkit", None),
        (mathvista("float", "3", response="inf", precision=1), "official", "inf"),
        (choice("No", "['Yes', 'No']", response="x", extraction="B"), "official", "No"),  # type: ignore[arg-type]
        (choice("No", "['Yes', 'No']", response="(B)"), "strict", "B"),  # type: ignore[arg-type]
        (mathvista("integer", 3, response="3"), "strict", "3"),  # type: ignore[arg-type]
    ],
)
def test_mathvista_on_odd_fields(read: Read, row: Any, rule: str, prediction: Any) -> None:
    reading = read("mathvista", row, rule)
    assert reading.prediction == prediction and reading.correct is (prediction in ("No", "B", "3"))


@pytest.mark.parametrize("rule", ["official", "strict"])
def test_options_that_come_as_the_text_of_a_list(read: Read, rule: str) -> None:
    options = "['red', 'blue']"
    row = {"id": "1", "pid": "1", "options": options, "candidates": options, "answer": "B", "type": "Multiple Choice"}
    assert read("mathvision", {**row, "response": "The answer is blue"}, rule).correct is True
    assert read("emma", {**row, "response": "\\boxed{blue}"}, rule).correct is True
    assert read("longvideobench", {**row, "correct_choice": 1, "response": "B"}, rule).correct is True
    text = {**row, "answer": "blue"}
    assert read("mlvu", {**text, "response": "(B)"}, rule).correct is True
    assert read("mvbench", {**text, "response": "(B) blue"}, rule).correct is True
    lettered = {**row, "options": "['A. red', 'B. blue']", "response": "B. blue"}
    assert read("videomme", lettered, rule).correct is True


def test_mathvista_strict_is_the_projects_own_grader(read: Read) -> None:
    row = choice("No", ["Yes", "No"], response="It may be A or B.")
    assert read("mathvista", row, "strict").correct is False
    assert read("mathvista", {**row, "response": "\\boxed{B}"}, "strict").correct is True


def test_mathverse_takes_judgements_and_says_when_a_rule_stood_in(rescore_cli: Any) -> None:
    base = {
        "problem_version": "Vision Only",
        "question_type": "free-form",
        "answer": "12",
        "metadata": {"subject": "Functions"},
    }
    rows = [
        {**base, "sample_index": "1", "model_answer": "x", "extraction": "7", "judgement": 1},
        {**base, "sample_index": "2", "model_answer": "x", "extraction": "12"},
        {**base, "sample_index": "3", "model_answer": "So \\boxed{13}.", "problem_version": "Text Only"},
        {
            **base,
            "sample_index": "4",
            "model_answer": "x",
            "extraction": "13",
            "judgement": "0",
            "problem_version": "Text Lite",
        },
    ]
    scored, summary = rescore_cli("mathverse", rows)
    assert [row["correct"] for row in scored] == [True, True, False, False]
    assert summary["average"] == {"accuracy": pytest.approx(2 / 3), "total": 3, "versions": 2}  # Text Only stands apart
    assert summary["problem_version"]["Text Only"]["total"] == 1
    assert summary["rescore"]["approximate"] == 2 and "by rule" in summary["rescore"]["label"]
    words = " ".join(["It is 13 at first."] + ["word"] * 28 + ["answer:", "12"])
    tails = [
        {**base, "sample_index": "1", "model_answer": words},  # the 30 words end on it
        {**base, "sample_index": "2", "model_answer": words + " word" * 30},  # they no longer do
        {**base, "sample_index": "3", "model_answer": ""},
        {**base, "sample_index": "4", "model_answer": "12", "extraction": "12", "judgement": 0},
    ]
    scored, summary = rescore_cli("mathverse", tails, "rule=lmms_eval")
    assert [row["correct"] for row in scored] == [True, False, False, False]
    assert scored[0]["prediction"].split() == [*["word"] * 28, "answer:", "12"]
    assert summary["rescore"]["approximate"] == 2 and "by rule" in summary["rescore"]["label"]
    scored, _ = rescore_cli("mathverse", rows, "rule=quick_match")
    assert [row["correct"] for row in scored] == [False, True, False, False]


OPTIONS = {"A": "red", "B": "the blue car", "C": "five", "D": "none of these"}


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("(B)", "B"), ("B", "B"), ("B.", "B"), ("(A) or (C)", "C"), ("C then A it is", "A"), ("B) because", None),
        ("I think that it must be the blue car here", "B"), ("the blue car", None),  # three words are too few
        ("red and then in the end the blue car", "B"), ("A dog and (C)", "C"), ("!!D!!", "D"), ("DNA", None), ("", None),
    ],
)  # fmt: skip
def test_mmmu_options(text: str, letter: str | None) -> None:
    assert mmmu_letter(text, OPTIONS) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Answer: B", "B"), ("Answer: A\nAnswer: (C)", "C"), ("Answer: A or B", "B"), ("Answer: DNA", "A"),  # D and A are in it, so it is not unique, and "A " goes next
        ("It is B. Then", "B"), ("So it is A or B. C is out", "C"), ("nothing", None),
    ],
)  # fmt: skip
def test_mmmu_pro_options(text: str, letter: str | None) -> None:
    assert mmmu_pro_letter(text, OPTIONS) == letter


def test_mmmu_pro_counts_letters_inside_words_after_the_last_answer(read: Read) -> None:
    row = {"id": "1", "options": "['w', 'x', 'y', 'z']", "answer": "D"}
    assert read("mmmu_pro", {**row, "response": "Answer: Dim"}).prediction == "D"
    assert read("mmmu_pro", {**row, "response": ["D"]}).parsed is False  # no text counts as empty


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The answer is 1,234.", {1234.0, 234.0}),
        ("x = 3.146", {3.15}),
        ("so it is red", {"red"}),
        ("It could be a", {" a", "a "}),
        ("2e3 units", {"2e3 units", 2000.0, 3.0}),
        ("the result \nis 4 apples", {"4 apples", 4.0}),
    ],
)
def test_mmmu_open_answers(text: str, found: set[Any]) -> None:
    assert set(open_answers(text)) == found


@pytest.mark.parametrize(
    ("answer", "response", "correct"),
    [
        ("24.00", "so it is 24", True),
        ("red", "it is dark red paint", True),  # contained
        ("red paint", "it is red", False),
        ("['1/2', '0.5']", "it is 0.50", True),
        ("a", "it is apple", False),  # single letters need a blank
        ("a", "it is an apple", True),  # and find one here
    ],
)
def test_mmmu_open_verdicts(read: Read, answer: str, response: str, correct: bool) -> None:
    assert read("mmmu", {"id": "1", "question_type": "open", "answer": answer, "response": response}).correct is correct


def test_mmmu_breakdown_is_weighted_by_numbers(rescore_cli: Any) -> None:
    row = {"question_type": "multiple-choice", "options": "['x', 'y']", "answer": "A"}
    answers = {
        "validation_Art_1": "A",
        "validation_Art_2": "A",
        "validation_Art_Theory_1": "B",
        "validation_Math_1": "B",
    }
    scored, summary = rescore_cli("mmmu", [{**row, "id": name, "response": text} for name, text in answers.items()])
    assert [item["correct"] for item in scored] == [True, True, False, False]
    assert summary["Overall-Art and Design"] == {"num": 3, "acc": 0.667}
    assert summary["Art_Theory"] == {"num": 1, "acc": 0.0} and summary["Overall"] == {"num": 4, "acc": 0.5}
