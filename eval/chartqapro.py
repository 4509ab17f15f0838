"""ChartQAPro (arXiv 2504.05506): 1,948 questions on charts, some in conversations, with lists and unanswerable ones.

mmreflect eval rescore chartqapro responses=FILE.jsonl output=OUT.jsonl

The official script computes that fact checking and multiple choice need an exact match, and never passes it on, so that
"Refute" for "Refuted" gets partial credit; rule=lmms_eval passes it on.
"""

from collections.abc import Sequence
from typing import Any

from mmreflect.evaluation.benchmark import (
    Benchmark,
    Column,
    Files,
    Item,
    Measure,
    Reading,
    Recorded,
    Response,
    Row,
    Rule,
    Scored,
    Source,
)
from mmreflect.evaluation.rules.relaxed import chartqapro_score
from mmreflect.evaluation.rules.tables import groups, mean
from mmreflect.records import Turn

SUFFIX = "\nAnswer the question with a short phrase."
EXACT = ("Fact Checking", "Multi Choice")


def question(row: Row) -> str:
    """Return the last question, with the turns before it and their answers in a conversation, after its paragraph."""
    asked, answers = _listed(row["Question"]), _listed(row["Answer"])
    text = str(asked[-1]).strip()
    if row["Question Type"] == "Conversational" and len(asked) > 1:
        lines = []
        for number, before in enumerate(asked[:-1], 1):
            lines.append(f"Q{number}: {before.strip()}")
            if number <= len(answers):
                lines.append(f"A{number}: {str(answers[number - 1]).strip()}")
        text = "\n".join([*lines, f"Q{len(asked)}: {text}"])
    paragraph = (row.get("Paragraph") or "").strip()
    return f"Context: {paragraph}\n\n{text}" if paragraph else text


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question; the release has no ids, so `id` is what the loader numbers."""
    name = str(row["id"])
    facts = {"id": name, "question_type": row["Question Type"], "year_flags": row["Year"]}
    turn = Turn("user", [files.picture(row["image"], name), question(row) + SUFFIX])
    return Item(name, (turn,), str(_listed(row["Answer"])[-1]), facts)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _type(row: Row) -> str:
    return str(row.first("question_type", "Question Type"))


def _trimmed(text: str) -> str:
    return text.strip().strip(".").strip("\n")


def rule(exact: bool) -> Rule:
    """Make the rule, which takes the exact-match flag seriously or not."""

    def score(row: Row, response: Response) -> Reading:
        given, answers, kind = _trimmed(response.final), _listed(row.first("target", "Answer", "answer")), _type(row)
        years = _listed(row.get("year_flags", row.get("Year")))
        if kind == "Conversational":
            years = years[-1:]
        if not answers:
            return Reading(given, parsed=bool(given))
        value = chartqapro_score(given, _trimmed(str(answers[-1])), years, exact and kind in EXACT)
        return Reading(given, score=value, parsed=bool(given))

    return score


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return the mean of all, and of each question type."""
    kinds = ("question_type", "Question Type")
    found = {name: items for path in kinds for name, items in groups(rows, path).items()}
    return {
        "overall": {"score": mean(rows), "total": len(rows)},
        "question_type": {name: {"score": mean(items), "total": len(items)} for name, items in found.items()},
    }


BENCHMARK = Benchmark(
    name="chartqapro",
    source=Source("ahmed-masry/ChartQAPro", splits=("test",)),
    columns=(
        Column("Question", "list"),
        Column("Answer", "list"),
        Column("Question Type", "text"),
        Column("image", "picture"),
        Column("Year", "list"),
        Column("Paragraph", "text", null=True),
    ),
    item=item,
    rules={"official": rule(exact=False), "lmms_eval": rule(exact=True)},
    breakdown=breakdown,
    recorded=Recorded(
        response=("response", "prediction"), key=("target", "Answer", "answer"), hidden=(None,), verdict=("score",)
    ),
    measures={"score": Measure()},
    groupings={"question_type": _type},
)
