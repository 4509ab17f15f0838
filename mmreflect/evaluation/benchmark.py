"""What a benchmark is: where its rows lie, how a row becomes a question, and how answers are scored and counted.

A leaf of `eval/` states one as `BENCHMARK = Benchmark(...)`. Its rules read text alone, so that recorded responses are
scored without a model or pictures (`rescore`), and a run over a model scores with the same ones.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mmreflect.errors import UserError, nearest
from mmreflect.records import Media, Turn

if TYPE_CHECKING:
    from mmreflect.evaluation.judge import Judge

Kind = Literal["text", "integer", "number", "flag", "list", "mapping", "picture", "any"]
_TYPES: dict[Kind, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "flag": (bool, int),
    "list": (list, tuple),
    "mapping": (dict,),
}


class Row(dict[str, Any]):
    """A row of a release or of a result file; a key that is not there is named.

    Raises:
        MissingField: on `row[key]` where there is no such key.
    """

    def __missing__(self, key: str) -> Any:
        raise MissingField(key)

    def first(self, *keys: str) -> Any:
        """Return the value of the first of these keys that the row has.

        Raises:
            MissingField: it has none of them.
        """
        for key in keys:
            if key in self:
                return self[key]
        raise MissingField(*keys)


class MissingField(KeyError):
    """A row lacks every one of these fields, which a rule needs."""

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.names = names


class BadField(ValueError):
    """A row's field holds what the benchmark never puts there; the message says what."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the release: its name, what it holds, and whether it may be null."""

    name: str
    kind: Kind
    null: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rows come from: a Hub dataset, or a local folder or file of the same columns.

    Attributes:
        hub: the name of the dataset there; empty where it is only given out as files.
        configs: its configurations, the headline's first; empty where it has only a default one.
        splits: its splits, the headline's first.
        hidden: splits whose answers are not published.
        files: what lies beside the rows (videos, subtitles), as paths in the dataset.
        headline: the configurations that the headline number is made of; empty: all.
        hubs: splits that lie in a dataset of their own.
        annotations: the files with a split's rows, where they are no tables named after it: patterns by split (`*` for
            any), in which `{config}` and `{split}` stand for the names.
        beside: a JSON file that all rows of a split refer to, by its name.
        frames_fps: the rate of videos that are given out as folders of frames.
    """

    hub: str
    splits: tuple[str, ...]
    configs: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    headline: tuple[str, ...] = ()
    hubs: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beside: str = ""
    frames_fps: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record of a release stands.

    Attributes:
        config, split: the part that it belongs to; empty where the benchmark has only one configuration.
        key: its key, where its file is a mapping.
        number: how many records of this part stand before it.
        beside: what the file `Source.beside` holds.
    """

    config: str
    split: str
    key: str
    number: int
    beside: Any = None


class LeftOutError(Exception):
    """A record of a release is no question of its benchmark; the text is the reason that is counted."""


@dataclass(frozen=True, slots=True)
class Subtitle:
    """A line of subtitles, shown from `start` to `end` in seconds."""

    start: float
    end: float
    text: str


class Files(Protocol):
    """What turns the media that a row names into ours; a run over a model provides it."""

    max_frames: int
    """How many frames of a video are shown where the prompt itself depends on them."""

    def picture(self, value: Any, name: str) -> Media:
        """Return a picture that a row holds: a decoded one, bytes, or a path; `name` is unique in the benchmark."""

    def video(self, name: str) -> Media:
        """Return a video by its path or stem in the release."""

    def length(self, video: Media) -> tuple[int, float]:
        """Return how many frames a video has, and how many a second."""

    def subtitles(self, name: str) -> Sequence[Subtitle]:
        """Return the lines of a subtitle file; none where the release has none for this video."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question.

    Attributes:
        id: always text.
        turns: the prompt to the letter, media in their places; an assistant turn that stands last is a prefill.
        gold: the reference; None where it is hidden.
        facts: the row's own fields that scoring and breakdown need.
    """

    id: str
    turns: tuple[Turn, ...]
    gold: Any
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Response:
    """What a model answered.

    Attributes:
        given: the value as recorded.
        whole: its text; empty where there was none.
        final: the text without its reasoning: what a rule reads.
    """

    given: Any
    whole: str
    final: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What a rule makes of a response.

    Attributes:
        prediction: the answer that it reads, in the benchmark's form; None for nothing.
        correct: the verdict; None where the rule gives a score, or no reference is known.
        score: for rules with partial credit.
        parsed: whether an answer was found at all.
        guesses: the options that the official code would draw from where nothing was found; empty: it never guesses.
        gold: what a guess is compared with.
        how: where the answer or the verdict came from, counted in the summary.
        approximate: whether a rule stood in for a model that the official protocol asks.
        extra: further fields for the row.
    """

    prediction: Any
    correct: bool | None = None
    score: float | None = None
    parsed: bool = True
    guesses: tuple[str, ...] = ()
    gold: Any = None
    how: str = ""
    approximate: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scored:
    """A row with its reading."""

    row: Row
    reading: Reading

    @property
    def value(self) -> float:
        """What the row adds to a mean: its score, or 1 for a right verdict."""
        return float(self.reading.correct or 0.0) if self.reading.score is None else self.reading.score


Rule = Callable[[Row, Response], Reading]
Breakdown = Callable[[Sequence[Scored]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The fields of a result file, each by its names in order of preference.

    Attributes:
        id: what tells rows apart; none of them: rows are known by their line.
        response: the model's text.
        extraction: the output of an official extractor or judge, which stands in for the response.
        key: the reference; a row without any, or with one of `hidden`, is read but not scored.
        verdict: a recorded verdict, taken over where a row holds neither response nor extraction.
    """

    id: tuple[str, ...] = ("id",)
    response: tuple[str, ...] = ("response",)
    extraction: tuple[str, ...] = ()
    key: tuple[str, ...] = ("answer",)
    hidden: tuple[Any, ...] = (None, "")
    verdict: tuple[str, ...] = ("correct", "true_false")


