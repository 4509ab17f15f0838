"""DADR against the numbers of its specification, and the traps of the released code."""

import statistics
from typing import Any

import pytest

from mmreflect.components import load
from mmreflect.config import component_parser
from mmreflect.records import Group, Reply, Rollout, Sample, Score, Stop
from mmreflect.rewards.dadr import Config, create, format_problem
from mmreflect.rl.advantages import relative
from mmreflect.rollouts.scoring import scorer, signal_names

SEGMENT = "<think>there</think><time_interval>[3.0, 7.5]</time_interval>"
RIGHT, WRONG = "<think>so</think><answer>B</answer>", "<think>so</think><answer>A</answer>"
QA = {"options": ["Batman", "a book", "a cup", "a dog"], "answer_type": "multiple_choice", "task": "qa"}


def rollout_of(text: str, probe: str | None = None, segment: list[float] | None = None) -> Rollout:
    rollout = Rollout("f", [], text=text, facts={"segment": segment})
    if probe is not None:
        rollout.probes["sufficiency"] = Reply(probe, [], Stop.EOS)
    return rollout


def looked(answer: str, probe: str) -> Rollout:
    return rollout_of(SEGMENT + answer, probe, [3.0, 7.5])


def score_of(*rollouts: Rollout, facts: dict[str, Any] | None = None, gold: str = "B", **options: Any) -> list[Score]:
    return create(Config(**options))(Group("f", Sample("f", [], gold=gold, facts=facts or QA), list(rollouts)))


@pytest.mark.parametrize(
    ("rollout", "code", "paper"),
    [
        (looked(RIGHT, "B"), 1.0, 0.9),
        (looked(RIGHT, "A"), 0.7, 0.6),
        (looked(WRONG, "B"), 0.4, 0.3),
        (rollout_of(RIGHT), 0.5, 0.6),
    ],
)
def test_the_four_answers_of_the_specification(rollout: Rollout, code: float, paper: float) -> None:
    assert score_of(rollout)[0].value == pytest.approx(code)
    assert score_of(rollout, variant="paper")[0].value == pytest.approx(paper)


def test_the_group_of_the_specification() -> None:
    group = [looked(RIGHT, "B"), looked(RIGHT, "A"), looked(WRONG, "B"), rollout_of(RIGHT)]
    values = [score.value for score in score_of(*group)]
    assert statistics.mean(values) == pytest.approx(0.65) and statistics.stdev(values) == pytest.approx(
        0.2646, abs=5e-5
    )  # type: ignore[type-var]
    assert relative(values, 1e-6) == pytest.approx([1.323, 0.189, -0.945, -0.567], abs=5e-4)


def test_every_term_is_a_named_part() -> None:
    parts = score_of(looked(WRONG, "B"))[0].parts
    assert {name: (part.value, part.weight, part.stage) for name, part in parts.items()} == {
        "final": (0.0, 0.6, "revise"), "sufficiency": (1.0, 0.3, "propose"), "format": (0.0, 0.1, None), "tool": (1.0, 0.1, "propose"),
    }  # fmt: skip
    assert set(score_of(looked(WRONG, "B"), variant="paper")[0].parts) == {"final", "sufficiency"}


def test_the_total_is_made_of_the_parts_and_a_stage_may_decide_on_each() -> None:
    option = component_parser("reward", load)({"name": "dadr", "weight": 2.0})
    names = ["final", "sufficiency", "format", "tool", "iou"]
    assert signal_names([option]) == [*(f"dadr.{part}" for part in names), "total"]
    paper = component_parser("reward", load)({"name": "dadr", "variant": "paper"})
    assert signal_names([paper]) == ["dadr.final", "dadr.sufficiency", "dadr.iou", "total"]
    group = Group("f", Sample("f", [], gold="B", facts=QA), [looked(RIGHT, "A")])
    scorer([option])([group])
    score = group.rollouts[0].score
    assert score is not None and score.value == pytest.approx(1.4)
    assert score.parts["dadr.final"].weight == 1.2 and score.parts["dadr.sufficiency"].value == 0.0


def test_trap_4_an_example_answer_that_was_shown_does_not_count() -> None:
    """Only what the model said is in a rollout's text; the driver leaves out what the environment showed."""
    score = score_of(rollout_of(SEGMENT + "<think>hm</think>", "B", [3.0, 7.5]))[0]
    assert score.parts["final"].value == 0.0 and score.parts["format"].value == -1.0


LETTERS = [
    ("B", 1), ("(B)", 1), ("[B]", 1), (" B\n", 1), ("B.", 1), ("B,", 1), ("B)", 1), ("B:", 1), ("B, because", 1),
    ("B because it is open", 1), ("(B) a book", 1), ("B. a book", 1), ("a book", 1), ("A Book.", 1), ("b", 0), ("b)", 0),
    ("Batman", 0), ("Banana", 0), ("Bx", 0), ("B-", 0), ("B!", 0), ("*B*", 0), ("{B}", 0), ("(B", 0), ("book", 0),
    ("I think B", 0), ("The answer is B", 0), ("Because it is B", 0), ("I cannot tell, but B", 0), ("Option B", 0),
    ("a book or so", 0), ("A or B", 0), ("B or C", 0), ("B. a cup", 0), ("C. a book", 0), ("A", 0), ("2", 0), ("", 0),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "right"), LETTERS)
