"""CharXiv (arXiv 2406.18521): charts of papers, with questions that describe and questions that reason.

mmreflect eval rescore charxiv responses=FILE.jsonl output=OUT.jsonl

Officially GPT-4o extracts and judges every answer. What a row has of that (`extracted_answer`, `score`: 1, 0, or -1 for
an unreadable judgement, which counts 0) is taken; where there is none a model is asked (judge.base_url=URL
judge.model=NAME), or the project's own grader stands in, and the summary says so. Rows are one question each, as in the
repository's files: reasoning ones with `inst_category`, descriptive ones with `qid`, the number of their template.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, create_model

from mmreflect.answers.grade import verify
from mmreflect.evaluation.benchmark import (
    BadField,
    Benchmark,
    Column,
    Files,
    Item,
    Measure,
    Reading,
    Recorded,
    Response,
    Row,
    Scored,
    Source,
)
from mmreflect.evaluation.judge import Case, Judge, Question, Steps, UnusableReplyError
from mmreflect.evaluation.rules.tables import MISSING, cell, cells, field_of, labels
from mmreflect.records import Turn

ANSWER_TYPES = {"1": "text in chart", "2": "text in general", "3": "number in chart", "4": "number in general"}
SOURCES = {"1": "GPT-sourced", "2": "GPT-inspired", "3": "human"}
TEMPLATES = {
    "information extraction": (1, 2, 3, 4, 5, 6, 7),
    "enumeration": (8, 9, 13, 14, 15),
    "pattern recognition": (11, 16, 18),
    "counting": (10, 12, 19),
    "compositionality": (17,),
}
_CATEGORIES = {number: name for name, numbers in TEMPLATES.items() for number in numbers}

BATCH = 5
"""Descriptive answers of one template that are judged in one request."""
REASONING = """\
You are given a question about a chart, its correct answer, and the response of a model. First copy the final answer out
of the response, without solving the question; where there is none, leave it empty. Then give it a score.
{rubric}
Reply with JSON: {{"extracted_answer": "the answer", "score": 0 or 1}}

Question: {question}
Correct answer: {answer}
Response: {response}"""
REASONING_RUBRICS = {
    "1": "The answer is a text that stands in the chart. Score 1 where it is the same text, whatever its case, "
    "articles, LaTeX or Greek letters in words; of several texts all must be there. A part of it, or more than it, "
    "scores 0.\n"
    'Correct "Group B", answer "The curve of group b": 1. Correct "$\\alpha$", answer "alpha": 1. Correct "Layer 3", '
    'answer "Layer 3 and Layer 4": 0.',
    "2": "The answer is a text of a general kind. Score 1 where it means the same, in other words too. What is less "
    "exact, or only related, scores 0.\n"
    'Correct "decreasing", answer "it falls": 1. Correct "They are equal", answer "no difference": 1. Correct "linear '
    'growth", answer "growth": 0.',
    "3": "The answer is a number that stands in the chart. Score 1 where it is the same number, written in another way "
    "or with its unit too. Any other number scores 0, however close.\n"
    'Correct "0.25", answer "1/4": 1. Correct "10^3", answer "1000 samples": 1. Correct "40", answer "about 41": 0.',
    "4": "The answer is a number that was worked out, to the digits that the question asks for. Score 1 where it is "
    "the same number, written in another way or with its unit too. Any other number scores 0, however close.\n"
    'Correct "7", answer "seven": 1. Correct "1.50", answer "1.5": 1. Correct "1.52", answer "1.5": 0.',
}
DESCRIPTIVE = """\
You are given a question that was asked about {count} charts. For each you get the correct answer (C) and the response
of a model (R). First copy the final answer out of each response; where there is none, leave it empty. Then give it a
score.
{rubric}
Where the correct answer is "Not Applicable", an answer scores 1 where it says that the chart does not have this, and 0
otherwise; "Not Applicable" in the place of another correct answer scores 0.
Reply with JSON that has these keys: {keys}. Scores are 0 or 1.

