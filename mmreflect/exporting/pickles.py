"""Pickled files, read without running anything that is in them.

torch.load with `weights_only=True` builds tensors and plain containers and refuses every other class. DeepSpeed writes
a few objects of its own among them (the loss scaler, the number of the stage, addresses of fragments); these become
inert objects here, their names known, their code not needed. `.metadata` of torch.distributed.checkpoint is a plain
pickle, which torch itself loads without a guard; here only the few classes that it consists of are let through.
"""

import io
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from mmreflect.errors import UserError


class _Inert:
    """Stands for an object whose values nobody needs."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Number(int):
    """Stands for an enumeration of whole numbers."""


_DEEPSPEED: list[Any] = [
    (_Inert, "deepspeed.runtime.fp16.loss_scaler.LossScaler"),
    (_Inert, "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler"),
    (_Inert, "deepspeed.utils.tensor_fragment.fragment_address"),
    (_Number, "deepspeed.runtime.zero.config.ZeroStageEnum"),
]

_METADATA = {
    *(("torch.distributed.checkpoint.metadata", name) for name in (
        "Metadata", "MetadataIndex", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata",
        "TensorProperties", "StorageMeta", "_MEM_FORMAT_ENCODING",
    )),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("collections", "OrderedDict"),
    *(("pathlib", name) for name in ("Path", "PosixPath", "PurePosixPath")),
    *(("pathlib._local", name) for name in ("Path", "PosixPath", "PurePosixPath")),
}  # fmt: skip
"""Classes and functions of torch and the standard library that do nothing but hold values."""
_REFUSED = re.compile(r"(?:GLOBAL|unrecognized function|allowlisted .*? got) (\S+)", re.DOTALL)
"""What the guards say of an object that is no value."""


def read_pickled(file: Path | io.BytesIO, what: str | None = None) -> Any:
    """Read a file of torch.save: tensors, containers, numbers. Tensors of a file on disk are mapped, not loaded.

    Args:
        what: how messages call it; the file's path by default.

    Raises:
        UserError: the file is missing or cut short, or holds anything but values.
    """
    name = what or str(file)
    if isinstance(file, Path) and not file.is_file():
        raise UserError(f"{name} is missing", "every file of the checkpoint", "copy the checkpoint again, whole")
    try:
        with torch.serialization.safe_globals(_DEEPSPEED):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=isinstance(file, Path) or None)
    except pickle.UnpicklingError as error:
        raise (_unsafe(name, str(error)) if _REFUSED.search(str(error)) else _damaged(name, error)) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise _damaged(name, error) from None


def read_metadata(file: Path) -> Any:
    """Read the `.metadata` of torch.distributed.checkpoint.

    Raises:
        UserError: it is missing or damaged, or names anything that it does not consist of.
    """
    if not file.is_file():
        raise UserError(
            f"{file} is missing: the shards' index, which the last rank writes last",
            "a checkpoint that was written to its end",
            "take an earlier checkpoint, or copy this one again",
        )
    try:
        return _Metadata(io.BytesIO(file.read_bytes())).load()
    except pickle.UnpicklingError as error:
        raise (_unsafe(str(file), str(error)) if _REFUSED.search(str(error)) else _damaged(str(file), error)) from None
    except (EOFError, ValueError, KeyError, AttributeError, IndexError, TypeError, ImportError) as error:
        raise _damaged(str(file), error) from None


class _Metadata(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = (module, name) in _METADATA or (
            module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        )
        if not known:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return super().find_class(module, name)


def _unsafe(name: str, error: str) -> UserError:
    match = _REFUSED.search(error)
    return UserError(
        f"{name} holds more than weights: {match[1] if match else 'an object'}, which could run code when it is loaded",
        "tensors, numbers and plain containers",
        "use it only if you know who made it: load it where you trust it and save the weights as safetensors",
    )


def _damaged(name: str, error: Exception) -> UserError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(f"{name} is cut short or damaged: {first}", "a whole file", "copy the checkpoint again")
