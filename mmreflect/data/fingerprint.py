"""Telling whether two rows ask the same: the question's text and its media, by content."""

import hashlib
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
