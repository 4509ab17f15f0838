"""A part of a dataset on disk: `shard=3/16` builds some of the shards, and says so in the place of a manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreflect.building.manifest import Tally, marked
from mmreflect.building.shards import Beside
from mmreflect.config import Tree, load_yaml
from mmreflect.data.checksums import sha256_of
from mmreflect.data.store import PART
from mmreflect.errors import UserError
from mmreflect.files import read_json, write_json
from mmreflect.runs import run_at

SOURCES = Path("rejects/sources.jsonl")
"""Where the rows of the sources stand that were not asked for; the first part has them."""


@dataclass(frozen=True, slots=True)
class Part:
    """A finished part: `number` of `total`.

    Attributes:
        config: the resolved configuration, `result`, `inputs` and `versions` as the run left them.
        sizes: rows of each split of the whole, before any is rejected.
        shards: of each split, the entries of those that this part has built, with the checksums of what lies beside.
        sources: the checksum of the log of rows that were not asked for, by its path; empty where there is none.
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
    sources: dict[str, str]


def write_part(folder: Path, part: str, sizes: Mapping[str, int], tally: Tally) -> None:
    """Write what a part holds, with the checksums of all of it; a folder with it is no dataset."""
    shards = {split: marked(folder, tally.shards[split]) for split in sizes}
    for split, own in shards.items():
        for shard in own:
            beside = Beside.of(folder, split, int(Path(shard["file"]).stem))
            shard["beside"] = _checksums(folder, (beside.rejects, beside.account, beside.marks))
    splits = {split: {"size": size, "shards": shards[split]} for split, size in sizes.items()}
    sources = _checksums(folder, (folder / SOURCES,))
    write_json(folder / PART, {"part": part, "splits": splits, "rejects": tally.rejects(), "sources": sources})


def _checksums(folder: Path, files: Sequence[Path]) -> dict[str, str]:
    return {str(file.relative_to(folder)): sha256_of(file) for file in files if file.is_file()}


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
    if "sources" not in said:
        raise UserError(
            f"part {config['shard']} in {folder} has no checksums: an earlier mmreflect built it",
            f"a {PART} with checksums",
            "build it anew",
        )
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
        said["sources"],
    )
