"""How often a model answers a question right: several rollouts each, graded by the verifier, shard by shard."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

from mmreflect import console
from mmreflect.answers.grade import verify
from mmreflect.answers.spec import spec_of
from mmreflect.building import Example, Made, Rejected
from mmreflect.config import Component
from mmreflect.data.store import Row, open_dataset, sample_from_row
from mmreflect.errors import UserError
from mmreflect.evaluation.asking import Found, Source, ask_each, rows_of, split_sizes
from mmreflect.evaluation.speaking import Speaker, open_speaker
from mmreflect.models import ModelConfig
from mmreflect.records import FrameSampling, Group, Rollout, Sample, Stop
from mmreflect.remote.spending import brief
from mmreflect.rollouts.actions import Engine, Sampling
from mmreflect.rollouts.rounds import noted
from mmreflect.statistics import pass_at_k


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the rollouts of one question.

    Attributes:
        passes: right ones.
        graded: those with a verdict; the others could not be graded, which is never the same as wrong.
        rollouts: all of them.
        cut: those that ended at the limit of tokens, graded as they stand.
        refused: why a server has refused or withheld one, where it has; such a rollout has no verdict.
    """

    passes: int
    graded: int
    rollouts: int
    cut: int = 0
    refused: str | None = None

    @property
    def rate(self) -> float | None:
        """The share of right ones among those with a verdict; None where there is none."""
        return self.passes / self.graded if self.graded else None

    def at(self, k: int) -> float | None:
        """Return the unbiased pass@k (arXiv 2505.14216); None where fewer than `k` have a verdict."""
        return pass_at_k(self.graded, self.passes, k) if k <= self.graded else None

    def facts(self) -> dict[str, Any]:
        """Return what a row or a reject says of it."""
        ungraded = self.rollouts - self.graded
        counts = {"passes": self.passes, "rollouts": self.rollouts, "ungraded": ungraded, "cut": self.cut}
        return {"pass_rate": self.rate, **counts}


def tally(group: Group) -> Tally:
    """Grade the rollouts of a group by the answer that each ends on."""
    spec = spec_of(group.sample.facts)
    verdicts = [
        None if rollout.stop is Stop.ERROR else verify(rollout.text, group.sample.gold, spec).passed
        for rollout in group.rollouts
    ]
    cut = sum(rollout.stop in (Stop.LENGTH, Stop.BUDGET) for rollout in group.rollouts)
    refused = next((reason for rollout in group.rollouts if (reason := noted(rollout.facts).get("refused"))), None)
    graded = sum(item is not None for item in verdicts)
    return Tally(sum(item is True for item in verdicts), graded, len(verdicts), cut, refused)


