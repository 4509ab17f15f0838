"""Asking a model about the rows of a dataset while another dataset is built from them: what filter builders share.

A row's answer depends on the row, the model and the seed alone, so that a killed build goes on to the same rows.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from mmreflect.building import Example
from mmreflect.config import Component, config, to_tree
from mmreflect.data.index import RowIndex, index_of
from mmreflect.data.store import Row, open_dataset, sample_from_row
from mmreflect.errors import UserError, unknown_name
from mmreflect.files import content_mark, model_mark, to_json
from mmreflect.models import ModelConfig, check_model
from mmreflect.records import Group, Media, Sample, media_from_json, text_of
from mmreflect.remote.asks import StopError, UnansweredError
from mmreflect.rollouts.actions import Engine, Environment, Sampling, generation_round
from mmreflect.rollouts.driver import roll_out


@config
class Source:
    """Where the rows come from: a dataset folder. `split`: one of its splits; None takes them all."""

    path: str
    split: str | None = None

    @property
    def folder(self) -> Path:
        """The dataset folder."""
        return Path(self.path)


def split_sizes(source: Source) -> dict[str, int]:
    """Return how many rows each split has.

    Raises:
        UserError: there is no such dataset, or no such split.
    """
    dataset = open_dataset(source.path)
    wanted = dataset.splits() if source.split is None else [source.split]
    for split in wanted:
        if split not in dataset.splits():
            raise unknown_name("split", split, dataset.splits())
    return {split: int(dataset.manifest["splits"][split]["rows"]) for split in wanted}


_rows: dict[tuple[str, str, str], RowIndex] = {}
_engines: dict[str, Engine] = {}


def rows_of(source: Source, split: str) -> Sequence[Row]:
    """Return the rows of a split, which are read when they are wanted; the places of the last one's are kept."""
    key = (source.path, content_mark(f"{source.path}/manifest.json"), split)
    if key not in _rows:
        _rows.clear()
        _rows[key] = index_of(source.path, split)
    return _rows[key]


class Asking(Protocol):
    """What every builder that asks a model is configured by; a configuration is frozen, and so are these."""

    @property
    def source(self) -> Source: ...
    @property
    def model(self) -> ModelConfig: ...
    @property
    def engine(self) -> Component: ...
    @property
    def seed(self) -> int: ...


def inputs(config: Asking) -> dict[str, str]:
    """Return marks of what the dataset is made from."""
    return {"source": content_mark(f"{config.source.path}/manifest.json"), "model": model_mark(config.model.path)}


def splits(config: Asking) -> dict[str, int]:
    """Return how many rows each split has; check what can be known about the model without loading it.

    Raises:
        UserError: there is no such dataset, split or model, or the engine cannot run here.
    """
    check_model(config.model)
    if hasattr(config.engine.module, "check"):
        config.engine.module.check(config.engine.options)
    return split_sizes(config.source)


Found = Group | UserError | None
"""What became of one row of a batch; None: it is not asked."""

_batches: dict[tuple[str, str, int], list[Found]] = {}


def asked_with(config: Asking, split: str, index: int, size: int, ask: Callable[[Sequence[Row]], list[Found]]) -> Found:
    """Return what `ask` found for a row, asked together with its neighbours: always the same ones.

    Args:
        size: rows of a batch; the answers of the last one are kept.
    """
    start = index - index % size
    key = (to_json([to_tree(config), inputs(config)]), split, start)
    if key not in _batches:
        _batches.clear()
        _batches[key] = ask(rows_of(config.source, split)[start : start + size])
    return _batches[key][index - start]


def engine_of(model: ModelConfig, engine: Component, source: Source, seed: int) -> Engine:
    """Return the engine that a model speaks through; the last one is kept.

    Args:
        source: whose questions a tiny model's tokenizer is trained on.
        seed: of a tiny model's weights.
    """
    key = to_json(to_tree({"model": model, "engine": engine, "source": source, "seed": seed}))
    if key not in _engines:
        from mmreflect.data.rendering import Renderer
        from mmreflect.models import load_model

        split = next(iter(split_sizes(source)))
        loaded = load_model(model, (sample.question for sample in open_dataset(source.path).samples(split)), seed)
        _engines.clear()
        _engines[key] = engine.module.create(engine.options, loaded, Renderer(loaded.tokenizer, loaded.processor))
    return _engines[key]


def ask_each(
    engine: Engine, environment: Environment, samples: Sequence[Sample], n: int, sampling: Sampling, seed: int
) -> list[Group | UserError]:
    """Ask the samples together; where one of them cannot be shown, one by one, so that it fails alone.

    Returns:
        A group of `n` rollouts per sample, or why there is none.

    Raises:
        UserError: a server cannot be used, does not answer, or a limit of it is reached: no fault of a sample.
    """

    def ask(chosen: Sequence[Sample]) -> list[Group | UserError]:
        with generation_round(engine, 0):
            groups = roll_out(engine, environment, chosen, n, sampling, seed)
        return [_failure(group) or group for group in groups]

    if not samples:
        return []
    try:
        return ask(samples)
    except (StopError, UnansweredError):
        raise
    except UserError as error:
        if len(samples) == 1:
            return [error]
        return [found for sample in samples for found in ask_each(engine, environment, [sample], n, sampling, seed)]


def _failure(group: Group) -> UserError | None:
    """Return the error of the first rollout that failed."""
    errors = [item.facts["error"] for item in group.rollouts if "error" in item.facts]
    return UserError(str(errors[0])) if errors else None


def carried(row: Row, source: Source, facts: dict[str, Any], link: bool) -> Example:
    """Return a row of the source as it is, with its media and with further facts.

    Args:
        link: link to the videos in place of copying them.

    Raises:
        UserError: it refers to a part of a picture, which is not carried over.
    """
    messages, rejected = row.get("messages"), None
    if messages is None and "rejected" in row:  # a pair for preference training
        sample_from_row(row, source.folder)
        messages, rejected = [*row["prompt"], *row["chosen"]], text_of(row["rejected"][-1]["content"])
    images, videos = row.get("images") or [], row.get("videos") or []
    if not all(isinstance(item, str) for item in images):
        raise UserError("a row refers to a part of a picture", "whole pictures", "cut them before")
    return Example(
        id=str(row["id"]),
        messages=messages or [],
        images=[source.folder / item for item in images],
        videos=[_clip(item, source.folder) for item in videos],
        answer=row.get("answer"),
        facts={**(row.get("facts") or {}), **facts},
        link=link,
        rejected=rejected,
    )


def _clip(item: Any, folder: Path) -> Path | Media:
    """Return a video of a row: its file, or what the row says about it."""
    if isinstance(item, str):
        return folder / item
    return media_from_json({**item, "kind": "video", "path": str(folder / item["path"])})