Question: {question}
{pairs}"""
RUBRICS = {
    "title": "Score 1 where it is the same title; case, line breaks and a panel's letter before it do not matter. A "
    'shortened title scores 0.\nCorrect "Loss over time", answer "The title is: loss over time": 1. Correct "Loss over '
    'time", answer "Loss": 0.',
    "ocr": "Score 1 where it is the same text or number, with the same unit if both have one; case, LaTeX and Greek "
    'letters in words do not matter. A text with a part missing scores 0.\nCorrect "Time (s)", answer "time (s)": 1. '
    'Correct "$\\lambda$", answer "lambda": 1. Correct "0.50", answer "0.5": 1. Correct "Time (s)", answer "Time": 0.',
    "quant": "Score 1 where it is the same number, written in another way too. Any other number scores 0, however "
    'close.\nCorrect "4", answer "There are four": 1. Correct "0.2", answer "1/5": 1. Correct "10", answer "9": 0.',
    "bool": 'Score 1 where it says the same, yes or no.\nCorrect "No", answer "They never cross": 1. Correct "Yes", '
    'answer "No": 0.',
    "enum": "Score 1 where it lists the same names in the same order; case and LaTeX do not matter. A name too many, "
    'too few, or in another place scores 0.\nCorrect "A, B, C", answer "a; b; c": 1. Correct "A, B, C", answer "B, A, '
    'C": 0. Correct "A, B", answer "A": 0.',
    "trend": "Score 1 where it describes the same course from left to right, in other words too. A course with a part "
    'missing scores 0.\nCorrect "increases then decreases", answer "rises to a peak and falls": 1. Correct "increases '
    'then decreases", answer "increases": 0.',
    "layout": "Score 1 where it gives the same numbers of rows and of columns, rows first.\n"
    'Correct "2 by 3", answer "two rows and three columns": 1. Correct "2 by 3", answer "3 by 2": 0.',
}
QUESTIONS = {
    1: ("title", "What is the title of the plot?"),
    2: ("ocr", "What is the label of the x-axis?"),
    3: ("ocr", "What is the label of the y-axis?"),
    4: ("ocr", "What is the leftmost labelled tick on the x-axis?"),
    5: ("ocr", "What is the rightmost labelled tick on the x-axis?"),
    6: ("ocr", "What is the lowest labelled tick on the y-axis?"),
    7: ("ocr", "What is the highest labelled tick on the y-axis?"),
    8: ("quant", "By how much do consecutive numerical ticks on the x-axis differ?"),
    9: ("quant", "By how much do consecutive numerical ticks on the y-axis differ?"),
    10: ("quant", "How many lines are there in the plot?"),
    11: ("bool", "Do any lines intersect?"),
    12: ("quant", "How many discrete labels are there in the legend?"),
    13: ("enum", "What are the names of the labels in the legend?"),
    14: ("quant", "By how much do the largest and the smallest tick of the continuous legend differ?"),
    15: ("quant", "What is the largest tick of the continuous legend?"),
    16: ("trend", "What is the general trend of the data from left to right?"),
    17: ("quant", "How many explicitly labelled ticks are there on all axes together?"),
    18: ("layout", "What is the layout of the subplots?"),
    19: ("quant", "How many subplots are there?"),
}
"""The descriptive templates in our own words, each with the rubric of its answers."""


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question of the ready prompt (`query`) that the repository's own files hold."""
    name = str(row.get("id") or f"{row['figure_id']}_{row.get('qid', 'reasoning')}")
    shown = files.picture(row["image"] if row.get("image") is not None else row["figure_path"], name)
    names = ("figure_id", "query", "qid", "inst_category", "qa_source", "category", "year", "num_subplots")
    facts = {"id": name, **{key: row.get(key) for key in names}}
    return Item(name, (Turn("user", [shown, row["query"]]),), row.get("answer"), facts)


