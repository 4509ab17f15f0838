"""TempCompass (arXiv 2403.00476): do models see time: action, direction, speed, order and change, asked in four ways.

mmreflect eval rescore tempcompass responses=FILE.jsonl output=OUT.jsonl

The official rules match the form of an answer first and ask ChatGPT about the rest. Without that judge what no rule
matches is rated 0, and the summary says how much that was. "Not visible" counts as no. Captions always need the judge
and are not scored here.
"""

from collections.abc import Sequence
from typing import Any

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
from mmreflect.evaluation.rules.tables import cell, cells, groups
from mmreflect.records import Turn

SUFFIXES = {
    "multi-choice": "\nPlease directly give the best option:",
    "yes_no": "\nPlease answer yes or no:",
    "caption_matching": "\nPlease directly give the best option:",
    "captioning": "",
}
FACETS = ("task", "dim", "fine_dim")
_LABELS = ("Sentence ", "Option ", "Caption ")


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question; the release has no ids, so `id` is what the loader makes of task, video and place."""
    name = str(row["id"])
    turn = Turn("user", [files.video(str(row["video_id"])), row["question"] + SUFFIXES[_task(row)]])
    names = ("video_id", "task", "dim", "question", "mc_question", "mc_answer")
    return Item(name, (turn,), row.get("answer"), {"id": name, **{key: row.get(key) for key in names}})


def rows(record: Row, place: Place) -> list[Row]:
    """Return a row with its task, and an id of task, video and place."""
    task = place.config or record["task"]
    return [Row({**record, "id": f"{task}_{record['video_id']}_{place.number}", "task": task})]


def _task(row: Row) -> str:
    task = str(row["task"]).replace("multi_choice", "multi-choice")
    if task not in SUFFIXES:
        raise BadField(f"task is {row['task']!r}, none of {', '.join(SUFFIXES)}")
    return task


def match_choice(text: str, answer: str) -> bool | None:
    """Rate a multiple-choice answer: the whole option, a letter, or a text that begins with "X." or "X)"."""
    if text == answer:
        return True
    if text[:1] in tuple("ABCD") and text[1:2] in ("", ".", ")"):
        return text[0] == answer[:1]
    return None


def match_yes_no(text: str, answer: str) -> bool | None:
    """Rate an answer by how it begins."""
    lowered = text.lower()
    said = next((word for word in ("yes", "no") if lowered.startswith(word)), None)
    return None if said is None else said == answer


def match_caption(text: str, question: str, answer: str) -> bool | None:
    """Rate a chosen caption: the whole line, the sentence, also behind ") ", or the label: "Option 1", "1".

    Of several forms that fit the later one counts, as in the script.
    """
    lines = question.split("\n")[1:]
    labels = [line.split(": ")[0] for line in lines]
    sentences = [line.split(": ")[1] for line in lines if ": " in line]
    for word in _LABELS:
        labels += [label.replace(word, "") for label in labels if word in label]
    bare = text.split(") ")[1] if ") " in text else text
    said = next((label for label in labels if label in (text, text.replace(".", ""))), None)
    said = said or next((sentence for sentence in sentences if sentence in (text, bare)), None)
    said = said or next((line for line in lines if line == text), None)
    label, *sentence = answer.split(": ")[:2]
    return None if said is None else said in (answer, label, *sentence, *label.split()[1:2])


def official(row: Row, response: Response) -> Reading:
    """The official rules, with the judge off."""
    task = _task(row)
    text = response.final.replace("</s>", "")
    answer = row.get("answer")
    if task == "captioning":
        return Reading(text or None, parsed=bool(text), how="a caption, which only a judge can rate", approximate=True)
    if answer in (None, ""):
        return Reading(text or None, parsed=bool(text))
    if task == "caption_matching":
        rating = match_caption(text, row["question"], str(answer))
    else:
        rating = (match_choice if task == "multi-choice" else match_yes_no)(text, str(answer))
    matched = rating is not None
    how = "rule" if matched else "no rule matched: rated 0"
    extra = {"rule_matched": matched}
    return Reading(text or None, bool(rating), parsed=matched, how=how, approximate=not matched, extra=extra)


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return the micro average, how much the rules matched, and every key; dimensions also within each task."""
    matched = sum(bool(item.reading.extra.get("rule_matched")) for item in rows)
    inside = {task: cells(items, "dim") for task, items in groups(rows, "task").items()}
    keys = {name: found for name in FACETS if (found := cells(rows, name))}
    return {"average": cell(rows), "match_success_rate": matched / len(rows), **keys, "task_dim": inside}


BENCHMARK = Benchmark(
    name="tempcompass",
    source=Source(
        "lmms-lab/TempCompass",
        splits=("test",),
        configs=("multi-choice", "yes_no", "caption_matching", "captioning"),
        files=("videos", "tempcompass_videos"),
    ),
    columns=(
        Column("video_id", "text"),
        Column("question", "text"),
        Column("dim", "text"),
    ),
    item=item,
    rules={"official": official},
    breakdown=breakdown,
    recorded=Recorded(response=("response", "prediction"), key=("answer",), verdict=("rating",)),
    facets=FACETS,
    approximate="answers that no rule matches go to ChatGPT officially, and are rated 0 here",
    rows=rows,
)
