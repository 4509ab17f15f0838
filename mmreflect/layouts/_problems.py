"""Parquet files of the form that EasyR1 and R1-V train on: a problem, its pictures, and the answer."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmreflect.data.parquet import column_names
from mmreflect.layouts import Entry, Question, UnusableError, converted
from mmreflect.layouts._files import Row, text_at
from mmreflect.layouts._pictures import embedded_at, needed, parquet_files, parquet_rows, row_name

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def problems(annotations: str, layout: str, prefix: str) -> Iterator[Entry]:
    """Yield the entries of files with the columns images, problem, answer, or image, problem, solution.

    Args:
        prefix: what ids start with; rows have none of their own.

    Raises:
        UserError: there is no file, one cannot be read, or it has no such column.
    """
    first = column_names(Path(parquet_files(annotations)[0]))
    columns = ("image", "problem", "solution") if "solution" in first else ("images", "problem", "answer")
    rows = parquet_rows(annotations, columns, layout)
    yield from converted(
        (row_name(file, place), partial(_question, row, file, place, columns, layout, prefix))
        for file, place, row in rows
    )


def _question(row: Row, file: str, place: int, columns: tuple[str, str, str], layout: str, prefix: str) -> Question:
    pictures, problem, answer = columns
    return Question(
        id=f"{prefix}-{row_name(file, place)}",
        text=text_at(row, problem),
        source=layout,
        pictures=needed(embedded_at(row, pictures, file, place)),
        answer=_inside(text_at(row, answer)),
    )


def _inside(solution: str) -> str:
    found = _ANSWER.search(solution)
    if found is None:
        return solution
    if not found[1].strip():
        raise UnusableError("no answer in 'solution'")
    return found[1].strip()
