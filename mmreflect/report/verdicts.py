"""Did reflecting help? The ledger as a table, a graphic, and sentences; every number comes from the runs."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mmreflect.reflection.ledger import Ledger
from mmreflect.report.data import Answer, answers_of, ledger_of
from mmreflect.report.folders import Folder
from mmreflect.report.layout import Cell, LedgerBody, Section, Table
from mmreflect.report.numbers import (
    NONE,
    Figure,
    counted,
    fixed,
    mean_figure,
    percent,
    points,
    points_figure,
    share_figure,
)  # fmt: skip
from mmreflect.report.plots import Change, dumbbells
from mmreflect.rollouts.actions import FIRST_TRY
from mmreflect.statistics import sign_test

QUESTION = "Did reflecting help?"
_HEADER = (
    "stage", "n", "first accuracy", "final accuracy", "gain, points", "fix rate (of the wrong)",
    "harm rate (of the right)", "reflected", "tokens to first answer", "tokens after", "tokens per point gained",
)  # fmt: skip
_CAPTION = "Gain is final minus first accuracy. In brackets: 95 % intervals, bootstrap over the answers."


@dataclass(frozen=True, slots=True)
class Stage:
    """An evaluated stage: its folder's name without `eval-`, how the page calls it, its ledger and its answers."""

    name: str
    label: str
    ledger: Ledger
    answers: list[Answer]


def stages_of(runs: Sequence[Folder]) -> list[Stage]:
    """Return the finished evaluations among runs; a merge is named by its method."""
    methods = {run.label: run.name for run in runs if run.verb == "merge"}
    stages = []
    for run in runs:
        known = ledger_of(run) if run.verb == "eval" else None
        if known is not None:
            name = run.label.removeprefix("eval-")
            stages.append(Stage(name, _label(name, methods.get(name)), known, answers_of(run)))
    return stages


def _label(name: str, merge_method: str | None) -> str:
    if merge_method:
        return f"after the merge ({merge_method.upper()})"
    return {"sft": "after cold start (SFT)", "grpo": "after RL (GRPO)"}.get(name, f"after {name}")


def ledger_section(stages: Sequence[Stage], notes: Sequence[str]) -> Section | None:
    """Return the ledger table with its graphic, or None without a finished evaluation."""
    if not stages:
        return None
    table = Table(_HEADER, [[stage.label, *_cells(stage.ledger)] for stage in stages], _CAPTION)
    said = [*notes, *(text for stage in stages for text in _gaps(stage))]
    return Section("ledger", "The reflection ledger", "ledger", LedgerBody(table, graphic(stages), said))


def _cells(known: Ledger) -> list[Cell]:
    graded = known.n - known.ungraded
    right = round((known.first_accuracy.value or 0.0) * graded)
    fix, harm = share_figure(known.fix_rate), share_figure(known.harm_rate)
    per_point = NONE if known.tokens_per_point is None else fixed(known.tokens_per_point)
    return [
        f"{known.n:,}",
        share_figure(known.first_accuracy),
        share_figure(known.final_accuracy),
        points_figure(known.gain),
        Figure(fix.text, fix.interval, f"{known.fixed:,} of {graded - right:,}"),
        Figure(harm.text, harm.interval, f"{known.harmed:,} of {right:,}"),
        share_figure(known.reflected),
        mean_figure(known.tokens_first),
        mean_figure(known.tokens_after),
        Figure(per_point, remark="" if known.tokens_per_point is not None else "no gain"),
    ]


def _gaps(stage: Stage) -> list[str]:
    gaps = []
    if stage.ledger.ungraded:
        left = "is" if stage.ledger.ungraded == 1 else "are"
        gaps.append(f"{counted(stage.ledger.ungraded, 'answer')} could not be graded and {left} left out of the rates")
    if stage.ledger.unparsed:
        gaps.append(f"{counted(stage.ledger.unparsed, 'text')} held no final answer")
    return [f"{_upper(stage.label)}: {'; '.join(gaps)}."] if gaps else []


def graphic(stages: Sequence[Stage]) -> Markup | None:
    """Return the dumbbells of first and final accuracy, or None when nothing was graded."""
    changes = []
    for stage in stages:
        first, final = stage.ledger.first_accuracy, stage.ledger.final_accuracy
        if first.value is not None and final.value is not None:
            bounds = [(rate.low or 0.0, rate.high or 0.0) for rate in (first, final)]
            changes.append(Change(stage.label, first.value, bounds[0], final.value, bounds[1]))
    return dumbbells("First and final accuracy", changes) if changes else None


def lead(stages: Sequence[Stage]) -> list[str]:
    """Answer the question in words: the reinforced stage first, else the last one, then the others in order."""
    if not stages:
        return []
    main = next((stage for stage in stages if stage.name == "grpo"), stages[-1])
    return [_answer(main), *(_aside(stage) for stage in stages if stage is not main)]


