"""Telling whether two rows ask the same: the question's text and its media, by content."""

import functools
import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmreflect.data.store import Row, read_rows, split_response, turns_of
from mmreflect.errors import UserError
from mmreflect.files import to_json

ENDS = 1 << 20
"""Bytes at the start and at the end of a video that stand for it, with its size: a dataset can hold terabytes."""


def question_key(row: Row, folder: Path) -> str:
    """Return a hash of a row's prompt and the content of its media, independent of ids, paths and answers.

    A picture counts with all of its bytes, a video with its size and both ends; another span of it is another medium.
    Of a pair for preference training the prompt is what comes before both sides.
    """
    return asked_key(row, media_contents(row, folder))


def asked_key(row: Row, contents: list["Content"]) -> str:
    """Return the same hash where the media have been read already."""
    prompt, _ = split_response(turns_of(row), str(row["id"]))
    digest = hashlib.sha256(to_json(prompt).encode())
    for content in contents:
        digest.update(content.digest)
        digest.update(content.shown.encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Content:
    """A medium of a row by its content, and which part of it is shown (JSON of what a row says beside its path)."""

    kind: Literal["image", "video"]
    digest: bytes
    shown: str


def media_contents(row: Row, folder: Path) -> list[Content]:
    """Return the media of a row by their content: pictures, then videos."""
    found: list[Content] = []
    for kind in ("image", "video"):
        for item in row[f"{kind}s"]:
            entry = {"path": item} if isinstance(item, str) else item
            path = folder / entry["path"]
            digest = hashlib.sha256(path.read_bytes()).digest() if kind == "image" else digest_of_video(path)
            shown = to_json({key: value for key, value in entry.items() if key != "path"})
            found.append(Content(kind, digest, shown))
    return found


def digest_of_video(path: Path) -> bytes:
    """Return the digest of a video's size and both ends."""
    known = path.stat()
    return _read_ends(path, known.st_size, known.st_mtime_ns)


def digest_of_video_bytes(content: bytes) -> bytes:
    """Return the same of one that is no file."""
    ends = content[:ENDS] + content[max(0, len(content) - ENDS) :]
    return hashlib.sha256(ends + str(len(content)).encode()).digest()


@functools.lru_cache(maxsize=4096)
def _read_ends(path: Path, size: int, changed: int) -> bytes:
    with open(path, "rb") as file:
        head = file.read(ENDS)
        file.seek(max(0, size - ENDS))
        return hashlib.sha256(head + file.read(ENDS) + str(size).encode()).digest()


def repeated_ids(splits: dict[str, list[Path]]) -> list[str]:
    """Return the ids that stand more than once in the whole dataset, whose ids are held by eight bytes each."""
    import numpy as np

    def names() -> Iterator[str]:
        return (str(row["id"]) for files in splits.values() for file in files for row in read_rows(file))

    marks = array("Q", map(_mark_of, names()))
    ordered = np.sort(np.frombuffer(marks, np.uint64))
    twice = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    counts = Counter(name for name in names() if _mark_of(name) in twice) if twice else Counter[str]()
    return [name for name, count in counts.items() if count > 1]


def _mark_of(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def shared_questions(folder: Path, splits: dict[str, list[Path]]) -> list[tuple[str, str]]:
    """Return the pairs of row ids that ask the same question in two different splits."""
    first: dict[str, tuple[str, str]] = {}
    shared = []
    for split, files in splits.items():
        for file in files:
            for row in read_rows(file):
                owner, name = first.setdefault(question_key(row, folder), (split, str(row["id"])))
                if owner != split:
                    shared.append((f"{owner}/{name}", f"{split}/{row['id']}"))
    return shared


def refuse_leakage(folder: Path, manifest: dict[str, Any]) -> None:
    """Refuse a dataset in which an id, or one question with the same pictures, stands in two splits.

    Raises:
        UserError: the first of them are named.
    """
    files = {
        split: [folder / shard["file"] for shard in entry["shards"]] for split, entry in manifest["splits"].items()
    }
    repeated = repeated_ids(files)
    if repeated:
        raise UserError(
            f"{len(repeated)} ids stand more than once (the first: {', '.join(repeated[:3])})",
            "each id once in the whole dataset",
            "give every row its own id, or none",
        )
    shared = shared_questions(folder, files) if len(files) > 1 else []  # reads every picture and video again
    if shared:
        first = "; ".join(f"{left} and {right}" for left, right in shared[:3])
        raise UserError(
            f"{len(shared)} questions stand in two splits with the same pictures (the first: {first})",
            "no question in two splits",
            "remove them from one split, or build with another seed",
        )
