"""The files of the output: written at any place in any order, each under its name only when it is complete.

A shard is kept in a hidden file until all its bytes are written, then renamed and noted in `shards.jsonl` with the
CRC-32 of every tensor and the names of copied ones that hold NaN or infinity. After a kill, noted shards stay and the
others are written again, to the same bytes. Nothing waits for the disk: a shard that was noted before the machine
itself went down is checked before it is believed.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmreflect.console import count
from mmreflect.errors import UserError
from mmreflect.files import FULL
from mmreflect.merge.checksums import checksum, joined
from mmreflect.merge.layout import Layout, Place, Shard
from mmreflect.merge.notes import Notes, read_notes, write_notes
from mmreflect.merge.report import is_copied

SHARDS = "shards.jsonl"
"""In the run's folder: a row for every complete shard."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_READ = 1 << 22
_REFUSED = (*FULL, errno.EFBIG)
BESIDE_BYTES, BESIDE_BYTES_PER_TENSOR = 4_000_000, 500
"""Room for what a run writes beside shards and copied files: model card, notes, report and page; they name tensors."""
Row = dict[str, Any]
_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


@dataclass
class _Open:
    """A shard in progress; `pieces` is tensor to offset to (CRC-32, length), `left` counts bytes."""

    shard: Shard
    handle: int
    left: int
    pieces: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)


class Outputs:
    """The shards of a merge; safe for many threads."""

    def __init__(
        self,
        layout: Layout,
        model: Path,
        notes: Path,
        advance: Callable[[int], None],
        checksum: Callable[[memoryview], int] = checksum,
    ) -> None:
        self._model, self._notes, self._advance, self._checksum = model, Notes(notes, is_row), advance, checksum
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}
        self._where = {name: shard for shard in layout.shards for name in shard.tensors}
        self._unsound = set[str]()
        rows = {row["file"]: row for row in self._notes.rows}
        self._done = {shard.file: rows[shard.file] for shard in layout.shards if self._is_done(shard, rows)}
        if not all(map(_is_of_now, self._done.values())):  # what was compared now need not be again
            self._done = {file: row | {"boot": boot_id()} for file, row in self._done.items()}
            self._notes.replace(self._done.values())
        _room(layout, model, self._done)
        for shard in layout.shards:
            if shard.file in self._done:
                advance(len(shard.tensors))

    def place(self, name: str) -> Place | None:
        """Return where a tensor is to be written, or None when its shard is complete."""
        shard = self._where[name]
        return None if shard.file in self._done else shard.tensors[name]

    def write(self, name: str, offset: int, data: memoryview) -> None:
        """Write bytes of a tensor, `offset` bytes from its start; completes the shard with its last bytes.

        Raises:
            UserError: the disk is full, or allows no file so long.
        """

        def write(handle: int, position: int) -> int:
            _write_all(handle, data, position)
            return self._checksum(data)

        self.have_written(name, offset, data.nbytes, write)

    def have_written(self, name: str, offset: int, size: int, write: Callable[[int, int], int]) -> None:
        """Have a function write `size` bytes of a tensor to a place of an open file, and return their CRC-32.

        Raises:
            UserError: as `write`, and whatever the function raises.
        """
        shard = self._where[name]
        place = shard.tensors[name]
        with self._lock:
            opened = self._open.get(shard.file) or self._begin(shard)
        with _disk(self._model, shard):
            crc = write(opened.handle, place.start + offset)
        with self._lock:
            pieces = opened.pieces.setdefault(name, {})
            pieces[offset] = (crc, size)
            opened.left -= size
            if sum(length for _, length in pieces.values()) == place.stop - place.start:
                self._advance(1)
            complete = opened.left == 0
        if complete:
            self._finish(opened)

    def name_unsound(self, name: str) -> None:
        """Note, with its shard, that a tensor holds NaN or infinity; before its last bytes are written."""
        with self._lock:
            self._unsound.add(name)

    @property
    def unsound(self) -> list[str]:
        """The tensors of complete shards of which that was noted, now or before a kill."""
        return [name for row in self._done.values() for name in row["not_finite"]]

    def touch(self) -> None:
        """Begin, and so finish, the shards without any bytes to write."""
        with self._lock:
            empty = [
                shard
                for shard in {item.file: item for item in self._where.values()}.values()
                if shard.file not in self._done
                and not any(place.stop > place.start for place in shard.tensors.values())
            ]
            opened = [self._begin(shard) for shard in empty]
        for item in opened:
            self._finish(item)

    def checksums(self) -> dict[str, str]:
        """Return the CRC-32 of every tensor that is written, as eight hexadecimal digits."""
        found = {name: f"{crc:08x}" for row in self._done.values() for name, crc in row["crc32"].items()}
        return {name: found[name] for name in self._where if name in found}

    def close(self) -> None:
        """Close what is unfinished; its hidden files stay and are written over by the next attempt."""
        with self._lock:
            for opened in self._open.values():
                os.close(opened.handle)
            self._open.clear()

    def _is_done(self, shard: Shard, rows: dict[str, Any]) -> bool:
        path, row = self._model / shard.file, rows.get(shard.file)
        if row is None or not path.is_file() or path.stat().st_size != shard.size:
            return False
        return _is_of_now(row) or _is_as_noted(path, shard, row)

    def _begin(self, shard: Shard) -> _Open:
        partial = self._model / f".{shard.file}.partial"
        with _disk(self._model, shard):
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            opened = self._open[shard.file] = _Open(shard, handle, shard.size - len(shard.header))
            _reserve(handle, shard.size)
            _write_all(handle, memoryview(shard.header), 0)
        return opened

    def _finish(self, opened: _Open) -> None:
        file = opened.shard.file
        with self._lock:
            del self._open[file]  # closed here, whatever comes of it
        with _disk(self._model, opened.shard):
            size = os.fstat(opened.handle).st_size
            os.close(opened.handle)
        if size != opened.shard.size:
            raise RuntimeError(f"{file} has {size} bytes, planned were {opened.shard.size}")
        os.replace(self._model / f".{file}.partial", self._model / file)
        crcs = {name: joined(opened.pieces.get(name, {})) for name in opened.shard.tensors}
        with self._lock, _disk(self._model, opened.shard):
            row = _row(file, size, crcs, sorted(self._unsound & crcs.keys()))
            self._notes.add(row)
            self._done[file] = row


