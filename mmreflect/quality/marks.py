"""What is kept of a row so that it can be compared with every other one without being read again.

Marks lie beside their shard, a line a row: up to 2 KB of JSON, and as much memory while a dataset is compared. Making
one takes 1 ms for a row of 360 words, and 5 ms for each picture of 800 by 500, nearly all of which is its decoding.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmreflect.answers.markup import plain
from mmreflect.data.fingerprint import asked_key, media_contents
from mmreflect.data.store import Row, sample_from_row, split_response, turns_of
from mmreflect.errors import UserError
from mmreflect.media.images import load_media_image
from mmreflect.quality.pictures import Look, look_of
from mmreflect.quality.sketches import Sketch, from_text, sketch_of, to_text
from mmreflect.quality.texts import words_of
from mmreflect.records import Media, Message, text_of

_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Mark:
    """A row, to compare.

    Attributes:
        place: of the row in its split; of a row of an evaluation set, its number there.
        asked: of the prompt as it stands and the content of the media; said: of response, rejected side and answer.
        words: of the words of its question, whatever stands between them; None where there is no question.
        answer: of the reference in its plain form; empty where there is none.
        pictures, videos: of their content; shown: of which parts of the videos are shown.
        looks: of the pictures, None for one that cannot be read; empty, as the sketches are None, where rows are only
            compared exactly.
        question, response: sketches; the response's is None where there is none. That of a pair has both sides.
        exempt: the row may repeat others.
    """

    id: str
    place: int
    asked: str
    said: str
    words: str | None
    answer: str
    pictures: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    shown: str = ""
    looks: tuple[Look | None, ...] = ()
    question: Sketch | None = None
    response: Sketch | None = None
    exempt: bool = False


def mark_of(row: Row, folder: Path, place: int, *, sketches: bool, exempt: bool = False) -> Mark:
    """Return the mark of a row whose media lie in a folder.

    Args:
        sketches: also mark what is needed to find rows that are nearly the same.
    """
    turns = turns_of(row)
    prompt, response = split_response(turns, str(row["id"]))
    lost = text_of(row["rejected"][-1]["content"]) if "rejected" in row else ""
    answer = None if row.get("answer") is None else str(row["answer"])
    contents = media_contents(row, folder)
    question = asked_text(prompt)
    return Mark(
        id=str(row["id"]),
        place=place,
        asked=asked_key(row, contents)[:_DIGITS],
        said=_digest(response, lost, answer),
        words=words_mark(question),
        answer="" if answer is None else _digest(plain(answer)),
        pictures=tuple(medium_mark(content.digest) for content in contents if content.kind == "image"),
        videos=tuple(medium_mark(content.digest) for content in contents if content.kind == "video"),
        shown=_digest(*(content.shown for content in contents if content.kind == "video")),
        looks=_looks(row | {"messages": turns}, folder) if sketches else (),
        question=sketch_of(question, "question") if sketches else None,
        response=sketch_of(f"{response}\n{lost}", "response") if sketches and response is not None else None,
        exempt=exempt,
    )


def asked_text(prompt: Iterable[Message]) -> str:
    """Return the text of a prompt without its system turns, which all rows of a set share."""
    return "\n".join(text_of(turn["content"]) for turn in prompt if turn["role"] != "system")


def words_mark(question: str) -> str:
    """Return the mark of the words of a question."""
    return _digest(*words_of(question))


def medium_mark(digest: bytes) -> str:
    """Return the mark of a medium, from the digest of its content."""
    return digest.hex()[:_DIGITS]


def look_at(medium: Media) -> Look | None:
    """Return what a picture looks like; None where it cannot be read."""
    try:
        return look_of(load_media_image(medium))
    except UserError:
        return None


def _looks(row: Row, folder: Path) -> tuple[Look | None, ...]:
    return tuple(look_at(medium) for medium in sample_from_row(row, folder).media if medium.kind == "image")


def _digest(*parts: str | None) -> str:
    joined = "".join("\x1e" if part is None else f"\x1f{part}" for part in parts)
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def mark_to_json(mark: Mark) -> dict[str, Any]:
    """Return a mark as plain values."""
    looks = [None if look is None else f"{look.bits:016x}{look.colours.tobytes().hex()}" for look in mark.looks]
    sketches = {
        name: None if sketch is None else to_text(sketch)
        for name, sketch in (("question", mark.question), ("response", mark.response))
    }
    return {
        "id": mark.id,
        "place": mark.place,
        "asked": mark.asked,
        "said": mark.said,
        "words": mark.words,
        "answer": mark.answer,
        "pictures": list(mark.pictures),
        "videos": list(mark.videos),
        "shown": mark.shown,
        "looks": looks,
        **sketches,
        "exempt": mark.exempt,
    }


def mark_from_json(line: dict[str, Any]) -> Mark:
    """Read it again."""
    sketches = {name: None if line[name] is None else from_text(line[name]) for name in ("question", "response")}
    media = {name: tuple(line[name]) for name in ("pictures", "videos")}
    return Mark(**(line | media | sketches | {"looks": tuple(_look(text) for text in line["looks"])}))


def _look(text: str | None) -> Look | None:
    if text is None:
        return None
    return Look(int(text[:16], 16), np.frombuffer(bytes.fromhex(text[16:]), np.uint8))
