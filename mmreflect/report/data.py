"""Reading what evaluations, trainings and builds wrote into the plain values that the page shows.

What is not there yet is left empty.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mmreflect.answers.intervals import Interval, interval_of
from mmreflect.answers.spec import spec_of
from mmreflect.data.store import PART
from mmreflect.data.survey import ROWS_PER_KIND, SplitSurvey, survey_split
from mmreflect.files import read_json
from mmreflect.records import Author, Media, Part, Score, Stop, media_from_json
from mmreflect.reflection.ledger import Entry, Ledger, entry, ledger_from_json
from mmreflect.report.folders import Folder, named, rows_of
from mmreflect.report.text import Segment


@dataclass(frozen=True, slots=True)
class Choice:
    """The part of a video that an answer chose.

    Attributes:
        segment: None where the answer names none that is valid; `problem` says why.
        event: the part that the reference knows to be right, or None.
        whole: start and end of what could be chosen from, most often 0 and the video's length; None where nobody noted
            it. All three are in seconds of the file.
    """

    segment: Interval | None
    event: Interval | None
    whole: Interval | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One recorded answer with its place in the ledger.

    Attributes:
        media: everything that was shown, in order.
        choice: None where the environment asked for no part of a video.
        probes: answers to questions on the side, by name.
        draw: which of the question's answers it is.
        text: what the model said.
        known: what is known about the question beside its reference.
    """

    id: str
    question: str
    media: list[Media]
    gold: str | None
    stop: str
    entry: Entry
    segments: list[Segment]
    choice: Choice | None = None
    probes: dict[str, str] = field(default_factory=dict)
    draw: int = 0
    text: str = ""
    known: dict[str, Any] = field(default_factory=dict)


def ledger_of(run: Folder) -> Ledger | None:
    """Return the ledger of a finished evaluation."""
    if not run.result or "ledger" not in run.result:
        return None
    with named(run.path / "result.json"):
        return ledger_from_json(run.result["ledger"])


def answers_of(run: Folder) -> list[Answer]:
    """Return the answers of an evaluation, in the order in which they were asked."""
    file = run.path / "samples.jsonl"
    with named(file):
        return [_answer(row) for row in rows_of(file)]


def _answer(row: dict[str, Any]) -> Answer:
    known = Entry(**{name: row[name] for name in Entry.__dataclass_fields__})
    segments = _segments(row.get("segments")) or [Segment("model", "", row["text"])]
    media = _media(row)
    return Answer(
        str(row["id"]),
        row["question"],
        media,
        row["gold"],
        row.get("stop", "eos"),
        known,
        segments,
        _choice(row.get("facts"), row.get("sample_facts") or {}, media),
        row.get("probes") or {},
        int(row.get("draw") or 0),
        row.get("text") or "",
        row.get("sample_facts") or {},
    )


def _media(row: dict[str, Any]) -> list[Media]:
    return [media_from_json(item) for item in row.get("media") or []]


def _choice(facts: dict[str, Any] | None, known: dict[str, Any], media: Sequence[Media]) -> Choice | None:
    """Read what a rollout's facts and its question's say of a chosen part; None where none was asked for."""
    if not facts or "segment" not in facts:
        return None
    segment, event = interval_of(facts["segment"]), interval_of(known.get("gt_interval"))
    return Choice(segment, event, whole_of(facts, media) or whole_of(known, media), str(facts.get("problem") or ""))


def whole_of(facts: dict[str, Any], media: Sequence[Media]) -> Interval | None:
    """Return start and end of a question's video by the duration in its facts; a question may be about a part of it."""
    duration = facts.get("duration")
    if not isinstance(duration, int | float) or isinstance(duration, bool) or not 0 < duration < math.inf:
        return None
    span = media[0].span if media else None
    if span and abs(span[1] - span[0] - duration) < 0.1:
        return span
    return (0.0, float(duration))


def _segments(rows: list[dict[str, str]] | None) -> list[Segment]:
    return [Segment(row["author"], row["stage"], row["text"]) for row in rows or []]


@dataclass(frozen=True, slots=True)
class KeptRollout:
    """A rollout of a training step; `entry` reads its text the way the ledger does. For the others see `Answer`."""

    segments: list[Segment]
    score: Score | None
    stop: str
    entry: Entry
    media: list[Media]
    choice: Choice | None
    probes: dict[str, str]


