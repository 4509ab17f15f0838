"""MLVU (arXiv 2406.04264): multiple choice on long videos in seven tasks; the test set has nine, and options A to F.

mmreflect eval rescore mlvu responses=FILE.jsonl output=OUT.jsonl

M-Avg is the mean over the tasks, whatever their sizes. The two generation tasks (sub-scene, summary) need an LLM judge
and are no part of it. lmms-eval reads A to D alone, also in the test set with its six options.
"""

import re
from collections.abc import Sequence
from typing import Any

from mmreflect.evaluation.benchmark import (
    Benchmark,
    Column,
    Files,
    Item,
    LeftOutError,
    Measure,
    Place,
    Row,
    Scored,
    Source,
)
from mmreflect.evaluation.rules.letters import mlvu_letter, shared_letter
from mmreflect.evaluation.rules.tables import groups, percent
from mmreflect.evaluation.rules.verdicts import by_letter, choice_spec, letter_of, lettered, strict
from mmreflect.records import Turn

SYSTEM = (
    "Carefully watch this video and pay attention to every detail. Based on your observations, select the best option "
    "that accurately addresses the question."
)
PREFILL = "Best Option: ("
OPEN = "an open question, which only a judge can score"
TASKS = {"findNeedle": "needle", "topicReasoning": "topic_reasoning", "anomalyReco": "anomaly_reco"}
"""The releases' further names of a task."""
_OPTION = re.compile(r"^\([A-F]\)", re.MULTILINE)


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question; the answer begins with an opened bracket."""
    name = str(row["id"])
    options = "\n".join(f"({letter}) {text}" for letter, text in lettered(row["candidates"], "candidates").items())
    text = f"Question: {row['question']}\nOptions:\n{options}\nOnly give the best option."
    turns = (
        Turn("system", [SYSTEM]),
        Turn("user", [files.video(str(row["video"])), text]),
        Turn("assistant", [PREFILL]),
    )
    facts = {"id": name, "video": row["video"], "task_type": task_of(row), "candidates": row["candidates"]}
    return Item(name, turns, gold_letter(row), facts)


def rows(record: Row, place: Place) -> list[Row]:
    """Return a row of an annotation file; lmms-eval's table has its options in the question.

    Raises:
        LeftOutError: it belongs to one of the two generation tasks.
    """
    if "video_name" in record:
        asked, *options = _OPTION.split(record["question"])
        found = {
            "video": record["video_name"],
            "question": asked.strip(),
            "candidates": [text.strip() for text in options],
        }
        return [Row({**record, **found, "question_type": record["task_type"]})]
    if not record.get("candidates"):
        raise LeftOutError(OPEN)
    return [Row({"answer": None, **record})]


def gold_letter(row: Row) -> str | None:
    """Return the right option's letter: the annotation files hold its text."""
    return letter_of(row.get("answer"), row.get("candidates"))


def task_of(row: Row) -> str | None:
    """Return the task under its one name."""
    name = row.get("task_type", row.get("question_type"))
    return None if name is None else TASKS.get(str(name), str(name))


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return the tasks' accuracies in percent, their unweighted mean, and the mean over questions."""
    tasks: dict[str, list[Scored]] = {}
    for scored in rows:
        if (task := task_of(scored.row)) is not None:
            tasks.setdefault(task, []).append(scored)
    found = {name: percent(items) for name, items in tasks.items()}
    average = sum(found.values()) / len(found) if found else None
    return {
        "per_task": found,
        "M_Avg": average,
        "micro": percent(rows),
        "tasks": len(groups(rows, "task_type")) or len(found),
    }


BENCHMARK = Benchmark(
    name="mlvu",
    source=Source(
        "MLVU/MVLU",
        splits=("dev", "test"),
        files=("video", "MLVU/video"),
        hubs={"test": "MLVU/MLVU_Test"},
        annotations={
            "dev": ("json/*.json", "MLVU/json/*.json"),
            "test": ("test_mcq*.json", "test-ground-truth/test_mcq*.json"),
        },
    ),
    columns=(
        Column("video", "text"),
        Column("duration", "number"),
        Column("question", "text"),
        Column("candidates", "list"),
        Column("answer", "text", null=True),
        Column("question_type", "text"),
    ),
    item=item,
    rules={
        "official": by_letter(mlvu_letter, gold_letter),
        "lmms_eval": by_letter(shared_letter, gold_letter, nothing=""),
        "strict": strict(lambda row: choice_spec(lettered(row.get("candidates"), "candidates")), gold_letter),
    },
    breakdown=breakdown,
    cluster=("video", "video_name"),
    measures={"M_Avg": Measure(over=task_of, scale=100), "micro": Measure(scale=100)},
    groupings={"task": task_of},
    rows=rows,
)
