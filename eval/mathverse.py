"""MathVerse (arXiv 2403.14624): 788 problems in five image versions and as text alone.

mmreflect eval rescore mathverse responses=FILE.jsonl output=OUT.jsonl

Official scoring asks an LLM twice: for the bare answer (`extraction`), and whether it is right (`judgement`, 0 or 1).
What a row has of these is taken; a rule stands in for the rest, and the summary says so.
"""

from collections.abc import Sequence
from typing import Any

from mmreflect.answers.extract import final_answer
from mmreflect.answers.grade import AnswerSpec, grade
from mmreflect.evaluation.benchmark import (
    BadField,
    Benchmark,
    Column,
    Files,
    Item,
    Place,
    Reading,
    Recorded,
    Response,
    Row,
    Scored,
    Source,
)
from mmreflect.evaluation.rules.tables import cells, groups, mean
from mmreflect.evaluation.rules.verdicts import strict
from mmreflect.records import Turn

IMAGE_VERSIONS = ("Text Dominant", "Text Lite", "Vision Intensive", "Vision Dominant", "Vision Only")
FACETS = ("problem_version", "question_type", "metadata.subject", "metadata.subfield")
PREFIXES = {
    ("query_wo", "multi-choice"): "Please directly answer the question and provide the correct option letter, "
    "e.g., A, B, C, D.\nQuestion: ",
    ("query_wo", "free-form"): "Please directly answer the question and provide the final value, "
    "e.g., 1, 2.5, 300.\nQuestion: ",
    ("query_cot", "multi-choice"): "Please first conduct reasoning, and then answer the question and provide the "
    "correct option letter, e.g., A, B, C, D, at the end.\nQuestion: ",
    ("query_cot", "free-form"): "Please first conduct reasoning, and then answer the question and provide the final "
    "value, e.g., 1, 2.5, 300, at the end.\nQuestion: ",
}


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question from the release's ready prompt; the text-only version has no picture."""
    prompt = row.get(style)
    if not prompt:
        if (style, row["question_type"]) not in PREFIXES:
            raise BadField(f"question_type is {row['question_type']!r}")
        prompt = PREFIXES[style, row["question_type"]] + row["question"]
    name = str(row["sample_index"])
    shown = [files.picture(row["image"], name)] if row.get("image") is not None else []
    names = ("problem_index", "problem_version", "question_type", "question_for_eval", "metadata")
    facts = {"sample_index": name, **{key: row.get(key) for key in names}}
    return Item(name, (Turn("user", [*shown, prompt]),), row["answer"], facts)


def rows(record: Row, place: Place) -> list[Row]:
    """Return a row; the text-only version has no picture, or an empty one."""
    return [Row({**record, "image": record.get("image") or None})]


def _spec(row: Row) -> AnswerSpec:
    return AnswerSpec("multiple_choice" if row["question_type"] == "multi-choice" else None)


def _gold(row: Row) -> str | None:
    answer = row.get("answer")
    return None if answer in (None, "") else str(answer)


def _extraction(row: Row, response: Response) -> tuple[str | None, str]:
    if row.get("extraction") is not None:
        return str(row["extraction"]), "recorded extraction"
    return final_answer(response.final, _spec(row)), "extracted by rule"


def official(row: Row, response: Response) -> Reading:
    """The recorded judgement where there is one, else the project's grader on the extraction."""
    extracted, how = _extraction(row, response)
    if row.get("judgement") is not None:
        if str(row["judgement"]) not in ("0", "1", "False", "True"):
            raise BadField(f"judgement is {row['judgement']!r}, neither 0 nor 1")
        return Reading(extracted, str(row["judgement"]) in ("1", "True"), how="recorded judgement")
    verdict = grade(extracted, _gold(row), _spec(row)).correct
    how = f"{how}, judged by rule"
    return Reading(extracted, verdict, parsed=extracted is not None, how=how, approximate=True)


def quick_match(row: Row, response: Response) -> Reading:
    """The flag of the official script that puts equality of texts in the place of the judge."""
    extracted, how = _extraction(row, response)
    gold = _gold(row)
    verdict, by_rule = None if gold is None else extracted == gold, how == "extracted by rule"
    return Reading(extracted, verdict, parsed=extracted is not None, how=how, approximate=by_rule)


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return the mean over the image versions, then every key; the text-only version stands beside the average."""
    versions = groups(rows, "problem_version")
    shown = [item for name in IMAGE_VERSIONS for item in versions.get(name, [])]
    names = {path: path.rpartition(".")[2] for path in FACETS}
    return {
        "average": {
            "accuracy": mean(shown),
            "total": len(shown),
            "versions": len([v for v in IMAGE_VERSIONS if v in versions]),
        },
        **{name: found for path, name in names.items() if (found := cells(rows, path))},
    }


BENCHMARK = Benchmark(
    name="mathverse",
    source=Source(
        "AI4Math/MathVerse",
        splits=("testmini", "testmini_text_only"),
        configs=("testmini", "testmini_text_only"),
        headline=("testmini",),
    ),
    columns=(
        Column("sample_index", "text"),
        Column("problem_index", "text"),
        Column("problem_version", "text"),
        Column("question", "text"),
        Column("answer", "text"),
        Column("question_type", "text"),
        Column("metadata", "mapping"),
        Column("query_wo", "text"),
        Column("query_cot", "text"),
        Column("image", "picture", null=True),
    ),
    item=item,
    rules={"official": official, "quick_match": quick_match, "strict": strict(_spec, _gold)},
    breakdown=breakdown,
    recorded=Recorded(
        id=("id", "sample_index"),
        response=("response", "model_answer"),
        extraction=("judgement", "extraction"),
    ),
    facets=FACETS,
    styles=("query_wo", "query_cot"),
    approximate="answers were extracted or judged by rule where the official protocol asks an LLM",
    rows=rows,
)
