"""README.md of a dataset folder as a build leaves it: what the Hub's `datasets` needs to load the rows, and no more.

Without it `load_dataset(FOLDER)` takes a folder with pictures for an image folder. `mmreflect export format=card` puts
the whole card in its place; one that somebody has edited stays.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreflect.config import to_yaml
from mmreflect.data.store import read_rows
from mmreflect.files import write_atomic

CARD = "README.md"
MOST_FILES = 10
"""Files of a split that are named one by one."""


def write_readme(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write it, unless there is one already."""
    if not (folder / CARD).exists():
        write_atomic(folder / CARD, readme_of(folder, manifest))


def is_untouched(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Say whether the README of a dataset is the one that its build wrote, or there is none."""
    file = folder / CARD
    return not file.exists() or file.read_bytes() == readme_of(folder, manifest).encode()


def readme_of(folder: Path, manifest: Mapping[str, Any]) -> str:
    """Return its text; the same files give the same text."""
    files = {name: [str(shard["file"]) for shard in split["shards"]] for name, split in manifest["splits"].items()}
    front = {"configs": configs_of(files, {name: _columns(folder, own) for name, own in files.items()})}
    rows = ", ".join(f"{name} {split['rows']:,}" for name, split in manifest["splits"].items())
    return (
        f"---\n{to_yaml(front)}---\n\nA dataset of mmreflect's builder `{manifest['builder']}`. Rows: {rows}. What it "
        "was made from is in `manifest.json`; `mmreflect export FOLDER format=card` writes the whole card here.\n"
    )


def configs_of(files: Mapping[str, Sequence[str]], columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what the Hub's front matter says under `configs`: which files are which split.

    Args:
        columns: what the rows of each split are; splits whose rows have other columns are configurations of their own.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for split, own in files.items():
        groups.setdefault(columns[split], []).append({"split": hub_split(split), "path": _pattern(own)})
    named = len(groups) > 1
    return [{"config_name": group if named else "default", "data_files": own} for group, own in groups.items()]


def hub_split(name: str) -> str:
    """Return a split's name as `datasets` takes it: letters, digits and underscores."""
    return re.sub(r"\W+", "_", name)


def _pattern(files: Sequence[str]) -> list[str]:
    """Return the files of a split, or where they are many what they have in common: all but their numbers."""
    if len(files) <= MOST_FILES:
        return list(files)
    return sorted({re.sub(r"(?<!\d)\d{5}(?!\d)", "?????", file) for file in files})


def _columns(folder: Path, files: Sequence[str]) -> str:
    row = next((row for file in files for row in read_rows(folder / file)), {})
    return "pairs" if "rejected" in row else "conversations"
