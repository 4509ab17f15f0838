"""One row alone: whether it is fit to stand in a dataset. Nothing here reads files or looks at other rows."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from mmreflect.answers.extract import final_answer
from mmreflect.answers.grade import reference_problem, verify
from mmreflect.answers.spec import AnswerSpec, spec_of
from mmreflect.answers.verdict import Verdict, ungraded
from mmreflect.errors import UserError
from mmreflect.quality.config import QualityConfig
from mmreflect.quality.stated import has_open_tag, said_answers, stated_answers
from mmreflect.quality.texts import (
    PLACEHOLDERS,
    control_character_in,
    control_token_in,
    leak_in,
    repetition_in,
    script_share,
    scripts_in,
    words_of,
)
from mmreflect.records import texts_in

Check = Literal[
    "reference", "final_answer", "answer", "rejected_side", "length", "repetition", "script", "leak", "control"
]
"""`reference`: the row's own answer can be graded against; `rejected_side`: that of a pair differs from the chosen one,
and is not right. `control`: no text holds tokens or characters that act where they should be read."""
ALWAYS: Check = "control"
"""What no row is exempt from: with it a row cannot be trained on."""
CHECKS: tuple[Check, ...] = get_args(Check)
EXEMPTIBLE = tuple(check for check in CHECKS if check != ALWAYS)
"""What a leaf, or a row, can be exempt from."""
_RUN, _SHOWN = 8, 200


@dataclass(frozen=True, slots=True)
class Texts:
    """What of a row is checked.

    Attributes:
        question: the text of all turns before the response.
        response: of a pair the chosen side; None where the row has none. `rejected`: the other side.
        gold, facts: the reference, and how it is to be read.
        name, system: the row's id, and the text of its system turns.
    """

    question: str
    response: str | None
    gold: str | None
    facts: Mapping[str, Any]
    rejected: str | None = None
    name: str = ""
    system: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        state: `passed`, `failed`, `kept` (not gradable, and kept all the same) or `does not apply`.
        reason: of a failure: what is counted, the same words for all such rows; `facts` has the row's own numbers.
    """

    check: Check
    state: Literal["passed", "failed", "kept", "does not apply"]
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def check_row(texts: Texts, config: QualityConfig, exempt: Collection[str] = ()) -> list[Finding]:
    """Make the checks that are asked for, all of them, in the order of `CHECKS`.

    Args:
        exempt: checks that the row's builder says make no sense for it; they are not made, save `control`.
    """
    asked: dict[Check, bool] = {
        "reference": True,
        "final_answer": config.final_answer != "off",
        "answer": config.answer != "off",
        "rejected_side": True,
        "length": config.min_words is not None or config.max_words is not None,
        "repetition": config.repetition is not None,
        "script": True,
        "leak": bool(config.leaks),
        "control": True,
    }
    made = {
        "reference": _reference,
        "final_answer": _final_answer,
        "answer": _answer,
        "rejected_side": _rejected_side,
        "length": _length,
        "repetition": _repetition,
        "script": _script,
        "leak": _leak,
        "control": _control,
    }
    exempt = ({*exempt, "answer"} if "final_answer" in exempt else {*exempt}) - {ALWAYS}
    texts_of_pair = _without_grade(texts) if "answer" in exempt or config.answer == "off" else texts
    return [
        _finding(check, made[check](texts_of_pair if check == "rejected_side" else texts, config))
        for check in CHECKS
        if asked[check] and check not in exempt
    ]


_Failure = tuple[str, dict[str, Any]]
_Found = _Failure | Literal["passed", "kept", "does not apply"]


def _finding(check: Check, found: _Found) -> Finding:
    if isinstance(found, tuple):
        return Finding(check, "failed", *found)
    return Finding(check, found)


def _without_grade(texts: Texts) -> Texts:
    """Return texts of which only the words are compared."""
    return replace(texts, gold=None)


def _spec(texts: Texts) -> AnswerSpec | None:
    try:
        return spec_of(texts.facts).resolved(texts.gold)
    except UserError:
        return None


def _verdict(text: str, texts: Texts) -> Verdict:
    try:
        return verify(text, texts.gold, spec_of(texts.facts))
    except UserError as error:
        return ungraded(texts.gold, f"facts: {error.given}")


def _reference(texts: Texts, config: QualityConfig) -> _Found:
    """Look at what training and evaluation grade against, whether a response stands beside it or not."""
    if texts.gold is None:
        return "does not apply"
    try:
        problem = reference_problem(texts.gold, spec_of(texts.facts))
    except UserError as error:
        problem = error.given
    if problem is None:
        return "passed"
    if config.ungraded == "keep":
        return "kept"
    return "the answer cannot be graded against", {"detail": problem, "gold": texts.gold[:_SHOWN]}


