"""A weighted mixture of several sets as one: datasets of ours, JSONL and Parquet files, sets on the Hub.

    mmreflect build configs/build/mix.yaml

Each row's source is drawn by the weights, and a source gives its rows in order: the same rows in the same places as
`datasets.interleave_datasets` gives for these probabilities and this seed. Rows are read as they are needed, those of
the Hub streamed, and shards written as they come: of a set only the places of its rows are held, eight bytes each.

Rows of datasets of ours stay as they are, since their builds checked them; those of others are checked here as those
of every builder (`quality`).

A row's id begins with the name of its source, which is also the fact `source` (what stood there is `origin`); taken a
second time it ends with #1. A reject says its `row` in the source, counted from 0. In the manifest `taken` is how many
rows a source gave, those that were rejected included.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmreflect.building import ARRIVING, Example, Made, Maker, Rejected
from mmreflect.config import config as config_class
from mmreflect.config import to_tree
from mmreflect.data.columns import DECIDABLE, OF_A_TURN
from mmreflect.data.foreign import COLUMNS, ColumnError, ForeignRow, Stored, laid, read_foreign
from mmreflect.data.index import RowIndex, index_of
from mmreflect.data.mixing import Mixture, Stopping, mixed
from mmreflect.data.store import Row
from mmreflect.data.streams import UnreachableError, hub_rows, parquet_length, parquet_rows
from mmreflect.errors import UserError, nearest
from mmreflect.evaluation import asking
from mmreflect.files import content_mark, to_json
from mmreflect.quality import EXEMPTIBLE
from mmreflect.records import Count
from mmreflect.seeds import numpy_rng

__all__ = ["EXEMPT", "Config", "describe", "inputs", "open_maker", "splits"]

EXEMPT = {"*": ("repeats",)}  # weights may take a row again
LOOKED_AT = 20
"""First rows of a set that must not all lack one column."""


@config_class
class Source:
    """One of the sets.

    Attributes:
        path: a dataset folder that `mmreflect build` wrote, or a .jsonl or .parquet file.
        hub: in its place, a dataset on the Hub, or a local folder that `datasets` reads; `config`, `revision`: which.
        split: of a dataset folder or of a set on the Hub.
        weight: its share, over the sum of all.
        limit: only its first so many rows; needed for the Hub, where the number of rows is not known before.
        shuffle: take the rows in an order drawn by the seed, which matters where not all of them are taken.
        columns: for files and the Hub, our names to those of the set; a dot goes into a mapping; null takes none, also
            of what is refused else: a column such as `tools`, a key of turns such as `messages.reasoning_content`.
        facts: for files and the Hub, further columns that become facts.
    """

    path: str | None = None
    hub: str | None = None
    config: str | None = None
    revision: str | None = None
    split: str = "train"
    weight: Annotated[float, Field(gt=0)] | None = None
    limit: Count | None = None
    shuffle: bool = False
    columns: dict[str, str | None] = Field(default_factory=dict)
    facts: list[str] = Field(default_factory=list)

    def __post_init__(self) -> None:
        """Check the options against each other.

        Raises:
            ValueError: it is no set or two, or an option does not belong to this kind of set.
        """
        if (self.path is None) == (self.hub is None):
            raise ValueError("either path or hub says where the rows are; give one of them")
        if self.hub is not None and self.limit is None:
            raise ValueError("a set on the Hub needs a limit: how many rows it has is not known before")
        if self.hub is None and (self.config or self.revision):
            raise ValueError("config and revision belong to hub; remove them")
        if self.shuffle and self.kind in ("hub", "parquet"):
            raise ValueError(f"{self.named} is read forwards, in its own order; remove shuffle, or build it by itself")
        if self.kind == "dataset" and (self.columns or self.facts):
            raise ValueError("a dataset of ours has our columns; remove columns and facts")
        if self.kind in ("jsonl", "parquet") and self.split != "train":
            raise ValueError(f"{self.named} is one file and has no splits; remove split")
        for name, column in self.columns.items():
            left_out = name in DECIDABLE or name.startswith(OF_A_TURN)
            if left_out and column is not None:
                raise ValueError(f"columns maps {name!r}, which can only be left out; set it to null")
            if name not in COLUMNS and not left_out:
                close = nearest(name, COLUMNS) or ", ".join(COLUMNS)
                raise ValueError(f"columns names {name!r}, which is none of ours; did you mean: {close}?")

    @property
    def kind(self) -> Literal["hub", "jsonl", "parquet", "dataset"]:
        """What it is, by its name."""
        if self.path is None:
            return "hub"
        suffix = Path(self.path).suffix.lower()
        return "jsonl" if suffix == ".jsonl" else "parquet" if suffix == ".parquet" else "dataset"

    @property
    def named(self) -> str:
        """Where it is."""
        return str(self.hub or self.path)


@config_class
class Config:
    """What to mix.

    Attributes:
        sources: by names of your own.
        rows: of the mixture, those that are rejected included; None: as many as `stop` gives.
        stop: end when the first source ends, or when every one has been whole once; then those that ended before begin
            anew, as often as it takes.
        temperature: in place of weights, shares by size to the power of 1 / temperature: 1 is by size, and the higher
            the more equal.
        split: name of the split that is made.
        media: copy the videos, or link to those of the sources.
    """

    output: str
    sources: Annotated[dict[str, Source], Field(min_length=1)]
    rows: Count | None = None
    stop: Stopping = "first_exhausted"
    temperature: Annotated[float, Field(gt=0)] | None = None
    split: Annotated[str, Field(min_length=1)] = "train"
    media: Literal["copy", "link"] = "copy"
    seed: Annotated[int, Field(ge=0)] = 0
    shard_rows: Count = 1000

    def __post_init__(self) -> None:
        """Check the options against each other.

        Raises:
            ValueError: shares are given twice or not for all, or a name cannot begin an id.
        """
        given = [name for name, source in self.sources.items() if source.weight is not None]
        if self.temperature is not None and given:
            raise ValueError("temperature takes the place of weights, and there are some; keep one of both")
        if self.temperature is None and given and len(given) < len(self.sources):
            missing = ", ".join(name for name in self.sources if name not in given)
            raise ValueError(f"some sources have a weight and others none ({missing}); give all of them one")
        for name in self.sources:
            if not name or "/" in name:
                raise ValueError(f"a source is called {name!r}; ids begin with the name, which may hold no slash")


class Rows(Protocol):
    """Rows by their places."""

    def __getitem__(self, place: int, /) -> Row:
        """Read a row."""


def inputs(config: Config) -> dict[str, str]:
    """Return marks of the sources: files by size and time, as they may be large, and the Hub by revision."""
    return {name: _mark(source) for name, source in config.sources.items()}


def _mark(source: Source) -> str:
    if source.kind == "hub":
        return f"{source.hub}@{source.revision}"
    if source.kind == "dataset":
        return content_mark(f"{source.path}/manifest.json")
    file = Path(source.named)
    return f"{file.stat().st_size}-{file.stat().st_mtime_ns}" if file.is_file() else "missing"


def splits(config: Config) -> dict[str, int]:
    """Return how many rows the mixture takes.

    Raises:
        UserError: a source is missing or empty, or the mixture ends before `rows`.
    """
    return {config.split: len(_mixture(config)[0])}


def describe(config: Config) -> dict[str, str]:
    """Say in the plan what each source gives.

    Raises:
        UserError: the first rows of a file all lack a column; the columns that they have are named.
    """
    for name, source in config.sources.items():
        if source.kind in ("jsonl", "parquet"):
            _refuse_lacking(name, source)
    mixture, lengths, weights = _mixture(config)
    lines = {}
    for number, (name, source) in enumerate(config.sources.items()):
        taken = int(np.count_nonzero(mixture.source_N == number))
        share = 100 * weights[number] / sum(weights)
        passes = f", {taken / lengths[number]:.2f} times all" if taken > lengths[number] else ""
        most = " at most" if source.kind == "hub" else ""
        lines[name] = f"{source.named}, {lengths[number]:,} rows{most}, {share:.1f} %: takes {taken:,}{passes}"
    return lines


def _refuse_lacking(name: str, source: Source) -> None:
    rows, lacking = _rows(source), list[ColumnError]()
    for place in range(min(LOOKED_AT, _length(source))):
        try:
            read_foreign(rows[place], place, _folder_of(source), source.columns, source.facts)
        except ColumnError as error:
            lacking.append(error)
            continue
        except UserError:
            continue  # no JSON, or another fault of a row: it is named when its turn comes
        return
    if lacking:
        raise _all_lack(name, source, lacking[0])


def _all_lack(name: str, source: Source, error: ColumnError) -> UserError:
    return UserError(f"source {name} ({source.named}): {error.given} in its first rows", error.expected, error.do)


def open_maker(config: Config) -> Maker:
    """Return what makes the rows."""
    return _Mixing(config)


class _Mixing:
    """Takes rows from their sources in the order of the mixture."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._mixture, self._lengths, self._weights = _mixture(config)
        self._taken = [
            _Taken(config, name, source, length)
            for (name, source), length in zip(config.sources.items(), self._lengths, strict=True)
        ]
        self._rejected = 0

    def make(self, split: str, places: Sequence[int]) -> Iterator[Made]:
        for place in places:
            folder = Path(self._config.output) / ARRIVING / f"{split}-{place:06}"
            source = self._taken[self._mixture.source_N[place]]
            made = source.made(int(self._mixture.draw_N[place]), folder)
            self._rejected += isinstance(made, UserError)
            yield Made(made, Counter({source.name: 1}))
            shutil.rmtree(folder, ignore_errors=True)  # the row is stored by now

    def account(self, took: Counter[str]) -> dict[str, Any]:
        share = {
            name: weight / sum(self._weights) for name, weight in zip(self._config.sources, self._weights, strict=True)
        }
        return {
            "mixture": {name: {"share": round(share[name], 6), "taken": took[name]} for name in self._config.sources}
        }

    def spent(self) -> dict[str, Any]:
        return {}

    def status(self) -> str:
        return f"{self._rejected:,} rejected"

    def close(self) -> None:
        pass


