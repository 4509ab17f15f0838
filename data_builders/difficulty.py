"""How hard is each grounding question? One greedy zero-shot prediction each (VideoTG-R1, arXiv 2510.23397).

    mmreflect build configs/build/difficulty.yaml source.path=outputs/grounding

The fact `difficulty` is 1 - IoU of the prediction with `gt_interval`, and 1 where the reply states no interval. By it
the environment `grounding` hides part of hard samples' videos early in training. Every row is kept, unless
`min_difficulty` or `max_difficulty` says otherwise.

The paper's Difficulty Estimation Agent is this measure; its prompt could not be read, ours is the environment's.
"""

import functools
import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from mmreflect.answers.intervals import interval_of, iou, parse_interval
from mmreflect.building import Example, Rejected
from mmreflect.components import EngineOption, default
from mmreflect.config import config as config_class
from mmreflect.data.store import Row, sample_from_row
from mmreflect.environments import grounding
from mmreflect.errors import UserError
from mmreflect.evaluation.asking import Found, Source, ask_each, asked_with, carried, engine_of, inputs, rows_of, splits
from mmreflect.models import ModelOption
from mmreflect.quality import EXEMPTIBLE
from mmreflect.records import Sample
from mmreflect.rollouts.actions import Sampling

Share = Annotated[float, Field(ge=0, le=1)]


__all__ = ["EXEMPT", "Config", "inputs", "make", "splits"]

EXEMPT = {"*": EXEMPTIBLE}  # rows stay as their source has them, which checked them its own way


@config_class
class Config:
    """What to measure, and with which model.

    Attributes:
        ask: how the question is put: the options of the environment `grounding`, without a curriculum.
        min_difficulty, max_difficulty: rows outside are rejected; 0 and 1 keep all.
        batch_size: rows that are asked at once.
        media: copy the videos, or link to the source's.
    """

    output: str
    source: Source
    model: ModelOption
    engine: EngineOption = Field(default_factory=lambda: default("engine", "transformers"))
    ask: grounding.Config = Field(default_factory=grounding.Config)
    max_new_tokens: Annotated[int, Field(gt=0)] = 1024
    min_difficulty: Share = 0.0
    max_difficulty: Share = 1.0
    batch_size: Annotated[int, Field(gt=0)] = 16
    media: Literal["copy", "link"] = "copy"
    seed: int = 0
    shard_rows: Annotated[int, Field(gt=0)] = 200

    def __post_init__(self) -> None:
        """Check the limits, and that the whole video is shown.

        Raises:
            ValueError: the limits cannot both hold, or a curriculum would hide part of the video.
        """
        if self.min_difficulty > self.max_difficulty:
            raise ValueError(
                f"min_difficulty={self.min_difficulty} is above max_difficulty={self.max_difficulty}; swap them"
            )
        if self.ask.curriculum is not None:
            raise ValueError("ask.curriculum goes by the difficulty that is measured here; remove it")


def make(config: Config, split: str, index: int) -> Example:
    """Return a row of the source with its difficulty.

    Raises:
        UserError: the row has no `gt_interval` or not just one video, the video cannot be shown, or its difficulty is
            outside of what is kept.
    """
    row = rows_of(config.source, split)[index]
    found = asked_with(config, split, index, config.batch_size, functools.partial(_answers, config))
    if isinstance(found, UserError):
        raise found
    assert found is not None
    stated = parse_interval(found.rollouts[0].text, config.ask.layout)
    difficulty = round(1 - iou(stated, interval_of(found.sample.facts["gt_interval"])), 6)
    if not config.min_difficulty <= difficulty <= config.max_difficulty:
        raise Rejected(f"difficulty outside {config.min_difficulty:g} to {config.max_difficulty:g}")
    finite = stated is not None and all(math.isfinite(bound) for bound in stated)
    facts = {"difficulty": difficulty, "zero_shot": list(stated) if stated and finite else None}
    return carried(row, config.source, facts, config.media == "link")


def _answers(config: Config, rows: Sequence[Row]) -> list[Found]:
    batch = [_sample(config, row) for row in rows]
    engine = engine_of(config.model, config.engine, config.source, config.seed)
    sound = [item for item in batch if isinstance(item, Sample)]
    sampling = Sampling(temperature=0.0, max_new_tokens=config.max_new_tokens)
    answers = iter(ask_each(engine, grounding.create(config.ask), sound, 1, sampling, config.seed))
    return [next(answers) if isinstance(item, Sample) else item for item in batch]


def _sample(config: Config, row: Row) -> Sample | UserError:
    try:
        sample = sample_from_row(row, config.source.folder)
        grounding.video_of(sample)
    except UserError as error:
        return error
    given = sample.facts.get("gt_interval")
    if interval_of(given) is None:
        return UserError(f"facts.gt_interval is {given!r}", "[start, end] in seconds", "leave such rows out")
    return sample


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
