"""The arithmetic of a merge in C: one pass over each value, in the files themselves where they can be mapped."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from mmreflect.merge.arithmetic import Combine, Fused
from mmreflect.merge.checkpoint import FLOATS
from mmreflect.merge.kernels import BLEND, MIX, Kernels
from mmreflect.merge.pieces import Loaded
from mmreflect.merge.raw import Raw
from mmreflect.merge.rule import SURE, Array, Pair, blend, mix
from mmreflect.merge.statistics import Sums, sums_of

if TYPE_CHECKING:
    import numpy as np

    from mmreflect.merge.arithmetic_numpy import OnCpu


class Compiled:
    """C that goes over each value once: the sums and the values of numpy to the last bit.

    What it does not know (rules of other functions, dtypes that cannot be merged) is left to numpy, imported then.
    """

    text = "compiled C"

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    @cached_property
    def _plain(self) -> "OnCpu":
        from mmreflect.merge.arithmetic_numpy import OnCpu

        return OnCpu()

    def decode(self, raw: Raw, code: str) -> Array:
        """Turn bytes into float32."""
        return self._plain.decode(raw, code)

    def encode(self, values: Array, code: str) -> "np.ndarray[Any, Any]":
        """Round float32 to a dtype."""
        return self._plain.encode(values, code)

    def measure(self, loaded: Loaded) -> Sums:
        """Return the sums of a piece."""
        lanes = self._kernels.measure(loaded.base, loaded.vlm, loaded.reason, loaded.codes)
        return sums_of(lanes, loaded.base is not None)

    def combine(self, function: Combine, loaded: Loaded, pair: Pair, code: str, out: Raw) -> None:
        """Write what a rule makes of a piece to `out`; a rule of an unknown function is left to numpy."""
        alone = loaded.alone(pair)
        form = MIX if function is mix else BLEND if function is blend else None
        if form is None or (form == MIX and loaded.base is None):
            self._plain.combine(function, loaded, pair, code, out)
        elif alone is not None:
            self._kernels.convert(*alone, out, code)
        else:
            self._kernels.combine(form, loaded.base, loaded.vlm, loaded.reason, loaded.codes, pair, out, code)

    def maps(self, function: Combine, pair: Pair | None) -> bool:
        """Leave to what was read what numpy does, and the weights (1, 0) and (0, 1)."""
        return function in (mix, blend) and pair not in SURE

    def fused(self, function: Combine, pair: Pair) -> Fused | None:
        """Return what combines, checks and writes a share of the values while it is in the processor's cache."""
        if not self.maps(function, pair):
            return None
        form, finish = MIX if function is mix else BLEND, self._kernels.finish

        def write(loaded: Loaded, code: str, handle: int, place: int, room: Raw) -> int:
            return finish(form, loaded.base, loaded.vlm, loaded.reason, loaded.codes, pair, code, handle, place, room)

        return write

    def lost(self, raw: Raw, code: str) -> bool:
        """Tell whether stored values hold infinity or NaN."""
        return not self._kernels.is_finite(raw, code) if code in FLOATS else self._plain.lost(raw, code)

    def checksum(self, data: memoryview) -> int:
        """Return the CRC-32 of data."""
        return self._kernels.checksum(data)