def _row(file: str, size: int, crc32: Mapping[str, int], not_finite: Sequence[str], boot: str | None = None) -> Row:
    boot = boot_id() if boot is None else boot
    return {"file": file, "size": size, "boot": boot, "crc32": dict(crc32), "not_finite": list(not_finite)}


def is_row(row: Mapping[str, Any]) -> bool:
    """Tell whether a row is one of `shards.jsonl`."""
    texts, numbers = (row["file"], row["boot"], *row["not_finite"]), (row["size"], *row["crc32"].values())
    return all(isinstance(text, str) for text in texts) and all(type(number) is int for number in numbers)


def _is_of_now(row: Mapping[str, Any]) -> bool:
    """Tell whether a row was written since the machine was started; where the system does not tell, none was."""
    return bool(row["boot"]) and row["boot"] == boot_id()


def complete(layout: Layout, folder: Path) -> set[str]:
    """Return the files that a run's folder has noted and holds, by their sizes; nothing is read or written."""
    sizes = noted(folder)
    found = {
        file for file in sizes if (path := folder / "model" / file).is_file() and path.stat().st_size == sizes[file]
    }
    return found & {shard.file for shard in layout.shards}


def doubtful(folder: Path, tensors: set[str]) -> bool:
    """Tell whether the files of a finished merge have to be compared with its report before they are believed.

    A machine that goes down may lose what was written last, since nothing waits for the disk: files that were noted
    before that, or are not noted any more.

    Args:
        tensors: all that the report names.
    """
    rows, damaged = read_notes(folder / SHARDS, is_row)
    names = {name for row in rows for name in row["crc32"]}
    return damaged > 0 or names != tensors or not all(map(_is_of_now, rows))


def note_again(folder: Path, crc32: Mapping[str, Mapping[str, int]], unsound: Sequence[str]) -> None:
    """Note the files of a finished merge that were compared just now.

    Args:
        crc32: file to tensor to CRC-32; `unsound`: tensors that hold NaN or infinity, as the report says.
    """
    sizes = {file: (folder / "model" / file).stat().st_size for file in crc32}
    rows = [_row(file, sizes[file], crc32[file], [name for name in unsound if name in crc32[file]]) for file in crc32]
    write_notes(folder / SHARDS, rows)


def doubt(folder: Path) -> None:
    """Have every file of a run compared with what was noted of it before it is believed."""
    rows = read_notes(folder / SHARDS, is_row)[0]
    write_notes(folder / SHARDS, [row | {"boot": ""} for row in rows])


def noted(folder: Path) -> dict[str, int]:
    """Return the files that a run's folder has noted last, and their sizes; lines that are damaged are left out."""
    return {row["file"]: row["size"] for row in read_notes(folder / SHARDS, is_row)[0]}


