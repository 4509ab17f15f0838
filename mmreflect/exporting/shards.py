"""Safetensors files and their index, one tensor in memory at a time."""

import errno
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from mmreflect.errors import UserError
from mmreflect.exporting.weights import CODES, Held, Weights
from mmreflect.files import write_json
from mmreflect.merge.checkpoint import INDEX, SINGLE


def split(weights: Weights, largest: int) -> list[list[str]]:
    """Share the tensors out among files of at most `largest` bytes, in their order; a larger tensor has its own."""
    files: list[list[str]] = [[]]
    filled = 0
    for name, held in weights.tensors.items():
        if files[-1] and filled + held.size > largest:
            files.append([])
            filled = 0
        files[-1].append(name)
        filled += held.size
    return files


def write_shards(
    folder: Path, weights: Weights, files: Sequence[Sequence[str]], advance: Callable[[], None] = lambda: None
) -> None:
    """Write the files, flushed to disk, and their index where there are several.

    Raises:
        UserError: the disk is full, or a tensor holds NaN.
        RuntimeError: a tensor is not what its table says: a bug.
    """
    if len(files) == 1:
        _write(folder / SINGLE, weights, files[0], advance)
        return
    weight_map: dict[str, str] = {}
    for number, names in enumerate(files, start=1):
        file = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        weight_map |= dict.fromkeys(names, file)
        _write(folder / file, weights, names, advance)
    total = sum(held.size for held in weights.tensors.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})


def _header(tensors: dict[str, Held]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, held in tensors.items():
        offsets = [start, start + held.size]
        entries[name] = {"dtype": CODES[held.dtype], "shape": list(held.shape), "data_offsets": offsets}
        start = offsets[1]
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write(path: Path, weights: Weights, names: Sequence[str], advance: Callable[[], None]) -> None:
    try:
        with open(path, "wb") as file:
            file.write(_header({name: weights.tensors[name] for name in names}))
            for name in names:
                value, held = weights.read(name), weights.tensors[name]
                if (tuple(value.shape), value.dtype) != (held.shape, held.dtype):
                    raise RuntimeError(f"{name}: {tuple(value.shape)} {value.dtype}, planned {held}")
                if value.is_floating_point() and bool(torch.isnan(value).any()):
                    raise UserError(
                        f"{name!r} holds NaN",
                        "weights that are numbers",
                        "take an earlier checkpoint of the training, or copy the model again",
                    )
                file.write(memoryview(value.contiguous().view(-1).view(torch.uint8).numpy()))  # type: ignore[arg-type]
                advance()
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"the disk of {path.parent} is full", "room for the whole checkpoint", "free some, or name another output"
        ) from None
