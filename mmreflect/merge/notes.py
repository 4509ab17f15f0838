"""What a merge remembers while it runs, in a JSONL file that survives a kill but does not wait for the disk.

Waiting for it (fsync) would, on common file systems, wait for all that was written to the shards so far.
"""

import os
from pathlib import Path
from typing import Any

from mmreflect.files import named_when_full, read_jsonl, to_json


class Notes:
    """Rows of a file, whole lines only: a line that a kill cut in half was never believed, and is removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: list[dict[str, Any]] = list(read_jsonl(path)) if path.is_file() else []
        if path.is_file():
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)

    def add(self, row: dict[str, Any]) -> None:
        """Append a row.

        Raises:
            OSError: it cannot be written; then no half of it is left, on which a later row would follow.
        """
        data = memoryview((to_json(row) + "\n").encode())
        with named_when_full(self._path), open(self._path, "ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                while data:
                    data = data[file.write(data) :]
            except OSError:
                file.truncate(size)
                raise
        self.rows.append(row)
