"""From one candidate answer to the next: what later ones change, what stopping early would cost, and their words."""

from collections import Counter
from collections.abc import Sequence

from mmreflect.answers.spec import spec_of
from mmreflect.reflection.lexicon import LEXICON, lexicon_counts
from mmreflect.reflection.transitions import Step, Trace, stopping_curve, summary, trace
from mmreflect.report.data import Answer
from mmreflect.report.gallery import transition
from mmreflect.report.layout import PlotBlock, Section, Table, plots_section
from mmreflect.report.numbers import NONE, counted, fixed, percent, points
from mmreflect.report.plots import Bar, Plot, Series, bars, line_plot
from mmreflect.report.text import TRANSITIONS

_NAMES = {
    Step.KEPT_RIGHT: "right, kept",
    Step.KEPT_WRONG: "wrong, kept",
    Step.CORRECTED: "wrong to right",
    Step.CHANGED_WRONG: "another wrong",
    Step.SPOILED: "right to wrong",
}
_STYLES = {Step.CORRECTED: 2, Step.SPOILED: 1}


def section(answers: Sequence[Answer]) -> Section | None:
    """Return what the answers of a run do after their first candidate; None without answers."""
    if not answers:
        return None
    return plots_section("steps", "After the first answer", [_outcomes(answers), _candidates(answers), _words(answers)])


def _outcomes(answers: Sequence[Answer]) -> PlotBlock:
    found = Counter(transition(answer) for answer in answers)
    if found["not graded"] == len(answers):
        return PlotBlock(notes=["The project's verifier could grade none of these answers."])
    rows = [[name, f"{found[name]:,}", percent(found[name] / len(answers))] for name in TRANSITIONS if found[name]]
    note = "By the project's verifier, from the first to the final answer."
    return PlotBlock(notes=[note], tables=[Table(("what reflecting did", "answers", "share"), rows)])


def _candidates(answers: Sequence[Answer]) -> PlotBlock:
    read = [trace(item.text, item.gold, spec_of(item.known), item.entry.tokens) for item in answers]
    traces = [item for item in read if item is not None]
    steps = sum(len(item.steps) for item in traces)
    block = PlotBlock("Candidate answers")
    left = len(answers) - len(traces)
    if left:
        block.notes.append(f"{counted(left, 'answer')} without a reference to grade candidates against.")
    if not steps:
        block.notes.append("No answer states more than one candidate, so that nothing could be corrected on the way.")
        return block
    found = summary(traces)
    shares = [(step, found["steps"][str(step)]) for step in Step]
    block.plots.append(
        bars(
            "From one candidate to the next", [Bar(_NAMES[step], share, _STYLES.get(step, 0)) for step, share in shares]
        )
    )
    curve = _curve(traces)
    block.plots += [curve] if curve else []
    block.notes.append(
        f"{counted(steps, 'step')} between candidates in {counted(len(traces), 'text')}; "
        f"of those that begin wrong {_share(found['p_corrected'])} end right. First candidates are right in "
        f"{_share(found['first_accuracy'])}, last ones in {_share(found['final_accuracy'])} "
        f"({NONE if found['gain'] is None else points(found['gain'])} points); "
        f"{_share(found['spent_after_first'])} of all tokens come after the first."
    )
    if found["without_candidate"]:
        block.notes.append(f"{counted(found['without_candidate'], 'text')} without any candidate.")
    return block


def _curve(traces: Sequence[Trace]) -> Plot | None:
    curve = stopping_curve(traces)
    if len(curve) < 2:
        return None
    lines = [
        Series("right", [(item["k"], item["accuracy"]) for item in curve], 0, dots=True),
        Series("tokens spent", [(item["k"], item["spent"]) for item in curve], 1, dots=True),
    ]
    return line_plot("Stopping at the k-th candidate", lines, "share", "k")


def _words(answers: Sequence[Answer]) -> PlotBlock:
    counts = [lexicon_counts(answer.text) for answer in answers]
    rows = []
    for name in LEXICON:
        total, having = sum(item[name] for item in counts), sum(item[name] > 0 for item in counts)
        rows.append([name, f"{total:,}", fixed(total / len(counts), 2), percent(having / len(counts))])
    header = ("reflecting words", "phrases", "per answer", "answers with one")
    return PlotBlock(
        "Reflecting words", tables=[Table(header, rows, "Words alone are no evidence that anything helped.")]
    )


def _share(value: float | None) -> str:
    return NONE if value is None else percent(value)
