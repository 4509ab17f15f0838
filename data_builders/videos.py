"""Published video datasets as one dataset: read from local files, mixed, checked, and split by video.

    mmreflect build configs/build/videos_nextqa.yaml
    python -m data_builders.videos configs/build/revisor_data.yaml --plan

A source is a layout (`mmreflect/layouts/`) with where its files lie. The sources are mixed video by video, by the seed
(`mmreflect/mixing.py`); questions about one video stay together, in the order of their release. What becomes no
question is counted by reason in the plan and in the manifest, and named row by row in `rejects/sources.jsonl`; rows
whose video is missing or broken are quarantined like those of any builder.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mmreflect.answers.spec import LETTERS
from mmreflect.building import Example
from mmreflect.config import config as config_class
from mmreflect.errors import UserError
from mmreflect.files import to_json
from mmreflect.layouts import Question
from mmreflect.media.decoders import choose
from mmreflect.media.video import video_info
from mmreflect.mixing import Collected, Source, annotation_marks, collect

TOLERANCE = (2.0, 0.1)
"""A video may differ from its annotated length by so many seconds, or by this share of it: releases were re-encoded."""


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
    return annotation_marks(config.sources)


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


def _collected(config: Config) -> Collected:
    if config.check == "decode":
        choose("auto")
    return collect(config.sources, config.seed, config.validation, _video)


def _video(question: Question) -> list[str]:
    """Name what stands in one split only: a question's first video."""
    return [os.path.realpath(question.media[0].path)]


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