@dataclass(frozen=True, slots=True)
class KeptGroup:
    """All rollouts of one question in one step; `media` are the question's own."""

    sample_id: str
    question: str
    media: list[Media]
    gold: str | None
    rollouts: list[KeptRollout]


def rounds_of(run: Folder) -> list[tuple[int, list[KeptGroup]]]:
    """Return the kept groups of a training run by step."""
    found = []
    for file in sorted(run.path.glob("rollouts/step-*.json")):
        with named(file):
            found.append((int(file.stem.removeprefix("step-")), [_group(row) for row in read_json(file)]))
    return found


def _group(row: dict[str, Any]) -> KeptGroup:
    facts = row.get("sample_facts") or {}
    rollouts = [_rollout(item, row["gold"], facts) for item in row["rollouts"]]
    return KeptGroup(str(row["sample_id"]), row["question"], _media(row), row["gold"], rollouts)


def _rollout(row: dict[str, Any], gold: str | None, facts: dict[str, Any]) -> KeptRollout:
    segments = _segments(row["segments"])
    said = "".join(segment.text for segment in segments if segment.author != Author.ENVIRONMENT)
    score = row.get("score")
    if score is not None:
        parts = {name: Part(**part) for name, part in score["parts"].items()}
        score = Score(**{**score, "parts": parts})
    known = entry(said, gold, 0, spec=spec_of(facts))
    media = _media(row)
    choice = _choice(row.get("facts"), facts, media)
    return KeptRollout(segments, score, row.get("stop", str(Stop.EOS)), known, media, choice, row.get("probes") or {})


@dataclass(frozen=True, slots=True)
class DatasetView:
    """What a build wrote; complete only when its manifest is.

    Attributes:
        manifest: empty until the build is finished.
        rejects: the rows that were left out, by reason, the most frequent first.
        planned: how many rows were asked for, where the configuration says so.
        part: `1/4` where this is a finished part of a dataset alone, empty otherwise.
    """

    splits: list[SplitSurvey]
    manifest: dict[str, Any]
    rejects: list[tuple[str, list[dict[str, Any]]]]
    planned: int | None
    part: str = ""

    @property
    def complete(self) -> bool:
        """Whether the build is finished."""
        return bool(self.manifest)

    @property
    def rejected(self) -> int:
        """How many rows were left out."""
        return sum(len(rows) for _, rows in self.rejects)


def dataset_of(run: Folder, each: int = ROWS_PER_KIND) -> DatasetView:
    """Return what the splits of a dataset hold, what was rejected, and how far an unfinished build is.

    Args:
        each: rows of each kind of each split that are drawn.
    """
    file = run.path / "manifest.json"
    manifest: dict[str, Any] = {}
    part: dict[str, Any] = {}
    if file.is_file():
        with named(file):
            manifest = read_json(file)
            files = _files_of(manifest)
    elif (run.path / PART).is_file():
        with named(run.path / PART):
            part = read_json(run.path / PART)
            files = _files_of(part)
    else:
        folders = [item for item in sorted(run.path.iterdir()) if item.is_dir() and item.name not in _NO_SPLITS]
        files = {item.name: [f"{item.name}/{shard.name}" for shard in sorted(item.glob("*.jsonl"))] for item in folders}
    seed = run.config.get("seed")
    drawn = seed if isinstance(seed, int) else 0
    splits = [survey_split(run.path, name, shards, drawn, each) for name, shards in files.items() if shards]
    rejects: dict[str, list[dict[str, Any]]] = {}
    for shard in sorted(run.path.glob("rejects/*.jsonl")):
        for row in rows_of(shard):
            rejects.setdefault(str(row.get("reason", "")), []).append(row)
    sizes = run.config.get("splits")
    counts = list(sizes.values()) if isinstance(sizes, dict) else []
    planned = sum(counts) if counts and all(isinstance(count, int) for count in counts) else None
    reasons = sorted(rejects.items(), key=lambda item: (-len(item[1]), item[0]))
    return DatasetView(splits, manifest, reasons, planned, str(part.get("part", "")))


_NO_SPLITS = ("media", "rejects", "account", "marks")


def _files_of(told: dict[str, Any]) -> dict[str, list[str]]:
    return {name: [str(shard["file"]) for shard in item["shards"]] for name, item in told["splits"].items()}


def word(value: object) -> str:
    """Return a fact's value as the page writes it."""
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
