"""Opening a release: where its rows come from, and a mark of their content."""

import functools
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.errors import UserError, nearest, unknown_name
from mmreflect.evaluation.benchmark import BadField, Benchmark, LeftOutError, MissingField, Place, Row, check_row
from mmreflect.evaluation.releases import hub as on_hub
from mmreflect.evaluation.releases.layout import PartFiles, find_parts, wanted_configs, wanted_split
from mmreflect.evaluation.releases.settings import ReleaseConfig
from mmreflect.evaluation.releases.shelf import ReleaseFiles
from mmreflect.evaluation.releases.tables import Keyed, read_records, read_tree


@dataclass(frozen=True, slots=True)
class Part:
    """One configuration and split: `read` yields its records with their keys, without columns of bytes if so told."""

    config: str
    split: str
    read: Callable[[bool], Keyed]


@dataclass(frozen=True, slots=True)
class Release:
    """A release that is open.

    Attributes:
        style: the prompt that questions are asked with.
        configs: the configurations that are read; empty where the benchmark has only one.
        where: what is read, for people.
        mark: of the rows' content, for a contract: digests of their files, or the revision on the Hub.
        hidden: the answers of this split are not published.
        files: the media that the rows name.
        beside: what the file holds that all rows refer to.
        left_out: records that are no questions, by reason, as of the last reading.
    """

    benchmark: Benchmark
    settings: ReleaseConfig
    split: str
    configs: tuple[str, ...]
    style: str
    where: str
    mark: str
    hidden: bool
    files: ReleaseFiles
    parts: tuple[Part, ...]
    beside: Any = None
    left_out: Counter[str] = field(default_factory=Counter)

    def count(self) -> int:
        """Return how many questions are asked, limit and shard applied; pictures are not read for it.

        Raises:
            UserError: a file cannot be read.
        """
        return sum(1 for _ in self.bare())

    def rows(self) -> Iterator[Row]:
        """Yield the rows that are asked, in order and checked; one that has no id is numbered.

        Raises:
            UserError: a file cannot be read, there are no rows at all, or one lacks a column or holds another type.
        """
        empty = True
        for row in self._picked(bare=False):
            empty = False
            check_row(row, self.benchmark.columns, f"{self.where}, row {id_of(self.benchmark, row)!r}")
            yield row
        if empty:
            part = self.settings.shard is not None
            raise UserError(
                f"{self.where} has no rows{' in this shard' if part else ''}",
                f"at least one question of {self.benchmark.name}",
                "check the path and the split",
            )

    def bare(self) -> Iterator[Row]:
        """Yield the rows that are asked, in order and without their pictures.

        Raises:
            UserError: a file cannot be read.
        """
        return self._picked(bare=True)

    def _picked(self, *, bare: bool) -> Iterator[Row]:
        self.left_out.clear()
        for place, row in enumerate(self._all(bare)):
            if self.settings.ends(place):
                return
            if self.settings.picks(place):
                yield row

    def _all(self, bare: bool) -> Iterator[Row]:
        names = {"id", *self.benchmark.recorded.id}
        has_ids = any(column.name in names for column in self.benchmark.columns)
        for part in self.parts:
            numbers = itertools.count()
            for number, (key, record) in enumerate(part.read(bare)):
                place = Place(part.config, part.split, key, number, self.beside)
                for row in self._made(record, place):
                    if not has_ids and all(row.get(name) is None for name in names):
                        row["id"] = f"{part.config or part.split}-{next(numbers)}"
                    yield row

    def _made(self, record: dict[str, Any], place: Place) -> Iterator[Row]:
        row = Row({"id": place.key, **record} if place.key else record)
        if self.benchmark.rows is None:
            yield row
            return
        where = f"{self.where}, record {place.number + 1}{f' of {place.config!r}' if place.config else ''}"
        try:
            yield from self.benchmark.rows(row, place)
        except LeftOutError as error:
            self.left_out[str(error)] += 1
        except BadField as error:
            raise UserError(f"{where}: {error}", f"a record of {self.benchmark.name}", "correct it") from None
        except MissingField as error:
            close = nearest(error.names[0], list(row))
            do = f"did you mean {error.names[0]!r} where it says {close!r}?" if close else f"it has {', '.join(row)}"
            raise UserError(f"{where}: no {error.names[0]!r}", f"a record of {self.benchmark.name}", do) from None


def id_of(benchmark: Benchmark, row: Row) -> str:
    """Return what a row is called, by the first of its ids."""
    return str(next((row[key] for key in (*benchmark.recorded.id, "id") if row.get(key) is not None), "?"))