def value_of(scored: Scored) -> float:
    """Return what a row adds to a mean."""
    return scored.value


@dataclass(frozen=True, slots=True)
class Measure:
    """A main number: the mean of a value over rows, or the unweighted mean of the means of groups.

    Attributes:
        value: what a row adds; None leaves it out of the number.
        over: the group of a row, where the number is a mean over groups; None leaves the row out.
        groups: those that must all be there; without one of them there is no number.
        scale: 100 for numbers in percent.
    """

    value: Callable[[Scored], float | None] = value_of
    over: Callable[[Row], str | None] | None = None
    groups: tuple[str, ...] = ()
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark.

    Attributes:
        columns: the release's columns that we read.
        item: makes a question of a row, in one of `styles` (the first is the headline's prompt).
        rules: how answers are read and judged, by name; `official` is the default.
        breakdown: the scores in the layout and with the denominators of the official score file.
        facets: the fields that the breakdown groups by, dots for nested ones: what a row lacks of them is counted.
        approximate: why the official verdict needs a model that is not asked here; empty where it needs none.
        judge: how that model is asked; None where the protocol needs none.
        cluster: the field, by its names in order of preference, of what questions share (a video, a problem): such
            questions are not independent, and intervals draw them together. Empty where they share nothing.
        measures: the main numbers, with the value that the breakdown gives them; each gets an interval.
        each: what the interval of every group is of; None: the first of the main numbers.
        groupings: the labels of a row by the names of the groupings, where they are others than its facets' fields:
            one, several in a list, or None.
        rows: makes the rows, which have `columns`, of a record of the release where that is no row itself; raises
            `LeftOutError` for a record that is no question. A row without an id is numbered.
    """

    name: str
    source: Source
    columns: tuple[Column, ...]
    item: Callable[[Row, Files, str], Item]
    rules: Mapping[str, Rule]
    breakdown: Breakdown
    recorded: Recorded = Recorded()
    facets: tuple[str, ...] = ()
    styles: tuple[str, ...] = ("official",)
    approximate: str = ""
    judge: "Judge | None" = None
    cluster: tuple[str, ...] = ()
    measures: Mapping[str, Measure] = field(default_factory=lambda: {"accuracy": Measure()})
    each: Measure | None = None
    groupings: Mapping[str, Callable[[Row], Any]] = field(default_factory=dict)
    rows: Callable[[Row, Place], Iterable[Row]] | None = None


def check_row(row: Mapping[str, Any], columns: Sequence[Column], where: str) -> None:
    """Check a row of a release against the columns that are read.

    Raises:
        UserError: a column is missing (the nearest of the others is named), or holds another type.
    """
    for column in columns:
        if column.name not in row:
            known = {item.name for item in columns}
            close = nearest(column.name, [name for name in row if name not in known])
            do = f"rename {close!r}" if close else "check that it is this benchmark's own release"
            raise UserError(f"{where}: column {column.name!r} is missing", ", ".join(sorted(known)), do)
        value = row[column.name]
        if value is None and column.null:
            continue
        types = _TYPES.get(column.kind)
        wrong = value is None if types is None and column.kind == "picture" else types and not isinstance(value, types)
        if wrong or (isinstance(value, bool) and column.kind in ("integer", "number")):
            shown = f"{type(value).__name__} {str(value)[:40]!r}" if value is not None else "null"
            raise UserError(
                f"{where}: column {column.name!r} holds {shown}",
                f"{column.kind}{' or null' if column.null else ''}",
                "check that it is this benchmark's own release, read with its own types",
            )