class _Taken:
    """One source and what is read of it."""

    def __init__(self, config: Config, name: str, source: Source, length: int) -> None:
        self.name, self._source, self._length = name, source, length
        self._link = config.media == "link"
        self._rows = _rows(source)
        self._lacking = 0
        self._order: npt.NDArray[np.int64] | None = None
        if source.shuffle:
            whole = _length(source)
            self._order = numpy_rng(config.seed, "mix", name).permutation(whole)[:length]

    def made(self, draw: int, folder: Path) -> Example | UserError:
        """Return a row of the source, or why there is none.

        Args:
            draw: how many were taken before; `folder`: where media that come as bytes are laid.

        Raises:
            UserError: the Hub cannot be reached, or the first rows all lack a column.
        """
        row: Row = {}
        again, place = divmod(draw, self._length)
        place = place if self._order is None else int(self._order[place])
        try:
            row = self._rows[place]
            return self._example(row, place, again, folder)
        except UnreachableError:
            raise
        except UserError as error:
            if isinstance(error, ColumnError) and draw == self._lacking:
                self._lacking += 1
                if self._lacking == min(LOOKED_AT, self._length):
                    raise _all_lack(self.name, self._source, error) from None
            name = self._id_of(row)
            own = None if name is None else f"{self.name}/{name}"
            why = Rejected.of(error, own, prefix=f"{self.name}: ", own=[self._source.named])
            told = {"do": error.do} | why.facts if error.do else why.facts
            return Rejected(why.given, source=self.name, row=place, **told)

    def _id_of(self, row: Row) -> Any:
        """Return the id of a row that cannot be read, where it has one."""
        return row.get(self._source.columns.get("id") or "id")

    def _example(self, row: Row, place: int, again: int, folder: Path) -> Example:
        if self._source.kind == "dataset":
            made = asking.carried(row, asking.Source(path=self._source.named), {}, self._link)
            made = replace(made, exempt=EXEMPTIBLE)
        else:
            found = read_foreign(row, place, _folder_of(self._source), self._source.columns, self._source.facts)
            made = _example(found, folder, self._link)
        before = made.facts.get("source")
        facts = {**made.facts, "source": self.name} | ({} if before is None else {"origin": before})
        name = f"{self.name}/{made.id}" + (f"#{again}" if again else "")
        return replace(made, id=name, facts=facts)