def official(row: Row, response: Response) -> Reading:
    """The recorded judgement, or the project's grader in its place."""
    extracted, score = row.get("extracted_answer"), row.get("score")
    if score is not None:
        if score not in (-1, 0, 1):
            raise BadField(f"score is {score!r}, none of -1, 0 and 1")
        how = "invalid recorded judgement: rated 0" if score == -1 else "recorded judgement"
        return Reading(extracted, score == 1, parsed=score != -1, how=how)
    gold = row.get("answer")
    if gold in (None, ""):
        return Reading(extracted or response.final or None, parsed=bool(extracted or response.final))
    if extracted is None and not response.final.strip():
        return Reading(None, False, parsed=False, how="empty response")
    text = extracted if extracted is not None else response.whole
    found = verify(f"<answer>{text}</answer>" if extracted is not None else text, str(gold))
    verdict = found.correct if found.correct is not None else found.passed
    return Reading(found.answer, verdict, parsed=found.answer is not None, how="judged by rule", approximate=True)


def batches(cases: Sequence[Case]) -> list[list[Case]]:
    """Return what is to be judged: reasoning answers one by one, descriptive ones of a template five at a time."""
    alone, templates = [], dict[int, list[Case]]()
    for case in cases:
        answered = case.row.get("extracted_answer") is not None or case.response.final.strip()
        if case.row.get("score") is not None or case.row.get("answer") in (None, "") or not answered:
            continue
        if case.row.get("qid") is None:
            alone.append([case])
        else:
            templates.setdefault(_template(case.row), []).append(case)
    parts = [found[start : start + BATCH] for found in templates.values() for start in range(0, len(found), BATCH)]
    return alone + parts


def _template(row: Row) -> int:
    if str(row["qid"]) not in map(str, QUESTIONS):
        raise BadField(f"qid is {row['qid']!r}, not a number from 1 to {len(QUESTIONS)}")
    return int(row["qid"])


def ask(cases: Sequence[Case]) -> Steps:
    """Ask for the answers and their scores at once; a reply that cannot be read scores -1, as in the script."""
    question, keys = _reasoning(cases[0]) if cases[0].row.get("qid") is None else _descriptive(cases)
    try:
        found = (yield question).model_dump()
    except UnusableReplyError:
        return [{"score": -1} for _ in cases]
    return [{"extracted_answer": found[answer], "score": found[score]} for answer, score in keys]


def _said(case: Case) -> str:
    extracted = case.row.get("extracted_answer")
    return case.response.final if extracted is None else str(extracted)


def _reasoning(case: Case) -> tuple[Question, list[tuple[str, str]]]:
    row = case.row
    kind = str(row["inst_category"])
    if kind not in REASONING_RUBRICS:
        raise BadField(f"inst_category is {row['inst_category']!r}, none of {', '.join(REASONING_RUBRICS)}")
    asked = row.first("raw_question", "reasoning_q", "query", "question")
    prompt = REASONING.format(
        rubric=REASONING_RUBRICS[kind], question=asked, answer=row["answer"], response=_said(case)
    )
    keys = [("extracted_answer", "score")]
    return Question(prompt, schema=_form(tuple(keys))), keys


def _descriptive(cases: Sequence[Case]) -> tuple[Question, list[tuple[str, str]]]:
    rubric, asked = QUESTIONS[_template(cases[0].row)]
    keys = [(f"extracted_answer_{number}", f"score_{number}") for number in range(1, len(cases) + 1)]
    pairs = [f"C{number}: {case.row['answer']}\nR{number}: {_said(case)}" for number, case in enumerate(cases, start=1)]
    prompt = DESCRIPTIVE.format(
        count=len(cases),
        rubric=RUBRICS[rubric],
        keys=", ".join(name for pair in keys for name in pair),
        question=asked,
        pairs="\n".join(pairs),
    )
    return Question(prompt, schema=_form(tuple(keys))), keys


@functools.cache
def _form(keys: tuple[tuple[str, str], ...]) -> type[BaseModel]:
    """Return the JSON that is wanted: an answer and a score for each question."""
    fields: dict[str, Any] = {}
    for answer, score in keys:
        fields |= {answer: (str, ...), score: (Literal[0, 1], ...)}
    return create_model("Judgement", **fields)


