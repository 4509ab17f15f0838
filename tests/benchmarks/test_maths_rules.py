r"""The rules of the picture benchmarks on rows of our own making, worked out by hand from their descriptions."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from mmreflect import recipes
from mmreflect.evaluation.benchmark import Reading
from mmreflect.evaluation.rules.latex import same_expression, same_value, value_of
from mmreflect.evaluation.rules.mmmu import mmmu_letter, mmmu_pro_letter, open_answers
from mmreflect.evaluation.rules.number_words import number_in_words
from mmreflect.evaluation.rules.reduction import final_text

Read = Callable[..., Reading]


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ("B", "B"),
        ("  x < 5 and y > 3 ", "  x < 5 and y > 3 "),  # no tag: as it is
        ("<think>A or B</think> C ", "C"),
        ("A or B</think>\nC", "C"),  # the prompt opened the thoughts
        ("<think>A, never closed", ""),
        ("<think>t</think><answer> D </answer>", "D"),
        ("<think>s</think><answer>A</answer><reflection>no, B</reflection><answer>B</answer>", "B"),
        ("<think>s</think><answer>A</answer><reflection>hm, C</reflection>", "A"),
        ("<think>s</think>The answer is B.<reflection>or C</reflection>", "The answer is B."),
        ("<think>s</think><answer>B, and it was cut", "B, and it was cut"),
        ("<think>maybe <answer>A</answer>, no</think>It is D.", "It is D."),
        ("<think>all in here <answer>A</answer>", "A"),
        ("<think>A <think>B</think> A</think>C", "C"),  # thoughts inside thoughts
        ("<think>A <think>B</think> A, never closed", ""),
        ("<think>\n<think>A</think>C", "C"),  # the prompt's tag, repeated
        ("A</think>B</think>C", "C"),
        ("<Think>A</THINK>C", "C"),
        ("<thinking>A</thinking>C", "C"),
        ("<Reflection>A</Reflection>C", "C"),
        ("<think >A</think >C", "C"),
        ("<think>A<reflection>B</think>C", "C"),  # the outer end tag closes both
        ("<reflection>A</think>C", "C"),
        ("<think>A</think>B\n<think>B</think>C", "C"),  # the answer of the second turn
        ("<think>s</think>The answer is A.<reflection>No, B.</reflection>The answer is B.", "The answer is B."),
        ("B, I think.<reflection>A</reflection>  <think>hm</think>", "B, I think."),  # nothing follows the last part
        ("<think>s</think><answer>A<think>B?</think></answer>", "A"),
        ("<think><answer>A</answer></think>So B.", "So B."),
        ("<thinker>A</thinker>", "<thinker>A</thinker>"),
    ],
)
def test_reduction_to_the_final_answer(text: str, final: str) -> None:
    assert final_text(text) == final


def test_no_thought_reaches_an_official_extractor_or_the_strict_rule(rescore_cli: Callable[..., Any]) -> None:
    texts = (
        "<think>A <think>B</think> A</think>C",
        "A</think>B</think>C",
        "<Reflection>A</Reflection>C",
        "<think>A</think>B\n<think>B</think>C",
        "<think>s</think>The answer is A.<reflection>No, B.</reflection>The answer is C.",
        "<think>A</think><answer>C</answer><reflection>Is <answer>A</answer> better?</reflection>",
    )
    rows = [{"question_id": str(place), "answer": "C", "response": text} for place, text in enumerate(texts)]
    for rule in ("official", "lmms_eval", "vlmevalkit", "strict"):
        scored, summary = rescore_cli("videomme", rows, f"rule={rule}")
        assert {text: row["correct"] for text, row in zip(texts, scored, strict=True)} == dict.fromkeys(texts, True)
        assert summary["rescore"]["reduced_to_final_answer"] == len(texts)


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
    scored, _ = rescore_cli("mathverse", rows, "rule=quick_match")
    assert [row["correct"] for row in scored] == [False, True, False, False]


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
