"""Whether a dataset is still what its manifest says, before anything is made of it."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.data.store import Dataset, read_rows
from mmreflect.errors import UserError
from mmreflect.media.cache import file_mark

_SHOWN = 5
_PIECE = 1 << 20


def check_dataset(dataset: Dataset) -> None:
    """Compare every shard and its media with the manifest.

    Raises:
        UserError: a shard is missing, changed or stands twice, or media of one are; all such shards are named.
    """
    shards = [shard for split in dataset.manifest["splits"].values() for shard in split["shards"]]
    wrong = []
    for shard in shards:
        file = dataset.path / shard["file"]
        if not file.is_file():
            wrong.append(f"{shard['file']} is missing")
        elif sha256_of(file) != shard["sha256"]:
            wrong.append(f"{shard['file']} was changed")
        elif "media" in shard and (found := changed_media(dataset.path, file, shard["media"])):
            wrong.append(found)
    twice = [name for name, count in Counter(shard["file"] for shard in shards).items() if count > 1]
    wrong += [f"{name} stands twice in the manifest" for name in twice]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise UserError(
            f"{dataset.path} is not what its manifest says: {', '.join(wrong[:_SHOWN])}{more}",
            "shards and media as mmreflect build wrote them",
            "restore them, or build the dataset again in a new folder",
        )
    unmarked = sum("media" not in shard for shard in shards)
    if unmarked:
        console.say(f"[yellow]{console.count(unmarked, 'shard')} without a checksum of media[/]: these are not checked")


def media_mark(folder: Path, file: Path) -> dict[str, Any]:
    """Return how many files the rows of a shard show, their bytes, and one checksum over all of them in order.

    Of a picture all bytes count, of a video its size and nine pieces: a dataset can hold terabytes of them. Links are
    followed, so that copies of what they lead to have the same mark.

    Raises:
        UserError: one is missing, or a link leads nowhere.
    """
    whole, files, size = hashlib.sha256(), 0, 0
    for kind, path in _media_of(file):
        medium = folder / path
        if not medium.is_file():
            raise UserError(f"{medium} is missing", f"the media of {file}", "restore it")
        mark = sha256_of(medium) if kind == "images" else file_mark(str(medium))
        whole.update(f"{path}\0{mark}\n".encode())
        files, size = files + 1, size + medium.stat().st_size
    return {"files": files, "bytes": size, "sha256": whole.hexdigest()}


def changed_media(folder: Path, file: Path, known: dict[str, Any]) -> str | None:
    """Say what is wrong with the media of a shard that had this mark; None where nothing is."""
    try:
        found = media_mark(folder, file)
    except UserError as error:
        return error.given
    if found == known:
        return None
    places = sorted({str(Path(path).parent) for _, path in _media_of(file)})
    was, now = known["bytes"], found["bytes"]
    size = f"{was:,} bytes are {now:,} now" if was != now else "another checksum"
    return f"media of {file.parent.name}/{file.name} in {', '.join(places[:_SHOWN])} were changed ({size})"


def _media_of(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the kinds and paths of what the rows of a shard show, each once, in order."""
    seen: set[str] = set()
    for row in read_rows(file):
        for kind in ("images", "videos"):
            for item in row.get(kind) or []:
                path = str(item["path"] if isinstance(item, dict) else item)
                if path not in seen:
                    seen.add(path)
                    yield kind, path


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    found = hashlib.sha256()
    with open(file, "rb") as stream:
        while piece := stream.read(_PIECE):
            found.update(piece)
    return found.hexdigest()
