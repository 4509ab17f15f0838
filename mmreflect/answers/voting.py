"""Voting over answers: the largest class of equal ones wins."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmreflect.answers.grade import grade, reference_problem
from mmreflect.answers.quantities import read_quantity
from mmreflect.answers.spec import AnswerSpec
from mmreflect.answers.statements import has_words, stated, understood


@dataclass(frozen=True, slots=True)
class Vote:
    """The outcome of a vote.

    Attributes:
        winner: place of the first answer of the winning class; None: nobody voted.
        votes: size of the winning class; `runner_up`: of the next one.
        cast: how many answers voted; None as an answer, and one that cannot be read, do not.
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
        if answer is None or not is_readable(answer, spec):
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


def is_readable(answer: str, spec: AnswerSpec | None = None) -> bool:
    """Tell whether an answer is one of its type, so that another could be graded against it.

    Words that state no value are no answer in mathematics: the grader compares them as text, for references in words.
    """
    if reference_problem(answer, spec) is not None:
        return False
    if (spec or AnswerSpec()).resolved(answer).type != "math":
        return True
    given = stated(answer)
    return bool(given) and (not has_words(given) or read_quantity(given) is not None or understood(given))
