"""Voting over answers: the largest class of equal ones wins."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmreflect.answers.grade import grade
from mmreflect.answers.spec import AnswerSpec


@dataclass(frozen=True, slots=True)
class Vote:
    """The outcome of a vote.

    Attributes:
        winner: place of the first answer of the winning class; None: nobody voted.
        votes: size of the winning class; `runner_up`: of the next one.
        cast: how many answers voted; None as an answer does not.
        tie: another class is as large; the one whose first answer comes earlier has won.
    """

    winner: int | None
    votes: int
    runner_up: int
    cast: int

    @property
    def tie(self) -> bool:
        """Tell whether the order decided."""
        return self.votes > 0 and self.votes == self.runner_up


def vote(answers: Sequence[str | None], spec: AnswerSpec | None = None) -> Vote:
    """Vote over answers; two are equal when the grader calls one right against the other as the reference.

    For the types that have a score and no verdict (an interval, a transcript), that is a score that passes.
    """
    classes: list[list[int]] = []
    for place, answer in enumerate(answers):
        if answer is None:
            continue
        same = next((members for members in classes if grade(answer, answers[members[0]], spec).passed), None)
        if same is None:
            classes.append([place])
        else:
            same.append(place)
    ranked = sorted(classes, key=lambda members: (-len(members), members[0]))
    if not ranked:
        return Vote(None, 0, 0, 0)
    runner_up = len(ranked[1]) if len(ranked) > 1 else 0
    return Vote(ranked[0][0], len(ranked[0]), runner_up, sum(map(len, classes)))
