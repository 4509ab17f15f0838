"""Evaluation sets that no row may stand in: their marks, and what of a dataset is found among them."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmreflect.data.foreign import LIKE_QUESTION
from mmreflect.data.store import MANIFEST, Row, open_dataset, try_rows
from mmreflect.errors import UserError, nearest
from mmreflect.files import content_mark, folder_mark
from mmreflect.media.images import load_image
from mmreflect.quality.config import QualityConfig
from mmreflect.quality.marks import Mark, mark_of
from mmreflect.quality.pictures import Look, bits_between, same_colours
from mmreflect.quality.search import Buckets, picture_keys, text_keys
from mmreflect.quality.sketches import Sketch, alike

ASKING = ("question", "messages", "prompt", "images", "videos")
"""Columns of which a row of an evaluation set has one."""
LOOKED_AT = 100
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
PICTURE, NEAR_PICTURE = "a picture stands in an evaluation set", "a picture nearly stands in an evaluation set"
VIDEO = "a video stands in an evaluation set"
QUESTION, NEAR_QUESTION = "the question stands in an evaluation set", "the question nearly stands in an evaluation set"


@dataclass(frozen=True, slots=True)
class Foreign:
    """An evaluation set; `unread` counts its rows and pictures that could not be read."""

    path: str
    marks: list[Mark]
    unread: int

    @property
    def questions(self) -> int:
        """How many there are."""
        return sum(mark.words is not None for mark in self.marks)

    @property
    def pictures(self) -> int:
        """How many there are."""
        return sum(len(mark.pictures) for mark in self.marks)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Where a row was found in an evaluation set: `of` is the id of a row there, or the name of a picture."""

    reason: str
    of: str
    facts: dict[str, Any]


def check_foreign(path: str) -> None:
    """Check that a path names something that can be read as an evaluation set; of a file the first rows are read.

    Raises:
        UserError: it does not; where rows hold no question the columns that they have are named.
    """
    if not Path(path).exists():
        raise UserError(
            f"quality.against names {path!r}, which does not exist",
            "dataset folders, JSONL files of rows, or folders of pictures",
            "check the path",
        )
    if Path(path).is_dir() and not (Path(path) / MANIFEST).is_file() and next(_pictures_in(Path(path)), None) is None:
        raise UserError(
            f"quality.against names {path!r}, which holds neither {MANIFEST} nor a picture",
            "a folder that mmreflect build wrote, or one of pictures",
            "check the path; questions alone are a JSONL file",
        )
    if Path(path).is_file():
        _check_rows(path)
    elif (Path(path) / MANIFEST).is_file():
        open_dataset(path).splits()


def _check_rows(path: str) -> None:
    """Refuse a file of whose first rows none can be compared."""
    if Path(path).suffix.lower() in SUFFIXES:
        raise UserError(f"quality.against names the picture {path!r}", "a folder of pictures", "name its folder")
    columns: dict[str, None] = {}
    wrong = None
    try:
        for row in itertools.islice(try_rows(Path(path)), LOOKED_AT):
            if isinstance(row, UserError):
                wrong = wrong or row.given
            elif any(row.get(name) for name in ASKING):
                return
            else:
                columns.update(dict.fromkeys(map(str, row)))
    except UserError as error:
        wrong = error.given
    if not columns:
        raise UserError(
            f"quality.against names {path!r}, in which no row can be read ({wrong or 'it is empty'})",
            "a JSONL file of rows, a dataset folder, or a folder of pictures",
            "correct the file, or export what it holds as JSONL",
        )
    known = list(columns)
    near = {name: close for name in ASKING for close in [nearest(name, known)] if close}
    close = next((name for name in LIKE_QUESTION if name in columns), next(iter(near.values()), None))
    raise UserError(
        f"quality.against names {path!r}, whose rows have no question; their columns: {', '.join(known)}",
        f"one of these columns: {', '.join(ASKING)}",
        f"rename {close!r} to 'question'" if close else "rename the column that asks to 'question'",
    )


def foreign_content(path: str) -> str:
    """Return a mark of what an evaluation set holds, without reading its pictures."""
    if Path(path).is_file():
        return content_mark(path)
    manifest = Path(path) / MANIFEST
    return content_mark(str(manifest)) if manifest.is_file() else folder_mark(path)


def read_foreign(path: str) -> Foreign:
    """Read an evaluation set and mark it; what of it cannot be read is counted.

    Raises:
        UserError: nothing of it can be read.
    """
    check_foreign(path)
    folder = Path(path)
    if folder.is_dir() and not (folder / MANIFEST).is_file():
        found = [_picture_mark(file, folder, place) for place, file in enumerate(_pictures_in(folder))]
    else:
        found = list(_row_marks(folder))
    marks = [mark for mark in found if mark is not None]
    if not marks:
        raise UserError(f"nothing of the evaluation set {path} can be read", "rows or pictures", "check the files")
    blind = sum(look is None for mark in marks for look in mark.looks)
    return Foreign(path, marks, len(found) - len(marks) + blind)


def _pictures_in(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file())


def _picture_mark(file: Path, folder: Path, place: int) -> Mark | None:
    try:
        load_image(file)
    except UserError:
        return None
    name = str(file.relative_to(folder))
    row = {"id": name, "messages": [{"role": "user", "content": [{"type": "image"}]}], "images": [file.name]}
    mark = mark_of({**row, "videos": []}, file.parent, place, sketches=True)
    return Mark(mark.id, place, mark.asked, mark.said, None, "", mark.pictures, looks=mark.looks)


