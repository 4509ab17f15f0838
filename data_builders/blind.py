"""Which questions does a model answer without looking? They teach nothing about looking, and are left out.

    mmreflect build configs/build/blind.yaml source.path=outputs/revisor_data

Every question is asked several times with its pictures and videos taken away. A question that is answered right at
least `limit` of the times is rejected; the others keep their share of right answers as the fact `blind`. A probe such
as REVISOR's sufficiency would call any segment sufficient for a question of the first kind (arXiv 2511.13026; the
filter is ours). With four options six of eight right answers come by luck in 0.4 % of the questions.

Rows without a reference answer that can be compared, such as grounding, are kept as they are.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from mmreflect.answers.grade import verify
from mmreflect.answers.spec import spec_of
from mmreflect.building import Example, Rejected
from mmreflect.components import EngineOption, default
from mmreflect.config import config as config_class
from mmreflect.data.store import Row, sample_from_row
from mmreflect.environments import single_turn
from mmreflect.errors import UserError
from mmreflect.evaluation.asking import Found, Source, ask_each, asked_with, carried, engine_of, inputs, rows_of, splits
from mmreflect.models import ModelOption
from mmreflect.quality import EXEMPTIBLE
from mmreflect.records import Sample, content_parts
from mmreflect.rollouts.actions import Sampling

__all__ = ["EXEMPT", "Config", "inputs", "make", "splits"]

EXEMPT = {"*": EXEMPTIBLE}  # rows stay as their source has them, which checked them its own way


@config_class
class Config:
    """What to ask, and which model.

    Attributes:
        instruction: text after the question.
        replies: how often each question is asked, at `temperature`.
        limit: share of right answers from which on a question is rejected.
        batch_size: rows that are asked at once.
        media: copy the videos, or link to the source's.
    """

    output: str
    source: Source
    model: ModelOption
    engine: EngineOption = Field(default_factory=lambda: default("engine", "transformers"))
    instruction: str | None = "You cannot see it. Reply with your best guess, the option letter only."
    replies: Annotated[int, Field(gt=0)] = 8
    temperature: Annotated[float, Field(ge=0)] = 1.0
    limit: Annotated[float, Field(gt=0, le=1)] = 0.75
    max_new_tokens: Annotated[int, Field(gt=0)] = 16
    batch_size: Annotated[int, Field(gt=0)] = 64
    media: Literal["copy", "link"] = "copy"
    seed: int = 0
    shard_rows: Annotated[int, Field(gt=0)] = 1000


def make(config: Config, split: str, index: int) -> Example:
    """Return a row of the source with its share of blind answers.

    Raises:
        UserError: the question is answered without looking.
    """
    row = rows_of(config.source, split)[index]
    found = asked_with(config, split, index, config.batch_size, functools.partial(_answers, config))
    if found is None:
        return carried(row, config.source, {}, config.media == "link")
    if isinstance(found, UserError):
        raise found
    spec = spec_of(found.sample.facts)
    verdicts = [verify(item.text, found.sample.gold, spec).passed for item in found.rollouts]
    share = sum(verdict is True for verdict in verdicts) / len(verdicts)
    if share >= config.limit:
        raise Rejected("answered without looking", f"{share:.2f} of the replies are right")
    return carried(row, config.source, {"blind": round(share, 4)}, config.media == "link")


def _answers(config: Config, rows: Sequence[Row]) -> list[Found]:
    batch = [blind(sample_from_row(row, config.source.folder)) for row in rows]
    engine = engine_of(config.model, config.engine, config.source, config.seed)
    sampling = Sampling(temperature=config.temperature, max_new_tokens=config.max_new_tokens)
    environment = single_turn.create(single_turn.Config(instruction=config.instruction))
    asked = [item for item in batch if item is not None]
    answers = iter(ask_each(engine, environment, asked, config.replies, sampling, config.seed))
    return [None if item is None else next(answers) for item in batch]


def blind(sample: Sample) -> Sample | None:
    """Return a question without its pictures and videos; None where its answer is no matter of a question."""
    if sample.gold is None or sample.facts.get("task") == "grounding":
        return None
    messages = [
        {**turn, "content": [part for part in content_parts(turn["content"]) if part["type"] == "text"]}
        for turn in sample.messages
    ]
    return replace(sample, messages=messages, media=[])


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
