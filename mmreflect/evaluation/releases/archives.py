"""Archives of a release, unpacked once: zip and tar, also tar files in parts."""

import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from mmreflect import console
from mmreflect.errors import UserError

_TAR = re.compile(r"(.+?\.(?:tar|tgz|tar\.gz))(?:\.part.*)?$", re.IGNORECASE)
_COPIED = 1 << 20


def archives_in(folder: Path) -> list[list[Path]]:
    """Return the archives in a folder and below it, each as its parts in order."""
    found: dict[str, list[Path]] = {}
    for place, inner, names in os.walk(folder, followlinks=True):
        inner.sort()
        for name in sorted(names):
            tar = _TAR.fullmatch(name)
            if tar or name.lower().endswith(".zip"):
                found.setdefault(os.path.join(place, tar[1] if tar else name), []).append(Path(place) / name)
    return list(found.values())


def unpacked(archives: Sequence[Sequence[Path]], root: Path, folder: Path) -> list[Path]:
    """Return the folders that archives are unpacked in, below `folder`; what is unpacked already stays.

    Each keeps the place of its archive below `root`, so that paths of a release hold as if it had been unpacked there.

    Raises:
        UserError: an archive is broken, or a member would be written outside of the folder.
    """
    made = []
    for parts in archives:
        state = [(part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in parts]
        mark = hashlib.sha256(f"{parts[0].resolve()} {state}".encode()).hexdigest()[:24]
        target = folder / mark
        if not target.is_dir():
            _unpack(parts, target, parts[0].parent.relative_to(root))
        made.append(target)
    return made


def _unpack(parts: Sequence[Path], target: Path, below: Path) -> None:
    """Unpack into a folder beside the target and rename it, so that a target is always whole."""
    console.say(f"unpacking {parts[0]}")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    try:
        inside = partial / below
        inside.mkdir(parents=True, exist_ok=True)
        if parts[0].suffix.lower() == ".zip":
            with zipfile.ZipFile(parts[0]) as packed:
                packed.extractall(inside)  # which keeps every member inside of the folder
        else:
            with io.BufferedReader(_Joined(parts)) as file, tarfile.open(fileobj=file, mode="r|*") as packed:
                packed.extractall(inside, filter="data")
        _settle(partial, target)
    except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise UserError(
            f"the archive cannot be unpacked: {parts[0]} ({error})", "a whole zip or tar file", "download it again"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _settle(partial: Path, target: Path) -> None:
    try:
        os.replace(partial, target)
    except OSError:
        if not target.is_dir():  # else another process was faster
            raise


class _Joined(io.RawIOBase):
    """The parts of a file as one stream."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._chunks = _chunks(parts)
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        self._left = self._left or next(self._chunks, b"")
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


def _chunks(parts: Sequence[Path]) -> Iterator[bytes]:
    for part in parts:
        file: IO[bytes]
        with open(part, "rb") as file:
            while chunk := file.read(_COPIED):
                yield chunk
