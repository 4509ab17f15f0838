"""A part of a dataset on disk: `shard=3/16` builds some of the shards, and says so in the place of a manifest."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreflect.building.manifest import Tally
from mmreflect.config import Tree, load_yaml
from mmreflect.data.store import PART
from mmreflect.errors import UserError
from mmreflect.files import read_json, write_json
from mmreflect.runs import run_at


@dataclass(frozen=True, slots=True)
class Part:
    """A finished part: `number` of `total`.

    Attributes:
        config: the resolved configuration, `result`, `inputs` and `versions` as the run left them.
        sizes: rows of each split of the whole, before any is rejected.
        shards: of each split, the entries of those that this part has built.
    """

    path: Path
    name: str
    number: int
    total: int
    config: Tree
    result: dict[str, Any]
    inputs: dict[str, str]
    versions: dict[str, str]
    sizes: dict[str, int]
    shards: dict[str, list[dict[str, Any]]]


def write_part(folder: Path, part: str, sizes: Mapping[str, int], tally: Tally) -> None:
    """Write what a part holds; a folder with it is no dataset."""
    splits = {split: {"size": size, "shards": tally.shards[split]} for split, size in sizes.items()}
    write_json(folder / PART, {"part": part, "splits": splits, "rejects": tally.rejects()})


def read_part(folder: str) -> Part:
    """Read the folder of a finished part.

    Raises:
        UserError: it holds none, or one that is not finished.
    """
    run = run_at(Path(folder))
    config = load_yaml(run.path / "config.yaml")
    if run.verb != "build" or not isinstance(config.get("shard"), str):
        raise UserError(
            f"{folder} holds no part of a dataset", "a run of mmreflect build with shard=1/4", "check the path"
        )
    if run.result is None:
        raise UserError(
            f"part {config['shard']} in {folder} is not finished", "a finished one", "start it again; it goes on"
        )
    mark, said = read_json(run.path / "run.json"), read_json(run.path / PART)
    number, total = (int(word) for word in said["part"].split("/"))
    return Part(
        run.path,
        run.name,
        number,
        total,
        config,
        run.result,
        mark["inputs"],
        {"mmreflect": mark["mmreflect"], **mark["versions"]},
        {split: entry["size"] for split, entry in said["splits"].items()},
        {split: entry["shards"] for split, entry in said["splits"].items()},
    )