def check_room(layout: Layout, folder: Path, vlm: Path | None = None) -> int:
    """Return the free bytes of the disk where a run's folder lies, or is going to lie.

    Args:
        vlm: the folder whose side files are copied; None counts none of them.

    Raises:
        UserError: what is still to be written needs more.
    """
    return _room(layout, folder / "model", complete(layout, folder), 0 if vlm is None else _side_bytes(vlm, folder))


def _side_bytes(vlm: Path, folder: Path) -> int:
    """Return the bytes of the VLM's files that are copied beside the weights and are not there yet."""
    files = ((path, path.relative_to(vlm).as_posix()) for path in vlm.rglob("*") if path.is_file())
    return sum(
        path.stat().st_size for path, name in files if is_copied(name) and not (folder / "model" / name).exists()
    )


def _room(layout: Layout, model: Path, done: Container[str], beside: int = 0) -> int:
    need = sum(shard.size for shard in layout.shards if shard.file not in done)
    if need or not (model.parent / "result.json").is_file():
        need += beside + BESIDE_BYTES + BESIDE_BYTES_PER_TENSOR * sum(len(shard.tensors) for shard in layout.shards)
    there = next(place for place in (model, *model.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free + sum(path.stat().st_blocks * 512 for path in model.glob(".*.partial"))
    if need > free:
        raise _full(model, need, free)
    return free


def boot_id() -> str:
    """Return what names the time since the machine was started; empty where the system does not tell."""
    return _BOOT.read_text().strip() if _BOOT.is_file() else ""


def _is_as_noted(path: Path, shard: Shard, row: Mapping[str, Any]) -> bool:
    with open(path, "rb") as file:
        header = file.read(len(shard.header))
    return header == shard.header and file_checksums(path, shard.tensors) == row["crc32"]


def file_checksums(path: Path, tensors: Mapping[str, Place]) -> dict[str, int]:
    """Read a safetensors file and return the CRC-32 of each of its tensors."""
    found = {}
    with open(path, "rb", buffering=0) as file:
        for name, place in tensors.items():
            file.seek(place.start)
            crc, left = 0, place.stop - place.start
            while left:
                data = file.read(min(_READ, left))
                if not data:
                    break
                crc, left = checksum(data, crc), left - len(data)
            found[name] = crc
    return found


def _reserve(handle: int, size: int) -> None:
    """Ask for all of a file's room at once, so that a full disk is known early.

    The system call itself, not `os.posix_fallocate`: where a file system cannot, that one writes every block.
    """
    with contextlib.suppress(OSError, AttributeError):
        fallocate = ctypes.CDLL("libc.so.6", use_errno=True).fallocate64
        fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        if fallocate(handle, 0, 0, size) == 0:
            return
    if ctypes.get_errno() in _REFUSED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.ftruncate(handle, size)


def _write_all(handle: int, data: memoryview, position: int) -> None:
    while data.nbytes:
        written = os.pwrite(handle, data, position)
        data, position = data[written:], position + written


@contextmanager
def _disk(model: Path, shard: Shard) -> Iterator[None]:
    """Turn a full disk, and a file larger than files may be, into a message."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise _too_long(model, shard) from None
        if error.errno in FULL:
            raise _full(model, None, shutil.disk_usage(model).free) from None
        raise


def _too_long(model: Path, shard: Shard) -> UserError:
    return UserError(
        f"{shard.file} takes {shard.size:,} bytes, and no file in '{model}' may be so long",
        "room for every file of the model, whatever the disk has free",
        "raise the limit (ulimit -f unlimited), choose an output on another file system, or have smaller files written "
        "(dtype and shard_bytes)",
    )


def _full(model: Path, need: int | None, free: int) -> UserError:
    told, *needed = _in_units(free, *([] if need is None else [need]))
    wanted = f"{needed[0]} are still to be written, and " if needed else ""
    return UserError(
        f"no room for the merged model: {wanted}{told} are free in '{model}'",
        "room for the whole output",
        "free some room and start the same command again (finished shards are kept), or choose another output",
    )


def _in_units(*sizes: int) -> list[str]:
    """Return sizes in bytes as texts, each in the largest unit that it fills; different ones never read alike."""
    for first in range(len(_UNITS) + 1):
        texts = [
            next((f"{size / unit:,.2f} {name}" for unit, name in _UNITS[first:] if size >= unit), count(size, "byte"))
            for size in sizes
        ]
        if len(set(texts)) == len(set(sizes)):
            break
    return texts
