"""One row of an evaluation set, in whatever layout it was published: what it asks, and what it shows."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmreflect.data.columns import past_turns, plain_text, says
from mmreflect.data.conversations import our_turns, text_in
from mmreflect.data.fingerprint import digest_of_video, digest_of_video_bytes
from mmreflect.data.store import Row, media_entries, split_response
from mmreflect.errors import UserError
from mmreflect.files import problem_of_name
from mmreflect.media.images import image_from_bytes
from mmreflect.quality.marks import Mark, asked_text, look_at, medium_mark, words_mark
from mmreflect.quality.pictures import Look, look_of
from mmreflect.quality.sketches import sketch_of
from mmreflect.quality.texts import words_of

ASKING = ("question", "messages", "prompt", "conversations")
"""Columns that ask, of which the first that holds something counts."""
_BESIDE = ("history", "input")
"""Columns that say something of a question; what comes before it is compared, and what may be a part of it is told."""
SHOWING = ("image", "images", "video", "videos")
"""Columns that show something; `image_1`, `picture` and `decoded_image` do as well, and any that holds bytes."""
_PICTURES = re.compile(r"(?:decoded_?)?(?:image|img|picture)s?(?:_?\d+)?", re.IGNORECASE)
_VIDEOS = re.compile(r"(?:video|clip)s?(?:_?\d+)?", re.IGNORECASE)
_PERHAPS = re.compile(
    r"(?:image|img|picture|figure|photo|video|clip)s?_?(?:path|file|file_?name|name|url|uri|src)s?|figures?|photos?|file_?name",
    re.IGNORECASE,
)
_MARKED = re.compile(r"<(?:image|video|img)(?:[_ ]?\d+)?/?>", re.IGNORECASE)
_DATA_URL = re.compile(r"data:[^,;]*(?:;[^,;]*)*?;base64,", re.IGNORECASE)
_WEB = re.compile(r"\w+://")
_PARTS = {"image": "image", "image_url": "image", "input_image": "image", "video": "video", "video_url": "video"}
_LEAST = 64
"""Characters that base64 of a picture has at least."""


@dataclass(slots=True)
class _Read:
    """What was read of a row so far: digests of its media, looks of its pictures, and why others have none."""

    pictures: list[str] = field(default_factory=list)
    looks: list[Look | None] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ForeignRow:
    """What became of a row.

    Attributes:
        mark: None where it neither asks nor shows anything that can be read.
        unread: why parts of it cannot be compared, a reason for each, the same words for all such parts.
        blind: it shows something of which nothing can be read, so that its question alone counts.
    """

    mark: Mark | None
    unread: list[str]
    blind: bool = False


def compares(row: Row) -> str | None:
    """Return why a row can surely not be compared, or None; nothing that it shows is read."""
    try:
        turns, asked = _asked(row)
    except UserError as error:
        return _reason(error)
    shown = any(value for _, value in _shown(row, turns))
    return None if asked or shown else "it neither asks nor shows anything"


def is_column(name: str) -> bool:
    """Tell whether a column is read; one that holds bytes is, too."""
    return name in ("id", *ASKING, *_BESIDE) or any(one.fullmatch(name) for one in (_PICTURES, _VIDEOS, _PERHAPS))


def read_row(row: Row, folder: Path, place: int, name: str) -> ForeignRow:
    """Mark a row.

    Args:
        folder: what paths of media are relative to.
        name: stands for an id where it has none.
    """
    read, asked = _Read(), ""
    turns: list[Row] = []
    left_out: list[str] = []
    try:
        turns, asked = _asked(row)
        left_out = _left_out(row, turns)
    except UserError as error:
        read.unread.append(_reason(error))
    for kind, value in _shown(row, turns):
        try:
            _see(kind, value, folder, read)
        except UserError as error:
            read.unread.append(error.given)
    asks, shows = bool(words_of(asked)), bool(read.pictures or read.videos)
    if not shows:
        read.unread += _perhaps(row)
    if not asks and not shows:
        return ForeignRow(None, [*left_out, *read.unread] or ["a row neither asks nor shows anything"])
    mark = Mark(
        id=str(row["id"]) if row.get("id") is not None else name,
        place=place,
        asked="",
        said="",
        words=words_mark(asked) if asks else None,
        answer="",
        pictures=tuple(read.pictures),
        videos=tuple(read.videos),
        looks=tuple(read.looks),
        question=sketch_of(asked, "question") if asks else None,
    )
    return ForeignRow(mark, [*left_out, *read.unread], blind=asks and not shows and bool(read.unread))


def _reason(error: UserError) -> str:
    """Return why turns cannot be read, without the row's name and its own value."""
    return error.given.partition(": ")[2].partition(" (")[0]


def _asked(row: Row) -> tuple[list[Row], str]:
    """Return the turns that ask, and their text without marks of media; empty where nothing does.

    Raises:
        UserError: there is something where a question should be, and it is none.
    """
    for column in ASKING:
        value = row.get(column)
        if value in (None, "", []):
            continue
        if column != "messages" and isinstance(value, str):
            turns = [*_past(row), {"role": "user", "content": value}]
        elif column == "question" or not isinstance(value, list):
            raise UserError(f"row: {column!r} is neither text nor a list of turns", "one of both")
        else:
            turns = [_plain(turn) for turn in our_turns(value)]
        prompt, _ = split_response(turns, "")
        return prompt, _MARKED.sub(" ", asked_text(prompt))
    return [], ""


