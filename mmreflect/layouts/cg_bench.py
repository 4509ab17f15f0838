"""CG-Bench: `cgbench.json` or `cgbench_mini.json`.

A row: qid, video_uid, question, answer, choices, right_answer (a letter), clue_intervals [[start, end], ...], domain,
sub_category, duration. The keys are those that the repository CG-Bench/CG-Bench keeps (run/save_as_jsons.py), and those
of rows that others quote. Every question has its own clues; REVISOR's released converter takes the first clue of the
first question of each video and leaves out the others.
"""

from collections.abc import Iterator
from functools import partial
from typing import Literal

from mmreflect.config import config
from mmreflect.layouts import (
    Dropped,
    Entry,
    Interval,
    Question,
    Release,
    Task,
    UnusableError,
    choice,
    converted,
    interval,
    place_of,
)
from mmreflect.layouts._files import (
    Row,
    named,
    optional_number,
    pair,
    read_json_rows,
    text_at,
    texts_at,
    videos_by_stem,
)

NAME = "CG-Bench"


@config
class Config:
    """Where the release lies and how its clues are used.

    Attributes:
        annotations: cgbench.json or cgbench_mini.json.
        videos: the folder of the videos, named by `video_uid`.
        task: `grounding` asks for the clue, with the question and its options as the query; `qa` for the option.
        clues: of a question with several clues `hull` takes the span around them, `single` drops the question.
        one_per_video: take only the first usable question of each video.
    """

    annotations: str
    videos: str
    task: Task = "grounding"
    clues: Literal["hull", "single"] = "hull"
    one_per_video: bool = False


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        find = videos_by_stem(options.videos)
        keys = ("qid", "video_uid", "question", "choices", "right_answer", "clue_intervals")
        rows = read_json_rows(options.annotations, keys, NAME)

        def question(row: Row) -> Question:
            texts, duration = texts_at(row, "choices"), optional_number(row, "duration")
            clue = interval(*_clue(row, options.clues), duration)
            return Question(
                id=f"cg-bench-{text_at(row, 'qid')}",
                media=(find(text_at(row, "video_uid")),),
                text=text_at(row, "question"),
                source=NAME,
                task=options.task,
                options=texts,
                answer=choice(texts, place_of(text_at(row, "right_answer"))),
                answer_type="multiple_choice",
                gt_interval=clue,
                duration=duration,
                category=str(row.get("sub_category") or "") or None,
            )

        entries = converted((name, partial(question, row)) for name, row in named(rows, "qid"))
        yield from _first_of_each_video(entries) if options.one_per_video else entries

    return Release([options.annotations], read)


def _clue(row: Row, clues: str) -> Interval:
    found = row.get("clue_intervals")
    if not isinstance(found, list) or not found:
        raise UnusableError("no clue")
    if clues == "single" and len(found) > 1:
        raise UnusableError("several clues")
    pairs = [pair(item, "clue_intervals") for item in found]
    return min(start for start, _ in pairs), max(end for _, end in pairs)


def _first_of_each_video(entries: Iterator[Entry]) -> Iterator[Entry]:
    seen: set[str] = set()
    for entry in entries:
        if isinstance(entry, Question):
            path = entry.media[0].path
            yield Dropped(entry.id, "a further question about its video") if path in seen else entry
            seen.add(path)
        else:
            yield entry