def _row_marks(path: Path) -> Iterator[Mark | None]:
    if path.is_dir():
        dataset = open_dataset(str(path))
        rows: Iterator[Row | UserError] = (row for split in dataset.splits() for row in dataset.rows(split))
        folder = path
    else:
        rows, folder = try_rows(path), path.parent
    for place, row in enumerate(rows):
        try:
            if isinstance(row, UserError):
                raise row
            mark = mark_of(_whole(row, place), folder, place, sketches=True)
            asks = any(row.get(name) for name in ("question", "messages", "prompt"))
            yield mark if asks else replace(mark, words=None, question=None)
        except (UserError, OSError):
            yield None


def _whole(row: Row, place: int) -> Row:
    """Return a row in the layout of datasets; one may be as short as `{"question"}`.

    Raises:
        UserError: it neither asks nor shows anything.
    """
    media = {"images": row.get("images") or [], "videos": row.get("videos") or []}
    whole = {"id": str(row.get("id", place)), **row, **media}
    if "messages" in row or "prompt" in row:
        return whole
    question = row.get("question")
    if question is None and any(media.values()):
        question = ""
    if not isinstance(question, str):
        raise UserError(f"row {place} has neither 'messages' nor a 'question'", "one of both", "add it")
    shown = [{"type": kind[:-1]} for kind, items in media.items() for _ in items]
    return whole | {"messages": [{"role": "user", "content": [*shown, {"type": "text", "text": question}]}]}


def overlaps(marks: Sequence[Mark], foreign: Foreign, config: QualityConfig) -> dict[int, Overlap]:
    """Return which rows stand in an evaluation set, by their places; of several reasons the surest.

    A medium counts whatever is asked about it. A question counts unless both sides show something, which differs then.
    """
    found: dict[int, Overlap] = {}
    for search in (_same_media, _same_questions, _like_pictures, _like_questions):
        rest = [place for place in range(len(marks)) if place not in found]
        for own, hit in search([marks[place] for place in rest], foreign.marks, config):
            found.setdefault(rest[own], hit)
    return dict(sorted(found.items()))


_Hits = Iterator[tuple[int, Overlap]]


def _same_media(marks: Sequence[Mark], others: Sequence[Mark], config: QualityConfig) -> _Hits:
    pictures = {name: mark.id for mark in reversed(others) for name in mark.pictures}
    videos = {name: mark.id for mark in reversed(others) for name in mark.videos}
    for place, mark in enumerate(marks):
        for reason, known, names in ((PICTURE, pictures, mark.pictures), (VIDEO, videos, mark.videos)):
            for name in names:
                if name in known:
                    yield place, Overlap(reason, known[name], {})


def _shows(mark: Mark) -> bool:
    return bool(mark.pictures or mark.videos)


def _same_questions(marks: Sequence[Mark], others: Sequence[Mark], config: QualityConfig) -> _Hits:
    every = {mark.words: mark.id for mark in reversed(others) if mark.words is not None}
    unshown = {mark.words: mark.id for mark in reversed(others) if mark.words is not None and not _shows(mark)}
    for place, mark in enumerate(marks):
        known = unshown if _shows(mark) else every
        if mark.words in known:
            yield place, Overlap(QUESTION, known[mark.words], {})


def _like_pictures(marks: Sequence[Mark], others: Sequence[Mark], config: QualityConfig) -> _Hits:
    known = _looks_of(others)
    own = _looks_of(marks)
    if not known or not own:
        return
    bits, colours = _arrays([look for _, look in known])
    limit = config.picture_bits
    buckets = Buckets(picture_keys([look for _, look in known], limit), picture_keys([look for _, look in own], limit))
    for query in np.flatnonzero(buckets.crowd):
        place, look = own[query]
        near = buckets.candidates(int(query))
        differ = bits_between(look.bits, bits[near])
        fitting = np.flatnonzero((differ <= limit) & same_colours(look.colours, colours[near]))
        if len(fitting):
            first = int(fitting[0])
            yield place, Overlap(NEAR_PICTURE, others[known[near[first]][0]].id, {"bits": int(differ[first])})


def _looks_of(marks: Sequence[Mark]) -> list[tuple[int, Look]]:
    return [(place, look) for place, mark in enumerate(marks) for look in mark.looks if look is not None]


def _arrays(looks: Sequence[Look]) -> tuple[Any, Any]:
    return np.array([look.bits for look in looks], dtype=np.uint64), np.stack([look.colours for look in looks])


def _like_questions(marks: Sequence[Mark], others: Sequence[Mark], config: QualityConfig) -> _Hits:
    known, own = _different(others), _different(marks)
    if not known or not own:
        return
    sketches = np.stack([sketch for sketch, _, _ in known])
    shows = np.array([shown for _, shown, _ in known])
    buckets = Buckets(text_keys(sketches), text_keys(np.stack([sketch for sketch, _, _ in own])))
    for query in np.flatnonzero(buckets.crowd):
        sketch, shown, places = own[query]
        near = buckets.candidates(int(query))
        near = near[~shows[near]] if shown else near
        like = alike(sketch, sketches[near])
        fitting = np.flatnonzero(like >= config.likeness)
        if len(fitting):
            first = int(fitting[0])
            hit = Overlap(
                NEAR_QUESTION, others[known[near[first]][2][0]].id, {"likeness": round(float(like[first]), 4)}
            )
            yield from ((place, hit) for place in places)


def _different(marks: Sequence[Mark]) -> list[tuple[Sketch, bool, list[int]]]:
    """Return every different question once: its sketch, whether something is shown with it, and where it stands."""
    found: dict[tuple[bytes, bool], tuple[Sketch, bool, list[int]]] = {}
    for place, mark in enumerate(marks):
        if mark.question is not None and mark.words is not None:
            key = (mark.question.tobytes(), _shows(mark))
            found.setdefault(key, (mark.question, key[1], []))[2].append(place)
    return list(found.values())