def open_release(benchmark: Benchmark, settings: ReleaseConfig, *, cache: Path, max_frames: int) -> Release:
    """Open a benchmark's release.

    Files are found and marked here, and rows are read when they are asked for; what is on the Hub is downloaded. No
    picture is decoded, and torch is not imported.

    Args:
        cache: a folder for pictures, unpacked archives and joined frames; it may be shared between runs.
        max_frames: how many frames of a video are shown, for prompts that depend on it.

    Raises:
        UserError: there is no such source, split, configuration or style (the known ones are named), or the Hub cannot
            be reached.
    """
    source, given = benchmark.source, settings.source
    style = settings.style or benchmark.styles[0]
    if style not in benchmark.styles:
        raise unknown_name(f"style of {benchmark.name}", style, benchmark.styles)
    path = _existing(given)
    other = given is not None and path is None
    split = wanted_split(source, settings.split, any_name=other)
    configs = wanted_configs(source, settings.config, split, any_name=other)
    if path is not None and settings.revision is not None:
        raise UserError(f"revision={settings.revision} of the local {path}", "a dataset on the Hub", "remove the key")
    shelf = functools.partial(
        ReleaseFiles, cache=cache, max_frames=max_frames, frames_fps=source.frames_fps, check=settings.check
    )
    if path is not None:
        opened = _open_local(benchmark, path, split, configs)
        media = functools.partial(_folder, settings.media, path if path.is_dir() else path.parent)
        where = str(path)
    else:
        name = hub_name(benchmark, given, split)
        opened = _open_hub(benchmark, settings, name, split, configs)
        media = functools.partial(_hub_media, benchmark, settings, name)
        where = name
    if settings.media is not None:
        _folder(settings.media, Path())
    parts, mark, beside = opened
    return Release(
        benchmark,
        settings,
        split,
        tuple(part.config for part in parts if part.config),
        style,
        f"{where} ({split})",
        mark,
        split in source.hidden,
        shelf(media),
        tuple(parts),
        beside,
    )


def _existing(given: str | None) -> Path | None:
    path = None if given is None else Path(given).expanduser()
    return path.absolute() if path is not None and path.exists() else None


def hub_name(benchmark: Benchmark, given: str | None, split: str) -> str:
    """Return the name on the Hub that is read.

    Raises:
        UserError: the benchmark has none, or what is given is neither a name nor a path.
    """
    if given is None:
        name = benchmark.source.hubs.get(split, benchmark.source.hub)
        if not name:
            files = ", ".join(benchmark.source.files) or "its rows"
            do = "give it with source=FOLDER or source=FILE"
            raise UserError(f"{benchmark.name} is not on the Hub", f"a local folder or file with {files}", do)
        return name
    if not on_hub.is_hub_name(given):
        raise UserError(f"no such folder or file: source={given}", "a release, or a name on the Hub", "check the path")
    return given


Opened = tuple[list[Part], str, Any]


def _open_local(benchmark: Benchmark, path: Path, split: str, configs: Sequence[str]) -> Opened:
    if path.is_file():
        one = configs[0] if len(configs) == 1 else ""
        found = [PartFiles(one, split, (path,))]
    else:
        found = find_parts(path, benchmark.name, benchmark.source, configs, split)
    files = [file for part in found for file in part.files]
    beside = _beside(benchmark, files[0].parent, split)
    parts = [Part(part.config, split, functools.partial(_read, part.files, benchmark)) for part in found]
    return parts, _digest([*files, *([beside] if beside else [])]), read_tree(beside) if beside else None


def _read(files: Sequence[Path], benchmark: Benchmark, bare: bool) -> Keyed:
    for file in files:
        yield from read_records(file, benchmark.columns, bare=bare)


def _beside(benchmark: Benchmark, folder: Path, split: str) -> Path | None:
    if not benchmark.source.beside:
        return None
    path = folder / benchmark.source.beside.format(split=split)
    if not path.is_file():
        raise UserError(f"no such file: {path}", f"a file of {benchmark.name}'s release", "put it beside the rows")
    return path


def _digest(files: Sequence[Path]) -> str:
    """Return one mark for the content of files, whatever folder they lie in."""
    whole = hashlib.sha256()
    for file in files:
        try:
            with open(file, "rb") as opened:
                whole.update(hashlib.file_digest(opened, "sha256").digest())
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error})", "a readable file", "check its permissions") from None
    return f"sha256:{whole.hexdigest()}"


def _open_hub(benchmark: Benchmark, settings: ReleaseConfig, name: str, split: str, configs: Sequence[str]) -> Opened:
    source = benchmark.source
    own = source.annotations.get(split, source.annotations.get("*", ()))
    if own:
        patterns = [pattern.format(config=config, split=split) for pattern in own for config in configs or ("",)]
        folder = on_hub.download_files(name, settings.revision, patterns)
        if any(path.is_file() for pattern in patterns for path in folder.glob(pattern)):
            parts, mark, beside = _open_local(benchmark, folder, split, configs)
            return parts, f"hub:{name} {mark}", beside
    tables = [(config, on_hub.HubTable(name, config, split, settings.revision)) for config in configs or ("",)]
    parts = [Part(config, split, functools.partial(_unkeyed, table)) for config, table in tables]
    return parts, "hub:" + " ".join(dict.fromkeys(table.mark for _, table in tables)), None


def _unkeyed(table: on_hub.HubTable, bare: bool) -> Keyed:
    return (("", record) for record in table.records(bare=bare))


def _folder(given: str | None, other: Path) -> Path:
    folder = Path(given).expanduser().absolute() if given is not None else other
    if not folder.is_dir():
        raise UserError(
            f"no such folder: media={given or other}", "a folder of videos, pictures or subtitles", "check the path"
        )
    return folder


def _hub_media(benchmark: Benchmark, settings: ReleaseConfig, name: str) -> Path:
    if settings.media is not None:
        return _folder(settings.media, Path())
    console.say(f"downloading the media of {name}, unless they are in the Hub's cache")
    return on_hub.download_files(name, settings.revision, on_hub.media_patterns(benchmark.source))
