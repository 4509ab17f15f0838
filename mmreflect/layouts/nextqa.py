"""NExT-QA, multiple choice: `train.csv`, `val.csv` or `test.csv`, and `map_vid_vidorID.json`.

Columns: video, frame_count, width, height, question, answer, qid, type, a0 to a4. The answer is the option's number; in
the files of NExT-GQA it is the option's text. Each row is read as what it is; one that could be either is read like
most of its file. The map leads from a video to its path in VidOR ("0101/2909445186"). Files of the repository
doc-doc/NExT-QA were read.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmreflect.config import config
from mmreflect.layouts import Entry, Question, Release, UnusableError, choice, converted
from mmreflect.layouts._files import Row, check_folder, read_json_mapping, read_table, text_at
from mmreflect.records import Media

NAME = "NExT-QA"
OPTIONS = ("a0", "a1", "a2", "a3", "a4")
NUMBERS = ("0", "1", "2", "3", "4")


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: a CSV file.
        videos: the folder of VidOR where `video_map` is given, else of files named by the column `video`.
        video_map: map_vid_vidorID.json.
    """

    annotations: str
    videos: str
    video_map: str | None = None


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        check_folder(options.videos)
        rows = read_table(options.annotations, ("video", "question", "answer", "qid", *OPTIONS), NAME)
        paths = read_json_mapping(options.video_map, NAME) if options.video_map is not None else None
        numbers = sum(str(row["answer"]).strip() in NUMBERS for row in rows)
        by_number = 2 * numbers > sum(bool(row["answer"]) for row in rows)
        yield from converted(
            (f"{row['video']}-{row['qid']}", partial(_question, row, options.videos, paths, by_number)) for row in rows
        )

    return Release([file for file in (options.annotations, options.video_map) if file is not None], read)


def _question(row: Row, videos: str, paths: Row | None, by_number: bool) -> Question:
    video, answer = text_at(row, "video"), text_at(row, "answer")
    if paths is not None and video not in paths:
        raise UnusableError("the video is not in the map")
    texts = tuple((row[key] or "").strip() for key in OPTIONS)
    number = answer in NUMBERS and (by_number or answer not in texts)  # "2" may be the text of an option
    if not number and answer not in texts:
        raise UnusableError("the answer is none of the options")
    return Question(
        id=f"nextqa-{video}-{text_at(row, 'qid')}",
        media=(Media("video", str(Path(videos) / f"{video if paths is None else paths[video]}.mp4")),),
        text=text_at(row, "question"),
        source=NAME,
        options=texts,
        answer=choice(texts, int(answer) if number else texts.index(answer)),
        answer_type="multiple_choice",
        category=row.get("type") or None,
    )
