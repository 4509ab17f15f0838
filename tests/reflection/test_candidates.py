"""Candidate answers in thinking, in rounds and in plain text; every expected list is read off by hand."""

import pytest

from mmreflect.reflection.candidates import stated
from mmreflect.reflection.ledger import entry
from mmreflect.reflection.transitions import Step, summary, trace

LINES = "The answer is 5.\nSo we get 5\nHmm, look again. The answer is 7\n\\boxed{7}"
CASES = [
    (r"<think>\boxed{5} wait, \boxed{7}. Check: \boxed{7}</think><answer>7</answer>", ["5", "7", "7"]),
    (LINES, ["5", "5", "7", "7"]),
    ("<think>so it is 4</think><answer>2</answer><reflection>wait, 3</reflection><answer>3</answer>", ["2", "3"]),
    ("<think>first a guess\nthus 5.\nwait, so it is 7</think>The answer is 8.", ["5", "7", "8"]),
    ("<think>nothing yet</think>The answer is (B).", ["(B)"]),
    ("2 + 3 = 5", []),
    ("The answer is not clear yet", []),
    ("<answer>so 4</answer>", ["so 4"]),
    ("", []),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_candidates_in_order(text: str, expected: list[str]) -> None:
    found = stated(text)
    assert [item.text for item in found] == expected
    assert all(0 <= item.start < item.end <= len(text) for item in found)


def test_the_vector_of_the_paper_from_plain_lines() -> None:
    """Gold 7, candidates 5, 5, 7, 7: kept wrong, corrected, kept right; the gain is one."""
    made = trace(LINES, "7")
    assert made is not None and made.steps == (Step.KEPT_WRONG, Step.CORRECTED, Step.KEPT_RIGHT)
    found = summary([made])
    assert (found["first_accuracy"], found["final_accuracy"], found["gain"]) == (0.0, 1.0, 1.0)


def test_the_ledger_knows_what_thinking_corrected() -> None:
    read = entry(CASES[0][0], "7", tokens=40)
    assert (read.first, read.first_correct, read.final, read.final_correct) == ("5", False, "7", True)
    assert read.reflected and read.corrective and read.tokens_first < 20
