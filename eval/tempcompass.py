"""TempCompass (arXiv 2403.00476): do models see time: action, direction, speed, order and change, asked in four ways.

mmreflect eval rescore tempcompass responses=FILE.jsonl output=OUT.jsonl

The official rules match the form of an answer first and ask ChatGPT about the rest (judge.base_url=URL
judge.model=NAME; `judgement`, 0 or 1). Without that judge what no rule matches is rated 0, and the summary says how
much that was. "Not visible" counts as no. Captions always need the judge, which answers a multiple-choice question from
the caption alone (`extraction`); without it they are not scored.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

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
from mmreflect.evaluation.judge import Case, Judge, Question, Steps, word_of
from mmreflect.evaluation.rules.tables import cell, cells, groups
from mmreflect.records import Turn

SUFFIXES = {
    "multi-choice": "\nPlease directly give the best option:",
    "yes_no": "\nPlease answer yes or no:",
    "caption_matching": "\nPlease directly give the best option:",
    "captioning": "",
}
FACETS = ("task", "dim", "fine_dim")
_COMPARE = """\
You are given {kind} about a video, its correct answer, and what a model predicted. Decide whether the prediction is
correct. {hint} Reply with one word: Correct or Incorrect.

{question}

Correct answer: {answer}
Prediction: {prediction}
Verdict: """
_COMPARED = {
    "multi-choice": ("a multiple-choice question", "It is where it names the same option, by letter or in words."),
    "yes_no": (
        "a question to be answered with yes or no",
        "It is where it agrees or denies as the correct answer does.",
    ),
    "caption_matching": ("a choice between descriptions", "It is where it chooses the same description."),
}
CAPTION = """\
You are given a description of a video and a multiple-choice question about the video. Answer the question from the
description alone, by the letter and the text of an option. Where the description does not tell, answer "none". Reply
with JSON: {{"answer": "the option", "reason": "in one sentence"}}

Description: {caption}

{question}"""
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


def match(row: Row, response: Response) -> bool | None:
    """Rate a row by the rule of its task; None where no rule matches, and for captions."""
    task, text, answer = _task(row), _text(response), str(row.get("answer"))
    if task == "captioning":
        return None
    if task == "caption_matching":
        if not isinstance(row["question"], str):
            raise BadField(f"question is {row['question']!r}, which is no text")
        return match_caption(text, row["question"], answer)
    return (match_choice if task == "multi-choice" else match_yes_no)(text, answer)


def _text(response: Response) -> str:
    return response.final.replace("</s>", "")


def _judgement(row: Row) -> bool | None:
    given = row.get("judgement")
    if given is not None and given not in (0, 1):
        raise BadField(f"judgement is {given!r}, neither 0 nor 1")
    return None if given is None else bool(given)


def official(row: Row, response: Response) -> Reading:
    """The official rules, then the judge's verdict where a row has one; without it what no rule matches is rated 0."""
    text, judged = _text(response), _judgement(row)
    if _task(row) == "captioning":
        if judged is not None:
            return Reading(row.get("extraction"), judged, how="recorded judgement")
        return Reading(text or None, parsed=bool(text), how="a caption, which only a judge can rate", approximate=True)
    if row.get("answer") in (None, ""):
        return Reading(text or None, parsed=bool(text))
    rating = match(row, response)
    matched = rating is not None
    how, extra = "rule", {"rule_matched": matched}
    if not matched:
        how = "no rule matched: rated 0" if judged is None else "recorded judgement"
    known = matched or judged is not None
    verdict = bool(rating if matched else judged)
    return Reading(text or None, verdict, parsed=matched, how=how, approximate=not known, extra=extra)


class Choice(BaseModel):
    """What the judge reads out of a caption."""

    answer: str
    reason: str = ""


def ask(cases: Sequence[Case]) -> Steps:
    """Ask about what no rule matches; of a caption, ask for the option that it describes. An empty text is wrong."""
    [case] = cases
    row, text, task = case.row, _text(case.response), _task(case.row)
    if row.get("judgement") is not None:
        return [{}]
    if task == "captioning":
        if row.get("mc_answer") in (None, ""):
            return [{}]
        if not text:
            return [{"judgement": 0}]
        found = yield Question(CAPTION.format(caption=text, question=row["mc_question"]), schema=Choice)
        return [{"extraction": found.answer, "judgement": int(bool(match_choice(found.answer, row["mc_answer"])))}]
    if row.get("answer") in (None, "") or match(row, case.response) is not None:
        return [{}]
    if not text:
        return [{"judgement": 0}]
    kind, hint = _COMPARED[task]
    prompt = _COMPARE.format(kind=kind, hint=hint, question=row["question"], answer=row["answer"], prediction=text)
    return [{"judgement": (yield Question(prompt, word_of({"correct": 1, "incorrect": 0})))}]


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return the micro average, how much the rules matched, and every key; dimensions also within each task."""
    matched = [bool(item.reading.extra["rule_matched"]) for item in rows if "rule_matched" in item.reading.extra]
    inside = {task: cells(items, "dim") for task, items in groups(rows, "task").items()}
    keys = {name: found for name in FACETS if (found := cells(rows, name))}
    return {
        "average": cell(rows),
        "match_success_rate": sum(matched) / max(1, len(matched)),
        **keys,
        "task_dim": inside,
    }


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
    recorded=Recorded(response=("response", "prediction"), key=("answer", "mc_answer"), verdict=("rating",)),
    facets=FACETS,
    approximate="answers that no rule matches go to ChatGPT officially, and are rated 0 here",
    judge=Judge(
        {"compare": _COMPARE, "caption": CAPTION, **{task: " ".join(words) for task, words in _COMPARED.items()}},
        {"official": ask},
    ),
    cluster=("video_id",),
    rows=rows,
)
