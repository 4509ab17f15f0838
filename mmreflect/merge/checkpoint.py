"""A checkpoint folder seen through its headers: which tensors it holds, where each lies, and its configuration.

Only safetensors are read. Nothing but headers is loaded here; bytes come piece by piece through `Checkpoint.fill`,
or are looked at where they lie, by `windows.py`.
"""

import json
import math
import os
import reprlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeGuard

from mmreflect.errors import UserError
from mmreflect.merge.names import block_of, canonical_name
from mmreflect.merge.reading import Handles, Span
from mmreflect.merge.vocabulary import Vocabulary, read_vocabulary

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
ITEM_BYTES = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "C64": 8},
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1},
}
Role = Literal["base", "vlm", "reason", "merged", "model"]


_MOST_BLOCKS = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one tensor lies: bytes `start` to `stop` of `file`. `dtype` is the safetensors name, such as BF16."""

    file: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    stop: int

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """A model folder, opened.

    Attributes:
        role: what the user calls it (`base`, `vlm`, `reason`; `merged` for an output, `model` for any other); used in
            messages.
        config: the parsed config.json.
        tensors: tensor name on disk to its place; file by file, within a file in the order of the bytes.
        headers: file name to its raw header (length field included), in the order of the index.
        indexed: whether the folder has a safetensors index.
    """

    role: Role
    folder: Path
    config: dict[str, Any]
    tensors: dict[str, Entry]
    headers: dict[str, bytes]
    indexed: bool

    @cached_property
    def canonical(self) -> dict[str, str]:
        """Canonical name to the name on disk.

        Raises:
            UserError: two tensors have one canonical name.
        """
        names: dict[str, str] = {}
        for name in self.tensors:
            key = canonical_name(name)
            if key in names:
                raise UserError(
                    f"{self.role}: tensors {names[key]!r} and {name!r} in '{self.folder}' are the same tensor twice",
                    "one tensor per name, ignoring the prefixes 'model.' and 'language_model.'",
                    "save the model again with save_pretrained",
                )
            names[key] = name
        return names

    @property
    def text_config(self) -> dict[str, Any]:
        """The decoder's configuration: `text_config` (or `llm_config`) of a VLM over the top level's keys."""
        nested = self.config.get("text_config") or self.config.get("llm_config") or {}
        return {**self.config, **nested}

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        """The tokenizer's tokens, or None where its files do not tell."""
        return read_vocabulary(self.folder)

    @property
    def tied(self) -> bool:
        """Whether the output head is the embedding matrix; then no file should hold it."""
        tied = self.config.get("tie_word_embeddings", self.text_config.get("tie_word_embeddings", False))
        return bool(tied)

    @property
    def hidden_size(self) -> int | None:
        """Width of the decoder, if the configuration states it."""
        width = self.text_config.get("hidden_size")
        return width if isinstance(width, int) else None

    @cached_property
    def blocks(self) -> list[int]:
        """The decoder blocks of which it holds tensors, from 0, in ascending order."""
        return sorted({block[0] for name in self.canonical if (block := block_of(name))})

    @cached_property
    def paths(self) -> dict[str, str]:
        """File name to path."""
        return {file: str(self.folder / file) for file in self.headers}

    def fill(self, name: str, first: int, buffer: memoryview, handles: Handles | None = None) -> None:
        """Read a tensor's bytes from the value `first` on, until the buffer is full.

        Values of a dtype that we do not know count as bytes. `handles` spare opening the file for every call.

        Raises:
            UserError: the file became shorter since it was opened.
        """
        entry = self.tensors[name]
        path = self.paths[entry.file]
        place = entry.start + first * ITEM_BYTES.get(entry.dtype, 1)
        opened = handles or Handles()
        try:
            handle = opened.of(path)
            while buffer.nbytes:
                read = os.preadv(handle, [buffer], place)
                if not read:
                    raise _truncated(self.role, self.folder / entry.file)
                buffer, place = buffer[read:], place + read
        finally:
            if handles is None:
                opened.close()

    def span(self, name: str, first: int, count: int) -> Span:
        """Return where values of a tensor lie; of a dtype that we do not know, bytes."""
        entry = self.tensors[name]
        item = ITEM_BYTES.get(entry.dtype, 1)
        start = entry.start + first * item
        return Span(self.paths[entry.file], start, start + count * item)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.stop - entry.start for entry in self.tensors.values())