def _past(row: Row) -> list[Row]:
    try:
        return past_turns(row.get("history"))
    except UserError as error:
        raise UserError(f"row: {error.given}", error.expected, error.do) from None


def _left_out(row: Row, turns: list[Row]) -> list[str]:
    """Name columns that ask as well, and ask something else."""
    told, asked = [], _questions(turns)
    for column in ASKING:
        value = row.get(column)
        others = our_turns(value) if isinstance(value, list) else [{"role": "user", "content": value}]
        if says(value) and _questions(others) not in (asked, asked[-1:]):
            told.append(f"the column {column!r} asks something else than what is compared")
    if "input" in row and says(row["input"]):
        told.append("the column 'input', which may be a part of the question, is not compared")
    return told


def _questions(turns: list[Any]) -> list[str]:
    asked = [turn for turn in turns if isinstance(turn, Mapping) and turn.get("role") == "user"]
    return [plain_text(text_in(turn)) for turn in asked]


def _plain(turn: Any) -> Any:
    """Return a turn whose parts are of our types, each with all that it says; tables fill parts up with nulls."""
    content = turn.get("content") if isinstance(turn, Mapping) else None
    if not isinstance(content, list):
        return turn
    parts = []
    for part in content:
        if isinstance(part, Mapping):
            part = {key: value for key, value in part.items() if value is not None}
            kind = part.get("type")
            part["type"] = _PARTS.get(kind, kind) if isinstance(kind, str) else kind
        parts.append(part)
    return {**turn, "content": parts}


def _shown(row: Row, turns: list[Row]) -> Iterator[tuple[str, Any]]:
    """Yield what a row shows: in its columns, and in the parts of its turns that say themselves what they show."""
    for column, value in row.items():
        name = str(column)
        picture = _PICTURES.fullmatch(name) or (isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes))
        kind = "image" if picture else "video" if _VIDEOS.fullmatch(name) else None
        if kind is not None and value is not None and value != "":
            yield from ((kind, item) for item in (value if isinstance(value, list) else [value]))
    for turn in turns:
        for part in turn["content"] if isinstance(turn["content"], list) else ():
            said = [part[key] for key in ("image", "image_url", "video", "video_url", "url", "path") if part.get(key)]
            if part["type"] != "text" and said:
                yield part["type"], said[0]


def _perhaps(row: Row) -> list[str]:
    """Name columns that may show something and are not read."""
    names = [str(name) for name, value in row.items() if isinstance(value, str | list) and value]
    return [f"the column {name!r}, which may name a medium, is not read" for name in names if _PERHAPS.fullmatch(name)]


def _see(kind: str, value: Any, folder: Path, read: _Read) -> None:
    """Read one medium.

    Raises:
        UserError: it cannot be read; the reason is the same for all such media.
    """
    what = "a picture" if kind == "image" else "a video"
    if isinstance(value, Mapping):
        inner = next((value[key] for key in ("bytes", "url", kind) if value.get(key)), None)
        if inner is None and isinstance(value.get("path"), str) and not _WEB.match(value["path"]):
            _see_part(kind, {key: item for key, item in value.items() if item is not None}, folder, read, what)
            return
        value = value.get("path") if inner is None else inner
    content = bytes(value) if isinstance(value, bytes | bytearray) else _decoded(value, folder)
    if content is None and isinstance(value, str) and value:
        if _WEB.match(value):
            raise UserError(f"{what} is an address on the web, and is not fetched")
        _see_part(kind, value, folder, read, what)
    elif not content:
        raise UserError(f"{what} is neither a path, nor bytes, nor a data URL")
    elif kind == "video":
        read.videos.append(medium_mark(digest_of_video_bytes(content)))
    else:
        _see_bytes(content, read)


def _see_part(kind: str, item: Any, folder: Path, read: _Read, what: str) -> None:
    """Read what lies in a file, of which a mapping may show a part alone."""
    try:
        (medium,) = media_entries(kind, [item])
    except UserError:
        raise UserError(f"{what} is no path, and no mapping with one") from None
    file = folder / medium.path
    if problem_of_name(medium.path) is not None or not file.is_file():
        raise UserError(f"{what} is missing")
    if kind == "video":
        read.videos.append(medium_mark(digest_of_video(file)))
        return
    if medium.crop is None and medium.at is None:
        _see_bytes(file.read_bytes(), read)
        return
    part = media_entries(kind, [{**item, "path": str(file)}])[0]
    read.pictures.append(_digest(file.read_bytes()))
    read.looks.append(look_at(part))
    if read.looks[-1] is None:
        raise UserError("a part of a picture or video cannot be read")


def _see_bytes(content: bytes, read: _Read) -> None:
    read.pictures.append(_digest(content))
    read.looks.append(None)
    try:
        read.looks[-1] = look_of(image_from_bytes(content))
    except UserError:
        raise UserError("a picture cannot be decoded, so that it is compared to the byte alone") from None


def _digest(content: bytes) -> str:
    return medium_mark(hashlib.sha256(content).digest())


def _decoded(value: Any, folder: Path) -> bytes | None:
    """Return the bytes that a text holds: of a data URL, or base64 alone where it is no file's name."""
    if not isinstance(value, str):
        return None
    start = _DATA_URL.match(value)
    if start is None and (len(value) < _LEAST or (problem_of_name(value) is None and (folder / value).is_file())):
        return None
    try:
        return base64.b64decode("".join(value[start.end() if start else 0 :].split()), validate=True) or None
    except (binascii.Error, ValueError):
        return None
