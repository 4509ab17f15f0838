"""A whole chart from a seed: a table, a question with its solution, a picture, and its elements, checked."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmreflect.charts.canvas import Misfit, check_matplotlib
from mmreflect.charts.drawing import draw
from mmreflect.charts.elements import Annotation, Element
from mmreflect.charts.proof import unseen
from mmreflect.charts.questions import compare, compute, count, multi_step, read, scatter, trend
from mmreflect.charts.questions.view import Look, Question, Unaskable, View
from mmreflect.charts.styles import Style, draw_style
from mmreflect.charts.tables import KINDS, Table, draw_table
from mmreflect.errors import UserError
from mmreflect.seeds import python_rng

if TYPE_CHECKING:
    from PIL.Image import Image

SKILLS = ("read", "compare", "count", "compute", "trend", "multi_step")
"""Skills in the order of their levels, which count from 1."""
ATTEMPTS = 80

Asker = Callable[[View], Question]
MATRIX: dict[str, Asker] = {
    "read": read.ask,
    "compare": compare.ask,
    "count": count.ask,
    "compute": compute.ask,
    "trend": trend.ask,
    "multi_step": multi_step.ask,
}
SCATTER: dict[str, Asker] = {
    "read": scatter.read,
    "compare": scatter.compare,
    "count": scatter.count,
    "compute": scatter.compute,
    "trend": scatter.trend,
    "multi_step": scatter.multi_step,
}
TIMELESS = ("pie", "box")
"""Kinds whose rows never follow each other in time: nothing is asked about trends."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with one question.

    Attributes:
        redrawn: draws before this one that did not fit or whose question was ambiguous.
        refused: draws before this one with an element that is not seen where it is noted.
    """

    picture: "Image"
    table: Table
    style: Style
    elements: list[Element]
    question: Question
    skill: str
    redrawn: int
    refused: int = 0

    def annotation(self) -> Annotation:
        """Return what the row's facts hold."""
        table = self.table
        steps = [(said, _places(self.elements, looks)) for said, looks in self.question.steps]
        values = [[None if value is None else float(value) for value in line] for line in table.values]
        columns = [name or table.noun for name in table.columns]
        return Annotation(
            table.kind, self.picture.size, table.title, list(table.rows), columns, values, self.elements, steps
        )


def askable(kind: str, skills: Sequence[str]) -> list[str]:
    """Return the skills that a kind of chart can ask for."""
    return [skill for skill in skills if skill != "trend" or kind not in TIMELESS]


def make_chart(*parts: object, kinds: Sequence[str] = KINDS, skills: Sequence[str] = SKILLS) -> Chart:
    """Make the chart of a seed: the same parts give the same bytes, whatever was drawn before.

    The kind and the skill are drawn first, evenly; then tables and styles until one fits and its question has one
    answer and all of its elements are seen where they are noted. `first_chart` tells what the check refuses.

    Raises:
        UserError: matplotlib is missing, or no draw fitted and was seen.
    """
    refused = 0
    for chart in _charts(parts, kinds, skills):
        if not unseen(chart.picture, chart.elements):
            return replace(chart, redrawn=chart.redrawn - refused, refused=refused)
        refused += 1
    raise UserError(
        f"no chart of {', '.join(kinds)} with a question of {', '.join(skills)} fitted in {ATTEMPTS} draws",
        f"a draw that fits and shows its elements where they are noted ({refused} did not)",
        "ask for more kinds or skills",
    )


def first_chart(*parts: object, kinds: Sequence[str] = KINDS, skills: Sequence[str] = SKILLS) -> Chart:
    """Make the first chart of a seed that fits, whether or not its elements are seen where they are noted.

    Raises:
        UserError: matplotlib is missing, or no draw fitted.
    """
    for chart in _charts(parts, kinds, skills):
        return chart
    raise UserError(f"no chart of {', '.join(kinds)} fitted in {ATTEMPTS} draws", "a chart", "ask for more kinds")


def _charts(parts: Sequence[object], kinds: Sequence[str], skills: Sequence[str]) -> Iterator[Chart]:
    """Give the draws of a seed that fit, in order."""
    check_matplotlib()
    rng = python_rng("chart", *parts)
    kind = rng.choice([kind for kind in kinds if askable(kind, skills)])
    skill = rng.choice(askable(kind, skills))
    for attempt in range(ATTEMPTS):
        try:
            chart = _draw(python_rng("chart", *parts, attempt), kind, skill, attempt)
        except (Misfit, Unaskable):
            continue
        yield chart


def _draw(rng: random.Random, kind: str, skill: str, attempt: int) -> Chart:
    style = draw_style(rng)
    shaded = kind in ("pie", "heat_map")
    labelled = rng.random() < (0.6 if shaded else 0.45) or kind == "table" or (shaded and skill != "compare")
    table = draw_table(rng, kind, labelled, skill == "trend" and kind != "scatter")
    askers = SCATTER if kind == "scatter" else MATRIX
    question = askers[skill](View(table, rng))
    picture, elements = draw(table, style)
    return Chart(picture, table, style, elements, question, skill, attempt)


def _places(elements: Sequence[Element], looks: Sequence[Look]) -> list[int]:
    """Return the places of the elements that a step looks at."""
    return [
        place
        for place, element in enumerate(elements)
        if any(
            element.role == role and row in (None, element.row) and column in (None, element.column)
            for role, row, column in looks
        )
    ]
