"""What trainings leave behind, written by hand: DeepSpeed's files in its layout, FSDP's by torch itself."""

import math
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from mmreflect.models import ModelConfig, load_model

Tensors = dict[str, torch.Tensor]


def moved(folder: Path, seed: int = 0) -> Any:
    """A model of a folder, every weight moved a little, as a training would have."""
    model = load_model(ModelConfig(path=str(folder), dtype="float32")).model
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    return model


def save_fsdp(model: Any, folder: Path) -> Path:
    """Save as accelerate does for SHARDED_STATE_DICT, from one process."""
    import torch.distributed.checkpoint as shards

    place = folder / "pytorch_model_fsdp_0"
    shards.save({"model": model.state_dict()}, storage_writer=shards.FileSystemWriter(place))
    return folder


@contextmanager
def deepspeed_classes() -> Iterator[dict[str, Any]]:
    """Classes of DeepSpeed under its own names, for pickling only: afterwards nothing of that name can be imported."""

    class LossScaler:
        def __init__(self, scale: float) -> None:
            self.cur_scale = scale

    class ZeroStageEnum(IntEnum):
        gradients = 2
        weights = 3

    class fragment_address:
        def __init__(self, numel: int, start: int) -> None:
            self.numel, self.start = numel, start

    made: dict[str, Any] = {}
    modules: dict[str, ModuleType] = {}
    places = {
        "deepspeed.runtime.fp16.loss_scaler": LossScaler,
        "deepspeed.runtime.zero.config": ZeroStageEnum,
        "deepspeed.utils.tensor_fragment": fragment_address,
    }
    for module, kind in places.items():
        kind.__module__, kind.__qualname__ = module, kind.__name__  # type: ignore[attr-defined]
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            modules.setdefault(".".join(parts[:end]), ModuleType(".".join(parts[:end])))
        setattr(modules[module], kind.__name__, kind)
        made[kind.__name__] = kind
    sys.modules.update(modules)
    try:
        yield made
    finally:
        for module in modules:
            del sys.modules[module]


def read_zero(file: Path) -> Any:
    """Read back what `save_zero` wrote."""
    with deepspeed_classes():
        return torch.load(file, weights_only=False)


def save_zero(
    folder: Path,
    stage: int,
    groups: Sequence[Tensors],
    ranks: int = 2,
    frozen: Mapping[str, torch.Tensor] | None = None,
    shared: Mapping[str, str] | None = None,
    buffers: Mapping[str, torch.Tensor] | None = None,
    name: str = "global_step7",
) -> Path:
    """Write a checkpoint in the layout of ZeRO 2 or 3 and return the folder with `latest`.

    Args:
        groups: parameters of each group of the optimizer, in its order.
    """
    step = folder / name
    step.mkdir(parents=True)
    (folder / "latest").write_text(name)
    parts = [_flat_parts(group, ranks) if stage < 3 else _cut_parts(group, ranks) for group in groups]
    key = "single_partition_of_fp32_groups" if stage < 3 else "fp32_flat_groups"
    with deepspeed_classes() as classes:
        for rank in range(ranks):
            state = {
                "loss_scaler": classes["LossScaler"](1.0),
                "dynamic_loss_scale": False,
                "overflow": False,
                "zero_stage": classes["ZeroStageEnum"](stage),
                "partition_count": [ranks] * len(groups) if stage < 3 else ranks,
                "param_slice_mappings": [OrderedDict(x=classes["fragment_address"](3, 1))],
                "base_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []},
                key: [part[rank] for part in parts],
            }
            whole = {"optimizer_state_dict": state, "ds_config": {"zero": stage}, "ds_version": "0.16.0"}
            torch.save(whole, step / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    for rank in range(ranks if stage == 3 else 1):
        fragments = {
            key: _fragment(value, ranks, rank) if stage == 3 else value for key, value in (frozen or {}).items()
        }
        model = {
            "module": {**(buffers or {}), "left.over": torch.zeros(2)},
            "buffer_names": list(buffers or {}),
            "param_shapes": [OrderedDict((key, value.shape) for key, value in group.items()) for group in groups],
            "frozen_param_shapes": {key: value.shape for key, value in frozen.items()} if frozen else None,
            "frozen_param_fragments": fragments if frozen else None,
            "shared_params": dict(shared or {}),
            "ds_version": "0.16.0",
        }
        prefix = f"zero_pp_rank_{rank}_" if stage == 3 else ""
        torch.save(model, step / f"{prefix}mp_rank_00_model_states.pt")
    return folder


def _flat_parts(group: Tensors, ranks: int) -> list[torch.Tensor]:
    """ZeRO 1 and 2: end to end, padded to a multiple of 2 * ranks, cut; the padding is left off again."""
    flat = torch.cat([value.float().reshape(-1) for value in group.values()])
    size = math.ceil(flat.numel() / (2 * ranks)) * 2
    padded = torch.cat([flat, torch.full((size * ranks - flat.numel(),), float("nan"))])
    return [padded[rank * size : min((rank + 1) * size, flat.numel())].clone() for rank in range(ranks)]


def _cut_parts(group: Tensors, ranks: int) -> list[torch.Tensor]:
    """ZeRO 3: every parameter padded to a multiple of the ranks and cut; a rank's parts end to end."""
    return [torch.cat([_fragment(value.float(), ranks, rank) for value in group.values()]) for rank in range(ranks)]


def _fragment(value: torch.Tensor, ranks: int, rank: int) -> torch.Tensor:
    size = math.ceil(value.numel() / ranks)
    padded = torch.cat(
        [value.reshape(-1), torch.full((size * ranks - value.numel(),), float("nan"), dtype=value.dtype)]
    )
    return padded[rank * size : (rank + 1) * size].clone()