def _final_answer(texts: Texts, config: QualityConfig) -> _Found:
    if texts.response is None:
        return "does not apply"
    spec = _spec(texts)
    stated = stated_answers(texts.response, spec)
    if any(count > 1 for count in stated):
        return "several final answers", {"final_answers": max(stated)}
    if has_open_tag(texts.response):
        return "an answer tag is never closed", {"end": texts.response[-_SHOWN:]}
    said = said_answers(texts.response, spec)
    if len(said) > 1:
        return "several final answers", {"final_answers": len(said), "said": [answer[:_SHOWN] for answer in said]}
    if stated:
        return "passed"
    if texts.gold is None:
        return "does not apply"
    if config.final_answer == "marked":
        return "no final answer in a box or a tag", {"end": texts.response[-_SHOWN:]}
    if final_answer(texts.response, spec) is None:
        return "no final answer", {"end": texts.response[-_SHOWN:]}
    return "passed"


def _answer(texts: Texts, config: QualityConfig) -> _Found:
    if texts.response is None or texts.gold is None:
        return "does not apply"
    verdict = _verdict(texts.response, texts)
    if verdict.passed is None:
        if config.ungraded == "keep":
            return "kept"
        return "the final answer could not be graded", {"detail": verdict.reason, "gold": texts.gold[:_SHOWN]}
    if verdict.passed:
        return "passed"
    given = {"final_answer": (verdict.answer or "")[:_SHOWN], "gold": texts.gold[:_SHOWN]}
    return "the final answer is wrong", given | {"detail": verdict.reason}


def _rejected_side(texts: Texts, config: QualityConfig) -> _Found:
    if texts.rejected is None or texts.response is None:
        return "does not apply"
    if texts.rejected.split() == texts.response.split():
        return "both sides of the pair are the same", {}
    if texts.gold is not None and _verdict(texts.rejected, texts).passed:
        return "the rejected side is right", {"gold": texts.gold[:_SHOWN]}
    return "passed"


def _length(texts: Texts, config: QualityConfig) -> _Found:
    if texts.response is None:
        return "does not apply"
    words = len(words_of(texts.response))
    if config.min_words is not None and words < config.min_words:
        return f"the response has fewer than {config.min_words} words", {"words": words}
    if config.max_words is not None and words > config.max_words:
        return f"the response has more than {config.max_words} words", {"words": words}
    return "passed"


def _repetition(texts: Texts, config: QualityConfig) -> _Found:
    assert config.repetition is not None
    if texts.response is None:
        return "does not apply"
    run = repetition_in(texts.response, _RUN, config.repetition)
    if run is None:
        return "passed"
    return f"the response repeats itself more than {config.repetition} times", {"run": run}


def _script(texts: Texts, config: QualityConfig) -> _Found:
    looked_at = dict(_looked_at(texts, config))
    if not looked_at:
        return "does not apply"
    wanted = set(config.scripts or {"latin", "greek", *scripts_in(texts.question)})
    for name, text in looked_at.items():
        share = script_share(text, wanted)
        if share < config.script_share:
            return f"the {name} is in another script", {"share": round(share, 4), "scripts": sorted(scripts_in(text))}
    return "passed"


def _looked_at(texts: Texts, config: QualityConfig) -> Iterator[tuple[str, str]]:
    """Yield the texts that must be in a script; a question sets the measure where none is asked for."""
    if config.scripts is not None:
        yield "question", texts.question
    if texts.response is not None:
        yield "response", texts.response


def _leak(texts: Texts, config: QualityConfig) -> _Found:
    if texts.response is None:
        return "does not apply"
    said = leak_in(texts.response, config.leaks)
    return "passed" if said is None else ("the response gives away that the answer was known", {"said": said})


def _control(texts: Texts, config: QualityConfig) -> _Found:
    """Look at all texts; what is not shown to a model, such as facts, may name tokens."""
    replies = {"response": texts.response, "rejected side": texts.rejected}
    shown = {"question": texts.question, "system turn": texts.system, **replies, "reference answer": texts.gold}
    for name, text in shown.items():
        token = control_token_in(text or "")
        if token is not None:
            return f"the {name} holds a control token", {"token": token}
    for name, text in replies.items():
        for placeholder in PLACEHOLDERS:
            if placeholder in (text or ""):
                return f"the {name} holds a placeholder of a medium", {"placeholder": placeholder}
    for name, value in {**shown, "id": texts.name, "text of a fact": texts.facts}.items():
        for text in texts_in(value):
            character = control_character_in(text)
            if character is not None:
                return f"the {name} holds a control character", {"character": character}
    return "passed"
