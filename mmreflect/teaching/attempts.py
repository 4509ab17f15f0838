"""Attempts at a question: sampled, graded against the reference, and the responses made of them looked over."""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mmreflect.answers.extract import boxes, final_answer
from mmreflect.answers.grade import reference_problem, verify
from mmreflect.answers.spec import AnswerSpec, spec_of
from mmreflect.building import Rejected
from mmreflect.data.store import Row, sample_from_row
from mmreflect.evaluation.asking import Source
from mmreflect.records import Sample
from mmreflect.teaching.filters import gold_told_in, latin_share, leak_in, repetition_in
from mmreflect.teaching.steps import Question, Said


@dataclass(frozen=True, slots=True)
class Graded:
    """A text that answers the question: its final answer, and whether that is right."""

    text: str
    answer: str | None
    right: bool
    tokens: int = 0
    place: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that can be graded."""

    sample: Sample
    spec: AnswerSpec

    def graded(self, text: str, tokens: int = 0, place: int = 0) -> Graded:
        """Grade a text by the answer that it ends on.

        Raises:
            Rejected: it could not be graded.
        """
        verdict = verify(text, self.sample.gold, self.spec)
        if verdict.passed is None:
            raise Rejected("an answer could not be graded", verdict.reason)
        return Graded(text.strip(), final_answer(text, self.spec), verdict.passed, tokens, place)


def asked_of(row: Row, source: Source) -> Asked:
    """Read a row of the source as a question that can be graded.

    Raises:
        UserError: the row is none, or nothing can be graded against its reference.
    """
    sample = sample_from_row(row, source.folder)
    spec = spec_of(sample.facts).resolved(sample.gold)
    problem = reference_problem(sample.gold, spec)
    if problem is not None:
        raise Rejected("the reference cannot be graded against", problem)
    return Asked(sample, spec)


def sampled(
    asked: Asked, questions: Sequence[Question], counted: Counter[str]
) -> Generator[Sequence[Question], Any, list[Graded | None]]:
    """Ask all at once and grade what is said; None stands where a reply failed or was cut off, which is counted.

    Raises:
        UserError: there is no usable reply at all, or one could not be graded.
    """
    heard: list[Said] = yield questions
    found: list[Graded | None] = []
    for question, said in zip(questions, heard, strict=True):
        if said.problem is not None or said.cut:
            counted[f"{question.purpose}: failed or cut off"] += 1
            found.append(None)
            continue
        found.append(one := asked.graded(said.text, said.tokens, question.place))
        counted[f"{question.purpose}: {'right' if one.right else 'wrong'}"] += 1
    if not any(found):
        purpose = questions[0].purpose
        raise next((said.problem for said in heard if said.problem), Rejected(f"{purpose}: all were cut off"))
    return found


class Limits(Protocol):
    """What a response must keep to."""

    @property
    def max_words(self) -> int:
        """Of the whole response."""

    @property
    def latin_share(self) -> float:
        """Of its letters, at least."""

    @property
    def leaks(self) -> list[str]:
        """Patterns of what it may not say."""


def refuse_leak(purpose: str, text: str, leaks: Sequence[str], gold: str | None = None) -> None:
    """Reject a reply that gives away that it was written with the answer in view.

    Args:
        gold: of a critique, which comes before the solution: the reference, which it may not tell.

    Raises:
        Rejected: it does.
    """
    found = leak_in(text, leaks) or (None if gold is None else gold_told_in(text, gold))
    if found is not None:
        raise Rejected(f"{purpose}: it gives away that the answer was known", found, reply=text)


def check_response(text: str, limits: Limits, markers: Callable[[str], Sequence[Any]] = boxes) -> None:
    """Reject a response that is not fit to be learnt; whether it is right is not asked here.

    Args:
        markers: finds the marks of a final answer, of which there must be one, at the end.

    Raises:
        Rejected: it holds no or several final answers or goes on after it, or it is too long, in another script,
            repetitive, or gives away that the answer was known.
    """
    found = markers(text)
    if len(found) != 1:
        raise Rejected("not exactly one final answer", str(len(found)))
    if text[found[0].end :].strip(" .$*\n"):
        raise Rejected("it goes on after the final answer", text[found[0].end :][:200])
    if len(text.split()) > limits.max_words:
        raise Rejected(f"more than {limits.max_words} words", str(len(text.split())))
    if latin_share(text) < limits.latin_share:
        raise Rejected("in another script", f"{latin_share(text):.2f} of the letters are Latin")
    refuse_leak("response", text, limits.leaks)
    repeated = repetition_in(text)
    if repeated is not None:
        raise Rejected("it repeats itself", repeated)
