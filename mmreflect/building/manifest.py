"""What is counted while a dataset is built, and the manifest that says it: written last, when the dataset is whole."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.building.builder import Maker
from mmreflect.config import free_keys, to_tree, without
from mmreflect.data.checksums import media_mark
from mmreflect.data.fingerprint import refuse_leakage
from mmreflect.data.readme import write_readme
from mmreflect.data.store import MANIFEST
from mmreflect.errors import UserError
from mmreflect.files import write_json


@dataclass(slots=True)
class Tally:
    """What is known of a dataset's shards.

    Attributes:
        shards: of each split, their entries in the manifest.
        reasons: why rows were rejected; `left_out`: why rows of the sources were not asked for.
        took: what the rows took, by name.
    """

    shards: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    took: Counter[str] = field(default_factory=Counter)

    def rows(self) -> dict[str, int]:
        """Return how many rows each split has."""
        return {split: sum(shard["rows"] for shard in shards) for split, shards in self.shards.items()}

    def rejects(self) -> dict[str, int]:
        """Return how often each reason was given, whoever gave it."""
        return dict(sorted((self.reasons + self.left_out).items()))

    def found(self) -> dict[str, Any]:
        """Return the same in numbers, for a result."""
        return {"rows": self.rows(), "rejected": sum(self.rejects().values())}


def content_of(config: Any) -> dict[str, Any]:
    """Return the settings that decide what is in the dataset; where it lies and who builds it are no part of that."""
    content: dict[str, Any] = without(to_tree(config), [("output",), *free_keys(config)])
    return content


def refuse_empty(split: str, size: int, tally: Tally, folder: Path) -> None:
    """Refuse a split of which no row is left.

    Raises:
        UserError: the most common reasons are named.
    """
    if not tally.rows()[split]:
        raise UserError(
            f"all {size} rows of split {split!r} were rejected: {most_common(tally.reasons)}",
            "at least one good row",
            f"see {folder / 'rejects'}",
        )


def write_manifest(
    folder: Path, name: str, config: Any, tally: Tally, maker: Maker, quality: Mapping[str, Any]
) -> None:
    """Write the manifest of a whole dataset, and before it the README that loads it in `datasets`.

    Raises:
        UserError: an id, or one question with the same pictures, stands in two splits.
    """
    splits = {
        split: {"rows": rows, "shards": marked(folder, tally.shards[split])} for split, rows in tally.rows().items()
    }
    manifest = {"builder": name, "config": content_of(config), "splits": splits, "rejects": tally.rejects()}
    manifest["quality"] = quality
    manifest |= maker.account(tally.took)
    refuse_leakage(folder, manifest)
    write_readme(folder, manifest)
    write_json(folder / MANIFEST, manifest)


def marked(folder: Path, shards: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries of shards with the checksums of their media."""
    return [{**shard, "media": media_mark(folder, folder / shard["file"])} for shard in shards]


def say_rejected(tally: Tally, folder: Path) -> None:
    """Say how many rows were rejected, and why most of them."""
    rejected = sum(tally.rejects().values())
    if rejected:
        reasons = most_common(tally.reasons + tally.left_out)
        where = folder / "rejects"
        console.say(f"[yellow]rejected {console.count(rejected, 'row')}[/]: {reasons}; all in {where}")


def most_common(reasons: Counter[str]) -> str:
    """Name the three most common reasons."""
    return "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))


def added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Add up two mappings of numbers, and what is in them of the same kind."""
    whole = dict(one)
    for key, value in other.items():
        known = whole.get(key)
        whole[key] = value if known is None else added(known, value) if isinstance(value, Mapping) else known + value
    return whole
