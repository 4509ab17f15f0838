"""Candidate answers and the steps between them, against the vectors of "First Try Matters"."""

import pytest

from mmreflect.answers.spec import AnswerSpec
from mmreflect.reflection.transitions import Step, Trace, stopping_curve, summary, trace


def text_of(*answers: object) -> str:
    return "\n".join(f"so <answer>{answer}</answer>" for answer in answers)


def traced(gold: str, *answers: object) -> Trace:
    found = trace(text_of(*answers), gold)
    assert found is not None
    return found


def test_t1_all_the_same_and_right() -> None:
    found = summary([traced("113", 113, 113, 113)])
    assert found["steps"]["T->T"] == 1.0 and found["confirmatory"] == 1.0 and found["gain"] == 0.0


def test_t2_every_kind_but_spoiling() -> None:
    item = traced("13", 12, 12, 15, 13, 13)
    assert item.steps == (Step.KEPT_WRONG, Step.CHANGED_WRONG, Step.CORRECTED, Step.KEPT_RIGHT)
    found = summary([item])
    assert (found["confirmatory"], found["corrective"], found["p_corrected"]) == (0.5, 0.25, pytest.approx(1 / 3))
    assert (found["first_accuracy"], found["final_accuracy"], found["gain"]) == (0.0, 1.0, 1.0)


def test_the_vectors_of_the_short_form() -> None:
    item = traced("7", 5, 5, 7, 7)
    assert item.steps == (Step.KEPT_WRONG, Step.CORRECTED, Step.KEPT_RIGHT)
    assert summary([item])["gain"] == 1.0
    options = AnswerSpec("multiple_choice", tuple((letter, letter.lower()) for letter in "ABCD"))
    letters = trace(text_of("B", "C", "C"), "D", options)
    assert letters is not None and letters.steps == (Step.CHANGED_WRONG, Step.KEPT_WRONG)


def test_t3_spoiled_and_alone() -> None:
    assert summary([traced("5", 5, 7)])["steps"]["T->F"] == 1.0 and summary([traced("5", 5, 7)])["gain"] == -1.0
    alone = summary([traced("5", 5)])
    assert alone["p_corrected"] is None and alone["confirmatory"] is None and alone["steps"]["F->T"] is None


def test_t5_where_the_first_candidate_stands() -> None:
    lines = ["thinking"] * 610
    lines[367] = r"so it is \boxed{4}"
    item = trace("\n".join(lines), "4")
    assert item is not None and item.first_line == pytest.approx(0.603279, abs=1e-6)


def test_equal_is_what_the_grader_calls_equal() -> None:
    assert traced("3", "1/2", "0.5").steps == (Step.KEPT_WRONG,)
    spec = AnswerSpec("multiple_choice", (("A", "x"), ("B", "y")))
    item = trace(text_of("A", "(A)", "B"), "B", spec)
    assert item is not None and item.steps == (Step.KEPT_WRONG, Step.CORRECTED)


def test_without_a_candidate_or_a_usable_reference() -> None:
    item = trace("I do not know", "4")
    assert item is not None and item.correct == () and item.first_line is None
    found = summary([item, traced("4", 4)])
    assert found["without_candidate"] == 1 and found["first_accuracy"] == 1.0
    assert trace(text_of("B"), "Z", AnswerSpec("multiple_choice", (("A", "x"), ("B", "y")))) is None
    assert trace("nothing", None) is None
    assert summary([])["gain"] is None and stopping_curve([]) == []


def test_the_stopping_curve_by_hand() -> None:
    """Two texts of 100 tokens: right at once and confirmed at the end; wrong at half, corrected at the end."""
    early = Trace((True, True), (Step.KEPT_RIGHT,), (0.25, 1.0), 0.5, {}, 100)
    late = Trace((False, True), (Step.CORRECTED,), (0.5, 1.0), 0.5, {}, 100)
    assert stopping_curve([early, late]) == [
        {"k": 1.0, "accuracy": 0.5, "spent": 0.375},
        {"k": 2.0, "accuracy": 1.0, "spent": 1.0},
    ]


def test_tokens_after_the_first_answer_and_words_by_class() -> None:
    text = "<answer>3</answer> Wait, let me check: <answer>4</answer>"
    item = trace(text, "4", tokens=20)
    assert item is not None and item.tokens == 20 and item.words == {"doubt": 1, "verify": 1}
    found = summary([item])
    assert found["spent_after_first"] == pytest.approx(1 - 18 / len(text)) and found["words"] == {
        "doubt": 1.0,
        "verify": 1.0,
    }
