"""Evaluation sets that no row may stand in: what can be one, and the marks of its rows and pictures.

A set is a dataset folder that `mmreflect build` wrote, a JSONL or parquet file of rows, a folder with such files, or
one of pictures. A row asks in `question`, `messages` or `prompt`, and shows what stands in `image`, `images`, `video`,
`videos` or the parts of its messages: paths, bytes, or data URLs. What of it cannot be read is counted by reason.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreflect.data.foreign import LIKE_QUESTION
from mmreflect.data.parquet import column_names, read_parquet
from mmreflect.data.store import MANIFEST, Row, open_dataset, try_rows
from mmreflect.errors import UserError, nearest
from mmreflect.files import content_mark, folder_mark
from mmreflect.quality.foreign_rows import ASKING, SHOWING, ForeignRow, compares, is_column, read_row
from mmreflect.quality.marks import Mark

LOOKED_AT = 100
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TABLE = ".parquet"
SETS = "dataset folders, JSONL or parquet files of rows, folders with these, or folders of pictures"


@dataclass(frozen=True, slots=True)
class Foreign:
    """An evaluation set.

    Attributes:
        unread: rows and media that cannot be read, by reason.
        blind: rows that show something of which nothing can be read: their questions alone count.
    """

    path: str
    marks: list[Mark]
    unread: Counter[str]
    blind: int = 0

    @property
    def questions(self) -> int:
        """How many there are."""
        return sum(mark.words is not None for mark in self.marks)

    @property
    def pictures(self) -> int:
        """How many there are."""
        return sum(len(mark.pictures) for mark in self.marks)

    def problems(self) -> str:
        """Say what of it cannot be compared; empty where all can."""
        told = [f"{reason} ({count:,})" for reason, count in self.unread.most_common()]
        if self.blind:
            told.append(f"rows that count by their questions alone, whatever is shown with these: {self.blind:,}")
        return "; ".join(told)


def check_foreign(path: str) -> None:
    """Check that a path names something that can be read as an evaluation set; of a file the first rows are read.

    Raises:
        UserError: it does not; where rows hold no question the columns that they have are named.
    """
    folder = Path(path)
    if not folder.exists():
        raise UserError(f"quality.against names {path!r}, which does not exist", SETS, "check the path")
    if folder.is_file():
        if folder.suffix.lower() in SUFFIXES:
            raise UserError(f"quality.against names the picture {path!r}", "a folder of pictures", "name its folder")
        _check_rows(path, [folder])
        return
    if (folder / MANIFEST).is_file():
        open_dataset(path).splits()
        return
    files, shown = _row_files(folder), next(_pictures_in(folder), None)
    for file in files:
        if file.suffix.lower() == TABLE:
            column_names(file)
    if shown is not None:
        return
    if not files:
        raise UserError(
            f"quality.against names {path!r}, which holds neither {MANIFEST}, nor rows, nor a picture",
            SETS,
            "check the path; questions alone are a JSONL file",
        )
    _check_rows(path, files)


def _check_rows(path: str, files: list[Path]) -> None:
    """Refuse files of whose first rows none can be compared."""
    columns: dict[str, None] = {}
    broken = wrong = None
    try:
        for row in itertools.islice(itertools.chain.from_iterable(map(_rows_of, files)), LOOKED_AT):
            if isinstance(row, UserError):
                broken = broken or row.given
                continue
            problem = compares(row)
            if problem is None:
                return
            if any(row.get(name) for name in (*ASKING, *SHOWING)):
                wrong = wrong or problem
            columns.update(dict.fromkeys(map(str, row)))
        for file in files:
            columns.update(dict.fromkeys(column_names(file)) if file.suffix.lower() == TABLE else {})
    except UserError as error:
        broken = error.given
    if not columns:
        raise UserError(
            f"quality.against names {path!r}, in which no row can be read ({broken or 'it is empty'})",
            SETS,
            "correct the file, or export what it holds as JSONL",
        )
    if wrong is not None:
        raise UserError(
            f"quality.against names {path!r}, of whose first rows none can be compared ({wrong})",
            f"a question or media in: {', '.join((*ASKING, *SHOWING))}",
            "correct the rows",
        )
    raise _no_question(path, list(columns))


def _no_question(path: str, columns: list[str]) -> UserError:
    near = {name: close for name in ASKING for close in [nearest(name, columns)] if close}
    close = next((name for name in LIKE_QUESTION if name in columns), next(iter(near.values()), None))
    return UserError(
        f"quality.against names {path!r}, whose rows have no question; their columns: {', '.join(columns)}",
        f"one of these columns: {', '.join((*ASKING, *SHOWING))}",
        f"rename {close!r} to 'question'" if close else "rename the column that asks to 'question'",
    )


def foreign_content(path: str) -> str:
    """Return a mark of what an evaluation set holds, without reading its pictures."""
    if Path(path).is_file():
        return content_mark(path)
    manifest = Path(path) / MANIFEST
    return content_mark(str(manifest)) if manifest.is_file() else folder_mark(path)


def read_foreign(path: str) -> Foreign:
    """Read an evaluation set and mark it; what of it cannot be read is counted by reason.

    Raises:
        UserError: nothing of it can be read.
    """
    check_foreign(path)
    marks, unread, blind = list[Mark](), Counter[str](), 0
    for found in _found_in(Path(path)):
        unread.update(found.unread)
        blind += found.blind
        if found.mark is not None:
            marks.append(found.mark)
    if not marks:
        why = "; ".join(unread)
        raise UserError(f"nothing of the evaluation set {path} can be read ({why})", "rows or pictures", "check it")
    return Foreign(path, marks, unread, blind)


def _found_in(path: Path) -> Iterator[ForeignRow]:
    """Yield the rows of a set, then the pictures of a folder that was not built here."""
    places = itertools.count()
    if path.is_dir() and (path / MANIFEST).is_file():
        dataset = open_dataset(str(path))
        for split in dataset.splits():
            yield from (_read(row, path, next(places), "") for row in dataset.rows(split))
        return
    for file in [path] if path.is_file() else _row_files(path):
        inside = "" if path.is_file() else f"{file.relative_to(path)}, row "
        for number, row in enumerate(_rows_of(file)):
            yield _read(row, file.parent, next(places), f"{inside}{number}")
    for file in _pictures_in(path) if path.is_dir() else ():
        yield read_row({"id": str(file.relative_to(path)), "image": file.name}, file.parent, next(places), "")


def _read(row: Row | UserError, folder: Path, place: int, name: str) -> ForeignRow:
    if isinstance(row, UserError):
        return ForeignRow(None, ["a line is no JSON object"])
    return read_row(row, folder, place, name or str(place))


def _rows_of(file: Path) -> Iterator[Row | UserError]:
    return read_parquet(file, _columns) if file.suffix.lower() == TABLE else try_rows(file)


def _columns(schema: Any) -> list[str]:
    """Return the columns of a table that are read: those with a name that asks or shows, and those that hold bytes."""
    return [each.name for each in schema if is_column(each.name) or "binary" in str(each.type)] or list(schema.names)


def _row_files(folder: Path) -> list[Path]:
    return [path for path in _files_in(folder) if path.suffix.lower() in (TABLE, ".jsonl")]


def _pictures_in(folder: Path) -> Iterator[Path]:
    return (path for path in _files_in(folder) if path.suffix.lower() in SUFFIXES)


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in order; what is hidden is nobody's rows or pictures."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path
