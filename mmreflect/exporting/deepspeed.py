"""Weights that DeepSpeed's ZeRO saved, put together without DeepSpeed.

The layout is that which DeepSpeed's own `zero_to_fp32.py` reads; what DeepSpeed 0.19.8 wrote on two ranks (stage 3, and
stage 2 in bfloat16) gave the same values here and there. In the folder of a step (`global_step10/`)

    zero_pp_rank_R_mp_rank_00_optim_states.pt  per rank R: its part of the float32 weights, flat, by parameter group
    mp_rank_00_model_states.pt                 ZeRO 1 and 2: names and shapes in the order of the flat groups, buffers,
                                               frozen parameters (whole), names that share one parameter
    zero_pp_rank_R_mp_rank_00_model_states.pt  ZeRO 3: the same per rank; of frozen parameters each rank's part

ZeRO 1 and 2 (`single_partition_of_fp32_groups`): a group's parameters stand one after the other, the whole is cut into
one part per rank; the last may be padded to a multiple of 2 * ranks. ZeRO 3 (`fp32_flat_groups`): each parameter is
padded to a multiple of the ranks and cut, a rank's parts stand one after the other. Files are mapped; one parameter is
in memory at a time. Where a rank's groups meet inside a parameter, DeepSpeed's script would read the wrong values; here
its parts are taken across the border.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmreflect.errors import UserError
from mmreflect.exporting.pickles import read_pickled
from mmreflect.exporting.weights import Held

_OPTIM = re.compile(r"(?:bf16_|fp16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_optim_states\.pt")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Values `start` to `start + count` of the flat group `group` of a rank."""

    rank: int
    group: int
    start: int
    count: int


@dataclass(slots=True)
class ZeroShards:
    """The weights of one step.

    Attributes:
        stage: of ZeRO: 2 (also for 1) or 3.
        ranks: how many wrote the checkpoint.
        version: of DeepSpeed.
    """

    folder: Path
    stage: int
    ranks: int
    version: str
    tensors: dict[str, Held]
    _groups: list[list[torch.Tensor]]
    _pieces: dict[str, list[_Piece]]
    _loose: dict[str, list[torch.Tensor]]
    _shared: dict[str, str] = field(default_factory=dict)

    def read(self, name: str) -> torch.Tensor:
        """Put one parameter together from the parts of all ranks."""
        name = self._shared.get(name, name)
        held = self.tensors[name]
        if name in self._loose:
            parts = self._loose[name]
        else:
            parts = [self._groups[p.rank][p.group][p.start : p.start + p.count] for p in self._pieces[name]]
        flat = torch.cat([part.reshape(-1) for part in parts])[: math.prod(held.shape)]
        return flat.reshape(held.shape).contiguous()


def open_zero(folder: Path) -> ZeroShards:
    """Open a step's folder.

    Raises:
        UserError: a rank's file is missing or damaged, the values do not fit the shapes, the model was also cut across
            tensors or stages of a pipeline, or a file holds anything but values.
    """
    optim = _optim_files(folder)
    states = [read_pickled(file) for file in optim]
    inner = [_part(state, "optimizer_state_dict", file) for state, file in zip(states, optim, strict=True)]
    stage = 3 if "fp32_flat_groups" in inner[0] else 2
    key = "fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups"
    groups = [_flat(_part(state, key, file)) for state, file in zip(inner, optim, strict=True)]
    _check_ranks(folder, inner[0].get("partition_count"), len(optim))
    models = _model_files(folder, stage, len(optim))
    model = models[0]
    zero = ZeroShards(folder, stage, len(optim), str(model.get("ds_version")), {}, groups, {}, {})
    shapes: Sequence[Mapping[str, Any]] = _part(model, "param_shapes", folder)
    (_place_partitioned if stage == 3 else _place_flat)(zero, shapes)
    _add_frozen(zero, models)
    names = set(model.get("buffer_names") or ())
    for name, value in (model.get("module") or {}).items():
        if name in names:
            _add_loose(zero, name, value.shape, [value])
    for alias, source in dict(model.get("shared_params") or {}).items():
        if source in zero.tensors:
            zero.tensors[alias], zero._shared[alias] = zero.tensors[source], source
    return zero


