"""Published video datasets as one dataset: read from local files, mixed, checked, and split by video.

    mmreflect build configs/build/videos_nextqa.yaml
    python -m data_builders.videos configs/build/revisor_data.yaml --plan

A source is a layout (`mmreflect/layouts/`) with where its files lie. The sources are mixed video by video, by the seed;
questions about one video stay together, in the order of their release. What becomes no question is counted by reason in
the plan and in the manifest, and named row by row in `rejects/sources.jsonl`; rows whose video is missing or broken are
quarantined like those of any builder.
"""

import functools
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mmreflect.answers.spec import LETTERS
from mmreflect.building import Example
from mmreflect.components import LayoutOption
from mmreflect.config import Component, parse, to_tree
from mmreflect.config import config as config_class
from mmreflect.errors import UserError
from mmreflect.files import content_mark, to_json
from mmreflect.layouts import Dropped, Question
from mmreflect.media.decoders import choose
from mmreflect.media.video import video_info

TOLERANCE = (2.0, 0.1)
"""A video may differ from its annotated length by so many seconds, or by this share of it: releases were re-encoded."""


@config_class
class Source:
    """One source of the mixture.

    Attributes:
        layout: the release, with where its files lie.
        share: the share of its questions that is drawn.
        limit: at most so many questions; of more, they are drawn by the seed.
    """

    layout: LayoutOption
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    limit: Annotated[int, Field(gt=0)] | None = None


@config_class
class Config:
    """What to build.

    Attributes:
        validation: share of the questions in the validation split; a video stands in one split only.
        media: `link` puts absolute symbolic links in place of copies, for sets that are large.
        check: `decode` opens every video, decodes its first frame and compares its length with the annotated one,
            which needs a decoder; `exists` only looks for the files.
    """

    output: str
    sources: Annotated[list[Source], Field(min_length=1)]
    seed: int = 0
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    media: Literal["copy", "link"] = "copy"
    check: Literal["decode", "exists"] = "decode"
    shard_rows: Annotated[int, Field(gt=0)] = 1000


