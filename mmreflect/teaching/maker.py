"""Making the rows of a dataset by asking: what a leaf's `open_maker` returns, and its other common parts.

A leaf states its speakers, its prompts, and the steps of one row; everything else is here.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mmreflect import console
from mmreflect.building import Made, Rejected
from mmreflect.data.store import Row, open_dataset
from mmreflect.errors import UserError
from mmreflect.evaluation.asking import Source, rows_of, split_sizes
from mmreflect.files import content_mark
from mmreflect.remote.client import Client, close_all
from mmreflect.remote.spending import brief
from mmreflect.teaching.prompts import Prompts
from mmreflect.teaching.running import Runner
from mmreflect.teaching.speakers import (
    Speakers,
    Voice,
    check_speakers,
    name_of,
    open_voices,
    sampler_of,
    speaker_lines,
    speaker_marks,
)
from mmreflect.teaching.steps import Steps, Task


class Teaching(Protocol):
    """What every builder that asks a teacher is configured by."""

    @property
    def source(self) -> Source:
        """The dataset whose questions are asked."""

    @property
    def seed(self) -> int:
        """Of all draws."""

    @property
    def shard_rows(self) -> int:
        """Rows of a shard."""

    @property
    def speakers(self) -> Speakers:
        """Who is asked, by their parts."""

    @property
    def sheet(self) -> Prompts:
        """The prompts."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row that is to be made.

    Attributes:
        row: of the source; `name`: its id, which rows of one question share.
        slot: which of the rows that the question may give.
        share: of the shard's rows in those of its split.
        counted: numbers for the manifest, added up.
    """

    row: Row
    name: str
    slot: int
    share: float
    counted: Counter[str]


Make = Callable[[Wanted], Steps]
"""From what is wanted to the steps of its row."""


def inputs(config: Teaching) -> dict[str, str]:
    """Return marks of what the dataset is made from: an edited prompt makes another dataset."""
    marks = {"source": content_mark(f"{config.source.path}/manifest.json"), "prompts": config.sheet.hash}
    return marks | speaker_marks(config.speakers)


def splits(config: Teaching) -> dict[str, int]:
    """Return how many rows the source has in each split; check what can be known before anything is asked.

    Raises:
        UserError: there is no such dataset or split, a speaker cannot be used, or a prompt cannot be filled in.
    """
    check_speakers(config.speakers)
    config.sheet.check()
    return split_sizes(config.source)


def hold_together(config: Teaching, rows: int) -> None:
    """Round a config's `shard_rows` up to whole questions, for its `__post_init__`.

    What is sampled for a question its rows share within a shard alone: one that stood in two would be sampled twice.

    Args:
        rows: that a question may give.
    """
    object.__setattr__(config, "shard_rows", -(-config.shard_rows // rows) * rows)


def describe(config: Teaching) -> dict[str, str]:
    """Say in the plan who is asked and with which prompts."""
    return {"source": config.source.path, **speaker_lines(config.speakers), "prompts": config.sheet.hash}


class TeachingMaker:
    """Makes rows by their steps.

    Args:
        slots: rows that a question may give.
        statistics: what the manifest says of the numbers that the steps have counted; None says them as they are.
    """

    def __init__(
        self,
        config: Teaching,
        make: Make,
        slots: int = 1,
        statistics: Callable[[Mapping[str, int]], dict[str, Any]] | None = None,
    ) -> None:
        self._config, self._make, self._slots, self._statistics = config, make, slots, statistics
        self._speakers, self._sheet = config.speakers, config.sheet
        self._voices: dict[str, Voice] | None = None
        self._rejected = 0
        self._watching: Callable[[float], None] | None = None

    def make(self, split: str, places: Sequence[int]) -> Iterator[Made]:
        """Yield the rows of these places in order.

        Raises:
            UserError: a model cannot be loaded, a server cannot be used, or a limit is reached.
        """
        if not places:
            return
        if self._voices is None:
            self._voices = open_voices(self._speakers, _corpus(self._config.source), self._config.seed)

        rows, each = rows_of(self._config.source, split), self._config.shard_rows
        whole = len(rows) * self._slots

        def task(place: int) -> Task:
            row, start = rows[place // self._slots], place - place % each
            name, share = str(row.get("id", "?")), (min(whole, start + each) - start) / whole
            return Task(
                name,
                place // each,
                lambda counted: self._make(Wanted(row, name, place % self._slots, share, counted)),
            )

        tasks = [task(place) for place in places]
        for one, made in zip(tasks, Runner(self._voices, tasks, self._config.seed, self._watching).run(), strict=True):
            if isinstance(made.row, UserError):
                self._rejected += 1
                made = Made(_of(made.row, one.name), made.took)
            yield made

    def account(self, took: Counter[str]) -> dict[str, Any]:
        """Return who was asked, how much it took whoever paid for it when, and what the steps have counted.

        A request that two rows share counts for both.
        """
        asked = {part: self._asked(part, took) for part in self._speakers}
        known = {f"{part}." for part in self._speakers}
        counted = {name: number for name, number in took.items() if not any(name.startswith(part) for part in known)}
        found = dict(sorted(counted.items())) if self._statistics is None else self._statistics(counted)
        return {"prompts": self._sheet.hash, "asked": asked} | ({"counted": found} if found else {})

    def _asked(self, part: str, took: Counter[str]) -> dict[str, Any]:
        options = self._speakers[part]
        names = ("requests", "refused_replies", "repaired_replies", "tokens_in", "tokens_out")
        numbers = {name: took[f"{part}.{name}"] for name in names}
        cost = None
        server = getattr(options.engine.options, "server", None)
        if server is not None and (server.price_in or server.price_out):
            cost = round(server.cost(numbers["tokens_in"], numbers["tokens_out"]), 6)
        return {"model": name_of(options), "sampler": sampler_of(options), **numbers, "cost": cost}

    def _clients(self) -> list[Client]:
        voices = (self._voices or {}).values()
        return list({id(voice.client): voice.client for voice in voices if voice.client is not None}.values())

    def spent(self) -> dict[str, Any]:
        """Return what this start asked of servers, and what it found in the cache."""
        spent = [client.spent for client in self._clients()]
        names = ("answered", "cached", "tokens_in", "tokens_out", "retried", "rejected", "repaired", "failed")
        numbers: dict[str, Any] = {name: sum(getattr(one, name) for one in spent) for name in names}
        numbers["cached_from_elsewhere"] = sum(one.elsewhere.total() for one in spent)
        return {"this_start": numbers | {"paid": sum(one.paid for one in spent)}} if spent else {}

    def status(self) -> str:
        """Say it in a few words."""
        asked = [brief([client.spent for client in clients])] if (clients := self._clients()) else []
        return ", ".join([*asked, f"{self._rejected:,} rejected"])

    def watch(self, ahead: Callable[[float], None]) -> None:
        """Tell how many rows are made beyond those that were handed over."""
        self._watching = ahead

    def close(self) -> None:
        """Wait for what is under way, close the connections, and say what was spent."""
        clients = self._clients()
        try:
            close_all(clients)
        finally:
            for client in clients:
                console.say(f"{client.server.model}: {client.spent.text()}")


def _of(error: UserError, name: str) -> Rejected:
    """Return why a row is not made, with its name."""
    if not isinstance(error, Rejected):
        error = Rejected(error.given, **({"expected": error.expected} if error.expected else {}))
    error.facts = {"id": name, **error.facts}
    return error


def _corpus(source: Source) -> Iterator[str]:
    """Yield the questions of the source."""
    dataset = open_dataset(source.path)
    for split in split_sizes(source):
        for sample in dataset.samples(split):
            yield sample.question
