"""LVBench (arXiv 2406.08035): 1,549 questions on 103 videos of an hour, each on one or more of six abilities.

mmreflect eval rescore lvbench responses=FILE.jsonl output=OUT.jsonl

The official polish takes the first character of the first word: "The answer is B" is T, and wrong.
"""

import re
from collections.abc import Sequence
from typing import Any

from mmreflect.evaluation.benchmark import Benchmark, Column, Files, Item, Place, Recorded, Row, Scored, Source
from mmreflect.evaluation.rules.letters import lvbench_letter, shared_letter
from mmreflect.evaluation.rules.tables import mean, means
from mmreflect.evaluation.rules.verdicts import by_letter, choice_spec, strict
from mmreflect.records import Turn

ABILITIES = (
    *("key information retrieval", "event understanding", "summarization", "entity recognition", "reasoning"),
    "temporal grounding",
)
SUFFIX = "\nAnswer the question with the option letter."
_OPTION = re.compile(r"^\(([A-Z])\)\s*(.*)$", re.MULTILINE)


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question; its options stand in its text, as "(A) ..." lines."""
    name = str(row["uid"])
    turn = Turn("user", [files.video(str(row["video_path"])), row["question"] + SUFFIX])
    names = ("video_path", "question_type", "time_reference")
    return Item(name, (turn,), row["answer"], {"uid": name, **{key: row.get(key) for key in names}})


def rows(record: Row, place: Place) -> list[Row]:
    """Return the rows of a video: the official file has a line for each video, with its questions in a list."""
    if "qa" not in record:
        return [Row({**record, "uid": str(record["uid"])})]
    video = {"key": record["key"], "type": record.get("type"), "video_path": f"{record['key']}.mp4"}
    return [Row({**video, **asked, "uid": str(asked["uid"])}) for asked in map(Row, record["qa"])]


def _gold(row: Row) -> str | None:
    return None if row.get("answer") in (None, "") else str(row["answer"])


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return the micro accuracy and that of each ability, as fractions; a question counts for each of its own."""
    found = means(rows, "question_type")
    known = {name: found[name] for name in ABILITIES if name in found}
    return {"acc": mean(rows), **known, **{name: value for name, value in found.items() if name not in known}}


BENCHMARK = Benchmark(
    name="lvbench",
    source=Source(
        "lmms-eval/LVBench",
        splits=("train",),
        files=("videos", "video"),
        annotations={"train": ("video_info.meta.jsonl", "data/video_info.meta.jsonl")},
    ),
    columns=(
        Column("uid", "text"),
        Column("video_path", "text"),
        Column("question", "text"),
        Column("answer", "text"),
        Column("question_type", "list"),
    ),
    item=item,
    rules={
        "official": by_letter(lvbench_letter, _gold, nothing=""),
        "lmms_eval": by_letter(shared_letter, _gold, nothing=""),
        "strict": strict(lambda row: choice_spec(dict(_OPTION.findall(str(row.get("question", ""))))), _gold),
    },
    breakdown=breakdown,
    recorded=Recorded(id=("id", "uid")),
    facets=("question_type",),
    cluster=("video_path", "key"),
    rows=rows,
)
