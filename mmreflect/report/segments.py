"""How well answers choose a part of a video: how often, how long, and how near to the true event."""

import re
from collections import Counter
from collections.abc import Sequence

from mmreflect.answers.intervals import iou
from mmreflect.report.data import Choice
from mmreflect.report.layout import Cell, PlotBlock, Section, Table, plots_section
from mmreflect.report.numbers import Figure, counted, fixed, mean_figure, share_figure
from mmreflect.report.verdicts import Stage
from mmreflect.statistics import Rate, mean

_RECALLS = (0.3, 0.5, 0.7)
_HEADER = ("stage", "asked", "valid part", "mean length, s", "true event known", "mean IoU", "R@0.3", "R@0.5", "R@0.7")
_CAPTION = (
    "R@x: share with an IoU of at least x. An answer without a valid part counts as 0 in both. In brackets: 95 % "
    "intervals, bootstrap over the answers."
)
_MOST_PROBLEMS = 4


def section(stages: Sequence[Stage]) -> Section | None:
    """Return the table of chosen parts, or None where no environment asked for any."""
    asked = [(stage.label, [answer.choice for answer in stage.answers if answer.choice]) for stage in stages]
    asked = [(label, choices) for label, choices in asked if choices]
    if not asked:
        return None
    table = Table(_HEADER, [[label, *_cells(choices)] for label, choices in asked], _CAPTION)
    notes = [text for label, choices in asked for text in _problems(label if len(stages) > 1 else "", choices)]
    return plots_section("segments", "Chosen parts of the videos", [PlotBlock(notes=notes, tables=[table])])


def _cells(choices: Sequence[Choice]) -> list[Cell]:
    lengths = [choice.segment[1] - choice.segment[0] for choice in choices if choice.segment]
    values = [iou(choice.segment, choice.event) for choice in choices if choice.event]
    recalls = [mean([float(value >= least) for value in values]) for least in _RECALLS]
    return [
        f"{len(choices):,}",
        share_figure(mean([float(choice.segment is not None) for choice in choices])),
        mean_figure(mean(lengths)),
        f"{len(values):,}",
        _hundredths(mean(values)),
        *(share_figure(rate) for rate in recalls),
    ]


def _hundredths(rate: Rate) -> Figure:
    known = mean_figure(rate)
    if rate.value is None or rate.low is None or rate.high is None:
        return known
    return Figure(fixed(rate.value, 2), f"({fixed(rate.low, 2)} to {fixed(rate.high, 2)})")


def _problems(label: str, choices: Sequence[Choice]) -> list[str]:
    """Say why answers have no valid part, the commonest reasons first; numbers in them are left out."""
    reasons = Counter(_reason(choice.problem) for choice in choices if choice.segment is None)
    if not reasons:
        return []
    shown = [f"{reason} ({count:,})" for reason, count in reasons.most_common(_MOST_PROBLEMS)]
    rest = sum(reasons.values()) - sum(count for _, count in reasons.most_common(_MOST_PROBLEMS))
    shown += [f"others ({rest:,})"] if rest else []
    where = f"{label[:1].upper()}{label[1:]}: " if label else ""
    return [f"{where}{counted(sum(reasons.values()), 'answer')} without a valid part: {'; '.join(shown)}."]


def _reason(problem: str) -> str:
    """Return a problem without the interval that it quotes, so that equal ones are counted together."""
    return re.sub(r"\[[^\]]*\]", "[..]", problem) or "no reason given"
