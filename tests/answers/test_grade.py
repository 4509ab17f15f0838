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
        ("The answer to the first part is 3. So the total is 4 + 3. The answer is 7. It is clear.", "7"),
        ("The answer to part (a) is 3. That is all.", "3"),
        ("The answer to the question is 3. The solution is unique.", "3"),
        (r"<think>\boxed{1}</think> \boxed{2}", "2"),
        (r"<Thinking>\boxed{1}</Thinking> \boxed{2}", "2"),
        (r"<think>a <think>b</think> \boxed{1}</think> so.", None),  # the outer thoughts go on
        (r"<think><think>a</think>\boxed{2}", "2"),  # a tag that the prompt ends on, repeated
        (r"<think>t</think>\boxed{2} <think>checked: \boxed{1}</think> Done.", "2"),
        (r"\boxed{2}<reflection>or \boxed{1}?</reflection>", "2"),
        (r"<reflection>it is \boxed{1}", "1"),  # nothing is said outside
        ("The answer is 1.<reflection>No.</reflection>The answer is 2.", "2"),
        ("<think>say <answer>1</answer>?</think> The answer is 2.", "2"),
        ("<think>so <answer>1</answer></think>", "1"),
        ("<think>so <answer>1</answer></think><|im_end|>", "1"),
        ("<think>so <answer>1</answer>, never closed", "1"),
        ("<answer>2</answer><reflection>not <answer>1</answer></reflection>", "2"),
        ("<answer>1</answer> or <answer>2</answer>", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{3", None),
        ("The answer is 12.", "12"),
        ("<answer></answer>", None),
        ("nothing here", None),
        (r"<REASONING> So it is 3. </REASONING> <CONCLUSION> It is \boxed{4} </CONCLUSION>", "4"),  # LLaVA-CoT
        ("<CONCLUSION> The answer is B. </CONCLUSION>", "B"),
        ("<answer>5</answer> <CONCLUSION> The answer is 4 </CONCLUSION>", "5"),
    ],
)
def test_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


def test_candidates_are_the_tagged_blocks_or_else_the_boxes() -> None:
    assert [item.text for item in candidates("<answer>1</answer> x <answer>2</answer>")] == ["1", "2"]
    assert [item.text for item in candidates(r"\boxed{1} then \boxed{2}")] == ["1", "2"]
    assert candidates("none") == []