def _answer(stage: Stage) -> str:
    known = stage.ledger
    if known.gain.value is None:
        return f"This cannot be said {stage.label}: no answer could be graded."
    if _no_first_try(stage):
        final = share_figure(known.final_accuracy).text
        return (
            f"Not measured {stage.label}: final answers are right in {final}, and nobody asked for an answer before "
            "the second look (environment.first_try does)."
        )
    first, final = share_figure(known.first_accuracy).text, share_figure(known.final_accuracy).text
    word = {"helped": "Yes", "hurt": "No", "nothing": "No", "open": "Not shown"}[_effect(known)]
    return (
        f"{word}, {stage.label}: first tries are right in {first}, final answers in {final}, a gain of {_gain(known)}."
    )


def _gain(known: Ledger) -> str:
    gain = points_figure(known.gain)
    return f"{gain.text} points {gain.interval}".strip()


def _no_first_try(stage: Stage) -> bool:
    """Tell whether parts of videos were looked at again without an answer before that to compare with."""
    looked = [answer for answer in stage.answers if answer.choice is not None]
    return (
        bool(looked) and not any(FIRST_TRY in answer.probes for answer in looked) and _effect(stage.ledger) == "nothing"
    )


def _aside(stage: Stage) -> str:
    if _no_first_try(stage):
        return f"{_upper(stage.label)} nobody asked for an answer before the second look."
    effect = _effect(stage.ledger)
    gain = _gain(stage.ledger)
    said = {
        "helped": f"it helped: {gain}",
        "hurt": f"it did harm: {gain}",
        "nothing": "it changed nothing: no answer fixed, none harmed",
        "open": f"neither gain nor loss is shown: {gain}",
        "unknown": "no answer could be graded",
    }[effect]
    return f"{_upper(stage.label)} {said}."


def _effect(known: Ledger) -> str:
    gain = known.gain
    if gain.value is None or gain.low is None or gain.high is None:
        return "unknown"
    if not known.fixed and not known.harmed:
        return "nothing"
    return "helped" if gain.low > 0 else "hurt" if gain.high < 0 else "open"


def comparisons(stages: Sequence[Stage]) -> list[str]:
    """Say for each stage after the first what it changed: overall, in the first answer, and in what reflecting adds."""
    return [text for before, after in itertools.pairwise(stages) if (text := _compare(before, after))]


def _compare(before: Stage, after: Stage) -> str:
    old, new = before.ledger, after.ledger
    values = (old.first_accuracy.value, new.first_accuracy.value, old.final_accuracy.value, new.final_accuracy.value)
    old_first, new_first, old_final, new_final = values
    if old_first is None or new_first is None or old_final is None or new_final is None:
        return ""
    step = {"grpo": "Reinforcement", "merge": "Merging"}.get(after.name, f"The step to {after.name!r}")
    change = new_final - old_final
    pairs = _pairs(before, after)
    if pairs:
        chance = sign_test(pairs.count((False, True)), pairs.count((True, False)))
        shown = chance < 0.05
    else:
        old_rate, new_rate = old.final_accuracy, new.final_accuracy
        shown = (old_rate.low or 0) > (new_rate.high or 0) or (new_rate.low or 0) > (old_rate.high or 0)
    verdict = "made no difference that can be told from chance"
    if shown:
        verdict = "made things better" if change > 0 else "made things worse"
    text = (
        f"{step} {verdict}: final accuracy went from {percent(old_final)} to {percent(new_final)} "
        f"({points(change)} points). "
        f"First answers alone went from {percent(old_first)} to {percent(new_first)}; what reflecting adds to them "
        f"went from {points(old_final - old_first)} to {points(new_final - new_first)} points."
    )
    if pairs:
        up, down = pairs.count((False, True)), pairs.count((True, False))
        said = "p < 0.001" if chance < 0.001 else f"p = {chance:.3f}"
        text += (
            f" Of {counted(len(pairs), 'question')} answered at both stages, {up:,} turned right and {down:,} turned"
        )
        text += f" wrong (exact sign test, {said})."
    return text


def _pairs(before: Stage, after: Stage) -> list[tuple[bool, bool]]:
    """Return whether the final answer was right before and after, for every question graded at both stages."""
    known = {answer.id: answer.entry.final_correct for answer in before.answers}
    pairs = []
    for answer in after.answers:
        old, new = known.get(answer.id), answer.entry.final_correct
        if old is not None and new is not None:
            pairs.append((old, new))
    return pairs


def lazy_note(runs: Sequence[Folder]) -> list[str]:
    """Say what was put into a demo's cold-start data on purpose, as its builder's settings have it."""
    for run in runs:
        careful, overlook = run.config.get("careful"), run.config.get("overlook")
        if run.verb == "build" and run.label == "data" and isinstance(careful, int | float) and careful < 1:
            quick = ""
            if isinstance(overlook, int | float) and overlook > 0:
                quick = f" Its first answers miss each shape with a chance of {percent(overlook, 0)}, on purpose too."
            return [
                f"Read with care: in the demo's cold-start data {percent(1 - careful, 0)} of the reflections are lazy "
                f"on purpose (careful: {careful:g} in data/config.yaml); they agree with the first answer without "
                f"looking.{quick} Reinforcement can learn to choose the careful reflection that the data also holds, "
                "and to stop overlooking; it does not learn to see."
            ]
    return []


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