def test_trap_5_a_letter_is_a_letter(answer: str, right: int) -> None:
    """The same reading of what stands in <answer> and of what the probe replies."""
    score = score_of(looked(f"<think>so</think><answer>{answer}</answer>", answer))[0]
    assert (score.parts["final"].value, score.parts["sufficiency"].value) == (right, right)
    assert not right or not score.reason.startswith("neither")


def test_a_letter_in_a_sentence_is_told_to_be_none() -> None:
    score = score_of(looked("<think>so</think><answer>I think B</answer>", "B"))[0]
    assert score.reason == "neither an option's letter at the beginning nor its whole text"
    assert (score.answer, score.gold) == ("B", "B")


def test_options_that_look_like_letters() -> None:
    """An option's text may begin with a letter; either of two options with one text is right."""
    facts = {**QA, "options": ["the cat", "A dog", "the cat", "D day"]}
    for answer, gold, right in [("A dog", "B", 1), ("A dog", "A", 0), ("D day", "D", 1), ("C", "A", 1), ("C", "C", 1)]:  # fmt: skip
        text = f"<think>so</think><answer>{answer}</answer>"
        assert score_of(looked(text, "x"), facts=facts, gold=gold)[0].parts["final"].value == right, answer
    open_ended = {"task": "qa", "answer_type": "math"}
    score = score_of(looked("<think>so</think><answer>x = 3</answer>", "3"), facts=open_ended, gold="3")[0]
    assert score.value == pytest.approx(1.0), "what is no multiple choice is read as everywhere"


def test_trap_6_a_rollout_without_a_probe_inherits_none() -> None:
    neighbour, own = looked(RIGHT, "B"), rollout_of(SEGMENT + RIGHT, segment=None)
    scores = score_of(neighbour, own)
    assert scores[0].parts["sufficiency"].value == 1.0
    assert scores[1].parts["sufficiency"].value == 0.0 and scores[1].parts["tool"].value == 0.0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (SEGMENT + RIGHT, None),
        ("<think>x</think><time_interval> [1, 4] </time_interval><rethink>y</rethink><answer>B</answer>", None),
        (SEGMENT + "<think>open<answer>B</answer>", "2 opened and 1 closed thoughts"),
        (RIGHT, "0 opened and 0 closed intervals"),
        ("<think>x</think><time_interval>[1, 4]" + RIGHT, "1 opened and 0 closed intervals"),
        (SEGMENT + "<answer>B</answer><think>x</think>", "0 opened and 0 closed answers after the last thoughts"),
        (SEGMENT + "<think>x</think><answer>B", "1 opened and 0 closed answers after the last thoughts"),
    ],
)
def test_format(text: str, problem: str | None) -> None:
    assert format_problem(text, needs_answer=True) == problem


def test_grounding_needs_no_answer() -> None:
    assert format_problem(SEGMENT, needs_answer=False) is None


@pytest.mark.parametrize(("length", "final", "form"), [(999, 1.0, 0.0), (1000, 0.0, -1.0)])
def test_a_very_long_answer_is_wrong_and_out_of_format(length: int, final: float, form: float) -> None:
    answer = "B" + "." * (length - 1) if length > 1 else "B"
    facts = {"task": "qa", "answer_type": "text"}
    score = score_of(looked(f"<think>x</think><answer>{answer}</answer>", "B"), facts=facts, gold="B" + "." * 998)[0]
    assert (score.parts["final"].value, score.parts["format"].value) == (final, form)


@pytest.mark.parametrize(
    ("said", "gold", "code", "paper"),
    [
        ("[10, 20]", [15, 30], 0.25, 0.25),
        ("[0, 5]", [6, 9], 0.0, 0.0),
        ("[220, 260]", [222, 240], 0.45, 0.45),
        ("none", [6, 9], -0.1, 0.0),
    ],
)
def test_grounding_is_scored_by_overlap(said: str, gold: list[float], code: float, paper: float) -> None:
    facts = {"task": "grounding", "gt_interval": gold}
    rollout = rollout_of(f"<think>x</think><time_interval>{said}</time_interval>")
    assert score_of(rollout, facts=facts)[0].value == pytest.approx(code)
    assert score_of(rollout, facts=facts, variant="paper")[0].value == pytest.approx(paper)


def test_what_cannot_be_graded_has_no_value() -> None:
    (lost,) = score_of(rollout_of(SEGMENT), facts={"task": "grounding", "gt_interval": None})
    assert lost.value is None and lost.reason == "gt_interval is None, not [start, end]"
    (odd,) = score_of(looked(RIGHT, "B"), gold="Z")
    assert odd.value is None and odd.reason == "the reference is none of the options"


def test_lambdas_are_options() -> None:
    scores = score_of(looked(RIGHT, "B"), looked(WRONG, "B"), final=0.5, sufficiency=0.0, format=0.0, tool=0.0)
    assert [score.value for score in scores] == [0.5, 0.0]
