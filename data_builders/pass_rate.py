"""How often does a model answer each question right? Several rollouts each, and a choice of questions by that.

    mmreflect build configs/build/pass_rate.yaml source.path=outputs/mine model=outputs/sft/model

Any environment and any engine; an answer is graded by the project's verifier. A row gets the facts `pass_rate` (right
ones among those that could be graded), `passes`, `rollouts`, `ungraded`, `cut` (ended at the limit of tokens), the
unbiased `pass_at` where asked for, and `level`. What is left out is a reject with the same facts.

What the papers choose by:

- VL-Rethinker (arXiv 2504.08837, appendix A): for each size of model the questions with a pass rate above 0 in 8 tries
  of its initial checkpoint: about 16,000 of ViRL39K for 7B, 20,000 for 32B and 72B. Questions that are always right
  stay. `known: PassRate_7BBase` takes the rate from the release in place of asking; what it writes where there is none
  could not be verified: a missing, negative or not-a-number value counts as not known.
- Glance-or-Gaze (arXiv 2601.13942): about half right is level 1, mostly failed is level 2, training is on level 2
  alone; 4 tries. Where 1 and 3 right of 4 belong is not said: ours is below a half, and from a half on.
- SimpleRL-Zoo (arXiv 2503.18892), generalised: 0.2 to 0.8 for weak starts, above 0 to 0.6 for strong ones, 8 tries;
  these limits are not verified.
- 1-shot RLVR (arXiv 2504.20571): the `top` questions by the variance of their accuracy over a short training
  (`history`: its run, or datasets of this builder made with several checkpoints).

From 8 tries without a right one no more follows than a pass rate below 0.312 (95 %): such a question is hard, and
not known to be unsolvable.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from mmreflect import console
from mmreflect.building import Example, Made, Maker, Rejected
from mmreflect.components import EngineOption, EnvironmentOption, default
from mmreflect.config import config as config_class
from mmreflect.data.store import Row
from mmreflect.errors import UserError, nearest
from mmreflect.evaluation.accuracies import accuracies_of, marks_of, variance
from mmreflect.evaluation.asking import Source, carried, rows_of, split_sizes
from mmreflect.evaluation.rating import RatingMaker, Tally
from mmreflect.evaluation.speaking import check_speaker, speaker_mark, subject_of
from mmreflect.files import content_mark
from mmreflect.models import ModelOption
from mmreflect.quality import EXEMPTIBLE
from mmreflect.records import Count, FrameSampling
from mmreflect.rollouts.actions import Sampling
from mmreflect.statistics import pass_at_k

__all__ = ["EXEMPT", "Config", "describe", "inputs", "open_maker", "splits"]

EXEMPT = {"*": EXEMPTIBLE}  # rows stay as their source has them, which checked them its own way

Share = Annotated[float, Field(ge=0, le=1)]


@config_class
class Range:
    """Pass rates from `at_least` or above `above`, to `at_most` or below `below`; without any of them all."""

    at_least: Share | None = None
    above: Share | None = None
    at_most: Share | None = None
    below: Share | None = None

    def __post_init__(self) -> None:
        """Check the limits against each other.

        Raises:
            ValueError: two limits stand on one side, or nothing lies between them.
        """
        for one, other in (("at_least", "above"), ("at_most", "below")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"{one} and {other} are both given; keep one of them")
        low = self.at_least if self.at_least is not None else self.above
        high = self.at_most if self.at_most is not None else self.below
        closed = self.at_least is not None and self.at_most is not None
        if low is not None and high is not None and (low > high or (low == high and not closed)):
            raise ValueError(f"no pass rate is {self}; correct the limits")

    def holds(self, rate: float) -> bool:
        """Tell whether a pass rate is inside."""
        return (
            (self.at_least is None or rate >= self.at_least)
            and (self.above is None or rate > self.above)
            and (self.at_most is None or rate <= self.at_most)
            and (self.below is None or rate < self.below)
        )

    def __str__(self) -> str:
        """Say it in words."""
        given = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        return " and ".join(f"{word} {limit:g}" for word, limit in given.items() if limit is not None) or "any"


@config_class
class Config:
    """What to ask, and which questions to keep.

    Attributes:
        model: the checkpoint that will be trained; None where the engine speaks with one behind a server.
        environment: how a question is put: the one of the training.
        rollouts: of each question, at `temperature`.
        max_new_tokens: limit of one reply; `budget`: of a whole rollout, None is `max_new_tokens`.
        known: a fact of the rows that holds their pass rate: nobody is asked.
        history: the same questions' accuracies over time: datasets of this builder, in order of their checkpoints, or
            training runs that kept all rollouts; nobody is asked. `pass_rate` is then the mean.
        signal: the part of a training's score that says whether a rollout is right.
        top: of `history`, how many questions of the greatest variance are kept, none of variance 0; None keeps all.
        keep: pass rates that are kept.
        levels: names for pass rates; the first that holds is the fact `level`.
        keep_levels: levels that are kept; empty keeps all rows.
        pass_at: for which k the unbiased pass@k is a fact, too.
        min_graded: rollouts that must have a verdict.
        unanswered: what becomes of a rollout that an engine could not answer: `stop` ends the build, which goes on from
            there when it is started again, also with `reject`, which counts it as not graded. One that a server has
            refused, or whose reply it has withheld, is not graded: asking again would bring the same.
        min_pixels, max_pixels, frames: how pictures and clips are shown to a model loaded here.
        batch_size: questions that are asked at once.
        media: copy the videos, or link to the source's.
    """

    output: str
    source: Source
    model: ModelOption | None = None
    engine: EngineOption = Field(default_factory=lambda: default("engine", "transformers"))
    environment: EnvironmentOption = Field(default_factory=lambda: default("environment", "single_turn"))
    rollouts: Count = 8
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    max_new_tokens: Count = 2048
    budget: Count | None = None
    known: str | None = None
    history: list[str] = Field(default_factory=list)
    signal: str = "accuracy"
    top: Count | None = None
    keep: Range = Field(default_factory=Range)
    levels: dict[str, Range] = Field(default_factory=dict)
    keep_levels: list[str] = Field(default_factory=list)
    pass_at: list[Count] = Field(default_factory=list)
    min_graded: Count = 1
    unanswered: Literal["stop", "reject"] = "stop"
    min_pixels: Count | None = None
    max_pixels: Count | None = None
    frames: FrameSampling = Field(default_factory=FrameSampling)
    batch_size: Count = 64
    media: Literal["copy", "link"] = "copy"
    seed: int = 0
    shard_rows: Count = 1000

    def __post_init__(self) -> None:
        """Check the options against each other.

        Raises:
            ValueError: rates come from two places, an option has nothing to work on, a level is unknown, or greedy
                rollouts would all be the same.
        """
        if self.known is not None and self.history:
            raise ValueError("known and history both say where pass rates come from; keep one of them")
        if self.top is not None and not self.history:
            raise ValueError("top goes by the variance over `history`, which is empty; name what was rated or trained")
        for name in self.keep_levels:
            if name not in self.levels:
                close = nearest(name, self.levels) or ", ".join(self.levels) or "none is defined"
                raise ValueError(f"keep_levels names {name!r}, which is no level; did you mean: {close}?")
        if not self.asks:
            given = [name for name in ("model", "budget", "pass_at") if getattr(self, name)]
            given += ["engine"] if self.engine.name != "transformers" else []
            if given:
                raise ValueError(f"{' and '.join(given)} is set, and nobody is asked; remove it, or known and history")
            return
        if self.rollouts > 1 and self.temperature == 0:
            raise ValueError(f"rollouts={self.rollouts} at temperature=0 would all be the same; set a temperature")
        if max([self.min_graded, *self.pass_at]) > self.rollouts:
            raise ValueError(f"min_graded and pass_at go up to rollouts={self.rollouts}; raise it, or lower them")

    @property
    def asks(self) -> bool:
        """Whether a model is asked."""
        return self.known is None and not self.history

    @property
    def sampling(self) -> Sampling:
        """How the model speaks."""
        drawn = self.temperature > 0
        top_p, top_k = (self.top_p, self.top_k) if drawn else (1.0, 0)
        return Sampling(self.temperature, top_p, top_k, self.max_new_tokens, self.budget)


def inputs(config: Config) -> dict[str, str]:
    """Return marks of what the dataset is made from."""
    source = {"source": content_mark(f"{config.source.path}/manifest.json")}
    asked = {"model": speaker_mark(config.engine, config.model)} if config.asks else {}
    return source | asked | marks_of(config.history)


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split has; check what can be known before anything is loaded or asked.

    Raises:
        UserError: there is no such dataset or split, or the model or the engine cannot be used.
    """
    if config.asks:
        check_speaker(config.engine, config.model, config)
    return split_sizes(config.source)