def open_checkpoint(role: Role, folder: str | Path) -> Checkpoint:
    """Open a model folder: its config.json and the headers of its safetensors files.

    Raises:
        UserError: the folder or its config.json is missing, it holds a LoRA adapter, pickled or quantised weights
            only, a file that the index names is missing, a file is cut short, the index does not fit its files, or
            config.json holds text where there should be numbers.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(
            f"{role}: no such folder: '{path}'",
            "a local folder with config.json and safetensors files",
            f"download the model first, for example: hf download OWNER/NAME --local-dir '{path}'",
        )
    files = _weight_files(role, path)
    config = _read_json(role, path / "config.json")
    _check_config(role, path, config)
    if "quantization_config" in config:
        raise UserError(
            f"{role}: the weights in '{path}' are quantised (config.json has quantization_config)",
            "weights in float32, bfloat16 or float16",
            "use the unquantised release of this model",
        )
    tensors: dict[str, Entry] = {}
    headers: dict[str, bytes] = {}
    for file in files:
        headers[file], entries = _read_header(role, path / file)
        for name in entries.keys() & tensors.keys():
            raise _wrong_index(role, path, f"{tensors[name].file} and {file} both hold {name!r}")
        tensors.update(entries)
    _check_index(role, path, tensors)
    return Checkpoint(role, path, config, tensors, headers, (path / INDEX).is_file() and SINGLE not in headers)


def _weight_files(role: Role, path: Path) -> list[str]:
    """Return the safetensors files as transformers would choose them: the single file first, else the index's."""
    has_weights = (path / SINGLE).is_file() or (path / INDEX).is_file()
    if (path / "adapter_config.json").is_file() and not has_weights:
        raise UserError(
            f"{role}: '{path}' holds a LoRA adapter (adapter_config.json), not a model",
            "a folder with the whole model",
            f"merge the adapter into its base first: mmreflect export '{path}' output=FOLDER",
        )
    if not (path / "config.json").is_file():
        raise UserError(
            f"{role}: '{path}' holds no config.json", "a model folder as save_pretrained writes it", "check the path"
        )
    if (path / SINGLE).is_file():
        return [SINGLE]
    if not has_weights:
        pickled = sorted(item.name for pattern in ("*.bin", "*.pt", "*.pth") for item in path.glob(pattern))
        if pickled:
            raise UserError(
                f"{role}: '{path}' holds pickled weights only ({pickled[0]}), which can run code when they are loaded",
                f"{SINGLE}, or shards with {INDEX}",
                "load them with transformers in a place you trust, then save_pretrained()",
            )
        raise UserError(f"{role}: '{path}' holds no weights", f"{SINGLE}, or shards with {INDEX}", "check the path")
    files = list(dict.fromkeys(_weight_map(role, path).values()))
    for file in files:
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise _wrong_index(role, path, f"{INDEX} names the file {file!r}")
    missing = [file for file in files if not (path / file).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"{role}: {INDEX} in '{path}' names {missing[0]}{more}, which is missing",
            f"all {len(files)} files that the index names",
            "finish the download or copy, then run again",
        )
    return files


