"""Charts drawn from random but plausible tables, with questions, solutions and every element's place in pixels.

    mmreflect build configs/build/chart.yaml
    python -m data_builders.chart configs/build/chart.yaml

Bars (plain, grouped, stacked), lines, scatter plots, pies, box plots, heat maps and tables in varied styles. Questions
have six levels: read, compare, count, compute, trend, multi_step. Answers are computed from the table, values can be
read exactly (they are written on the marks, or stand on a tick, halfway, or on a small tick), and where two values tie
another chart is drawn. `facts["chart"]` holds the table, the elements with their boxes and the steps of the solution
with the elements that each of them looks at: `mmreflect.charts.elements.annotation_of` reads it.

The same seed gives the same bytes with the same version of matplotlib.
"""

import random
from typing import Annotated, Any, Literal

from pydantic import Field

from mmreflect.building import Example, Workers
from mmreflect.charts.canvas import check_matplotlib
from mmreflect.charts.making import SKILLS, Chart, askable, make_chart
from mmreflect.charts.questions.view import Question
from mmreflect.charts.tables import KINDS
from mmreflect.config import config as config_class
from mmreflect.errors import UserError, unknown_name
from mmreflect.seeds import python_rng

Share = Annotated[float, Field(ge=0, le=1)]
Kind = Literal["bar", "grouped_bar", "stacked_bar", "line", "scatter", "pie", "box", "heat_map", "table"]
Skill = Literal["read", "compare", "count", "compute", "trend", "multi_step"]
LETTERS = "ABCD"
EXEMPT = {"*": ("repetition",)}  # who counts says the same of every element


@config_class
class Config:
    """What to build.

    Attributes:
        splits: rows per split, one chart with one question each.
        solutions: the splits whose rows end with the solution as the assistant's turn, for SFT.
        kinds, skills: which charts and which questions, drawn evenly.
        multiple_choice: share of the questions with wrong answers to offer that offer them as options.
        workers: processes that build shards at the same time, or `auto` for one per core.
    """

    output: str
    splits: Annotated[dict[str, Annotated[int, Field(gt=0)]], Field(min_length=1)]
    solutions: list[str] = Field(default_factory=list)
    seed: int = 0
    kinds: Annotated[list[Kind], Field(min_length=1)] = Field(default_factory=lambda: list(KINDS))  # type: ignore[arg-type]
    skills: Annotated[list[Skill], Field(min_length=1)] = Field(default_factory=lambda: list(SKILLS))  # type: ignore[arg-type]
    multiple_choice: Share = 0.3
    shard_rows: Annotated[int, Field(gt=0)] = 250
    workers: Workers = 1


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split has.

    Raises:
        UserError: matplotlib is missing, a split for solutions is not built, or no kind can ask for any of the skills.
    """
    check_matplotlib()
    for name in config.solutions:
        if name not in config.splits:
            raise unknown_name("split with solutions", name, list(config.splits))
    if not any(askable(kind, config.skills) for kind in config.kinds):
        raise UserError(
            f"skills {', '.join(config.skills)} cannot be asked of {', '.join(config.kinds)}",
            "a kind whose rows follow each other in time, for trends",
            "add a kind such as line, or another skill",
        )
    return dict(config.splits)


def make(config: Config, split: str, index: int) -> Example:
    """Make one row from its place alone."""
    chart = make_chart(config.seed, split, index, kinds=config.kinds, skills=config.skills)
    rng = python_rng("chart question", config.seed, split, index)
    question = chart.question
    options = _options(question, rng) if rng.random() < config.multiple_choice else []
    answer = LETTERS[options.index(question.answer)] if options else question.answer
    text = question.text
    if options:
        text += "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
    if split in config.solutions:
        messages.append(
            {"role": "assistant", "content": [{"type": "text", "text": _solution(chart, answer, bool(options))}]}
        )
    return Example(
        id=f"{split}-{index:06}",
        messages=messages,
        images=[chart.picture],
        answer=answer,
        facts=_facts(chart, options),
    )


def _options(question: Question, rng: random.Random) -> list[str]:
    """Return the right answer among wrong ones in any order, or none where there are too few."""
    if question.type == "yes_no":
        return []
    wrong = list(dict.fromkeys(item for item in question.wrong if item != question.answer))[:3]
    if question.choices is None and len(wrong) < 2:
        return []
    options = [question.answer, *wrong]
    rng.shuffle(options)
    return options


def _solution(chart: Chart, answer: str, letter: bool) -> str:
    said = " ".join(step[0] for step in chart.question.steps)
    chosen = f" {chart.question.answer} is option {answer}." if letter else ""
    return f"<think>{said}{chosen}</think><answer>{answer}</answer>"


def _facts(chart: Chart, options: list[str]) -> dict[str, Any]:
    """Return the facts of a row: all rows have the same keys, so that tools with fixed columns load them."""
    question, table = chart.question, chart.table
    return {
        "kind": table.kind,
        "skill": chart.skill,
        "level": SKILLS.index(chart.skill) + 1,
        "answer_type": "multiple_choice" if options else question.type,
        "options": options,
        "precision": question.places or 0,
        "labelled": table.labelled,
        "redrawn": chart.redrawn,
        "refused": chart.refused,
        "chart": chart.annotation().to_json(),
    }


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