def describe(config: Config) -> dict[str, str]:
    """Say in the plan where pass rates come from, and what is kept."""
    kept = f"pass rate {config.keep}"
    kept += f", {' and '.join(config.keep_levels)} alone" if config.keep_levels else ""
    if config.history:
        many = f"the {config.top} of greatest variance" if config.top else "every variance"
        return {"source": config.source.path, "accuracies": ", ".join(config.history), "kept": f"{kept}, {many}"}
    if config.known is not None:
        return {"source": config.source.path, "rates": f"facts.{config.known}", "kept": kept}
    who = subject_of(config.engine, config.model)["path"]
    how = f"{config.rollouts} rollouts at temperature {config.temperature:g}, at most {config.max_new_tokens:,} tokens"
    return {"source": config.source.path, "model": f"{who}, {how}", "kept": kept}


def open_maker(config: Config) -> Maker:
    """Return what makes the rows."""
    if not config.asks:
        return _Reading(config)

    def rated(row: Row, tally: Tally, took: Counter[str]) -> Example:
        facts = tally.facts()
        if config.pass_at:
            facts["pass_at"] = {str(k): tally.at(k) for k in config.pass_at}
        if tally.rate is None or tally.graded < config.min_graded:
            took["not rated"] += 1
            why = f"; {tally.refused}" if tally.refused else ""
            raise Rejected("too few rollouts could be graded", f"{tally.graded} of {tally.rollouts}{why}", **facts)
        took[f"{tally.passes}/{tally.graded}"] += 1
        return _chosen(config, row, tally.rate, facts, took)

    return RatingMaker(config, rated, lambda took: _account(config, took))


