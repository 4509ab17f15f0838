"""Visual CoT, questions with the boxes that answer them (arXiv 2403.16999), in both of its forms.

A row of `metadata/*_cot_train.jsonl`: question, answer, possible_answers, image (a name), width, height, bboxs ([[left,
top, right, bottom], ...] in pixels), dataset, split. A row of `viscot_363k.json`: dataset, split, question_id, image
(["cot/gqa/1.jpg", "cot/gqa/1.jpg###[left, top, right, bottom]"]), and conversations of two rounds, which ask for the
box and then for the answer; of several boxes it holds the hull. Converter and benchmark of the repository deepcs233/
Visual-CoT were read. Pictures lie in folders by dataset, those of textcap with textvqa, and those of visual7w in v7w.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmreflect.config import config
from mmreflect.layouts import Entry, Question, Release, UnaskedError, UnusableError, converted
from mmreflect.layouts._files import Row, check_folder, read_json_rows, text_at
from mmreflect.layouts._pictures import corners, size_at
from mmreflect.layouts._turns import turns_at

NAME = "Visual-CoT"
FOLDERS = {"textcap": "textvqa", "visual7w": "v7w"}
_ASKS_BOX = re.compile(
    r"\s*Please (?:think step by step and )?provide the bounding box coordinate of the region.*", re.DOTALL
)


@config
class Config:
    """Where the release lies and which split of it is asked for.

    Attributes:
        annotations: a .jsonl file of metadata, or viscot_363k.json.
        pictures: the folder with a folder for every dataset, such as cot_image_data.
        split: the split of the rows; None asks all.
    """

    annotations: str
    pictures: str
    split: str | None = "train"


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        check_folder(options.pictures, "pictures")
        meta = options.annotations.endswith(".jsonl")
        keys = ("question", "answer", "bboxs") if meta else ("question_id", "conversations")
        rows = read_json_rows(options.annotations, (*keys, "image", "dataset", "split"), NAME)
        stem = Path(options.annotations).stem
        convert = _from_metadata if meta else _from_turns
        yield from converted(
            (f"row {place}", partial(convert, f"visual-cot-{stem}-{place}", row, options))
            for place, row in enumerate(rows)
        )

    return Release([options.annotations], read)


def _from_metadata(name: str, row: Row, options: Config) -> Question:
    _check_split(row, options)
    size, boxes = size_at(row, "width", "height"), row.get("bboxs")
    if not isinstance(boxes, list) or not boxes:
        raise UnusableError("no box")
    others = row.get("possible_answers")
    return Question(
        id=name,
        text=text_at(row, "question"),
        source=NAME,
        pictures=(_picture(options.pictures, text_at(row, "dataset"), text_at(row, "image")),),
        answer=text_at(row, "answer"),
        category=text_at(row, "dataset"),
        boxes=tuple(corners(item, "bboxs", size) for item in boxes),
        size=size,
        details={"possible_answers": [str(item) for item in others] if isinstance(others, list) else []},
    )


def _from_turns(name: str, row: Row, options: Config) -> Question:
    _check_split(row, options)
    rounds = turns_at(row, "conversations", "from", "value", ("human", "gpt"))
    shown = row.get("image")
    if len(rounds) != 2 or not isinstance(shown, list) or len(shown) != 2 or "###" not in str(shown[1]):
        raise UnusableError("not the two rounds of a box and an answer")
    dataset, picture = text_at(row, "dataset"), Path(str(shown[0])).name
    return Question(
        id=name,
        text=_ASKS_BOX.sub("", rounds[0][0]),
        source=NAME,
        pictures=(_picture(options.pictures, dataset, picture),),
        answer=rounds[1][1],
        category=dataset,
        boxes=(corners(_numbers(str(shown[1]).rpartition("###")[2]), "image"),),
        details={"possible_answers": []},
    )


def _check_split(row: Row, options: Config) -> None:
    if options.split is not None and row.get("split") != options.split:
        raise UnaskedError(f"split {row.get('split')!r}")


def _picture(folder: str, dataset: str, name: str) -> str:
    other = FOLDERS.get(dataset)
    held = dataset if other is None or (Path(folder) / dataset).is_dir() else other
    return str(Path(folder) / held / name)


def _numbers(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