def _weight_map(role: Role, path: Path) -> dict[str, str]:
    weight_map = _read_json(role, path / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(
            f"{role}: '{path / INDEX}' has no weight_map", "tensor names to file names", "download it again"
        )
    return weight_map


def _check_index(role: Role, path: Path, tensors: dict[str, Entry]) -> None:
    if (path / SINGLE).is_file():
        return
    weight_map = _weight_map(role, path)
    for name, file in weight_map.items():
        if name not in tensors or tensors[name].file != file:
            where = f"; {tensors[name].file} does" if name in tensors else ""
            raise _wrong_index(role, path, f"{INDEX} says that {file} holds {name!r}, but it does not{where}")
    for name, entry in tensors.items():
        if name not in weight_map:
            raise _wrong_index(role, path, f"{entry.file} holds {name!r}, which {INDEX} does not name")


def _wrong_index(role: Role, path: Path, found: str) -> UserError:
    return UserError(
        f"{role}: {found} ('{path}')",
        "an index that fits its files: each tensor in one file, and that file named for it",
        "download the model again, or save it again with save_pretrained",
    )


_OBJECTS = ("text_config", "llm_config", "rope_parameters", "rope_scaling")
_NUMBERS = (
    *("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "num_hidden_layers"),
    "num_nextn_predict_layers",
)


def _check_config(role: Role, path: Path, config: dict[str, Any], inside: str = "") -> None:
    """Refuse what is computed with and has another type; values that are only compared may be anything."""
    for key, value in config.items():
        wrong = (key in _OBJECTS and not isinstance(value, dict)) or (
            key in _NUMBERS and (not isinstance(value, int) or isinstance(value, bool))
        )
        if wrong and value is not None:
            raise UserError(
                f"{role}: {inside}{key} in '{path / 'config.json'}' is {value!r}",
                "a JSON object" if key in _OBJECTS else "a whole number",
                "download config.json again",
            )
    for key in ("text_config", "llm_config"):
        if isinstance(config.get(key), dict):
            _check_config(role, path, config[key], f"{inside}{key}.")


def _read_json(role: Role, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{role}: '{path}' is not valid JSON: {error}", "a JSON object", "download it again") from None
    if not isinstance(value, dict):
        raise UserError(f"{role}: '{path}' holds {type(value).__name__}", "a JSON object", "download it again")
    return value


def _read_header(role: Role, path: Path) -> tuple[bytes, dict[str, Entry]]:
    """Read one file's header and check that its tensors fill the file without gaps, as the format demands."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length_field = file.read(8)
        if length_field == b"version ":
            raise UserError(
                f"{role}: '{path}' is a Git LFS pointer, not the weights", "the weights", "run: git lfs pull, there"
            )
        length = int.from_bytes(length_field, "little")
        if len(length_field) < 8 or 8 + length > size:
            raise _truncated(role, path)
        text = file.read(length)
    try:
        items = json.loads(text).items()
        entries = {name: _entry(path.name, name, item, 8 + length) for name, item in items if name != "__metadata__"}
    except (ValueError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{role}: the header of '{path}' is damaged: {error}", "a safetensors file", "download it again"
        ) from None
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)))
    position = 8 + length
    for name, entry in ordered.items():
        item_bytes = ITEM_BYTES.get(entry.dtype)
        if entry.start != position or (item_bytes and entry.stop - entry.start != entry.count * item_bytes):
            raise UserError(
                f"{role}: the header of '{path}' is damaged: {name!r} is not where it should be",
                "tensors that follow one another without gaps",
                "download it again",
            )
        position = entry.stop
    if position != size:
        raise _truncated(role, path, position, size)
    return length_field + text, ordered


def _entry(file: str, name: str, item: Any, begin: int) -> Entry:
    """Read what a header says of one tensor: of JSON's true, 1.0 and 1 only the last one is a number of values."""
    if not isinstance(item, dict):
        raise ValueError(f"{name!r} is {reprlib.repr(item)}")
    dtype, shape, offsets = (item.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str):
        raise _wrong_entry(name, "dtype", dtype)
    if not _is_counts(shape):
        raise _wrong_entry(name, "shape", shape)
    if not _is_counts(offsets, 2):
        raise _wrong_entry(name, "data_offsets", offsets)
    if (block := block_of(canonical_name(name))) and block[0] > _MOST_BLOCKS:
        raise ValueError(f"{name!r} is of a block that no model has")
    return Entry(file, tuple(shape), dtype, begin + offsets[0], begin + offsets[1])


def _wrong_entry(name: str, key: str, value: Any) -> ValueError:
    return ValueError(f"{name!r} has the {key} {reprlib.repr(value)}")


def _is_counts(value: Any, length: int | None = None) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list)
        and all(type(item) is int and item >= 0 for item in value)
        and length in (None, len(value))
    )


def _truncated(role: Role, path: Path, promised: int | None = None, size: int | None = None) -> UserError:
    found = f" ({size:,} bytes; its header promises {promised:,})" if promised is not None else ""
    return UserError(
        f"{role}: '{path}' is cut short or damaged{found}",
        "a complete safetensors file",
        "finish the download or copy, then run again",
    )
