"""README.md of a dataset folder as a build leaves it: what the Hub's `datasets` needs to load the rows, and no more.

Without it `load_dataset(FOLDER)` takes a folder with pictures for an image folder. `mmreflect export format=card` puts
the whole card in its place; one that somebody has edited stays.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreflect.config import to_yaml
from mmreflect.data.features import features_of, holds_json
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
    columns = {name: _columns(folder, own) for name, own in files.items()}
    types = types_of(folder, files, columns)
    front = {"configs": configs_of(files, columns), "dataset_info": types}
    rows = ", ".join(f"{name} {split['rows']:,}" for name, split in manifest["splits"].items())
    return (
        f"---\n{to_yaml(front)}---\n\nA dataset of mmreflect's builder `{manifest['builder']}`. Rows: {rows}. What it "
        "was made from is in `manifest.json`; `mmreflect export FOLDER format=card` writes the whole card here."
        f"{newer_words(types)}\n"
    )


def newer_words(types: Sequence[Mapping[str, Any]]) -> str:
    """Say what the loader has to be, where a column is declared as JSON; nothing elsewhere."""
    mixed = any(holds_json(config["features"]) for config in types)
    return " Some values are of different kinds from row to row: `datasets` 4.7 or later loads them." if mixed else ""


def configs_of(files: Mapping[str, Sequence[str]], columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what the Hub's front matter says under `configs`: which files are which split.

    Args:
        columns: what the rows of each split are; splits whose rows have other columns are configurations of their own.
    """
    found = []
    for name, own in _groups(columns).items():
        data_files = [{"split": hub_split(split), "path": _pattern(files[split])} for split in own]
        found.append({"config_name": name, "data_files": data_files})
    return found


def types_of(folder: Path, files: Mapping[str, Sequence[str]], columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what the front matter says under `dataset_info`: the types of each configuration's columns.

    Args:
        files, columns: as in `configs_of`; every row is read once.
    """
    return [
        {"config_name": name, "features": features_of(folder / file for split in own for file in files[split])}
        for name, own in _groups(columns).items()
    ]


def _groups(columns: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the splits of each configuration by its name."""
    groups: dict[str, list[str]] = {}
    for split, group in columns.items():
        groups.setdefault(group, []).append(split)
    return groups if len(groups) > 1 else {"default": list(columns)}


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
