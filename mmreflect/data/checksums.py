"""Whether a dataset is still what its manifest says, before anything is made of it."""

import hashlib
from collections import Counter
from pathlib import Path

from mmreflect.data.store import Dataset
from mmreflect.errors import UserError

_SHOWN = 5
_PIECE = 1 << 20


def check_shards(dataset: Dataset) -> None:
    """Compare every shard's SHA-256 with the manifest.

    Raises:
        UserError: a shard is missing, changed or stands twice; all such shards are named.
    """
    shards = [shard for split in dataset.manifest["splits"].values() for shard in split["shards"]]
    wrong = []
    for shard in shards:
        file = dataset.path / shard["file"]
        if not file.is_file():
            wrong.append(f"{shard['file']} is missing")
        elif sha256_of(file) != shard["sha256"]:
            wrong.append(f"{shard['file']} was changed")
    twice = [name for name, count in Counter(shard["file"] for shard in shards).items() if count > 1]
    wrong += [f"{name} stands twice in the manifest" for name in twice]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise UserError(
            f"{dataset.path} is not what its manifest says: {', '.join(wrong[:_SHOWN])}{more}",
            "the shards as mmreflect build wrote them",
            "restore them, or build the dataset again in a new folder",
        )


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    found = hashlib.sha256()
    with open(file, "rb") as stream:
        while piece := stream.read(_PIECE):
            found.update(piece)
    return found.hexdigest()
