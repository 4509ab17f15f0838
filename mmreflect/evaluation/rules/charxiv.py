"""How CharXiv's answers are judged: reasoning ones one by one, descriptive ones of a template five at a time.

The protocol is the official one; the words of templates, rubrics and requests are our own.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, create_model

from mmreflect.evaluation.benchmark import BadField, Row
from mmreflect.evaluation.judge import Case, Question, Steps, UnusableReplyError

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
    1: ("title", "what is the title that is written at it?"),
    2: ("ocr", "what is the label of the x-axis?"),
    3: ("ocr", "what is the label of the y-axis?"),
    4: ("ocr", "what is the leftmost labelled tick on the x-axis?"),
    5: ("ocr", "what is the rightmost labelled tick on the x-axis?"),
    6: ("ocr", "what is the lowest labelled tick on the y-axis, by its place?"),
    7: ("ocr", "what is the highest labelled tick on the y-axis, by its place?"),
    8: ("quant", "by how much do neighbouring numbers at the ticks of the x-axis differ?"),
    9: ("quant", "by how much do neighbouring numbers at the ticks of the y-axis differ?"),
    10: ("quant", "how many lines are drawn in it?"),
    11: ("bool", "do any lines cross each other? Answer yes or no."),
    12: ("quant", "how many entries does its legend of separate labels have?"),
    13: (
        "enum",
        "what are the labels in its legend? List them with commas, top to bottom, in a row left to right.",
    ),
    14: (
        "quant",
        "what is the difference between the largest and the smallest number at the ticks of its continuous legend?",
    ),
    15: ("quant", "what is the largest number at the ticks of its continuous legend?"),
    16: ("trend", "how do the data develop on the whole from left to right? Answer with a few words."),
    17: ("quant", "how many ticks have a label of their own, over all axes?"),
    18: ("layout", "how are the subplots of the figure laid out? Answer as 'n by m', rows by columns."),
    19: ("quant", "how many subplots does the figure have?"),
}
"""What the descriptive templates ask, in our own words and said of a plot, each with the rubric of its answers."""
PROMPTS = {
    **{"reasoning": REASONING, "descriptive": DESCRIPTIVE, **RUBRICS},
    **{f"reasoning {name}": text for name, text in REASONING_RUBRICS.items()},
    **{f"template {number}": text for number, (_, text) in QUESTIONS.items()},
}
"""Everything that a judgement depends on, by name."""


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
        question=f"{asked[0].upper()}{asked[1:]}",
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
