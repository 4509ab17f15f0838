"""CharXiv (arXiv 2406.18521): charts of papers, with questions that describe and questions that reason.

mmreflect eval rescore charxiv responses=FILE.jsonl output=OUT.jsonl

Officially GPT-4o extracts and judges every answer. What a row has of that (`extracted_answer`, `score`: 1, 0, or -1 for
an unreadable judgement, which counts 0) is taken; where there is none a model is asked (judge.base_url=URL
judge.model=NAME), or the project's own grader stands in, and the summary says so. Rows are one question each, as in the
repository's files: reasoning ones with `inst_category`, descriptive ones with `qid`, the number of their template; in
the release a row is a chart with five questions.

The release holds the numbers of the descriptive templates and not their text, nor what is asked of an answer's form.
Both are said in our own words here (style `own_words`), so that results do not compare with published ones to the
point; a row that brings its prompt along (`query`) is asked with that.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from mmreflect.answers.grade import verify
from mmreflect.evaluation.benchmark import (
    BadField,
    Benchmark,
    Column,
    Files,
    Item,
    Measure,
    Place,
    Reading,
    Recorded,
    Response,
    Row,
    Scored,
    Source,
    check_row,
)
from mmreflect.evaluation.judge import Judge
from mmreflect.evaluation.rules.charxiv import PROMPTS, QUESTIONS, ask, batches
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

_WHOLE_FIGURE = (18, 19)
NOT_APPLICABLE = "If this cannot be said of it, answer 'Not Applicable'."
FORMS = {
    "1": "Answer with words that are written in the chart.",
    "2": "Answer with a word or a short phrase.",
    "3": "Answer with a number that is written in the chart.",
    "4": "Answer with a number.",
}


def rows(record: Row, place: Place) -> list[Row]:
    """Return the five questions of a chart; a row that is one question already stays as it is.

    Raises:
        UserError: a column of the release is missing, or holds another type.
        BadField: a descriptive question has a number that no template has.
    """
    if "query" in record:
        return [record]
    check_row(record, CHART, f"{place.split}, chart {place.number + 1}")
    figure = PurePosixPath(record["figure_path"]).stem
    chart = {key: record.get(key) for key in ("category", "num_subplots", "figure_path", "image")}
    chart |= {"figure_id": figure, "year": str(record["year"])}
    kind = _number_of(ANSWER_TYPES, record.get("reasoning_a_type"))
    reasoning = {"inst_category": kind, "qa_source": _number_of(SOURCES, record.get("reasoning_q_source"))}
    answer = record["reasoning_a"] or None
    query = f"{record['reasoning_q']}\n{_form(kind, answer)}".strip()
    made = [Row(chart | {"id": f"{figure}_reasoning", "query": query, "answer": answer, **reasoning})]
    for number in range(1, 5):
        qid = record[f"descriptive_q{number}"]
        if qid not in QUESTIONS:
            raise BadField(f"descriptive_q{number} is {qid!r}, the number of no template")
        asked = {"id": f"{figure}_descriptive_{number}", "qid": qid, "query": _descriptive(qid, record)}
        made.append(Row(chart | asked | {"answer": record[f"descriptive_a{number}"] or None}))
    return made


def _number_of(names: Mapping[str, str], value: Any) -> str | None:
    """Return a number that the release writes as such or as its name ("Text-in-Chart")."""
    text = str(value).lower().replace("-", " ")
    known = {name.lower().replace("-", " "): number for number, name in names.items()}
    return text if text in names else known.get(text)


def _form(kind: str | None, answer: str | None) -> str:
    """Return what is asked of the answer's form; a number in general has as many decimals as the reference."""
    if kind == "4" and answer:
        decimals = len(answer.rpartition(".")[2]) if "." in answer else 0
        return f"Answer with a number with {decimals} decimals." if decimals else "Answer with a whole number."
    return FORMS.get(kind or "", "")


def _descriptive(qid: int, record: Row) -> str:
    text = QUESTIONS[qid][1]
    if qid in _WHOLE_FIGURE:
        return f"{text[0].upper()}{text[1:]}"
    plot = "the plot"
    if record["num_subplots"] > 1:
        row, column, place = (record.get(f"subplot_{name}") for name in ("row", "col", "loc"))
        plot = f"the subplot at {place}" if place else f"the subplot in row {row} and column {column}"
    return f"For {plot}: {text}\n{NOT_APPLICABLE}"


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question of a row's prompt, its own or the one that `rows` writes."""
    name = str(row.get("id") or f"{row['figure_id']}_{row.get('qid', 'reasoning')}")
    shown = files.picture(row["image"] if row.get("image") is not None else row["figure_path"], str(row["figure_id"]))
    names = ("figure_id", "qid", "inst_category", "qa_source", "category", "year", "num_subplots")
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


CHART = (
    Column("category", "text"),
    Column("year", "any"),
    Column("figure_path", "text"),
    Column("num_subplots", "integer"),
    Column("reasoning_q", "text"),
    Column("reasoning_q_source", "any", null=True),
    Column("reasoning_a", "text", null=True),
    *(Column(f"descriptive_q{number}", "integer") for number in range(1, 5)),
    *(Column(f"descriptive_a{number}", "text", null=True) for number in range(1, 5)),
)
"""The columns of the release, a chart a row; beside them its picture."""

BENCHMARK = Benchmark(
    name="charxiv",
    source=Source(
        "princeton-nlp/CharXiv",
        splits=("validation", "test"),
        hidden=("test",),
        files=("images",),
        annotations={"validation": ("val.parquet",), "test": ("test.parquet",)},
    ),
    columns=(
        Column("query", "text"),
        Column("answer", "text", null=True),
        Column("category", "text"),
        Column("year", "text"),
        Column("figure_path", "text"),
        Column("num_subplots", "integer"),
    ),
    item=item,
    rules={"official": official},
    breakdown=breakdown,
    recorded=Recorded(extraction=("extracted_answer", "score"), verdict=("correct",)),
    facets=("category", "num_subplots"),
    approximate="answers were judged by rule; the official judge is GPT-4o with a rubric for each kind of question",
    judge=Judge(
        PROMPTS,
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
    styles=("own_words",),
    rows=rows,
)