def _chosen(config: Config, row: Row, rate: float, facts: dict[str, Any], took: Counter[str]) -> Example:
    """Return a row with its facts.

    Raises:
        Rejected: its pass rate is not among those that are kept.
    """
    level = _level(config, rate)
    if config.levels:
        facts = {**facts, "level": level}
        took[f"level {level}"] += 1
    if not config.keep.holds(rate):
        raise Rejected(f"the pass rate is not {config.keep}", **facts)
    if config.keep_levels and level not in config.keep_levels:
        raise Rejected(f"not of {' or '.join(config.keep_levels)}", **facts)
    return carried(row, config.source, facts, config.media == "link")


def _account(config: Config, took: Counter[str]) -> dict[str, Any]:
    """Return the pass rates of all questions, kept or not, for the manifest."""
    tallies = {name: count for name, count in took.items() if "/" in name}
    found: dict[str, Any] = {"questions": sum(tallies.values()), "not_rated": took["not rated"]}
    found["right"] = dict(sorted(tallies.items(), key=lambda item: [int(part) for part in item[0].split("/")][::-1]))
    if config.levels:
        found["levels"] = {str(name): took[f"level {name}"] for name in [*config.levels, None]}
    whole = {int(name.split("/")[0]): n for name, n in tallies.items() if name.endswith(f"/{config.rollouts}")}
    rated = sum(whole.values())
    found["pass_at_k"] = {
        str(k): round(sum(n * pass_at_k(config.rollouts, right, k) for right, n in whole.items()) / rated, 6)
        for k in sorted({1, *config.pass_at, config.rollouts})
        if rated
    }
    return {"pass_rate": found}


