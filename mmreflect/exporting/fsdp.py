"""Weights that FSDP saved: shards of torch.distributed.checkpoint, or one file with all of them.

accelerate writes the former for SHARDED_STATE_DICT into `pytorch_model_fsdp_0/`: `.metadata` says which piece of which
tensor lies at which bytes of which `__RANK_N.distcp`, each piece a file of torch.save of its own. The latter, for
FULL_STATE_DICT, is `pytorch_model_fsdp.bin`. Nothing distributed is started; tensors are put together one at a time.
"""

import io
import math
from pathlib import Path
from typing import Any

import torch

from mmreflect.errors import UserError
from mmreflect.exporting.pickles import read_metadata, read_pickled
from mmreflect.exporting.weights import Held, Loose, Weights


def open_fsdp(place: Path) -> Weights:
    """Open FSDP's weights: a folder with `.metadata`, or the file of whole weights.

    Raises:
        UserError: the metadata or a rank's file is missing or damaged, pieces do not cover a tensor, or a file holds
            anything but tensors.
    """
    return _Shards(place) if place.is_dir() else _whole(place)


def _whole(file: Path) -> Weights:
    held = read_pickled(file)
    tensors = {str(name): value for name, value in held.items() if isinstance(value, torch.Tensor)}
    table = {name: Held(tuple(value.shape), value.dtype) for name, value in tensors.items()}
    return Loose(table, lambda name: tensors[name].detach().contiguous())


class _Shards:
    """The shards of torch.distributed.checkpoint."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        metadata = read_metadata(folder / ".metadata")
        self._entries = {
            name: entry for name, entry in metadata.state_dict_metadata.items() if hasattr(entry, "chunks")
        }
        self._places = {(place.fqn, tuple(place.offset or ())): info for place, info in metadata.storage_data.items()}
        self.tensors = {name: Held(tuple(entry.size), entry.properties.dtype) for name, entry in self._entries.items()}
        self._check_files()

    def _check_files(self) -> None:
        """Check that every file is there and long enough before anything is read."""
        needed: dict[str, int] = {}
        for name, entry in self._entries.items():
            covered = sum(math.prod(chunk.sizes) for chunk in entry.chunks)
            if covered != math.prod(entry.size):
                raise UserError(
                    f"{self._folder}: the shards hold {covered:,} of the {math.prod(entry.size):,} values of {name!r}",
                    "every piece of every tensor",
                    "take a checkpoint that every rank has written",
                )
            for chunk in entry.chunks:
                info = self._place(name, chunk)
                file = Path(info.relative_path).name
                needed[file] = max(needed.get(file, 0), info.offset + info.length)
        missing = sorted(file for file in needed if not (self._folder / file).is_file())
        if missing:
            raise UserError(
                f"{self._folder} lacks {', '.join(missing[:3])}{' and more' if len(missing) > 3 else ''}",
                f"the files of every rank: {', '.join(sorted(needed)[:4])}{', ...' if len(needed) > 4 else ''}",
                "copy them from the machines that wrote them",
            )
        for file, length in needed.items():
            size = (self._folder / file).stat().st_size
            if size < length:
                raise UserError(
                    f"{self._folder / file} is cut short ({size:,} of {length:,} bytes)",
                    "a whole file",
                    "copy it again",
                )

    def _place(self, name: str, chunk: Any) -> Any:
        info = self._places.get((name, tuple(chunk.offsets)))
        if info is None:
            raise UserError(
                f"{self._folder / '.metadata'} does not say where a piece of {name!r} lies",
                "a place for every piece",
                "take another checkpoint",
            )
        if getattr(info, "transform_descriptors", None):
            raise UserError(
                f"{self._folder}: {name!r} was written with {', '.join(info.transform_descriptors)}",
                "plain pieces",
                "save the checkpoint without extensions",
            )
        return info

    def read(self, name: str) -> torch.Tensor:
        """Put one tensor together from the pieces of all ranks."""
        held = self.tensors[name]
        whole = torch.empty(held.shape, dtype=held.dtype)
        for chunk in self._entries[name].chunks:
            info = self._place(name, chunk)
            file = self._folder / Path(info.relative_path).name
            with open(file, "rb") as opened:
                opened.seek(info.offset)
                piece = read_pickled(io.BytesIO(opened.read(info.length)), f"{file}, {name!r}")
            if tuple(piece.shape) != tuple(chunk.sizes):
                raise UserError(
                    f"{file}: a piece of {name!r} has the shape {list(piece.shape)}",
                    f"{list(chunk.sizes)}",
                    "copy it again",
                )
            target = whole
            for axis, (start, size) in enumerate(zip(chunk.offsets, chunk.sizes, strict=True)):
                target = target.narrow(axis, start, size)
            target.copy_(piece)
        return whole