def _optim_files(folder: Path) -> list[Path]:
    """Return the ranks' files in order."""
    if not folder.is_dir():
        raise UserError(
            f"{folder} is missing: the step that '{folder.parent / 'latest'}' names",
            "its folder",
            "copy it, or edit latest",
        )
    found: dict[int, Path] = {}
    for file in folder.glob("*_optim_states.pt"):
        match = _OPTIM.fullmatch(file.name)
        if match is None or int(match[2]) or any(folder.glob("layer_*")):
            raise UserError(
                f"{folder} holds {file.name}: a model that was also cut across tensors, experts or a pipeline",
                "ZeRO alone: zero_pp_rank_R_mp_rank_00_optim_states.pt",
                "convert it with DeepSpeed's ds_to_universal.py",
            )
        found[int(match[1])] = file
    if not found:
        raise UserError(
            f"{folder} holds no *_optim_states.pt, where ZeRO keeps the float32 weights",
            "one per rank",
            "copy them from the machines that wrote them",
        )
    if missing := sorted(set(range(max(found) + 1)) - found.keys()):
        raise _missing(folder, missing, max(found) + 1)
    return [found[rank] for rank in sorted(found)]


def _check_ranks(folder: Path, stated: Any, found: int) -> None:
    ranks = max(stated) if isinstance(stated, list | tuple) else stated
    if isinstance(ranks, int) and ranks != found:
        if ranks > found:
            raise _missing(folder, range(found, ranks), ranks)
        raise UserError(
            f"{folder} holds the files of {found} ranks, and says that it was written by {ranks}",
            "files of one run",
            "remove those that an earlier run left",
        )


def _missing(folder: Path, ranks: Sequence[int], whole: int) -> UserError:
    listed = ", ".join(str(rank) for rank in list(ranks)[:5])
    return UserError(
        f"{folder} lacks the file of rank {listed}" + (" and more" if len(ranks) > 5 else ""),
        f"the files of all {whole} ranks: zero_pp_rank_R_mp_rank_00_optim_states.pt",
        "copy them from the machines that wrote them",
    )


def _part(state: Any, key: str, file: Path) -> Any:
    if not isinstance(state, Mapping) or key not in state:
        raise UserError(
            f"{file} is no checkpoint of ZeRO: no {key!r}", "a checkpoint of ZeRO 1, 2 or 3", "check the path"
        )
    return state[key]


def _flat(groups: Any) -> list[torch.Tensor]:
    return [group.detach().reshape(-1) for group in (groups if isinstance(groups, list | tuple) else [groups])]


def _model_files(folder: Path, stage: int, ranks: int) -> list[Any]:
    prefixes = [f"zero_pp_rank_{rank}_" for rank in range(ranks)] if stage == 3 else [""]
    states = [read_pickled(folder / f"{prefix}mp_rank_00_model_states.pt") for prefix in prefixes]
    if any(key in states[0] for key in ("ds_autoep_layers", "autoep_layers")):
        raise UserError(
            f"{folder} holds experts that were spread over ranks", "ZeRO alone", "convert it with ds_to_universal.py"
        )
    return states


