"""Telling whether two rows ask the same: the question's text and its media, by content."""

import hashlib
from collections import Counter
from pathlib import Path

from mmreflect.data.store import Row, read_rows, split_response
from mmreflect.files import to_json


def question_key(row: Row, folder: Path) -> str:
    """Return a hash of a row's prompt and the bytes of its media, independent of ids, paths and answers."""
    prompt, _ = split_response(row["messages"], str(row["id"]))
    digest = hashlib.sha256(to_json(prompt).encode())
    for path in [*row["images"], *row["videos"]]:
        digest.update(hashlib.sha256((folder / path).read_bytes()).digest())
    return digest.hexdigest()


def repeated_ids(splits: dict[str, list[Path]]) -> list[str]:
    """Return the ids that stand more than once in the whole dataset."""
    counts = Counter(str(row["id"]) for files in splits.values() for file in files for row in read_rows(file))
    return [name for name, count in counts.items() if count > 1]


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
