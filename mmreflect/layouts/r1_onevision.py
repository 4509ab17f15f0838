"""R1-Onevision, solutions with long thinking (arXiv 2503.10615): the parquet files of its folders, one a dataset.

Columns: id, image (base64 text), conversations: turns {from: human | gpt, value}. A solution is a thinking part and the
answer; what it ends on is read like any reply, and one that states no final answer is dropped. The columns are those
that loaders of others read; the files themselves could not be seen, and how many solutions state their answer in a
form that is read is not known: the plan says it.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmreflect.config import config
from mmreflect.layouts import Entry, Question, Release, converted
from mmreflect.layouts._files import Row, text_at
from mmreflect.layouts._pictures import embedded_at, needed, parquet_files, parquet_rows, row_name
from mmreflect.layouts._turns import ending, read_question, turns_at

NAME = "R1-Onevision"


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: parquet files: one, a folder, or a pattern such as R1-Onevision/*/train-*.parquet.
    """

    annotations: str


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        rows = parquet_rows(options.annotations, ("id", "image", "conversations"), NAME)
        yield from converted(
            (f"{Path(file).parent.name}/{row.get('id') or row_name(file, place)}", partial(_question, row, file, place))
            for file, place, row in rows
        )

    return Release(parquet_files(options.annotations), read)


def _question(row: Row, file: str, place: int) -> Question:
    asked, solution = turns_at(row, "conversations", "from", "value", ("human", "gpt"))[0]
    text, options, answer, kind = read_question(asked, ending(solution))
    dataset = Path(file).parent.name
    return Question(
        id=f"r1-onevision-{dataset}-{text_at(row, 'id')}",
        text=text,
        source=NAME,
        pictures=needed(embedded_at(row, "image", file, place)),
        options=options,
        answer=answer,
        answer_type=kind,
        response=solution,
        category=dataset,
    )
