"""CharXiv (arXiv 2406.18521): charts of papers, with questions that describe and questions that reason.

mmreflect eval rescore charxiv responses=FILE.jsonl output=OUT.jsonl

Officially GPT-4o extracts and judges every answer. What a row has of that (`extracted_answer`, `score`: 1, 0, or -1 for
an unreadable judgement, which counts 0) is taken; where there is none the project's own grader stands in, and the
summary says so. Rows are one question each, as in the repository's files: reasoning ones with `inst_category`,
descriptive ones with `qid`, the number of their template.
"""

from collections.abc import Sequence
from typing import Any

from mmreflect.answers.grade import verify
from mmreflect.evaluation.benchmark import (
    BadField,
    Benchmark,
    Column,
    Files,
    Item,
    Reading,
    Recorded,
    Response,
    Row,
    Scored,
    Source,
)
from mmreflect.evaluation.rules.tables import MISSING, cell, cells, field_of
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


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question of the ready prompt (`query`) that the repository's own files hold."""
    name = str(row.get("id") or f"{row['figure_id']}_{row.get('qid', 'reasoning')}")
    shown = files.picture(row["image"] if row.get("image") is not None else row["figure_path"], name)
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


def _named(rows: Sequence[Scored], label: Any) -> dict[str, Any]:
    found: dict[str, list[Scored]] = {}
    for scored in rows:
        if (name := label(scored.row)) is not None:
            found.setdefault(name, []).append(scored)
    return {name: cell(items) for name, items in found.items()}


def _part(rows: Sequence[Scored], keys: dict[str, Any]) -> dict[str, Any]:
    made = {name: _named(rows, label) for name, label in keys.items()}
    made |= {name: cells(rows, name) for name in ("category", "year")}
    made["num_subplots"] = _named(rows, subplots)
    return {"overall": cell(rows), **{name: found for name, found in made.items() if found}}


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return reasoning and descriptive questions apart, each overall and by its own keys."""
    descriptive = [item for item in rows if item.row.get("qid") is not None]
    reasoning = [item for item in rows if item.row.get("qid") is None]
    parts: dict[str, Any] = {}
    if reasoning:
        by_type = {
            "answer_type": lambda row: ANSWER_TYPES.get(str(row.get("inst_category"))),
            "source": lambda row: SOURCES.get(str(row.get("qa_source"))),
        }
        parts["reasoning"] = _part(reasoning, by_type)
    if descriptive:
        by_template = {
            "question_category": lambda row: _CATEGORIES.get(int(row["qid"])),
            "question": lambda row: f"Q{row['qid']}",
        }
        parts["descriptive"] = _part(descriptive, by_template)
    return parts


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
)
