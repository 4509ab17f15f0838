"""Which sentences give away that the answer was known, and which are what a critique or a solution may well say."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from teaching.schooling import scripted

from mmreflect.quality.texts import SURE_LEAKS
from mmreflect.teaching.filters import LEAKS, gold_told_in, leak_in

Cli = Callable[..., tuple[int, str]]

LEAKING = [
    "The correct answer is 1, as I can see from the answer.",
    "As told, the right answer is 3.",
    "The provided label says 3.",
    "I know the right answer is B from the hint.",
    "It ends at 40, as shown in the solution sheet.",
    "The ground truth is 3.",
    "This contradicts the ground-truth value.",
    "My result differs from the gold answer.",
    "The reference solution says otherwise.",
    "By the answer key it is 3.",
    "According to the label it should be a cat.",
    "According to the correct answer, I missed a bar.",
    "The expected answer is 3.",
    "The given correct answer is 3, so I missed one.",
    "The answer was given as 3.",
    "I was told the right answer.",
    "We were given the correct answer, which is 3.",
    "I already know the correct answer, so one bar must be missing.",
    "Knowing that the correct answer is 3, I look for the mistake.",
    "Given that the right answer is B, option A cannot hold.",
    "As stated in the solution, the angle is 30 degrees.",
    "I was informed that the correct option is C.",
    "This matches the reference, so all is fine.",
    "I can tell from the correct answer that I miscounted.",
    "The correct answer according to the official solution is 3.",
    "The marking scheme wants 3.",
    "The correct label says 3.",
    "The reference says 1. So the first pass is off by one.",
    "The GT is 3, so one is missing.",
    "The answer provided with the question is 3.",
    "The intended answer, 3, differs.",
    "The known result of 3 contradicts my count.",
    "Ground truths say 3.",
    "参考答案是3。",
    "标准答案为3。",
    "根据给定的答案,应该是3。",
]
SOUND = [
    "So the answer is 3.",
    "The correct answer must therefore be B.",
    "The correct answer is 3, as the fourth bar ends at 40.",
    "I was given a chart with four bars.",
    "The ground is wet; in truth it rained.",
    "The label of the third bar says 2010.",
    "Given the label of the axis, the unit is metres.",
    "My answer is wrong, as I counted the line as a bar.",
    "My first answer does not follow from what is shown.",
    "The answer choices are 3, 4 and 5.",
    "From the answer choices only B is possible.",
    "I can see from the answer options that a number is wanted.",
    "The salt separates from the solution.",
    "The hint in the question tells where to look.",
    "As shown in the figure, both angles are right angles.",
    "As given in the table, the third row holds 7.",
    "The known sides are 3 and 4.",
    "The standard deviation is 2.",
    "The key of the chart shows red for 2010.",
    "According to the legend, blue is 2011.",
    "According to the answer choices, one of four holds.",
    "Now I know the right answer: 5.",
    "We know that the sum of the angles is 180 degrees.",
    "The right answer needs both numbers.",
    "I should have compared my answer with the picture before I ended.",
    "It matches the picture and the label of the axis.",
    "The model is told to stop at the red line.",
    "The solution is given in the figure below as a sketch.",
    "The right angle is at B.",
    "The true value lies between both ticks.",
    "The answer in the table is 3.",
    "The gold is heavier than the silver, and the reference is the left bar.",
    "For the reference frame the speed is zero.",
    "The solution given by the figure is a sketch.",
    "所以答案是3。",
]


@pytest.mark.parametrize("text", LEAKING)
def test_what_leaks(text: str) -> None:
    assert leak_in(text, LEAKS) is not None


@pytest.mark.parametrize("text", SOUND)
def test_what_does_not_leak(text: str) -> None:
    assert leak_in(text, LEAKS) is None and leak_in(text, SURE_LEAKS) is None


@pytest.mark.parametrize("text", [LEAKING[1], *LEAKING[4:7], *LEAKING[7:10], LEAKING[15], LEAKING[16]])
def test_what_leaks_whoever_wrote_it(text: str) -> None:
    assert leak_in(text, SURE_LEAKS) is not None


TOLD = [
    ("The correct answer is 1, so a bar is missing.", "1"),
    ("The correct answer is 3.", "3"),
    ("the right answer is actually B, not A", "B"),
    ("The correct option is (b).", "B"),
    ("The correct answer is option C.", "C"),
    ("The correct answer should have been \\boxed{12}.", "12"),
    ("The correct answer: **12**", "12"),
    ("The true value is $\\frac{1}{2}$.", "\\frac{1}{2}"),
    ("The right final answer was a red cup.", "A red cup"),
    ('The correct answer would be "-4".', "-4"),
    ("First 5 was named. The correct answer is 6.", "6"),
    ("The reasoning should have led to the correct answer of 2.", "2"),
    ("The correct answer here is 3, and I gave one more.", "3"),
    ("The correct answer (4) is reached by counting.", "4"),
    ("This yields the correct answer, 3, instead of 4.", "3"),
    ("The correct answer to this question is 6.", "6"),
    ("Since the correct final answer is 3, the first pass is off by one.", "3"),
    ("The correct answer would've been 3", "3"),
    ("The correct number of 12 was missed.", "12"),
    ("正确答案是3,所以第一次数错了。", "3"),
    ("正确的答案应为12。", "12"),
    ("正确选项是B。", "B"),
]
IN_WORDS = [
    ("The correct answer is three (3).", "3", "three"),
    ("The correct answer is twenty-one.", "21", "twenty-one"),
    ("正确答案是三,所以错了。", "3", "三"),
    ("The correct answer is three.", "4", None),
    ("The correct answer is seventy-three.", "70", None),
    ("正确答案是三十。", "3", None),
]
NOT_TOLD = [
    ("The correct answer must therefore be B.", "B"),
    ("The correct answer must be B, as no other bar is left.", "B"),
    ("So the answer is 3.", "3"),
    ("The correct answer is 30.", "3"),
    ("The correct answer is 3.5.", "3"),
    ("The correct answer is 3,000.", "3"),
    ("The correct answer is not 4.", "3"),
    ("The correct answer is Below.", "B"),
    ("My answer is 3, and the right answer is another one.", "3"),
    ("The right side is 3.", "3"),
    ("The correct answer requires counting 3 bars.", "3"),
    ("The correct answer, as far as I see, has 3 in it.", "3"),
    ("正确答案是30。", "3"),
    ("正确答案必须是3。", "3"),
    ("答案是3。", "3"),
    ("The correct answer is 4.", ""),
]


@pytest.mark.parametrize(("text", "gold"), TOLD)
def test_a_critique_that_tells_the_reference(text: str, gold: str) -> None:
    found = gold_told_in(text, gold)
    assert found is not None and found in text and found.lower().endswith(gold.lower())


@pytest.mark.parametrize(("text", "gold"), NOT_TOLD)
def test_a_critique_that_does_not(text: str, gold: str) -> None:
    assert gold_told_in(text, gold) is None


@pytest.mark.parametrize(("text", "gold", "said"), IN_WORDS)
def test_a_critique_that_tells_the_reference_in_words(text: str, gold: str, said: str | None) -> None:
    found = gold_told_in(text, gold)
    assert found is None if said is None else (found is not None and found.endswith(said))


def test_a_reflection_that_tells_the_answer_is_rejected(
    sums: Callable[..., Path], tmp_path: Path, run_cli: Cli
) -> None:
    """Of 1 + 0 and 1 + 1 the first reflection tells the answer; the second only says what is wrong."""
    wrong = "<think>I see both numbers. I add them. That gives it.</think><answer>9</answer>"
    judged = json.dumps({"reason": "clear", "score": 4})
    replies = {
        "sum-0000": [judged, json.dumps({"reflection": "I slipped. The correct answer is 1, as zero adds nothing."})],
        "sum-0001": [judged, json.dumps({"reflection": "I slipped: 9 is far more than both numbers make together."})],
    }
    for place, said in enumerate(replies.values()):
        said.append(f"<think>I add them once more.</think><answer>{place + 1}</answer>")
    tree = {
        "builder": "srpo_reflection", "output": str(tmp_path / "out"), "source": {"path": str(sums(2))}, "correct_share": None,
        "policy": scripted(tmp_path / "policy.jsonl", {"*": [wrong]}), "teacher": scripted(tmp_path / "teacher.jsonl", replies),
    }  # fmt: skip
    code, text = run_cli("build", tree)
    assert code == 0, text
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["rejects"] == {"reflect: it gives away that the answer was known": 1}
    (reject,) = map(json.loads, (tmp_path / "out/rejects/train-00000.jsonl").read_text().splitlines())
    assert reject["id"] == "sum-0000" and "The correct answer is 1" in str(reject)
