"""Files that survive a kill: atomic writes, durable appends, tolerant JSONL reading."""

import csv
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmreflect.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says of a disk that is full, or of a quota that is used up."""
_HALF = re.compile("[\ud800-\udfff]")
LONGEST_NAME, LONGEST_PATH = 255, 4000
"""Bytes of a file's name and of its path, at most."""


def user_cache(kind: str) -> Path:
    """Return where things of a kind are kept for all runs of a user; it need not exist yet.

    Raises:
        UserError: the system knows no home folder of the user.
    """
    given = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(given).expanduser() / "mmreflect" / kind
    except RuntimeError:
        raise UserError(
            f"there is no home folder for the cache ('{given}')",
            "a folder to keep things for later runs",
            "name one in the environment variable XDG_CACHE_HOME",
        ) from None


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename inside it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def named_when_full(path: Path) -> Iterator[None]:
    """Let the system's error of a full disk, or of a file too long, name the file: a write or a flush does not."""
    try:
        yield
    except OSError as error:
        if error.errno in (*FULL, errno.EFBIG) and error.filename is None:
            error.filename = str(path)
        raise


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that at any instant it is either absent, old, or whole.

    Raises:
        OSError: it cannot be written; where the disk is full, the error names the file, and nothing half is left.
    """
    partial = path.with_name(f".{path.name}.partial")
    with named_when_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        os.replace(partial, path)
        sync_folder(path.parent)


def to_json(value: Any, indent: int | None = None) -> str:
    """Serialise to JSON in one fixed form: key order kept, no ASCII escapes, NaN refused.

    Half a surrogate pair, which a server's JSON may hold, can only be written escaped: then everything is.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    return json.dumps(value, indent=indent, allow_nan=False) if _HALF.search(text) else text


def write_json(path: Path, value: Any) -> None:
    """Write an indented JSON file atomically."""
    write_atomic(path, to_json(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: it holds none, or is nested a thousand levels deep.
    """
    try:
        return json.loads(path.read_text())
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write a JSONL file atomically."""
    write_atomic(path, "".join(to_json(row) + "\n" for row in rows))


def append_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Append whole lines and flush them to disk before returning.

    A line that a kill cut in half is removed first: it was never reported as finished.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with named_when_full(path), open(path, "ab+") as file:
        size = file.seek(0, os.SEEK_END)
        if size and not _ends_with_newline(file, size):
            file.truncate(_after_last_newline(path))
            file.seek(0, os.SEEK_END)
        file.write("".join(to_json(row) + "\n" for row in rows).encode())
        file.flush()
        os.fsync(file.fileno())


def is_whole(text: str) -> bool:
    """Tell whether a text can be written as UTF-8: JSON may hold half of a surrogate pair, which cannot."""
    return _HALF.search(text) is None


def problem_of_name(path: str) -> str | None:
    """Return why no file can have a path, or None: systems raise for such a one instead of finding no file."""
    if "\0" in path or not is_whole(path):
        return "cannot be a file's"
    sizes = [len(part.encode()) for part in path.split("/")]
    if max(sizes) > LONGEST_NAME or sum(sizes) + len(sizes) > LONGEST_PATH:
        return "is too long for a file"
    return None


def content_mark(path: str) -> str:
    """Return a mark of a file's content, or `missing`."""
    file = Path(path)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "missing"


def folder_mark(*folders: str) -> str:
    """Return a mark of all files in some folders by their names, sizes and times; nothing is read."""
    found = []
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                known = path.stat()
                found.append((str(path.relative_to(folder)), known.st_size, known.st_mtime_ns))
    return hashlib.sha256(str(found).encode()).hexdigest()


def model_mark(path: str) -> str:
    """Return a mark of a model folder by its files' names, sizes and times; `remote` for a Hub name.

    Weights, and the JSON files beside them: a changed processor or generation config is another model.
    """
    files = sorted(Path(path).glob("*.safetensors")) if Path(path).is_dir() else []
    files += sorted(Path(path).glob("*.json")) if files else []
    if not files:
        return "remote"
    return hashlib.sha256(
        str([(item.name, item.stat().st_size, item.stat().st_mtime_ns) for item in files]).encode()
    ).hexdigest()


def _ends_with_newline(file: Any, size: int) -> bool:
    file.seek(size - 1)
    return bool(file.read(1) == b"\n")


def _after_last_newline(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1


@contextmanager
def wide_cells() -> Iterator[None]:
    """Let the cells of a CSV be of any length while this is open; the limit holds for the whole process."""
    before = csv.field_size_limit((1 << 31) - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_jsonl(path: Path) -> Iterator[Any]:
    """Yield the rows of a JSONL file that one of our runs appends to; a half-written last line is skipped.

    For a file that a user gives, where every line counts, use `mmreflect.data.store.read_rows`.
    """
    with open(path, "rb") as file:
        for line in file:
            if line.endswith(b"\n") and line.strip():
                yield json.loads(line)
