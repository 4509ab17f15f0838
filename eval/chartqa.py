"""ChartQA (arXiv 2203.10244): 2,500 test questions on charts, half written by people and half generated.

mmreflect eval rescore chartqa responses=FILE.jsonl output=OUT.jsonl

Relaxed accuracy compares the whole response: a model that explains itself needs its answer in a tag or a prompt that
asks for a word.
"""

from collections.abc import Sequence
from typing import Any

from mmreflect.answers.grade import AnswerSpec
from mmreflect.evaluation.benchmark import (
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
)
from mmreflect.evaluation.rules.relaxed import relaxed_match
from mmreflect.evaluation.rules.tables import cell, cells
from mmreflect.evaluation.rules.verdicts import strict
from mmreflect.records import Turn

SUFFIX = "\nAnswer the question with a single word."


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question; the release has no ids, so `id` is what the loader numbers."""
    name = str(row["id"])
    turn = Turn("user", [files.picture(row["image"], name), f"{row['question']}{SUFFIX}"])
    return Item(name, (turn,), row["answer"], {"id": name, "type": row["type"]})


def rows(record: Row, place: Place) -> list[Row]:
    """Return a row; HuggingFaceM4's copy has other names, and its answers in lists."""
    if "query" not in record:
        return [record]
    half = "augmented_test" if record["human_or_machine"] else "human_test"
    return [Row({**record, "question": record["query"], "answer": record["label"][0], "type": half})]


def _gold(row: Row) -> str | None:
    value = next((row[key] for key in ("target", "answer", "label") if key in row), None)
    if isinstance(value, list):
        value = value[0] if value else None
    return None if value is None else str(value)


def official(row: Row, response: Response) -> Reading:
    """Relaxed correctness as in pix2struct, used by lmms-eval and Qwen."""
    gold = _gold(row)
    verdict = None if gold is None else relaxed_match(response.final, gold)
    return Reading(response.final, verdict, parsed=bool(response.final))


def vlmevalkit(row: Row, response: Response) -> Reading:
    """The same on a prediction without outer blanks."""
    gold, text = _gold(row), response.final.strip()
    return Reading(text, None if gold is None else relaxed_match(text, gold), parsed=bool(text))


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return overall, and the human and the augmented half."""
    return {"relaxed_overall": cell(rows), **cells(rows, "type")}


BENCHMARK = Benchmark(
    name="chartqa",
    source=Source("lmms-lab/ChartQA", splits=("test",)),
    columns=(
        Column("type", "text"),
        Column("question", "text"),
        Column("answer", "text"),
        Column("image", "picture"),
    ),
    item=item,
    rules={
        "official": official,
        "lmms_eval": official,
        "vlmevalkit": vlmevalkit,
        "strict": strict(lambda row: AnswerSpec(), _gold),
    },
    breakdown=breakdown,
    recorded=Recorded(
        response=("response", "prediction"),
        key=("target", "answer", "label"),
        hidden=(None,),
        verdict=("relaxed_correct", "correct"),
    ),
    facets=("type",),
    measures={"relaxed_overall": Measure()},
    rows=rows,
)
