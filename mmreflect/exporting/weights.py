"""Tensors by name, each read when its turn comes, whatever they lie in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from mmreflect.errors import UserError
from mmreflect.merge.checkpoint import FLOATS, Checkpoint

CODES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""How safetensors calls a dtype."""
DTYPES = {code: dtype for dtype, code in CODES.items()}


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor that is not read yet."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Bytes."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class Weights(Protocol):
    """Tensors by name."""

    @property
    def tensors(self) -> Mapping[str, Held]:
        """What there is, without reading it."""

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor, contiguous and in its own dtype."""


@dataclass(frozen=True, slots=True)
class Loose:
    """Weights made of a table and a function that reads."""

    tensors: Mapping[str, Held]
    read: Callable[[str], torch.Tensor]


def of_checkpoint(checkpoint: Checkpoint) -> Loose:
    """Return the tensors of a model folder.

    Raises:
        UserError: a tensor has a dtype that is not handled, such as float8.
    """
    held = {}
    for name, entry in checkpoint.tensors.items():
        if entry.dtype not in DTYPES:
            raise UserError(
                f"{name!r} in '{checkpoint.folder}' is {entry.dtype}",
                f"one of: {', '.join(sorted(DTYPES))}",
                "take the unquantised release of this model",
            )
        held[name] = Held(entry.shape, DTYPES[entry.dtype])

    def read(name: str) -> torch.Tensor:
        entry = checkpoint.tensors[name]
        with open(checkpoint.folder / entry.file, "rb") as file:
            file.seek(entry.start)
            raw = bytearray(entry.stop - entry.start)
            if file.readinto(raw) != len(raw):
                raise UserError(f"'{checkpoint.folder / entry.file}' became shorter", "a whole file", "copy it again")
        flat = torch.frombuffer(raw, dtype=held[name].dtype) if raw else torch.empty(0, dtype=held[name].dtype)
        return flat.reshape(entry.shape)

    return Loose(held, read)


def cast(weights: Weights, dtype: str) -> Weights:
    """Return the weights with floating-point tensors in another dtype, converted when read; `keep` leaves them.

    Raises:
        UserError: when read: a finite value has no finite counterpart in the dtype.
    """
    if dtype == "keep":
        return weights
    wanted: torch.dtype = getattr(torch, dtype)

    def read(name: str) -> torch.Tensor:
        values = weights.read(name)
        if not values.is_floating_point() or values.dtype == wanted:
            return values
        changed = values.to(wanted)
        if not torch.isfinite(changed).all() and torch.isfinite(values).all():
            most = values.abs().max().item()
            raise UserError(
                f"{name!r} holds values up to {most:.3g}, which {dtype} cannot hold",
                "weights within its range",
                "choose dtype=bfloat16 or dtype=float32",
            )
        return changed

    held = {
        name: Held(item.shape, wanted if item.dtype.is_floating_point else item.dtype)
        for name, item in weights.tensors.items()
    }
    return Loose(held, read)


def dtype_names() -> tuple[str, ...]:
    """Return the values that `dtype=` takes."""
    return ("keep", *sorted({name for code, name in FLOATS.items() if code != "F64"}))
