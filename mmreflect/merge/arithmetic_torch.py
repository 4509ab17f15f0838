"""The arithmetic of a merge in torch, on a GPU."""

import numpy as np

from mmreflect.merge.arithmetic import Combine
from mmreflect.merge.arithmetic_numpy import Plain, blocks, combine_blocks
from mmreflect.merge.checkpoint import FLOATS
from mmreflect.merge.pieces import Loaded
from mmreflect.merge.raw import Raw
from mmreflect.merge.rule import Array, Pair
from mmreflect.merge.statistics import Sums, add_up


class OnDevice(Plain):
    """torch on a GPU. The merged values are those of the CPU; the sums may differ in their last bits."""

    block = 1 << 24

    def __init__(self, device: str) -> None:
        import torch

        self._torch, self._device = torch, device
        self.text = f"torch on {device}"

    def decode(self, raw: Raw, code: str) -> Array:
        """Turn bytes into float32 on the device."""
        values = self._torch.from_numpy(raw.array).to(self._device).view(getattr(self._torch, FLOATS[code]))
        return values.float()

    def encode(self, values: Array, code: str, out: np.ndarray | None = None) -> np.ndarray:
        """Round float32 to a dtype; returns its bytes on the CPU."""
        encoded = values.to(getattr(self._torch, FLOATS[code])).contiguous()
        data = np.asarray(encoded.view(self._torch.uint8).cpu().numpy())
        if out is None:
            return data
        out[...] = data
        return out

    def measure(self, loaded: Loaded) -> Sums:
        """Return the sums of a piece."""
        sums = add_up(0, [self._measured(*block) for block in blocks(self, loaded, self.block)])
        return (sums.norm2_v, sums.norm2_r, sums.dot, sums.norm2_base)

    def combine(self, function: Combine, loaded: Loaded, pair: Pair, code: str, out: Raw) -> None:
        """Write what a rule makes of a piece to `out`."""
        combine_blocks(self, function, loaded, pair, code, out)

    def _measured(self, base: Array | None, vlm: Array, reason: Array) -> Sums:
        norm_base = None
        if base is not None:
            vlm, reason = vlm - base, reason - base
            norm_base = float((base.double() * base.double()).sum())
        wide_v, wide_r = vlm.double(), reason.double()
        dots: list[float] = [
            float((one * two).sum()) for one, two in ((wide_v, wide_v), (wide_r, wide_r), (wide_v, wide_r))
        ]
        return (dots[0], dots[1], dots[2], norm_base)