def _folder_of(source: Source) -> Path | None:
    """Return what paths of media are relative to."""
    if source.kind != "hub":
        return Path(source.named).parent
    folder = Path(source.named)
    return folder if folder.is_dir() else None


def _example(found: ForeignRow, folder: Path, link: bool) -> Example:
    images = [laid(item, folder / f"{place}", ".png") for place, item in enumerate(found.images)]
    videos = [laid(item, folder / f"v{place}", ".mp4") for place, item in enumerate(found.videos)]
    whole = link and not any(
        isinstance(item, Stored) for item in found.videos
    )  # what came as bytes has no file to link to
    return Example(
        found.id, found.messages, images, videos, found.answer, found.facts, link=whole, rejected=found.rejected
    )  # fmt: skip


def _rows(source: Source) -> Rows:
    if source.kind == "hub":
        return hub_rows(source.named, source.config, source.split, source.revision)
    if source.kind == "parquet":
        return parquet_rows(Path(source.named))
    return _indexed(source.named, source.split, source.kind, _mark(source))


@lru_cache(maxsize=64)
def _indexed(path: str, split: str, kind: str, mark: str) -> RowIndex:
    return index_of(path, split) if kind == "dataset" else RowIndex([Path(path)])


def _length(source: Source) -> int:
    if source.kind == "hub":
        return source.limit or 0
    if source.kind == "parquet":
        return parquet_length(Path(source.named))
    return len(_indexed(source.named, source.split, source.kind, _mark(source)))


_Drawn = tuple[Mixture, list[int], list[float]]
_drawn: dict[str, _Drawn] = {}


def _mixture(config: Config) -> _Drawn:
    """Return the mixture, and the lengths and weights of its sources; the last one is kept."""
    key = to_json([to_tree(config), inputs(config)])
    if key not in _drawn:
        sources = list(config.sources.values())
        lengths = [min(length, source.limit or length) for source in sources for length in [_length(source)]]
        weights = _weights(config, lengths)
        _drawn.clear()
        _drawn[key] = mixed(lengths, weights, config.seed, config.stop, config.rows), lengths, weights
    return _drawn[key]


def _weights(config: Config, lengths: Sequence[int]) -> list[float]:
    if config.temperature is not None:
        return [float(length) ** (1 / config.temperature) for length in lengths]
    given: Mapping[str, Source] = config.sources
    return [1.0 if source.weight is None else source.weight for source in given.values()]


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
