"""Grading an answer against a reference, by its type; one grader for training and evaluation.

"Could not grade" is a verdict of its own (`score` None): it says that the reference is unusable, and never counts as
right or wrong. Whatever an answer holds, grading returns: it is bounded in size and time, and what is malformed is
wrong.
"""

from functools import lru_cache

from mmreflect.answers import expressions, stats
from mmreflect.answers.choices import grade_choice
from mmreflect.answers.extract import final_answer
from mmreflect.answers.formulas import MAX_LENGTH
from mmreflect.answers.lists import grade_list
from mmreflect.answers.markup import tidy
from mmreflect.answers.measures import grade_float, grade_regression
from mmreflect.answers.remote import NotGradedError
from mmreflect.answers.spans import grade_span
from mmreflect.answers.spec import AnswerSpec
from mmreflect.answers.verdict import Verdict, judged, scored, ungraded
from mmreflect.answers.words import grade_ocr, grade_text, grade_yes_no

MAX_TEXT = 20_000
"""Characters of a text or a transcript that are looked at."""
CACHE_SIZE = 1 << 15

_GRADED = ("ocr", "regression", "temporal_iou")


def verify(text: str | None, gold: str | None, spec: AnswerSpec | None = None) -> Verdict:
    """Find the final answer of a whole response, by its type, and grade it."""
    spec = (spec or AnswerSpec()).resolved(gold)
    return grade(final_answer(text, spec) if text else None, gold, spec)


def grade(answer: str | None, gold: str | None, spec: AnswerSpec | None = None) -> Verdict:
    """Grade one answer against one reference.

    Without a spec the reference decides the type. An answer of None, empty, or longer than the limit is wrong; an empty
    or unreadable reference gives no verdict. Never raises, whatever the strings hold.
    """
    spec = (spec or AnswerSpec()).resolved(gold)
    try:
        verdict, troubles = (_cached if _is_small(answer, gold) else _counted)(answer, gold, spec)
        stats.count(**troubles)
    except NotGradedError as error:
        verdict = error.verdict
    except (ValueError, ArithmeticError, RecursionError) as error:
        # A mistake in a reader must cost one verdict, not the run: it is counted and named.
        stats.count(errors=1)
        verdict = ungraded(gold, f"the grader failed: {type(error).__name__}: {error}"[:200], answer)
    stats.count_verdict(verdict)
    return verdict


def reference_problem(gold: str | None, spec: AnswerSpec | None = None) -> str | None:
    """Say why nothing can be graded against a reference; None when it is fine.

    For the check before a training: a reference that does not parse is dropped and counted there. Grading it against
    itself would not tell, because equal strings are equal whether they parse or not.
    """
    spec = (spec or AnswerSpec()).resolved(gold)
    try:
        verdict = _grade(gold, gold, spec)
        if verdict.score is None or gold is None or spec.type != "math":
            return verdict.reason if verdict.score is None else None
        return expressions.reference_problem(gold)
    except NotGradedError as error:
        return error.verdict.reason
    except (ValueError, ArithmeticError, RecursionError) as error:
        stats.count(errors=1)
        return f"the grader failed: {type(error).__name__}: {error}"[:200]


def clear_cache() -> None:
    """Forget all verdicts."""
    _cached.cache_clear()


def _is_small(answer: str | None, gold: str | None) -> bool:
    return len(answer or "") + len(gold or "") <= 2 * MAX_LENGTH


def _grade(answer: str | None, gold: str | None, spec: AnswerSpec) -> Verdict:
    if gold is None or not tidy(gold).strip("$"):
        return ungraded(None, "no reference answer")
    reference = tidy(gold)
    wrong = scored if spec.type in _GRADED else _no
    if answer is None or not tidy(answer):
        return wrong(0.0, None, reference, "no answer found")
    limit = MAX_TEXT if spec.type in ("text", "ocr") else MAX_LENGTH
    if len(gold) > limit:
        return ungraded(reference[:80], f"the reference is longer than {limit} characters")
    if len(answer) > limit:
        stats.count(capped=1)
        return wrong(0.0, None, reference, f"answer longer than {limit} characters")
    if spec.type == "multiple_choice":
        return grade_choice(answer, gold, spec)
    if spec.type == "float":
        return grade_float(answer, gold, spec)
    if spec.type == "list":
        return grade_list(answer, gold)
    if spec.type == "yes_no":
        return grade_yes_no(answer, gold)
    if spec.type == "text":
        return grade_text(answer, gold)
    if spec.type == "ocr":
        return grade_ocr(answer, gold)
    if spec.type == "regression":
        return grade_regression(answer, gold, spec)
    if spec.type == "temporal_iou":
        return grade_span(answer, gold)
    return expressions.grade_math(answer, gold, spec)


def _no(_: float, answer: str | None, gold: str | None, reason: str) -> Verdict:
    return judged(False, answer, gold, reason)


def _counted(answer: str | None, gold: str | None, spec: AnswerSpec) -> tuple[Verdict, dict[str, int]]:
    """Grade; also return what went wrong on the way, which counts each time that the verdict is given."""
    with stats.held() as troubles:
        verdict = _grade(answer, gold, spec)
    return verdict, dict(troubles)


_cached = lru_cache(maxsize=CACHE_SIZE)(_counted)

__all__ = ["AnswerSpec", "Verdict", "clear_cache", "grade", "reference_problem", "verify"]
