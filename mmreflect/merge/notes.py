"""What a merge remembers while it runs, in a JSONL file that survives a kill but does not wait for the disk.

Waiting for it (fsync) would, on common file systems, wait for all that was written to the shards so far.
"""

import os
from pathlib import Path
from typing import Any

from mmreflect.files import read_jsonl, to_json


class Notes:
    """Rows of a file, whole lines only: a line that a kill cut in half was never believed, and is removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: list[dict[str, Any]] = list(read_jsonl(path)) if path.is_file() else []
        if path.is_file():
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)

    def add(self, row: dict[str, Any]) -> None:
        """Append a row."""
        self.rows.append(row)
        with open(self._path, "ab") as file:
            file.write((to_json(row) + "\n").encode())