def _place_flat(zero: ZeroShards, shapes: Sequence[Mapping[str, Any]]) -> None:
    """ZeRO 1 and 2: find each parameter in the ranks' parts of its group, laid end to end."""
    unit = 2 * zero.ranks
    for number, group in enumerate(shapes):
        lengths = [rank[number].numel() if number < len(rank) else 0 for rank in zero._groups]
        ends = [sum(lengths[: rank + 1]) for rank in range(zero.ranks)]
        offset = 0
        for name, shape in group.items():
            count = math.prod(shape)
            pieces = []
            for rank, end in enumerate(ends):
                first, last = max(offset, end - lengths[rank]), min(offset + count, end)
                if first < last:
                    pieces.append(_Piece(rank, number, first - (end - lengths[rank]), last - first))
            _place(zero, name, shape, pieces, sum(piece.count for piece in pieces), count)
            offset += count
        if -(-offset // unit) != -(-ends[-1] // unit):
            raise _other_size(zero, offset, ends[-1])


def _place_partitioned(zero: ZeroShards, shapes: Sequence[Mapping[str, Any]]) -> None:
    """ZeRO 3: find each rank's part of each parameter; a rank's groups are laid end to end."""
    offset = 0
    whole = sum(group.numel() for group in zero._groups[0])
    for name, shape in ((name, shape) for group in shapes for name, shape in group.items()):
        count = math.prod(shape)
        part = -(-count // zero.ranks)
        pieces = [piece for rank in range(zero.ranks) for piece in _across(zero._groups[rank], rank, offset, part)]
        _place(zero, name, shape, pieces, sum(piece.count for piece in pieces), part * zero.ranks)
        offset += part
    if offset != whole:
        raise _other_size(zero, offset * zero.ranks, whole * zero.ranks)


def _across(groups: Sequence[torch.Tensor], rank: int, offset: int, count: int) -> list[_Piece]:
    pieces, start = [], 0
    for number, group in enumerate(groups):
        first, last = max(offset, start), min(offset + count, start + group.numel())
        if first < last:
            pieces.append(_Piece(rank, number, first - start, last - first))
        start += group.numel()
    return pieces


def _place(zero: ZeroShards, name: str, shape: Any, pieces: list[_Piece], found: int, wanted: int) -> None:
    if found != wanted:
        raise UserError(
            f"{zero.folder}: the ranks hold {found:,} values of {name!r}",
            f"{wanted:,} for its shape {list(shape)} on {zero.ranks} ranks",
            "take a checkpoint whose files are all of one step",
        )
    zero._pieces[name] = pieces
    dtype = zero._groups[pieces[0].rank][pieces[0].group].dtype if pieces else torch.float32
    zero.tensors[name] = Held(tuple(shape), dtype)
    if not pieces:
        zero._loose[name] = [torch.empty(0)]


def _other_size(zero: ZeroShards, wanted: int, found: int) -> UserError:
    return UserError(
        f"{zero.folder}: the ranks hold {found:,} values, and the shapes ask for {wanted:,}",
        "as many, but for the padding",
        "take a checkpoint whose files are all of one step",
    )


def _add_frozen(zero: ZeroShards, models: Sequence[Any]) -> None:
    """Add parameters that were not trained: whole on rank 0 (ZeRO 1 and 2), or each rank's part (ZeRO 3)."""
    for name, shape in dict(models[0].get("frozen_param_shapes") or {}).items():
        held = [model.get("frozen_param_fragments") or {} for model in models]
        parts: list[torch.Tensor] = [fragments[name] for fragments in held if fragments.get(name) is not None]
        if len(parts) < len(models):
            raise UserError(
                f"{zero.folder}: the values of the frozen parameter {name!r} were not saved",
                "a checkpoint with frozen parameters",
                "save without exclude_frozen_parameters, or export the adapter on its base",
            )
        _add_loose(zero, name, shape, parts)


def _add_loose(zero: ZeroShards, name: str, shape: Any, parts: list[torch.Tensor]) -> None:
    if sum(part.numel() for part in parts) < math.prod(shape):
        raise UserError(
            f"{zero.folder}: the ranks hold {sum(part.numel() for part in parts):,} values of {name!r}",
            f"{math.prod(shape):,} for its shape {list(shape)}",
            "take a checkpoint whose files are all of one step",
        )
    zero._loose[name] = parts
    zero.tensors[name] = Held(tuple(shape), parts[0].dtype)
