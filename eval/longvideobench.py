"""LongVideoBench (arXiv 2407.15754): questions on videos of up to an hour, frames and subtitles interleaved in time.

mmreflect eval rescore longvideobench responses=FILE.jsonl output=OUT.jsonl [fallback=random seed=0]

Where no letter can be read the rule guesses among the options; here that is wrong unless fallback=random, and counted.
VLMEvalKit's rule is left out: what it reads before it asks a judge, and what it asks then, is not known to us.
"""

import math
from collections.abc import Sequence
from typing import Any

from mmreflect.evaluation.benchmark import (
    BadField,
    Benchmark,
    Column,
    Files,
    Item,
    Recorded,
    Row,
    Scored,
    Source,
    Subtitle,
)
from mmreflect.evaluation.rules.letters import longvideobench_letter, shared_letter
from mmreflect.evaluation.rules.tables import mean, means
from mmreflect.evaluation.rules.verdicts import LETTERS, by_letter, choice_spec, lettered, listed, strict
from mmreflect.records import Media, Turn

SUFFIX = "Answer with the option's letter from the given choices directly."
OPTIONS = ("option0", "option1", "option2", "option3", "option4")
INDICES = tuple(str(place) for place in range(len(OPTIONS)))
HIDDEN = (None, "", -1, "-1", "@")
FACETS = ("duration_group", "question_category")
_SHORT = 1.0


def options_of(row: Row) -> dict[str, str]:
    """Return the options by letter, from either form of the release; "N/A" fills up a column that has none."""
    texts = listed(row["candidates"], "candidates") if "candidates" in row else [row.get(name) for name in OPTIONS]
    return lettered([text for text in texts if text not in (None, "N/A")])


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question: frames with the subtitles between them, then the question and its options."""
    name = str(row["id"])
    options = "".join(f"\n{letter}. {text}" for letter, text in options_of(row).items())
    video = files.video(str(row["video_path"]))
    shift = float(row.get("starting_timestamp_for_subtitles") or 0.0)
    said = files.subtitles(str(row["subtitle_path"])) if style == "interleaved" else ()
    duration = float(row["duration"])
    ends = [duration if math.isinf(line.end) else line.end - shift for line in said]  # a null end is the video's
    lines = [Subtitle(line.start - shift, end, line.text) for line, end in zip(said, ends, strict=True)]
    times = frame_times(duration, *files.length(video), files.max_frames)
    content = interleave(video, times, lines)
    turn = Turn("user", [*content, f"Question: {row['question']}{options}\n{SUFFIX}"])
    return Item(name, (turn,), gold_letter(row), {"id": name, **{key: row.get(key) for key in ("video_id", *FACETS)}})


def frame_times(duration: float, total: int, fps: float, most: int) -> list[float]:
    """Return the seconds of n = min(most, whole seconds) frames, each a whole share of the valid frames apart."""
    count = max(1, min(most, int(duration)))
    step = min(total, int(duration * fps)) // count
    return [place * step / fps for place in range(count)]


def interleave(video: Media, times: Sequence[float], lines: Sequence[Subtitle]) -> list[str | Media]:
    """Return the frames with each line of subtitles before the first frame that is later than the line's middle.

    A line is shown when a frame lies inside it; one of less than a second is widened to a second for that.
    """
    content: list[str | Media] = []
    waiting = list(times)
    for line in sorted(lines, key=lambda line: line.start + line.end):
        middle = (line.start + line.end) / 2
        while waiting and waiting[0] <= middle:
            content.append(Media("image", video.path, at=waiting.pop(0)))
        start, end = line.start, line.end
        if end - start < _SHORT:
            start, end = middle - _SHORT / 2, middle + _SHORT / 2
        if any(start < time < end for time in times):
            content.append(line.text)
    return content + [Media("image", video.path, at=time) for time in waiting]


def gold_letter(row: Row) -> str | None:
    """Return the letter of the right option; None in the test split, which has -1 or "@".

    A number may come as a float or as its text, as tables and other tools write it.

    Raises:
        BadField: it is neither such a number nor a letter.
    """
    choice = row.get("correct_choice", row.get("answer"))
    if choice in HIDDEN:
        return None
    if isinstance(choice, str) and choice in INDICES:
        choice = int(choice)
    if isinstance(choice, int | float) and not isinstance(choice, bool) and choice in range(len(OPTIONS)):
        return LETTERS[int(choice)]
    if isinstance(choice, str) and len(choice) == 1 and choice in LETTERS[: len(OPTIONS)]:
        return choice
    raise BadField(f"the right option is {choice!r}, neither a number from 0 to 4 nor a letter from A to E")


def _guess(row: Row) -> Sequence[str]:
    return tuple(options_of(row)) or LETTERS[: len(OPTIONS)]


def _spec(row: Row) -> Any:
    return choice_spec(options_of(row))


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return the micro accuracy and the accuracy of each group, as fractions."""
    return {"overall": mean(rows), **{facet: found for facet in FACETS if (found := means(rows, facet))}}


BENCHMARK = Benchmark(
    name="longvideobench",
    source=Source(
        "longvideobench/LongVideoBench",
        splits=("validation", "test"),
        hidden=("test",),
        files=("videos", "subtitles"),
        annotations={"validation": ("lvb_val.json",), "test": ("lvb_test_wo_gt.json",)},
    ),
    columns=(
        Column("id", "text"),
        Column("video_id", "text"),
        Column("video_path", "text"),
        Column("subtitle_path", "text"),
        Column("question", "text"),
        Column("duration", "number"),
        Column("duration_group", "integer"),
        Column("question_category", "text"),
    ),
    item=item,
    rules={
        "official": by_letter(longvideobench_letter, gold_letter, _guess),
        "lmms_eval": by_letter(longvideobench_letter, gold_letter, _guess),
        "shared": by_letter(lambda text: shared_letter(text, "ABCDE"), gold_letter),
        "strict": strict(_spec, gold_letter),
    },
    breakdown=breakdown,
    recorded=Recorded(key=("correct_choice", "answer"), hidden=HIDDEN),
    facets=FACETS,
    styles=("interleaved", "frames"),
    cluster=("video_id", "video_path"),
)
