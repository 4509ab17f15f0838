"""Where the values that belong to one tensor of the VLM lie in another model."""

from collections.abc import Callable
from dataclasses import dataclass

from mmreflect.errors import UserError
from mmreflect.merge.checkpoint import FLOATS, Checkpoint
from mmreflect.merge.names import expert_of, experts_one_by_one, is_fused_experts


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` values of one tensor on disk, from the value `first` on."""

    name: str
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Source:
    """Values of one model in the order of the VLM's tensor.

    Attributes:
        code: safetensors dtype of all segments.
        segments: read one after another.
        matrix: rows and columns of each matrix as the segments hold it, where the VLM holds it transposed.
    """

    code: str
    segments: tuple[Segment, ...]
    matrix: tuple[int, int] | None = None

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(segment.count for segment in self.segments)

    def cut(self, first: int, count: int) -> list[Segment]:
        """Return the parts of the segments that hold the values `first` to `first + count`."""
        if len(self.segments) == 1:
            only = self.segments[0]
            return [Segment(only.name, only.first + first, min(count, only.count - first))]
        found, position = [], 0
        for segment in self.segments:
            start, stop = max(first, position), min(first + count, position + segment.count)
            if start < stop:
                found.append(Segment(segment.name, segment.first + start - position, stop - start))
            position += segment.count
        return found


def whole(model: Checkpoint, name: str) -> Source:
    """Return a tensor as it lies on disk."""
    entry = model.tensors[name]
    return Source(_code(model, name), (Segment(name, 0, entry.count),))


def find_source(vlm: Checkpoint, key: str, other: Checkpoint) -> Source | None:
    """Find the values that another model has for a tensor of the VLM.

    Args:
        key: canonical name of the tensor in the VLM.

    Returns:
        None where the other model has no such tensor, or one of another shape.

    Raises:
        UserError: the values are stored in a dtype that cannot be averaged.
    """
    shape = vlm.tensors[vlm.canonical[key]].shape
    if key in other.canonical:
        name = other.canonical[key]
        theirs = other.tensors[name].shape
        if theirs == shape and not (is_fused_experts(key) and _differs_in_orientation(vlm, key, other)):
            return whole(other, name)
        if is_fused_experts(key) and len(shape) == 3 and theirs == (shape[0], shape[2], shape[1]):
            return Source(_code(other, name), whole(other, name).segments, (theirs[1], theirs[2]))
        return None
    if is_fused_experts(key) and len(shape) == 3:
        return _from_single_experts(vlm, key, other)
    return _from_fused(key, shape, other)


def _from_single_experts(vlm: Checkpoint, key: str, other: Checkpoint) -> Source | None:
    number, rows, columns = vlm.tensors[vlm.canonical[key]].shape
    names = [name for expert in range(number) for name in experts_one_by_one(key, expert)]
    if not all(name in other.canonical for name in names) or experts_one_by_one(key, number)[0] in other.canonical:
        return None
    parts = [other.tensors[other.canonical[name]] for name in names]
    stacked = (sum(part.shape[0] for part in parts[: len(names) // number]), parts[0].shape[-1])
    upright = stacked == (rows, columns) and not (rows == columns and is_transposed(vlm, key))
    if not upright and stacked != (columns, rows):
        return None
    segments = tuple(Segment(other.canonical[name], 0, part.count) for name, part in zip(names, parts, strict=True))
    codes = {_code(other, other.canonical[name]) for name in names}
    if len(codes) > 1:
        raise _mixed(other, key, codes)
    return Source(codes.pop(), segments, None if upright else stacked)


def _from_fused(key: str, shape: tuple[int, ...], other: Checkpoint) -> Source | None:
    """Cut one expert's matrix out of all experts together; transposed ones do not lie in one piece."""
    expert = expert_of(key)
    if expert is None or expert[0] not in other.canonical:
        return None
    fused, number = expert
    entry = other.tensors[other.canonical[fused]]
    parts = experts_one_by_one(fused, number)
    if len(entry.shape) != 3 or number >= entry.shape[0] or is_transposed(other, fused):
        return None
    if entry.shape[1:] != (shape[0] * len(parts), shape[1]):
        return None
    count = shape[0] * shape[1]
    first = (number * len(parts) + parts.index(key)) * count
    return Source(_code(other, other.canonical[fused]), (Segment(other.canonical[fused], first, count),))


def is_transposed(model: Checkpoint, fused: str) -> bool:
    """Tell whether fused experts are stored input by output (as Qwen3-VL-MoE on the Hub), not output by input.

    The decoder's width tells: it is the input of gate and up, the output of down. Where one of the two tensors is
    square, the other one decides.
    """
    stem = fused.rpartition(".")[0]
    width = model.hidden_size
    for name, axis in ((f"{stem}.gate_up_proj", 1), (f"{stem}.down_proj", 2)):
        if name in model.canonical:
            shape = model.tensors[model.canonical[name]].shape
            if len(shape) == 3 and shape[1] != shape[2] and width in shape[1:]:
                return shape[axis] == width
    return False


def _differs_in_orientation(vlm: Checkpoint, key: str, other: Checkpoint) -> bool:
    return is_transposed(vlm, key) != is_transposed(other, key)


def _code(model: Checkpoint, name: str) -> str:
    code = model.tensors[name].dtype
    if code not in FLOATS:
        raise UserError(
            f"{model.role}: {name!r} is stored as {code}, which cannot be averaged",
            f"one of {', '.join(FLOATS)}",
            "use the unquantised release of this model",
        )
    return code


def _mixed(model: Checkpoint, key: str, codes: set[str]) -> UserError:
    return UserError(
        f"{model.role}: the experts of {key!r} are stored as {' and '.join(sorted(codes))}",
        "one dtype for all experts of a block",
        "save the model again in one dtype",
    )


def lookup(vlm: Checkpoint, other: Checkpoint) -> Callable[[str], Source | None]:
    """Return `find_source` for two models, remembering what it found."""
    known: dict[str, Source | None] = {}

    def find(key: str) -> Source | None:
        if key not in known:
            known[key] = find_source(vlm, key, other)
        return known[key]

    return find
