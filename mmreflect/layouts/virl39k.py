r"""ViRL39K, the RL set of VL-Rethinker (arXiv 2504.08837): `39Krelease.parquet` and the folder `images` beside it.

Columns: question, answer (`\boxed{...}`), image (a list of paths that start with images/; empty for text alone), qid,
category, source, PassRate_32BTrained, PassRate_7BBase (null, NaN or below 0: not measured). A question has one
`<image>` at most, at its start, in it or at its end, whatever the number of its pictures. The columns are those that
loaders of others read and check; the file itself could not be seen.
"""

from collections.abc import Iterator
from functools import partial

from mmreflect.answers.extract import boxes
from mmreflect.config import config
from mmreflect.layouts import Entry, Question, Release, UnaskedError, UnusableError, converted
from mmreflect.layouts._files import Row, check_folder, optional_number, text_at
from mmreflect.layouts._pictures import parquet_files, parquet_rows, paths_at, row_name, said

NAME = "ViRL39K"
PASS_RATES = ("PassRate_32BTrained", "PassRate_7BBase")


@config
class Config:
    """Where the release lies and what is asked for.

    Attributes:
        annotations: 39Krelease.parquet.
        pictures: the folder that the rows' paths start from.
        text_only: take the questions without pictures too.
    """

    annotations: str
    pictures: str
    text_only: bool = True


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        check_folder(options.pictures, "pictures")
        columns = ("qid", "question", "answer", "image")
        rows = parquet_rows(options.annotations, columns, NAME, ("category", "source", *PASS_RATES))
        yield from converted(
            (str(row.get("qid") or row_name(file, place)), partial(_question, row, options))
            for file, place, row in rows
        )

    return Release(parquet_files(options.annotations), read)


def _question(row: Row, options: Config) -> Question:
    pictures = paths_at(row, "image", options.pictures)
    if not pictures and not options.text_only:
        raise UnaskedError("a question without a picture")
    boxed = boxes(text_at(row, "answer"))
    if not boxed or not boxed[-1].text:
        raise UnusableError("the boxed answer cannot be read")
    return Question(
        id=f"virl39k-{text_at(row, 'qid')}",
        text=text_at(row, "question"),
        source=NAME,
        pictures=pictures,
        answer=boxed[-1].text,
        category=said(row, "category")["category"],
        details={"origin": said(row, "source")["source"]} | {name: _pass_rate(row, name) for name in PASS_RATES},
    )


def _pass_rate(row: Row, name: str) -> float | None:
    """Return a share from 0 to 1, or None where it was not measured."""
    if row.get(name) == 0:
        return 0.0
    return optional_number(row, name)
