"""Into which files the output is cut, and where in them each tensor lies: known to the byte before anything is read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mmreflect.merge.checkpoint import FLOATS, INDEX, ITEM_BYTES, SINGLE, Checkpoint

OutputDtype = Literal["keep", "float32", "bfloat16", "float16"]
_CODES = {name: code for code, name in FLOATS.items()}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor of the output lies in its file, in bytes, and its safetensors dtype."""

    code: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Shard:
    """One safetensors file of the output.

    Attributes:
        header: its first bytes, length field included.
        tensors: name to place, in the order of the bytes.
        size: bytes of the whole file.
    """

    file: str
    header: bytes
    tensors: Mapping[str, Place]
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """All files of the output; `index` is the text of the index file, None when there is a single file."""

    shards: tuple[Shard, ...]
    index: bytes | None

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for shard in self.shards)


def lay_out(vlm: Checkpoint, dtype: OutputDtype, shard_bytes: int) -> Layout:
    """Cut the output into files.

    With `keep` the VLM's own files, headers and index are used again byte for byte. Otherwise floating-point tensors
    change their dtype and the VLM's order of tensors is packed into files of at most `shard_bytes` bytes of values
    (a tensor larger than that gets a file of its own).
    """
    if dtype == "keep":
        return _layout_of(vlm)
    parts: list[dict[str, str]] = [{}]
    filled = 0
    for name, entry in vlm.tensors.items():
        code = _CODES[dtype] if entry.dtype in FLOATS else entry.dtype
        size = _bytes(vlm, name, code)
        if parts[-1] and filled + size > shard_bytes:
            parts.append({})
            filled = 0
        parts[-1][name] = code
        filled += size
    if len(parts) == 1 and not vlm.indexed:
        return Layout((_shard(vlm, SINGLE, parts[0]),), None)
    shards = tuple(
        _shard(vlm, f"model-{number:05}-of-{len(parts):05}.safetensors", part)
        for number, part in enumerate(parts, start=1)
    )
    return Layout(shards, _index(shards))


def _layout_of(vlm: Checkpoint) -> Layout:
    parts: dict[str, dict[str, Place]] = {file: {} for file in vlm.headers}
    for name, entry in vlm.tensors.items():
        parts[entry.file][name] = Place(entry.dtype, entry.start, entry.stop)
    shards = tuple(
        Shard(file, header, parts[file], (vlm.folder / file).stat().st_size) for file, header in vlm.headers.items()
    )
    return Layout(shards, (vlm.folder / INDEX).read_bytes() if vlm.indexed else None)


def _bytes(vlm: Checkpoint, name: str, code: str) -> int:
    entry = vlm.tensors[name]
    return entry.stop - entry.start if code == entry.dtype else entry.count * ITEM_BYTES[code]


def _shard(vlm: Checkpoint, file: str, part: dict[str, str]) -> Shard:
    # wide dtypes first, as safetensors itself writes them: every tensor is then aligned to its own item size
    ordered = dict(sorted(part.items(), key=lambda item: (-ITEM_BYTES.get(item[1], 1), item[0])))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    spans = {}
    for name, code in ordered.items():
        stop = position + _bytes(vlm, name, code)
        header[name] = {"dtype": code, "shape": list(vlm.tensors[name].shape), "data_offsets": [position, stop]}
        spans[name] = (code, position, stop)
        position = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    begin = 8 + len(text)
    places = {name: Place(code, begin + start, begin + stop) for name, (code, start, stop) in spans.items()}
    return Shard(file, len(text).to_bytes(8, "little") + text, places, begin + position)


def _index(shards: tuple[Shard, ...]) -> bytes:
    weight_map = {name: shard.file for shard in shards for name in shard.tensors}
    total = sum(place.stop - place.start for shard in shards for place in shard.tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    return (json.dumps(index, indent=2) + "\n").encode()
