"""Building on this machine: in this process, or in several where the leaf's `workers` say so."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmreflect.building.builder import Builder
from mmreflect.building.runners import Runner
from mmreflect.building.workers import Shard, build_shards, cores
from mmreflect.config import config as config_class


@config_class
class Config:
    """No options: how many processes build is the leaf's `workers`."""


def check(options: Config, builder: Builder, config: Any) -> None:
    """Find nothing wrong."""


def describe(options: Config, config: Any) -> str:
    """Say nothing: it is what is expected."""
    return ""


def create(options: Config) -> Runner:
    """Return what builds in worker processes, where more than one is asked for."""
    return _build


def _build(
    builder: Builder, config: Any, folder: Path, shards: Sequence[Shard], done: Callable[[Shard], None]
) -> dict[str, Any]:
    given = getattr(config, "workers", 1)
    workers = cores() if given == "auto" else given
    if workers > 1 and len(shards) > 1:
        build_shards(builder, config, folder, shards, workers, done)
    return {}
