"""Which questions does a model answer without looking? They teach nothing about looking, and are left out.

    mmreflect build configs/build/blind.yaml source.path=outputs/revisor_data

Every question is asked several times with its pictures and videos taken away. A question that is answered right at
least `limit` of the times is rejected; the others keep their share of right answers as the fact `blind`. A probe such
as REVISOR's sufficiency would call any segment sufficient for a question of the first kind (arXiv 2511.13026; the
filter is ours). With four options six of eight right answers come by luck in 0.4 % of the questions.

Rows without a reference answer that can be compared, such as grounding, are kept as they are.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mmreflect.answers.grade import verify
from mmreflect.answers.spec import spec_of
from mmreflect.building import Example
from mmreflect.components import EngineOption, default
from mmreflect.config import config as config_class
from mmreflect.config import to_tree
from mmreflect.data.store import sample_from_row
from mmreflect.environments import single_turn
from mmreflect.errors import UserError
from mmreflect.evaluation.asking import Source, ask_each, carried, check_asked, engine_of, rows_of, split_sizes
from mmreflect.files import content_mark, model_mark, to_json
from mmreflect.models import ModelOption
from mmreflect.records import Sample, content_parts
from mmreflect.rollouts.actions import Sampling

if TYPE_CHECKING:
    from mmreflect.records import Group


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


def inputs(config: Config) -> dict[str, str]:
    """Return marks of what the dataset is made from."""
    return {"source": content_mark(f"{config.source.path}/manifest.json"), "model": model_mark(config.model.path)}


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split has."""
    check_asked(config.model, config.engine)
    return split_sizes(config.source)


def make(config: Config, split: str, index: int) -> Example:
    """Return a row of the source with its share of blind answers.

    Raises:
        UserError: the question is answered without looking.
    """
    row = rows_of(config.source, split)[index]
    start = index - index % config.batch_size
    found = _answers(config, split, start)[index - start]
    if found is None:
        return carried(row, config.source, {}, config.media == "link")
    if isinstance(found, UserError):
        raise found
    spec = spec_of(found.sample.facts)
    verdicts = [verify(item.text, found.sample.gold, spec).passed for item in found.rollouts]
    share = sum(verdict is True for verdict in verdicts) / len(verdicts)
    if share >= config.limit:
        raise UserError("answered without looking", f"{share:.2f} of the replies are right")
    return carried(row, config.source, {"blind": round(share, 4)}, config.media == "link")


_asked: "dict[tuple[str, str, int], list[Group | UserError | None]]" = {}


def _answers(config: Config, split: str, start: int) -> "list[Group | UserError | None]":
    """Ask one batch of rows, the same ones in every run; it is kept until another one is asked."""
    key = (to_json([to_tree(config), inputs(config)]), split, start)
    if key not in _asked:
        _asked.clear()
        rows = rows_of(config.source, split)[start : start + config.batch_size]
        batch = [blind(sample_from_row(row, config.source.folder)) for row in rows]
        engine = engine_of(config.model, config.engine, config.source, config.seed)
        sampling = Sampling(temperature=config.temperature, max_new_tokens=config.max_new_tokens)
        environment = single_turn.create(single_turn.Config(instruction=config.instruction))
        asked = [item for item in batch if item is not None]
        answers = iter(ask_each(engine, environment, asked, config.replies, sampling, config.seed))
        _asked[key] = [None if item is None else next(answers) for item in batch]
    return _asked[key]


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
