"""Reducing responses to their final answers: no thought may reach an extractor."""

from collections.abc import Callable
from typing import Any

import pytest

from mmreflect.evaluation.rules.reduction import final_text


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
