"""MVBench (arXiv 2311.17005): 20 tasks of 200 questions on short clips.

mmreflect eval rescore mvbench responses=FILE.jsonl output=OUT.jsonl

`official` is lmms-eval's rule, under which "a man walks" is A and empty predictions leave the denominator; `vlmevalkit`
looks for the first word in the right option's "(A)".
"""

from collections.abc import Sequence
from typing import Any

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
from mmreflect.evaluation.rules.letters import mvbench_letter
from mmreflect.evaluation.rules.reduction import final_text
from mmreflect.evaluation.rules.tables import groups, percent
from mmreflect.evaluation.rules.verdicts import by_letter, choice_spec, letter_of, lettered, strict
from mmreflect.records import Media, Turn

SYSTEM = (
    "Carefully watch the video and pay attention to the cause and sequence of events, the detail and movement of "
    "objects, and the action and pose of persons. Based on your observations, select the best option that accurately "
    "addresses the question.\n"
)
TASKS = {
    "action_sequence": "star/Charades_v1_480",
    "action_prediction": "star/Charades_v1_480",
    "action_antonym": "ssv2_video",
    "fine_grained_action": "Moments_in_Time_Raw/videos",
    "unexpected_action": "FunQA_test/test",
    "object_existence": "clevrer/video_validation",
    "object_interaction": "star/Charades_v1_480",
    "object_shuffle": "perception/videos",
    "moving_direction": "clevrer/video_validation",
    "action_localization": "sta/sta_video",
    "scene_transition": "scene_qa/video",
    "action_count": "perception/videos",
    "moving_count": "clevrer/video_validation",
    "moving_attribute": "clevrer/video_validation",
    "state_change": "perception/videos",
    "fine_grained_pose": "nturgbd",
    "character_order": "perception/videos",
    "egocentric_navigation": "vlnqa",
    "episodic_reasoning": "tvqa/frames_fps3_hq",
    "counterfactual_inference": "clevrer/video_validation",
}
"""The tasks, and the folder of each one's clips: some clips have the same name in two folders."""


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question; some tasks ask about a part of the clip, from `start` to `end`."""
    name = str(row["id"])
    video = files.video(str(row["video"]))
    if row.get("start") is not None and row.get("end") is not None:
        video = Media("video", video.path, span=(float(row["start"]), float(row["end"])), frames=video.frames)
    options = "\n".join(f"({letter}) {text}" for letter, text in lettered(row["candidates"], "candidates").items())
    text = f"Question: {row['question']}\nOptions:\n{options}\nOnly give the best option."
    facts = {"id": name, "video": row["video"], "task": row.get("task"), "candidates": row["candidates"]}
    return Item(name, (Turn("system", [SYSTEM]), Turn("user", [video, text])), gold_letter(row), facts)


def rows(record: Row, place: Place) -> list[Row]:
    """Return a row with its task, and with its clip's folder."""
    task = place.config or record["task"]
    if task not in TASKS:
        raise BadField(f"task is {task!r}, none of {', '.join(TASKS)}")
    return [Row({**record, "task": task, "video": f"{TASKS[task]}/{record['video']}"})]


def gold_letter(row: Row) -> str | None:
    """Return the right option's letter: the release holds its text."""
    return letter_of(row.get("answer"), row.get("candidates"))


def vlmevalkit(row: Row, response: Response) -> Reading:
    """VLMEvalKit's check: the first word, without dots, is part of "(a)", or has it in itself.

    What holds no letter and no digit is no word, and wrong: the empty text is part of every other one.
    """
    gold = gold_letter(row)
    word = response.final.lower().split(" ")[0]
    said = any(char.isalnum() for char in word)
    if gold is None:
        return Reading(word or None, parsed=said)
    token = f"({gold.lower()})"
    return Reading(word or None, said and (word.replace(".", "") in token or token in word), parsed=said)


def _if_answered(item: Scored) -> float | None:
    """Return a row's value; None where its response is empty, or nothing but reasoning; blanks alone are an answer.

    A verdict without a response is one on an answer, unless the prediction beside it is an empty text.
    """
    if "response" not in item.row:
        return None if item.row.get("prediction") == "" else item.value
    said = item.row["response"]
    return None if said is None or not final_text(str(said)) else item.value


def _answered(rows: Sequence[Scored]) -> list[Scored]:
    return [item for item in rows if _if_answered(item) is not None]


def _task(row: Row) -> str | None:
    name = row.get("task") if row.get("task") is not None else row.get("task_type")
    return None if name is None else str(name)


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return the tasks' accuracies in percent over the answered questions, and their mean."""
    tasks = groups(rows, "task") or groups(rows, "task_type")
    found = {name: percent(_answered(items)) for name, items in tasks.items()}
    average = sum(found.values()) / len(found) if found else None
    return {
        "per_task": found,
        "average": average,
        "micro": percent(_answered(rows)),
        "unanswered": len(rows) - len(_answered(rows)),
    }


BENCHMARK = Benchmark(
    name="mvbench",
    source=Source(
        "OpenGVLab/MVBench",
        splits=("train",),
        configs=tuple(TASKS),
        files=("video",),
        annotations={"train": ("json/{config}.json",)},
        frames_fps=3.0,
    ),
    columns=(
        Column("video", "text"),
        Column("question", "text"),
        Column("candidates", "list"),
        Column("answer", "text"),
    ),
    item=item,
    rules={
        "official": by_letter(mvbench_letter, gold_letter),
        "lmms_eval": by_letter(mvbench_letter, gold_letter),
        "vlmevalkit": vlmevalkit,
        "strict": strict(lambda row: choice_spec(lettered(row.get("candidates"), "candidates")), gold_letter),
    },
    breakdown=breakdown,
    recorded=Recorded(),
    cluster=("video",),
    measures={
        "average": Measure(_if_answered, over=_task, scale=100),
        "micro": Measure(_if_answered, scale=100),
    },
    groupings={"task": _task},
    rows=rows,
)
