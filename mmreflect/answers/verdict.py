"""The result of grading one answer."""

from dataclasses import dataclass

PASS = 0.5
"""The score from which a graded answer (OCR, regression, interval) passes: IoU 0.5 is the usual line of grounding."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of grading.

    Attributes:
        correct: None for the types that have a score and no verdict, and where it could not be graded.
        answer: the answer as it was understood.
        gold: the reference as it was understood.
        reason: why, in a few words.
        score: 1 or 0 for right and wrong, between them for graded types; None: it could not be graded.
    """

    correct: bool | None
    answer: str | None
    gold: str | None
    reason: str
    score: float | None = None

    @property
    def passed(self) -> bool | None:
        """Right or wrong for every type: a graded score passes from `PASS` on; None where it could not be graded."""
        if self.correct is not None or self.score is None:
            return self.correct
        return self.score >= PASS


def judged(correct: bool, answer: str | None, gold: str | None, reason: str) -> Verdict:
    """Return a verdict of right or wrong."""
    return Verdict(correct, answer, gold, reason, float(correct))


def scored(score: float, answer: str | None, gold: str | None, reason: str) -> Verdict:
    """Return a score without a verdict."""
    return Verdict(None, answer, gold, reason, score)


def ungraded(gold: str | None, reason: str, answer: str | None = None) -> Verdict:
    """Return "could not grade": the reference is unusable, which is never counted as right or wrong."""
    return Verdict(None, answer, gold, reason, None)
