"""Which files of a folder hold the rows of a split.

Folders are laid out as on the Hub, as `save_to_disk` does it, or in a release's own way, which its benchmark states.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmreflect.errors import UserError, unknown_name
from mmreflect.evaluation.benchmark import Source
from mmreflect.evaluation.releases.tables import SUFFIXES, is_table

_OF_CONFIG = (
    *("{config}/{split}-*", "{config}/{split}.*", "{config}/{split}/*", "{config}/data/{split}-*", "{config}/data-*"),
    *("data/{config}/{split}-*", "data/{config}/{split}.*", "{split}/{config}-*", "{split}/{config}.*"),
    *("{config}_{split}.*", "{config}-{split}.*", "data/{config}.*", "{config}.*"),
)
_OF_SPLIT = ("data/{split}-*", "data/{split}.*", "{split}-*", "{split}.*", "{split}/*")
_ALONE = ("data-*", "data/*", "*")
"""Where a folder holds one table, it needs no telling name."""


@dataclass(frozen=True, slots=True)
class PartFiles:
    """The files of one configuration and split, in order."""

    config: str
    split: str
    files: tuple[Path, ...]


def find_parts(folder: Path, name: str, source: Source, configs: Sequence[str], split: str) -> list[PartFiles]:
    """Find the files of a split's configurations; a split without configurations is one part of no name.

    A folder without folders for configurations is taken for the one that is asked for, or for all of them as one part.

    Args:
        name: the benchmark's, for messages.
        configs: those that are asked for; empty where the benchmark has none.

    Raises:
        UserError: there are none, or none of a configuration; what was found instead is named.
    """
    found = [PartFiles(config, split, _files(folder, source, config, split)) for config in configs or ("",)]
    lacking = [part.config for part in found if not part.files]
    if not lacking:
        return found
    if len(lacking) == len(found):
        flat = _files(folder, source, "", split)
        if flat:
            return [PartFiles(configs[0] if len(configs) == 1 else "", split, flat)]
        raise _nothing(folder, name, source, split)
    there = [part.config for part in found if part.files]
    raise UserError(
        f"{folder} has no rows of {split!r} for {', '.join(map(repr, lacking))}",
        f"the {len(found)} configurations of {name}",
        f"add them, or name those that are there: config={there}",
    )


def _files(folder: Path, source: Source, config: str, split: str) -> tuple[Path, ...]:
    own = source.annotations.get(split, source.annotations.get("*", ()))
    fitting = [pattern for pattern in own if ("{config}" in pattern) == bool(config)]
    for pattern in (*fitting, *(_OF_CONFIG if config else _OF_SPLIT)):
        if files := _matching(folder, pattern.format(config=config, split=split)):
            return files
    return () if config else _alone(folder, source, split)


def _alone(folder: Path, source: Source, split: str) -> tuple[Path, ...]:
    """Return the files of a folder that holds one table, whatever its name, unless that is another split's."""
    others = {name for name in (*source.splits, *source.configs) if name != split}
    for pattern in _ALONE:
        files = _matching(folder, pattern)
        stems = {file.name.partition("-00")[0].partition(".")[0] for file in files}
        if len(stems) == 1 and not stems & others:
            return files
    return ()


def _matching(folder: Path, pattern: str) -> tuple[Path, ...]:
    """Return the tables of one type: some releases hold the same rows as parquet and as JSON."""
    found = sorted(path for path in folder.glob(pattern) if is_table(path))
    kinds = [kind for kind in SUFFIXES if any(path.suffix == kind for path in found)]
    return tuple(path for path in found if path.suffix == kinds[0])


def _known_splits(folder: Path, source: Source) -> Iterator[str]:
    for split in source.splits:
        if any(_files(folder, source, config, split) for config in (*source.configs, "")):
            yield split


def _nothing(folder: Path, name: str, source: Source, split: str) -> UserError:
    there = list(_known_splits(folder, source))
    if there:
        return UserError(
            f"{folder} has no split {split!r} of {name}",
            f"one of those that it has: {', '.join(there)}",
            f"name one of them (split={there[0]}), or add the files",
        )
    own = [pattern for patterns in source.annotations.values() for pattern in patterns]
    looked = ", ".join(dict.fromkeys([*own, f"{split}-*.parquet", f"{split}.jsonl", f"data/{split}-*.parquet"]))
    return UserError(
        f"{folder} holds no rows of {name}",
        f"its release, such as {looked.format(config='CONFIG', split=split)}",
        "check the path, or name the file itself (source=FILE)",
    )


def wanted_configs(source: Source, given: str | list[str] | None, split: str, *, any_name: bool) -> tuple[str, ...]:
    """Return the configurations that are asked for, or those of the headline; empty where there are none.

    Args:
        any_name: take names that the benchmark does not know: another dataset on the Hub says itself which it has.

    Raises:
        UserError: one is unknown, or stands twice; the known are named.
    """
    names = [given] if isinstance(given, str) else given
    if names is None:
        return (split,) if split in source.configs else source.headline or source.configs
    if not names:
        raise UserError("config is an empty list", "one name or several", "name some, or remove the key")
    for name in names:
        if not source.configs and not any_name:
            raise UserError(f"config={name}", "no config: this benchmark has only one", "remove the key")
        if name not in source.configs and not any_name:
            raise unknown_name("config", name, source.configs)
        if names.count(name) > 1:
            raise UserError(f"config {name!r} stands twice", "each once", "remove one of the two")
    return tuple(names)


def wanted_split(source: Source, given: str | None, *, any_name: bool) -> str:
    """Return the split that is asked for, or the headline's.

    Raises:
        UserError: it is unknown; the known are named.
    """
    if given is None:
        return source.splits[0]
    if given not in source.splits and not any_name:
        raise unknown_name("split", given, source.splits)
    return given
