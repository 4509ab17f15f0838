"""NExT-GQA (arXiv 2309.01327): why-questions on videos whose answer must be grounded; 5,553 test questions.

mmreflect eval rescore nextgqa responses=FILE.jsonl output=OUT.jsonl

Rows hold a predicted span (`pred_span`) and a verdict (`qa_correct`), or a response that both are read from: the letter
by lmms-eval's extractor, the span from a tag or in the forms that lmms-eval's parser knows. A question without a
predicted span is left out of the denominator, as in the official script.
"""

from collections.abc import Sequence
from typing import Any

from mmreflect.answers.intervals import Interval, parse_interval
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
)
from mmreflect.evaluation.rules.letters import shared_letter
from mmreflect.evaluation.rules.reduction import shown_text
from mmreflect.evaluation.rules.spans import answer_tag_span, hull_iou, iop, lmms_span, span_of
from mmreflect.evaluation.rules.tables import labels
from mmreflect.evaluation.rules.verdicts import letter_of, lettered
from mmreflect.records import Turn

PROMPT = (
    "Question: {question}\nOptions:\n{options}\nGive the letter of the best option in <answer></answer> and the part "
    "of the video that shows it, in seconds, as <time_interval>[start, end]</time_interval>."
)
OPTIONS = ("a0", "a1", "a2", "a3", "a4")
LEVELS = (0.3, 0.5)


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question with a prompt of our own: the benchmark's methods have no common one."""
    name = f"{row['video_id']}_{row['qid']}"
    options = [row[key] for key in OPTIONS]
    shown = "\n".join(f"({letter}) {text}" for letter, text in lettered(options).items())
    text = PROMPT.format(question=row["question"], options=shown)
    facts = {key: row.get(key) for key in ("video_id", "qid", "type", "gt_spans", *OPTIONS)}
    turn = Turn("user", [files.video(str(row["video_id"])), text])
    return Item(name, (turn,), letter_of(row["answer"], options), facts)


def rows(record: Row, place: Place) -> list[Row]:
    """Return a row with its gold spans, which `gsub_SPLIT.json` maps videos and their questions to."""
    video, number = str(record["video_id"]), str(record["qid"])
    spans = place.beside.get(video, {}).get("location", {}).get(number)
    return [Row({"id": f"{video}_{number}", **record, "video_id": video, "qid": number, "gt_spans": spans})]


def _span(row: Row, response: Response) -> Interval | None:
    if "pred_span" in row:
        return None if row["pred_span"] is None else span_of(row["pred_span"], "pred_span")
    shown = shown_text(response.whole)
    tagged = parse_interval(shown) or answer_tag_span(shown)
    return tagged or lmms_span(response.final)


def _qa(row: Row, response: Response) -> bool:
    """Tell whether the answer is right, whatever the span.

    Raises:
        BadField: the row has neither a verdict nor an answer with its options.
    """
    if row.get("qa_correct") is not None:
        return bool(row["qa_correct"])
    wanted = letter_of(row.get("answer"), [row[key] for key in OPTIONS] if "a0" in row else None)
    if wanted is None:
        raise BadField("neither 'qa_correct' nor an 'answer' that is a letter or one of a0 to a4")
    return shared_letter(response.final, "ABCDE") == wanted


def official(row: Row, response: Response) -> Reading:
    """The best IoU and the best IoP over the gold spans; right is a right answer with an IoP of at least 0.5."""
    span = _span(row, response)
    spans = row.get("gt_spans")
    if not isinstance(spans, list | tuple | None):
        raise BadField(f"gt_spans is {str(spans)[:60]!r}, which is no list of spans")
    golds = [span_of(gold, "gt_spans") for gold in spans or []]
    if span is None or not golds:
        return Reading(list(span) if span else None, parsed=span is not None)
    best_iou = max(hull_iou(span, gold) for gold in golds)
    best_iop = max(iop(span, gold) for gold in golds)
    answered = _qa(row, response)
    extra = {"tIoU": best_iou, "tIoP": best_iop, "qa_correct": answered}
    return Reading(list(span), answered and best_iop >= 0.5, score=best_iou, extra=extra)


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return the official numbers in percent."""
    found: dict[str, Any] = {"n": len(rows)}
    for name in ("IoP", "IoU"):
        values = [item.reading.extra[f"t{name}"] for item in rows]
        found[f"m{name}"] = 100 * sum(values) / len(values)
        for level in LEVELS:
            found[f"{name}@{level}"] = 100 * sum(value >= level for value in values) / len(values)
    found["Acc@GQA"] = 100 * sum(bool(item.reading.correct) for item in rows) / len(rows)
    found["Acc@QA"] = 100 * sum(item.reading.extra["qa_correct"] for item in rows) / len(rows)
    return found


BENCHMARK = Benchmark(
    name="nextgqa",
    source=Source(
        "",
        splits=("test", "val"),
        files=("test.csv", "gsub_test.json", "videos"),
        annotations={"*": ("{split}.csv", "nextgqa/{split}.csv", "datasets/nextgqa/{split}.csv")},
        beside="gsub_{split}.json",
    ),
    columns=(
        Column("video_id", "text"),
        Column("qid", "text"),
        Column("question", "text"),
        Column("answer", "text"),
        Column("type", "text"),
        *(Column(name, "text") for name in OPTIONS),
    ),
    item=item,
    rules={"official": official},
    breakdown=breakdown,
    recorded=Recorded(extraction=("pred_span",), key=("gt_spans",), hidden=(None,), verdict=()),
    cluster=("video_id",),
    measures={
        "Acc@GQA": Measure(lambda item: float(bool(item.reading.correct)), scale=100),
        "Acc@QA": Measure(lambda item: float(item.reading.extra["qa_correct"]), scale=100),
        "mIoU": Measure(lambda item: item.reading.extra["tIoU"], scale=100),
        "mIoP": Measure(lambda item: item.reading.extra["tIoP"], scale=100),
    },
    groupings={"type": labels("type")},
    rows=rows,
)
