"""Does anything after the first answer ever correct it? Candidate answers and what follows from one to the next.

After "First Try Matters": most reflection confirms. An answer is read as the sequence of its candidate answers; each
step from one to the next keeps, corrects or spoils. A gain in final accuracy alone is no evidence of reflection, so
that first and final accuracy always stand side by side.

Where we differ: the paper lets an LLM find the candidates; here rules do (`reflection.candidates`), which see fewer of
them in free text. The reader never sees the reference.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mmreflect.answers.grade import grade
from mmreflect.answers.spec import AnswerSpec
from mmreflect.reflection.candidates import stated
from mmreflect.reflection.lexicon import lexicon_counts


class Step(StrEnum):
    """From one candidate answer to the next."""

    KEPT_RIGHT = "T->T"
    KEPT_WRONG = "F->F (same)"
    CORRECTED = "F->T"
    CHANGED_WRONG = "F->F (different)"
    SPOILED = "T->F"


CONFIRMATORY = (Step.KEPT_RIGHT, Step.KEPT_WRONG)


@dataclass(frozen=True, slots=True)
class Trace:
    """The candidate answers of one text.

    Attributes:
        correct: of each candidate, whether it is right.
        steps: from each to the next; one fewer.
        ends: how much of the text is spent when each candidate is complete, as a share of its characters.
        first_line: line of the first candidate over the number of lines; None without a candidate.
        words: reflecting phrases by class.
        tokens: length of the text, in tokens where that is known, else in characters.
    """

    correct: tuple[bool, ...]
    steps: tuple[Step, ...]
    ends: tuple[float, ...]
    first_line: float | None
    words: dict[str, int]
    tokens: int


def trace(text: str, gold: str | None, spec: AnswerSpec | None = None, tokens: int | None = None) -> Trace | None:
    """Read a text's candidate answers; None where the reference cannot be graded against.

    Two candidates are the same when the project's grader calls one right against the other as the reference.
    """
    spec = (spec or AnswerSpec()).resolved(gold)
    found = stated(text)
    verdicts = [grade(item.text, gold, spec).passed for item in found]
    if any(verdict is None for verdict in verdicts) or (not found and grade("", gold, spec).passed is None):
        return None
    correct = tuple(bool(verdict) for verdict in verdicts)
    same = [grade(late.text, early.text, spec).passed is True for early, late in itertools.pairwise(found)]
    steps = tuple(
        step_of(early, late, is_same) for early, late, is_same in zip(correct, correct[1:], same, strict=False)
    )
    ends = tuple(item.end / len(text) for item in found)
    line = (text.count("\n", 0, found[0].start) + 1) / (text.count("\n") + 1) if found else None
    return Trace(correct, steps, ends, line, dict(lexicon_counts(text)), len(text) if tokens is None else tokens)


def step_of(early: bool, late: bool, same: bool) -> Step:
    """Name a step by whether its two answers are right and equal."""
    if early:
        return Step.KEPT_RIGHT if late else Step.SPOILED
    if late:
        return Step.CORRECTED
    return Step.KEPT_WRONG if same else Step.CHANGED_WRONG


def summary(traces: Sequence[Trace]) -> dict[str, Any]:
    """Aggregate traces; what has nothing to average is None, never 0.

    Returns:
        `steps`: share of each kind; `confirmatory`, `corrective`; `p_corrected`: P(F->T) of the steps that start wrong;
        `first_accuracy` and `final_accuracy` over the texts with a candidate, `gain` between them; `candidates` and
        `first_line`: means; `spent_after_first`: share of all tokens after the first candidate; `words`: reflecting
        phrases per text, by class; `without_candidate`: texts that state none.
    """
    answered = [item for item in traces if item.correct]
    steps = Counter(step for item in answered for step in item.steps)
    total = sum(steps.values())
    from_wrong = total - steps[Step.KEPT_RIGHT] - steps[Step.SPOILED]
    first = _mean([item.correct[0] for item in answered])
    final = _mean([item.correct[-1] for item in answered])
    spent = sum(item.tokens for item in answered)
    words = Counter[str]()
    for item in traces:
        words.update(item.words)
    return {
        "texts": len(traces),
        "without_candidate": len(traces) - len(answered),
        "steps": {str(step): steps[step] / total if total else None for step in Step},
        "confirmatory": sum(steps[step] for step in CONFIRMATORY) / total if total else None,
        "corrective": steps[Step.CORRECTED] / total if total else None,
        "p_corrected": steps[Step.CORRECTED] / from_wrong if from_wrong else None,
        "first_accuracy": first,
        "final_accuracy": final,
        "gain": None if first is None or final is None else final - first,
        "candidates": _mean([len(item.correct) for item in answered]),
        "first_line": _mean([item.first_line for item in answered if item.first_line is not None]),
        "spent_after_first": sum(item.tokens * (1 - item.ends[0]) for item in answered) / spent if spent else None,
        "words": {name: count / len(traces) for name, count in sorted(words.items())} if traces else {},
    }


def stopping_curve(traces: Sequence[Trace], most: int = 8) -> list[dict[str, float]]:
    """Say what stopping at the k-th candidate would cost and save, for k from 1; the last point never stops.

    A text with fewer candidates is not stopped. Texts without any count as wrong and whole.

    Returns:
        Per k: `accuracy`, and `spent`: the share of all tokens that is still said.
    """
    whole = sum(item.tokens for item in traces)
    if not whole:
        return []
    longest = max((len(item.correct) for item in traces), default=0)
    curve = []
    for k in range(1, min(most, longest) + 1):
        right = [bool(item.correct) and item.correct[min(k, len(item.correct)) - 1] for item in traces]
        spent = [item.tokens * (item.ends[k - 1] if len(item.correct) > k else 1.0) for item in traces]
        curve.append({"k": float(k), "accuracy": sum(right) / len(traces), "spent": sum(spent) / whole})
    return curve


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
