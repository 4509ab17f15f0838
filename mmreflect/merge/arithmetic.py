"""What turns bytes on disk into merged bytes, and how it is chosen: compiled C or numpy on the CPU, torch on a GPU."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mmreflect.errors import UserError
from mmreflect.merge.kernels import NoKernels, load, outlook
from mmreflect.merge.pieces import Loaded
from mmreflect.merge.raw import Raw
from mmreflect.merge.rule import Array, Pair
from mmreflect.merge.statistics import Sums

if TYPE_CHECKING:
    import numpy as np

DRIVER = Path("/dev/nvidiactl")

Fused = Callable[[Loaded, str, int, int, Raw], int]
"""From a piece, the output's dtype, an open file, the place in it, and ROOM bytes to work in, to the CRC-32 of what was
written. Raises Unreadable, NotFinite, OSError."""
Combine = Callable[[Array | None, Array, Array, float, float], Array]
Kind = Literal["auto", "compiled", "numpy"]


class Arithmetic(Protocol):
    """Where values are computed. Raw bytes are those of a safetensors dtype, values are float32. `text` names it.

    What takes a piece raises Unreadable where mapped files fail it.
    """

    text: str

    def decode(self, raw: Raw, code: str) -> Array:
        """Turn bytes into float32."""

    def encode(self, values: Array, code: str) -> "np.ndarray[Any, Any]":
        """Round float32 to a dtype; returns its bytes on the CPU."""

    def measure(self, loaded: Loaded) -> Sums:
        """Return the sums of a piece: differences in float32, products and sums in float64."""

    def checksum(self, data: memoryview) -> int:
        """Return the CRC-32 of data."""

    def combine(self, function: Combine, loaded: Loaded, pair: Pair, code: str, out: Raw) -> None:
        """Write what a rule makes of a piece to `out`, rounded to the dtype `code`; float16 may become infinite."""

    def maps(self, function: Combine, pair: Pair | None) -> bool:
        """Tell whether a piece may lie in mapped files: to be measured, or (with a pair) to be combined."""

    def fused(self, function: Combine, pair: Pair) -> "Fused | None":
        """Return what combines, checks and writes in one go, where there is such a thing for values that are mapped."""

    def lost(self, raw: Raw, code: str) -> bool:
        """Tell whether stored values hold infinity or NaN; False for dtypes that know neither."""


def choose(device: str, kind: Kind = "auto") -> Arithmetic:
    """Return the arithmetic of a device: `cpu`, `cuda`, or `auto` for a GPU where there is one.

    Args:
        kind: on the CPU: `compiled`, `numpy`, or `auto` for compiled where that can be had.

    Raises:
        UserError: `cuda`, and there is no GPU; `compiled`, and it cannot be had.

    Each kind is imported only where it is chosen; torch takes longer than merging a small model, and is looked for
    only where the machine has an NVIDIA driver.
    """
    if device == "auto":
        device = "cuda" if DRIVER.exists() and _cuda() else "cpu"
    elif device == "cuda" and not _cuda():
        raise UserError("device: cuda, but there is no NVIDIA GPU that torch can use", "a GPU", "choose device: cpu")
    if device != "cpu":
        from mmreflect.merge.arithmetic_torch import OnDevice

        return OnDevice(device)
    if kind == "numpy":
        return _on_cpu()
    try:
        kernels = load()
    except NoKernels as error:
        if kind == "compiled":
            raise UserError(
                f"arithmetic: compiled, but {error}",
                "a C compiler (cc, gcc or clang) that works, and a cache folder from which its library may be loaded",
                "install one, or name such a folder in XDG_CACHE_HOME; or choose arithmetic: auto",
            ) from None
        return _on_cpu(f"numpy, since {error}; compiled C takes a third of the time")
    from mmreflect.merge.arithmetic_compiled import Compiled

    return Compiled(kernels)


def _on_cpu(text: str = "numpy") -> Arithmetic:
    from mmreflect.merge.arithmetic_numpy import OnCpu

    return OnCpu(text)


def foretold(device: str, kind: Kind) -> str:
    """Say what `choose` will probably return; imports and builds nothing."""
    if device == "cuda" or (device == "auto" and DRIVER.exists()):
        return "torch on the GPU" if device == "cuda" else "torch on the GPU, if it can use it"
    return "numpy, as asked for" if kind == "numpy" else outlook()


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()