def subplots(row: Row) -> str | None:
    """Return the group of a chart by its subplots: 1, 2-4 or 5+."""
    number = field_of(row, "num_subplots")
    if number is MISSING or number is None:
        return None
    return "1" if int(number) <= 1 else "2-4" if int(number) <= 4 else "5+"


Label = Callable[[Row], Any]
BY_TYPE: dict[str, Label] = {
    "answer_type": lambda row: ANSWER_TYPES.get(str(row.get("inst_category"))),
    "source": lambda row: SOURCES.get(str(row.get("qa_source"))),
}
BY_TEMPLATE: dict[str, Label] = {
    "question_category": lambda row: _CATEGORIES.get(int(row["qid"])),
    "question": lambda row: f"Q{row['qid']}",
}
BY_CHART: dict[str, Label] = {"category": labels("category"), "year": labels("year"), "num_subplots": subplots}


def _named(rows: Sequence[Scored], label: Any) -> dict[str, Any]:
    found: dict[str, list[Scored]] = {}
    for scored in rows:
        if (name := label(scored.row)) is not None:
            found.setdefault(name, []).append(scored)
    return {name: cell(items) for name, items in found.items()}


def _part(rows: Sequence[Scored], keys: dict[str, Any]) -> dict[str, Any]:
    made = {name: _named(rows, read) for name, read in keys.items()}
    made |= {name: cells(rows, name) for name in ("category", "year")}
    made["num_subplots"] = _named(rows, subplots)
    return {"overall": cell(rows), **{name: found for name, found in made.items() if found}}


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return reasoning and descriptive questions apart, each overall and by its own keys."""
    descriptive = [item for item in rows if item.row.get("qid") is not None]
    reasoning = [item for item in rows if item.row.get("qid") is None]
    parts: dict[str, Any] = {}
    if reasoning:
        parts["reasoning"] = _part(reasoning, BY_TYPE)
    if descriptive:
        parts["descriptive"] = _part(descriptive, BY_TEMPLATE)
    return parts


def _label(part: str, read: Label, row: Row) -> Any:
    return read(row) if (row.get("qid") is None) == (part == "reasoning") else None


BENCHMARK = Benchmark(
    name="charxiv",
    source=Source("princeton-nlp/CharXiv", splits=("validation", "test"), hidden=("test",), files=("images",)),
    columns=(
        Column("category", "text"),
        Column("year", "text"),
        Column("figure_path", "text"),
        Column("num_subplots", "integer"),
        Column("reasoning_q", "text"),
        Column("reasoning_q_source", "any", null=True),
        Column("reasoning_a", "text", null=True),
        *(Column(f"descriptive_q{number}", "integer") for number in range(1, 5)),
        *(Column(f"descriptive_a{number}", "text", null=True) for number in range(1, 5)),
        Column("image", "picture"),
    ),
    item=item,
    rules={"official": official},
    breakdown=breakdown,
    recorded=Recorded(extraction=("extracted_answer", "score"), verdict=("correct",)),
    facets=("category", "num_subplots"),
    approximate="answers were judged by rule; the official judge is GPT-4o with a rubric for each kind of question",
    judge=Judge(
        {
            **{"reasoning": REASONING, "descriptive": DESCRIPTIVE, **RUBRICS},
            **{f"reasoning {name}": text for name, text in REASONING_RUBRICS.items()},
            **{f"template {number}": text for number, (_, text) in QUESTIONS.items()},
        },
        {"official": ask},
        batches=batches,
        seed=42,
    ),
    cluster=("figure_id",),
    measures={
        "reasoning": Measure(lambda item: item.value if item.row.get("qid") is None else None),
        "descriptive": Measure(lambda item: None if item.row.get("qid") is None else item.value),
    },
    each=Measure(),
    groupings={
        f"{part} {name}": functools.partial(_label, part, read)
        for part, keys in (("reasoning", BY_TYPE), ("descriptive", BY_TEMPLATE))
        for name, read in {**keys, **BY_CHART}.items()
    },
)