def inputs(config: Config) -> dict[str, str]:
    """Return what the dataset is made from, so that a changed annotation file is another dataset."""
    return {file: content_mark(file) for file in _files(config)}


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split has."""
    return {split: len(questions) for split, questions in _collected(config).splits.items()}


def describe(config: Config) -> dict[str, str]:
    """Return what each source gives, a line per source."""
    return _collected(config).lines


def left_out(config: Config) -> list[dict[str, Any]]:
    """Return the rows of the sources that became no question, with their reasons."""
    return _collected(config).dropped


def make(config: Config, split: str, index: int) -> Example:
    """Turn a question into an example.

    Raises:
        UserError: its video cannot be read, or is not as long as the annotation says.
    """
    question = _collected(config).splits[split][index]
    paths = [Path(item.path) for item in question.media]
    duration = question.duration
    if config.check == "decode":
        for item, path in zip(question.media, paths, strict=True):
            length = _length(path) if path.is_file() else None
            _check_length(question, item.span, length)
            duration = duration or length
    return Example(
        id=question.id,
        messages=[
            {
                "role": "user",
                "content": [*({"type": "video"} for _ in paths), {"type": "text", "text": _text(question)}],
            }
        ],
        videos=question.media,
        answer=_answer(question),
        facts={
            "task": question.task,
            "answer_type": "temporal_iou" if question.task == "grounding" else question.answer_type,
            "options": list(question.options),
            "option": question.answer if question.options else None,
            "duration": None if duration is None else round(duration, 3),
            "gt_interval": _rounded(question),
            "source": question.source,
            "category": question.category,
        },
        link=config.media == "link",
        decode=config.check == "decode",
    )


def _text(question: Question) -> str:
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=False)]
    return "\n".join([question.text, *lines])


def _answer(question: Question) -> str | None:
    return to_json(_rounded(question)) if question.task == "grounding" else question.answer


def _rounded(question: Question) -> list[float] | None:
    return None if question.gt_interval is None else [round(time, 3) for time in question.gt_interval]


@dataclass(frozen=True, slots=True)
class Collected:
    """What all sources give together."""

    splits: dict[str, list[Question]]
    lines: dict[str, str]
    dropped: list[dict[str, Any]]


def _files(config: Config) -> list[str]:
    layouts = [source.layout for source in config.sources]
    return list(dict.fromkeys(file for layout in layouts for file in _release(layout).files))


def _release(layout: Component) -> Any:
    return layout.module.create(layout.options)


def _collected(config: Config) -> Collected:
    """Read all sources, once for a configuration and a state of its annotation files."""
    status = [os.stat(file) for file in _files(config) if Path(file).is_file()]
    return _collect(to_json(to_tree(config)), tuple((item.st_mtime_ns, item.st_size) for item in status))


@functools.lru_cache(maxsize=2)
def _collect(tree: str, state: tuple[tuple[int, int], ...]) -> Collected:
    config = parse(Config, json.loads(tree), "the configuration of videos")
    if config.check == "decode":
        choose("auto")
    kept: list[Question] = []
    lines: dict[str, str] = {}
    dropped: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, source in enumerate(config.sources, 1):
        label = f"source {number} {source.layout.name}"
        questions: list[Question] = []
        rows: list[Dropped] = []
        for entry in _release(source.layout).read():
            if isinstance(entry, Dropped):
                rows.append(entry)
            elif entry.id in seen:
                rows.append(Dropped(entry.id, "its id stands before"))
            else:
                seen.add(entry.id)
                questions.append(entry)
        drawn = _drawn(questions, source, config.seed)
        lines[label] = _line(source, len(drawn), len(questions), rows)
        if not drawn:
            raise UserError(
                f"{label} gives no question ({lines[label]})", "at least one", "check its files and options"
            )
        kept += drawn
        named = source.layout.name
        dropped += [{"source": named, "row": row.row, "reason": f"{named}: {row.reason}"} for row in rows if row.asked]
    return Collected(_split(kept, config), lines, dropped)


def _drawn(questions: Sequence[Question], source: Source, seed: int) -> list[Question]:
    """Draw by a hash of each question's id: another source, or another limit, changes nobody else's draw."""
    count = min(round(len(questions) * source.share), source.limit or len(questions))
    ranked = sorted(range(len(questions)), key=lambda place: _rank(seed, "draw", questions[place].id))
    return [questions[place] for place in sorted(ranked[:count])]


def _rank(seed: int, purpose: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{purpose}/{name}".encode()).digest()


def _line(source: Source, drawn: int, found: int, rows: Sequence[Dropped]) -> str:
    asked = f", {source.limit:,} asked for" if source.limit is not None and drawn < source.limit else ""
    parts = [f"{drawn:,} of {found:,} questions{asked}"]
    for word, wanted in (("dropped", True), ("not asked for", False)):
        reasons = Counter(row.reason for row in rows if row.asked is wanted)
        if reasons:
            shown = "; ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common())
            parts.append(f"{word} {sum(reasons.values()):,}: {shown}")
    return ". ".join(parts)


def _split(questions: Sequence[Question], config: Config) -> dict[str, list[Question]]:
    """Mix and split by video; one video at least stays in train.

    Mixed, the first rows are like all of them, for whoever takes a part, and `datasets`, which reads types off them.
    """
    groups: defaultdict[str, list[Question]] = defaultdict(list)
    for question in questions:
        groups[os.path.realpath(question.media[0].path)].append(question)
    ranks = {video: _rank(config.seed, "order", group[0].id) for video, group in groups.items()}
    wanted = max(1, round(len(questions) * config.validation)) if config.validation else 0
    parts: dict[str, list[Question]] = {"train": [], "validation": []}
    for video in sorted(groups, key=lambda name: ranks[name]):
        missing = len(parts["validation"]) < wanted and len(parts["train"]) > 0
        parts["validation" if missing else "train"] += groups[video]
    return {split: part for split, part in parts.items() if part}


def _length(path: Path) -> float:
    """Return a video's length in seconds, as its frames give it: headers also name what a file has lost."""
    try:
        return video_info(path).duration
    except UserError as error:
        raise UserError("a video cannot be opened", error.given, error.do) from None


def _check_length(question: Question, span: tuple[float, float] | None, length: float | None) -> None:
    """Compare a video with what is annotated: a file that was cut elsewhere shows the gold interval somewhere else.

    Raises:
        UserError: a span ends after the video, or the lengths differ by more than `TOLERANCE`.
    """
    wanted = span[1] if span else question.duration
    if length is None or wanted is None:
        return
    slack = max(TOLERANCE[0], TOLERANCE[1] * wanted)
    if length < wanted - slack or (span is None and length > wanted + slack):
        raise UserError(
            f"{question.source}: a video is not as long as its annotation says",
            f"about {wanted:.1f} s, and {question.media[0].path} lasts {length:.1f} s",
        )


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