class _Reading:
    """Makes rows whose pass rates are known."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._accuracies = accuracies_of(config.history, config.signal) if config.history else {}
        self._top = None if config.top is None else _top(config, self._accuracies, config.top)
        if self._top is not None and config.top is not None and len(self._top) < config.top:
            console.say(f"[yellow]of top={config.top} only {len(self._top)} have a variance above 0[/] and are kept")

    def make(self, split: str, places: Sequence[int]) -> Iterator[Made]:
        rows = rows_of(self._config.source, split)
        for place in places:
            row, took = rows[place], Counter[str]()
            try:
                made: Example | UserError = self._one(row, took)
            except UserError as error:
                made = error if isinstance(error, Rejected) else Rejected(error.given)
                made.facts = {"id": str(row.get("id", "?")), **made.facts}
            yield Made(made, took)

    def _one(self, row: Row, took: Counter[str]) -> Example:
        config, name = self._config, str(row.get("id"))
        if config.known is not None:
            rate = _known(row, config.known)
            return _chosen(config, row, rate, {"pass_rate": rate}, took)
        accuracies = self._accuracies.get(name, [])
        if len(accuracies) < 2:
            raise Rejected("fewer than two accuracies are known", accuracies=accuracies)
        rate = sum(accuracies) / len(accuracies)
        facts: dict[str, Any] = {"pass_rate": rate, "accuracies": accuracies, "variance": variance(accuracies)}
        made = _chosen(config, row, rate, facts, took)
        if self._top is not None and len(set(accuracies)) == 1:
            raise Rejected("the accuracy never changes: its variance is 0", "", **facts)
        if self._top is not None and name not in self._top:
            raise Rejected(f"not among the {config.top} of greatest variance", "", **facts)
        return made

    def account(self, took: Counter[str]) -> dict[str, Any]:
        levels = {str(name): took[f"level {name}"] for name in [*self._config.levels, None]}
        return {"pass_rate": {"levels": levels}} if self._config.levels else {}

    def spent(self) -> dict[str, Any]:
        return {}

    def status(self) -> str:
        return ""

    def close(self) -> None:
        pass


def _top(config: Config, accuracies: dict[str, list[float]], most: int) -> set[str]:
    """Return the questions of the source with the greatest variance among those that are kept; ties go by name.

    A question whose accuracy never changes teaches nothing here, and is not chosen, however few there are.
    """
    ranked = []
    for split in split_sizes(config.source):
        for row in rows_of(config.source, split):
            own = accuracies.get(str(row.get("id")), [])
            if len(own) < 2:
                continue
            rate = sum(own) / len(own)
            level = _level(config, rate)
            if (
                len(set(own)) > 1
                and config.keep.holds(rate)
                and (not config.keep_levels or level in config.keep_levels)
            ):
                ranked.append((-variance(own), str(row["id"])))
    return {name for _, name in sorted(ranked)[:most]}


def _level(config: Config, rate: float) -> str | None:
    return next((name for name, limits in config.levels.items() if limits.holds(rate)), None)


def _known(row: Row, name: str) -> float:
    """Return a pass rate that the rows bring.

    Raises:
        Rejected: it is missing, or no share.
    """
    value = (row.get("facts") or {}).get(name)
    known = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value) and value >= 0
    if value is not None and known and value > 1:
        raise Rejected(f"facts.{name} is no share", f"{value:g}")
    if not known:
        raise Rejected(f"facts.{name} is not known", repr(value))
    return float(value)  # type: ignore[arg-type]


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