class Rating(Protocol):
    """What a builder that rates questions is configured by; a configuration is frozen, and so are these."""

    @property
    def source(self) -> Source: ...
    @property
    def model(self) -> ModelConfig | None: ...
    @property
    def engine(self) -> Component: ...
    @property
    def environment(self) -> Component: ...
    @property
    def rollouts(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def unanswered(self) -> str: ...
    @property
    def min_pixels(self) -> int | None: ...
    @property
    def max_pixels(self) -> int | None: ...
    @property
    def frames(self) -> FrameSampling: ...
    @property
    def seed(self) -> int: ...
    @property
    def shard_rows(self) -> int: ...
    @property
    def sampling(self) -> Sampling:
        """How the model speaks."""


Rated = Callable[[Row, Tally, Counter[str]], Example]
"""From a row and its tally to what is kept of it, or a `UserError`; counts for the manifest."""


class RatingMaker:
    """Makes rows by asking each question several times.

    A batch is always the same rows of one shard, so that a killed build goes on to the same ones.

    Args:
        account: what the manifest says of the numbers that `rated` has counted.
    """

    def __init__(self, config: Rating, rated: Rated, account: Callable[[Counter[str]], dict[str, Any]]) -> None:
        self._config, self._rated, self._account = config, rated, account
        self._speaker: Speaker | None = None
        self._rejected = 0

    def make(self, split: str, places: Sequence[int]) -> Iterator[Made]:
        """Yield the rows of these places in order.

        Raises:
            UserError: a rollout was not answered, and the configuration says to stop then.
        """
        for _, shard in groupby(places, key=lambda place: place // self._config.shard_rows):
            own = list(shard)
            for start in range(0, len(own), self._config.batch_size):
                yield from self._batch(split, own[start : start + self._config.batch_size])

    def _batch(self, split: str, places: Sequence[int]) -> Iterator[Made]:
        rows = [rows_of(self._config.source, split)[place] for place in places]
        for row, found in zip(rows, self._asked(rows), strict=True):
            took = Counter[str]()
            try:
                made: Example | UserError = self._one(row, found, took)
            except UserError as error:
                made = error if isinstance(error, Rejected) else Rejected(error.given)
                made.facts = {"id": str(row.get("id", "?")), **made.facts}
                self._rejected += 1
            yield Made(made, took)

    def _one(self, row: Row, found: Found, took: Counter[str]) -> Example:
        if isinstance(found, UserError):
            raise found
        assert found is not None
        return self._rated(row, tally(found), took)

    def _asked(self, rows: Sequence[Row]) -> list[Found]:
        batch = [_sample(row, self._config.source) for row in rows]
        sound = [item for item in batch if isinstance(item, Sample)]
        config, engine = self._config, self._open().engine
        environment = config.environment.module.create(config.environment.options)
        answers = iter(ask_each(engine, environment, sound, config.rollouts, config.sampling, config.seed))
        found: list[Found] = [next(answers) if isinstance(item, Sample) else item for item in batch]
        self._refuse_silence(found)
        return found

    def _refuse_silence(self, found: Iterable[Found]) -> None:
        """Raise before anything of a batch is handed over where a rollout was not answered."""
        if self._config.unanswered != "stop":
            return
        for one in found:
            silent = sum(map(_unanswered, one.rollouts)) if isinstance(one, Group) else 0
            if isinstance(one, Group) and silent:
                raise UserError(
                    f"row {one.id!r}: {silent} of {console.count(len(one.rollouts), 'rollout')} were not answered",
                    "an answer to every request",
                    "start the same again, which asks for what is missing; with unanswered=reject it goes on, and such "
                    "rollouts count as not graded",
                )

    def _open(self) -> Speaker:
        if self._speaker is None:
            config = self._config
            self._speaker = open_speaker(config.engine, config.model, config, questions_of(config.source), config.seed)
        return self._speaker

    def account(self, took: Counter[str]) -> dict[str, Any]:
        """Return what the builder says of the numbers that were counted."""
        return self._account(took)

    def spent(self) -> dict[str, Any]:
        """Return what this start asked of a server; nothing where there is none."""
        spent = getattr(self._client(), "spent", None)
        if spent is None:
            return {}
        names = ("answered", "cached", "tokens_in", "tokens_out", "retried", "failed", "paid")
        return {"this_start": {name: getattr(spent, name) for name in names}}

    def status(self) -> str:
        """Say it in a few words."""
        client = self._client()
        lines = [] if client is None else [brief([client.spent])]
        return ", ".join([*lines, f"{self._rejected:,} rejected"])

    def close(self) -> None:
        """Close the connections."""
        client = self._client()
        if client is not None:
            client.close()

    def _client(self) -> Any:
        engine: Engine | None = self._speaker.engine if self._speaker is not None else None
        return getattr(engine, "client", None)


def questions_of(source: Source) -> Iterator[str]:
    """Yield the questions of a source."""
    dataset = open_dataset(source.path)
    for split in split_sizes(source):
        for sample in dataset.samples(split):
            yield sample.question


def _unanswered(rollout: Rollout) -> bool:
    """Tell whether a server did not answer; one that has refused would refuse again."""
    return rollout.stop is Stop.ERROR and "error" not in rollout.facts and "refused" not in noted(rollout.facts)


def _sample(row: Row, source: Source) -> Sample | UserError:
    try:
        return sample_from_row(row, source.folder)
    except UserError as error:
        return error
