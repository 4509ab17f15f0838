import pytest

from mmreflect.answers.extract import candidates, final_answer
from mmreflect.answers.grade import grade


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("3", "3"), ("3.0", "3"), ("1/2", "0.5"), ("1,000", "1000"), (r"\frac{1}{2}", "0.50"), ("−5", "-5"), ("$18.90", "18.9"),
        ("B", "B"), ("(b)", "B"), ("B. 12", "B"), (r"\text{B}", "(B)"), ("**C**", "C"), ("Red.", "red"), ("5e-2", "0.05"),
    ],
)  # fmt: skip
def test_right(answer: str, gold: str) -> None:
    assert grade(answer, gold).correct is True


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("4", "3"), ("three", "3"), ("A", "B"), ("Because", "B"), ("A or B", "A"), ("blue", "red"), ("", "3"), (None, "3"),
        ("9" * 400, "9"), ("1/0", "1"), ("12:30", "12"), ("3 or 4", "3"),
    ],
)  # fmt: skip
def test_wrong(answer: str | None, gold: str) -> None:
    assert grade(answer, gold).correct is False


@pytest.mark.parametrize("gold", [None, "", "  ", "$$"])
def test_an_empty_reference_cannot_be_graded(gold: str | None) -> None:
    verdict = grade("3", gold)
    assert verdict.correct is None and verdict.reason == "no reference answer"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>5</think><answer>3</answer><reflection>no</reflection><answer>4</answer>", "4"),
        (r"<answer>so \boxed{7}</answer>", "7"),
        (r"<think>\boxed{1}</think> \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{3", None),
        ("The answer is 12.", "12"),
        ("<answer></answer>", None),
        ("nothing here", None),
    ],
)
def test_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


def test_candidates_are_the_tagged_blocks_or_else_the_boxes() -> None:
    assert [item.text for item in candidates("<answer>1</answer> x <answer>2</answer>")] == ["1", "2"]
    assert [item.text for item in candidates(r"\boxed{1} then \boxed{2}")] == ["1", "2"]
    assert candidates("none") == []
