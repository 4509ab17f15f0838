"""LLaVA-CoT-100k, solutions in four stages (arXiv 2411.10440): `train.jsonl` and the folder of its unpacked pictures.

A row: id, image (a path that starts with its dataset, such as CLEVR_v1.0/images/train/...), and conversations: turns
{from: human | gpt, value}. A solution has the parts <SUMMARY>, <CAPTION>, <REASONING> and <CONCLUSION>; the conclusion
is the answer. Only the first round of a conversation is asked: later ones speak of what was said. By the repository
PKU-YuanGroup/LLaVA-CoT and by loaders of others; the file itself could not be seen. Ids are the rows' places.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmreflect.config import config
from mmreflect.layouts import Dropped, Entry, Question, Release, UnusableError, converted
from mmreflect.layouts._files import Row, check_folder, read_json_rows
from mmreflect.layouts._pictures import needed, paths_at
from mmreflect.layouts._turns import read_question, turns_at

NAME = "LLaVA-CoT"
STAGES = ("SUMMARY", "CAPTION", "REASONING", "CONCLUSION")
_STAGED = re.compile(r"\s*".join(rf"<{stage}>(.*?)</{stage}>" for stage in STAGES), re.DOTALL)


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: train.jsonl.
        pictures: the folder that the rows' paths start from.
    """

    annotations: str
    pictures: str


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        check_folder(options.pictures, "pictures")
        for place, row in enumerate(read_json_rows(options.annotations, ("image", "conversations"), NAME)):
            name = f"row {place} ({row.get('id')})"
            yield from converted([(name, partial(_question, place, row, options.pictures))])
            turns = row.get("conversations")
            for number in range(1, len(turns) // 2 if isinstance(turns, list) else 0):
                yield Dropped(f"{name}, round {number}", "a later round of a conversation", asked=False)

    return Release([options.annotations], read)


def _question(place: int, row: Row, folder: str) -> Question:
    asked, solution = turns_at(row, "conversations", "from", "value", ("human", "gpt"))[0]
    staged = _STAGED.search(solution)
    if staged is None:
        raise UnusableError("the solution has not its four stages")
    if not staged[4].strip():
        raise UnusableError("the conclusion is empty")
    text, options, answer, kind = read_question(asked, staged[4].strip())
    pictures = needed(paths_at(row, "image", folder))
    return Question(
        id=f"llava-cot-{place}",
        text=text,
        source=NAME,
        pictures=pictures,
        options=options,
        answer=answer,
        answer_type=kind,
        response=solution,
        category=Path(str(pictures[0])).relative_to(folder).parts[0],
    )
