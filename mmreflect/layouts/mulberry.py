"""Mulberry-SFT, 260K solutions found by tree search (arXiv 2412.18319): `mulberry_sft.json` and `mulberry_images`.

A row: images (a path; a list in some copies), and messages: turns {role: user | assistant, content}. The user's turn is
in some rows a prompt that ends on "### The final answer is:" and then "Question: ...", in others the question alone. A
solution has the sections "### Image Description:", "### Rationales:", "### Let's think step by step.", "### Step 1:",
..., "### The final answer is:". It is kept as published. By the repository HJYao00/Mulberry, and by loaders and rows of
others; the file itself could not be seen. Ids are the rows' places.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmreflect.config import config
from mmreflect.layouts import PLACEHOLDER, Entry, Question, Release, UnusableError, converted
from mmreflect.layouts._files import Row, check_folder, read_json_rows
from mmreflect.layouts._pictures import needed, paths_at
from mmreflect.layouts._turns import read_question, turns_at

NAME = "Mulberry"
_FINAL = "The final answer is:"


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: mulberry_sft.json.
        pictures: the unpacked folder mulberry_images.
    """

    annotations: str
    pictures: str


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        check_folder(options.pictures, "pictures")
        rows = read_json_rows(options.annotations, ("images", "messages"), NAME)
        yield from converted(
            (f"row {place}", partial(_question, place, row, options.pictures)) for place, row in enumerate(rows)
        )

    return Release([options.annotations], read)


def _question(place: int, row: Row, folder: str) -> Question:
    asked, solution = turns_at(row, "messages", "role", "content", ("user", "assistant"))[0]
    _, found, answer = solution.rpartition(f"### {_FINAL}")
    answer = answer.strip().strip("\"'").strip()
    if not found or not answer:
        raise UnusableError("the solution states no final answer")
    text, options, answer, kind = read_question(_bare(asked), answer)
    pictures = paths_at(row, "images", folder)
    return Question(
        id=f"mulberry-{place}",
        text=text,
        source=NAME,
        pictures=needed(pictures),
        options=options,
        answer=answer,
        answer_type=kind,
        response=solution,
        category=_dataset(pictures[0], folder),
    )


def _bare(asked: str) -> str:
    """Take the prompt and the word "Question:" off; the picture, when it stood before them, is shown first anyhow."""
    question = asked.rpartition(_FINAL)[2].replace(PLACEHOLDER, "", 1) if _FINAL in asked else asked
    return re.sub(rf"^((?:{PLACEHOLDER}\s*)*)Question:\s*", r"\1", question.strip())


def _dataset(path: str, folder: str) -> str | None:
    """Return the folder that pictures of one dataset lie in: `cauldron/clevr/images/...` is clevr."""
    parts = Path(path).relative_to(folder).parts
    return parts[-3] if len(parts) >= 3 else None
