"""Votes by hand: equal answers are one class, ties go to the earlier one, what cannot be read stays at home."""

import pytest

from mmreflect.answers.spec import AnswerSpec
from mmreflect.answers.voting import Vote, vote


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (["5", "7", "7"], Vote(1, 2, 1, 3)),
        (["1/2", "3", "0.5"], Vote(0, 2, 1, 3)),
        (["5", "7"], Vote(0, 1, 1, 2)),
        (["7", "5", "5", "7"], Vote(0, 2, 2, 4)),
        ([None, "7", None], Vote(1, 1, 0, 1)),
        ([None, None], Vote(None, 0, 0, 0)),
        ([], Vote(None, 0, 0, 0)),
        (["what?", "7", "what?"], Vote(1, 1, 0, 1)),
        (["B", "(B)", "b. ", "C"], Vote(0, 3, 1, 4)),
    ],
)
def test_votes(answers: list[str | None], found: Vote) -> None:
    assert vote(answers, AnswerSpec(type="math") if "what?" in answers else None) == found


def test_ties_are_told() -> None:
    assert vote(["5", "7"]).tie and not vote(["5"]).tie and not vote([]).tie and not vote(["5", "5", "7"]).tie


def test_the_spec_says_what_is_equal() -> None:
    spec = AnswerSpec(type="multiple_choice", options=(("A", "12"), ("B", "15")))
    assert vote(["A", "15", "B"], spec) == Vote(1, 2, 1, 3)
    assert vote(["[1, 5]", "[9, 12]", "[1, 6]"], AnswerSpec(type="temporal_iou")) == Vote(0, 2, 1, 3)
