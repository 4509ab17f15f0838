"""Charades-STA (arXiv 1705.02101): when does a sentence happen in a home video; 3,720 test queries.

mmreflect eval rescore charades_sta responses=FILE.jsonl output=OUT.jsonl [rule=answer_tag]

No official parser exists for text: `official` is lmms-eval's, `answer_tag` that of Time-R1 and VideoChat-R1. The
summary holds both. The misspelling in the prompt is lmms-eval's.
"""

from mmreflect.answers.intervals import Interval
from mmreflect.evaluation.benchmark import Benchmark, Column, Files, Item, Place, Recorded, Row, Source
from mmreflect.evaluation.rules.captions import rows_of_video
from mmreflect.evaluation.rules.spans import free_span, grounding, measures, recalls, span_of, tagged_span
from mmreflect.records import Turn

PROMPT = (
    "Please find the visual event described by a sentence in the video, determining its starting and ending times. The "
    "format should be: 'The event happens in the start time - end time'. For example, The event 'person turn a light "
    "on' happens in the 24.3 - 30.4 seonds. Now I will give you the textual sentence: {caption}. Please return its "
    "start time and end time."
)
GOLD = ("gt", "timestamp", "gt_interval")


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question; the release has no ids, so `id` is what the loader numbers."""
    name = str(row["id"])
    turn = Turn("user", [files.video(row["video"]), PROMPT.format(caption=row["caption"])])
    facts = {"id": name, "video": row["video"], "duration": row.get("duration")}
    return Item(name, (turn,), list(span_of(row["timestamp"], "timestamp")), facts)


def rows(record: Row, place: Place) -> list[Row]:
    """Return a row of the table, or those of a video where the file maps videos to their sentences."""
    return rows_of_video(record) if "sentences" in record else [record]


def _gold(row: Row) -> Interval | None:
    name = next((name for name in GOLD if row.get(name) is not None), None)
    return None if name is None else span_of(row[name], name)


BENCHMARK = Benchmark(
    name="charades_sta",
    source=Source(
        "lmms-lab/charades_sta",
        splits=("test",),
        files=("Charades_v1_480",),
        annotations={"test": ("charades_test.json", "charades_sta_test.json")},
    ),
    columns=(Column("video", "text"), Column("caption", "text"), Column("timestamp", "any")),
    item=item,
    rules={
        "official": grounding(free_span, _gold),
        "lmms_eval": grounding(free_span, _gold),
        "answer_tag": grounding(tagged_span, _gold),
    },
    breakdown=recalls,
    recorded=Recorded(key=GOLD, hidden=(None,), verdict=()),
    cluster=("video",),
    measures=measures(),
    rows=rows,
)
