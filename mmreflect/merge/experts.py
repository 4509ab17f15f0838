"""One expert at a time: what a rule of whole tensors is given of experts that a block stores all together."""

from dataclasses import dataclass

from mmreflect.merge.checkpoint import Checkpoint
from mmreflect.merge.names import experts_one_by_one
from mmreflect.merge.rule import Array
from mmreflect.merge.sources import is_transposed


@dataclass(frozen=True, slots=True)
class ExpertMatrix:
    """One matrix (out, in) of one expert, as models have it that store experts one by one.

    Attributes:
        name: its canonical name there.
        shape: rows and columns.
        first: its first row in what the expert's slab holds, gate above up.
        slab: shape of the expert's slab as stored.
        transposed: whether the slab is stored input by output.
    """

    name: str
    shape: tuple[int, int]
    first: int
    slab: tuple[int, int]
    transposed: bool

    def view(self, values: Array) -> Array:
        """Return the matrix inside the flat values of the expert's slab; writing to it writes there."""
        slab = values.reshape(self.slab)
        upright = slab.T if self.transposed else slab
        return upright[self.first : self.first + self.shape[0]]


def expert_matrices(vlm: Checkpoint, key: str, number: int) -> list[ExpertMatrix]:
    """Return the matrices of one expert of a fused tensor: gate and up, or down.

    Args:
        key: canonical name of the fused tensor, of shape (experts, ., .).
    """
    _, high, wide = vlm.tensors[vlm.canonical[key]].shape
    transposed = is_transposed(vlm, key)
    rows, columns = (wide, high) if transposed else (high, wide)
    names = experts_one_by_one(key, number)
    each = rows // len(names)
    return [
        ExpertMatrix(name, (each, columns), place * each, (high, wide), transposed) for place, name in enumerate(names)
    ]
