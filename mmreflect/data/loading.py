"""Samples for training and evaluation: every one checked, bad ones quarantined, counted and named."""

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mmreflect import console
from mmreflect.answers.grade import reference_problem
from mmreflect.answers.spec import spec_of
from mmreflect.config import config
from mmreflect.data.store import Row, open_dataset, sample_from_row
from mmreflect.errors import UserError, unknown_name
from mmreflect.files import write_jsonl
from mmreflect.media.images import load_media_image
from mmreflect.media.reader import ReaderConfig, use_reader
from mmreflect.media.video import check_video
from mmreflect.records import FrameSampling, Sample

SMALLEST_PIXELS = 28 * 28


@config
class DataConfig:
    """Which samples to use.

    Attributes:
        path: a dataset folder that `mmreflect build` wrote.
        limit: use only the first so many.
        min_pixels, max_pixels: resize limits per picture, as in qwen-vl-utils; None keeps the processor's own.
        max_prompt_tokens: a longer prompt is a bad sample; None sets no limit beside the model's context.
        frames: how videos are sampled and sized that the environment does not sample itself.
        reader: how video files are read: decoder, time limit, cache.
        check: `decode` opens every picture fully before the run, and every video; `exists` only looks for the files,
            and in RL leaves all but the first videos to the step in which their turn comes: one that cannot be read
            then fails its own rollouts.
        tolerate: the largest share of bad samples that may be left out; above it the run refuses to start.
        stream: for training on a set that does not fit: hold places instead of samples, and read and check each one
            when its turn comes. On a set without bad samples the run is the same to the bit. A bad one is counted,
            named, and stood in for by another; more than `tolerate` of the set end the run when they are met.
    """

    path: str
    split: str = "train"
    limit: Annotated[int, Field(gt=0)] | None = None
    min_pixels: Annotated[int, Field(gt=0)] | None = None
    max_pixels: Annotated[int, Field(gt=0)] | None = None
    max_prompt_tokens: Annotated[int, Field(gt=0)] | None = None
    frames: FrameSampling = Field(default_factory=FrameSampling)
    reader: ReaderConfig = Field(default_factory=ReaderConfig)
    check: Literal["decode", "exists"] = "decode"
    tolerate: Annotated[float, Field(ge=0, le=1)] = 0.01
    stream: bool = False

    def __post_init__(self) -> None:
        """Check the pixel limits against each other and against the smallest patch.

        Raises:
            ValueError: they cannot both hold.
        """
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels={self.min_pixels} is above max_pixels={self.max_pixels}; swap them")
        if self.max_pixels is not None and self.max_pixels < SMALLEST_PIXELS:
            raise ValueError(
                f"max_pixels={self.max_pixels} is below one visual token (28x28={SMALLEST_PIXELS}); raise or remove it"
            )


def count_samples(data: DataConfig) -> int:
    """Return how many samples a data block names, by the manifest alone.

    Raises:
        UserError: there is no such dataset, or no such split.
    """
    dataset = open_dataset(data.path)
    if data.split not in dataset.splits():
        raise unknown_name("split", data.split, dataset.splits())
    rows = int(dataset.manifest["splits"][data.split]["rows"])
    return min(rows, data.limit or rows)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A sample that was left out, and why."""

    id: str
    reason: str


def load_samples(
    data: DataConfig, report: Path | None = None, *, need: Literal["answer", "response"] | None = None
) -> list[Sample]:
    """Load and check the samples of a split.

    Args:
        report: where to write the quarantined ones, as JSONL; only written when there are any.
        need: what every sample must have: a gold `answer` for RL and evaluation, a `response` for SFT.

    Raises:
        UserError: the split is empty, the bad samples exceed `data.tolerate` (the first three are named), or the set
            is to be streamed.
    """
    if data.stream:
        raise UserError(
            f"stream is set for {data.path}, and all of its samples are asked", "stream in a training's data alone",
            "remove it; limit uses the first so many rows",
        )  # fmt: skip
    use_reader(data.reader)
    dataset = open_dataset(data.path)
    rows = list(dataset.rows(data.split))[: data.limit]
    if not rows:
        raise UserError(f"split {data.split!r} of {data.path} is empty", "at least one row", "build it with more rows")
    with ThreadPoolExecutor() as pool:
        checked = list(pool.map(lambda row: check_row(row, dataset.path, data.check, need), rows))
    good = [item for item in checked if isinstance(item, Sample)]
    bad = [item for item in checked if isinstance(item, Quarantined)]
    bad += [Quarantined(name, f"id {name!r} stands more than once in the split") for name in _repeated(good)]
    repeated = set(_repeated(good))
    good = [sample for sample in good if sample.id not in repeated]
    if bad:
        tell_bad(bad, len(rows), data, report)
    return good


def check_row(row: Row, folder: Path, check: str, need: str | None) -> Sample | Quarantined:
    """Return a row as a sample, or what is wrong with it.

    Args:
        check, need: as in `DataConfig` and `load_samples`.
    """
    try:
        sample = sample_from_row(row, folder)
        for media in sample.media:
            if not Path(media.path).is_file():
                raise UserError(f"no such {media.kind}: {media.path}", "an existing file")
            if check == "decode":
                load_media_image(media) if media.kind == "image" else check_video(Path(media.path))
        if need == "answer" and not (sample.gold or "").strip():
            raise UserError(f"row {sample.id!r} has no answer", "a reference answer", "add 'answer' to the row")
        if need == "answer" and (problem := reference_problem(sample.gold, spec_of(sample.facts))):
            raise UserError(f"row {sample.id!r}: the reference {sample.gold!r} cannot be graded against ({problem})")
        if need == "response" and not (sample.response or "").strip():
            raise UserError(f"row {sample.id!r} has no assistant turn", "a conversation that ends with one", "add it")
    except UserError as error:
        return Quarantined(str(row.get("id", "?")), error.given)
    return sample


def _repeated(samples: Iterable[Sample]) -> list[str]:
    return [name for name, count in Counter(sample.id for sample in samples).items() if count > 1]


def tell_bad(bad: list[Quarantined], total: int, data: DataConfig, report: Path | None) -> None:
    """Write, print and count bad samples.

    Raises:
        UserError: their share is above `data.tolerate`; the first three are named.
    """
    if report is not None:
        write_jsonl(report, [{"id": item.id, "reason": item.reason} for item in bad])
    first = "".join(f"\n    {item.id}: {item.reason}" for item in bad[:3])
    share = len(bad) / total
    if share > data.tolerate or len(bad) == total:
        raise UserError(
            f"{len(bad)} of {total} samples of {data.path} ({data.split}) are bad ({share:.1%}); the first:{first}",
            f"at most {data.tolerate:.1%} bad (data.tolerate)",
            "repair or remove them, or raise data.tolerate",
        )
    where = f"; all in {report}" if report else ""
    console.say(f"[yellow]left out {console.count(len(bad), 'bad sample')} of {total:,}[/]{where}{first}")
