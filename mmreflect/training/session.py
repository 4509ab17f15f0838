"""What the trainers share at the start and the end of a run."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from mmreflect import console
from mmreflect.data.guard import Limits, Report, Shown, guard, learnt
from mmreflect.data.loading import DataConfig, load_samples, tell_bad
from mmreflect.data.rendering import Renderer
from mmreflect.data.streaming import SampleStream
from mmreflect.errors import UserError
from mmreflect.evaluation.runner import evaluate
from mmreflect.files import sync_folder, write_json
from mmreflect.media.reader import default_reader
from mmreflect.models import Loaded, load_model
from mmreflect.records import Sample
from mmreflect.rollouts.actions import Engine, Environment, Sampling
from mmreflect.rollouts.driver import Episode, opening_turns
from mmreflect.rollouts.engines._generation import conversation_of
from mmreflect.training.checkpoints import flush
from mmreflect.training.validation import DEFAULT_SAVE_STEPS, ValidationConfig


def renderer_for(loaded: Loaded, data: DataConfig) -> Renderer:
    """Create the renderer of a model with the limits of a data block."""
    limits = {"min_pixels": data.min_pixels, "max_pixels": data.max_pixels, "frames": data.frames}
    return Renderer(loaded.tokenizer, loaded.processor, **limits)  # type: ignore[arg-type]


@dataclass(slots=True)
class Session:
    """What a training run works with: sound samples, a loaded model, its renderer."""

    samples: Sequence[Sample]
    held_out: list[Sample]
    loaded: Loaded
    renderer: Renderer
    report: Report


LimitsOf = Callable[[Any, int | None], Limits]
"""From a config and the model's context length to what a sample must fit into."""


def open_session(
    config: Any,
    need: Literal["answer", "response"],
    limits_of: LimitsOf,
    folder: Path | None,
    environment: Environment,
) -> Session:
    """Load samples and model, and run the token guard over every sample, those of validation too.

    Args:
        environment: what shows a question to the model, in validation and in RL.
        need: what every sample must have: a `response` for SFT, an `answer` for RL.
        folder: where quarantined samples and `guard.json` are written; None writes nothing.

    Raises:
        UserError: more samples are bad than `data.tolerate` allows.
    """
    quarantine = folder and folder / "quarantine.jsonl"
    samples: Sequence[Sample]
    if config.data.stream:
        samples = stream = SampleStream(config.data, quarantine, need=need)
        texts = stream.texts(CORPUS)
    else:
        samples = load_samples(config.data, quarantine, need=need)
        texts = (f"{sample.question} {sample.response or sample.gold}" for sample in samples[:CORPUS])
    held_out = []
    if config.evaluation:
        report_file = folder and folder / "quarantine-validation.jsonl"
        held_out = load_samples(config.evaluation.data, report_file, need="answer")
    loaded = load_model(config.model, texts, config.seed)
    renderer = renderer_for(loaded, config.data)
    limits = limits_of(config, context_of(loaded))
    shown = learnt if need == "response" else _shown_by(environment)
    asked, validation = guard(held_out, renderer, Limits(), _shown_by(environment))
    if folder and validation.bad:
        tell_bad(validation.bad, len(held_out), config.evaluation.data, None)
    if isinstance(samples, SampleStream):
        report = _guard_later(samples, loaded, renderer, limits, shown, GUARDED_ROWS if folder else len(samples))
        if folder:
            write_json(folder / "guard.json", report.summary() | {"streamed": len(samples)})
        return Session(samples, asked, loaded, renderer, report)
    _refuse_media(loaded, samples)
    later = _later(samples) if need == "answer" and config.data.check == "exists" else set()
    good, report = guard([sample for sample in samples if sample.id not in later], renderer, limits, shown)
    if later:
        sound = {sample.id for sample in good} | later
        good = [sample for sample in samples if sample.id in sound]
        console.say(f"{console.count(len(later), 'video')} will be read when its turn comes (data.check: exists)")
    if folder:
        write_json(folder / "guard.json", report.summary())
        if report.bad:
            tell_bad(report.bad, len(samples), config.data, folder / "quarantine-tokens.jsonl")
    return Session(good, asked, loaded, renderer, report)


CORPUS = 2000
"""Samples whose texts a tiny model's tokenizer is trained on."""
GUARDED_ROWS = 64
"""Rows of a stream that are measured before a training starts, so that a wrong setting shows at once."""


def _guard_later(
    stream: SampleStream, loaded: Loaded, renderer: Renderer, limits: Limits, shown: Shown, first: int
) -> Report:
    """Let every sample of a stream pass the token guard when its turn comes, and measure the first ones now.

    Raises:
        UserError: too many of these are bad, or a text-only model is given media.
    """
    report = Report()

    def problem(sample: Sample) -> str | None:
        _refuse_media(loaded, [sample])
        _, own = guard([sample], renderer, limits, shown)
        if report.good < first:
            report.good += own.good
            report.prompt_tokens += own.prompt_tokens
            report.whole_tokens += own.whole_tokens
            report.visual_tokens += own.visual_tokens
        return own.bad[0].reason if own.bad else None

    stream.guard_with(problem)
    for place in range(min(first, len(stream))):
        stream.look(place)
    report.bad = list(stream.bad)
    return report


def _refuse_media(loaded: Loaded, samples: Sequence[Sample]) -> None:
    """Refuse media for a model that sees none.

    Raises:
        UserError: the first medium is named.
    """
    if loaded.processor is None and (medium := next((item for sample in samples for item in sample.media), None)):
        raise UserError(
            f"a text-only model was given {medium.path}", "samples without media", "use a vision-language model"
        )


def left_out(samples: Sequence[Sample]) -> dict[str, int]:
    """Return and say how many bad samples of a stream were met; nothing for samples that were checked before."""
    if not isinstance(samples, SampleStream):
        return {}
    count = samples.left_out()
    if count:
        console.say(f"[yellow]{console.count(count, 'bad sample')} of {len(samples):,} were left out[/] as they came")
    return {"left_out": count}


GUARDED_VIDEOS = 64


def _later(samples: Sequence[Sample]) -> set[str]:
    """Return the ids of the samples with videos that the guard leaves out: all but the first few."""
    return {sample.id for sample in [item for item in samples if _has_video(item)][GUARDED_VIDEOS:]}


def _has_video(sample: Sample) -> bool:
    return any(item.kind == "video" for item in sample.media)


def _shown_by(environment: Environment) -> Shown:
    return lambda sample: conversation_of(opening_turns(Episode(sample, environment, 0)))


def context_of(loaded: Loaded) -> int | None:
    """Return the longest sequence that the model was made for, in tokens."""
    length = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    return int(length) if length else None


def trainer_arguments(config: Any, run_path: Path) -> dict[str, Any]:
    """Return the arguments that both trainers take from the common blocks, the `trainer:` block last.

    Where the block is silent we differ from TRL: no reporting service is written to, and on a CPU neither bfloat16 nor
    gradient checkpointing is switched on.
    """
    import torch

    from mmreflect.training.validation import validation_arguments

    cpu = not torch.cuda.is_available()
    defaults: dict[str, Any] = {
        "report_to": "none",
        "logging_steps": 10,
        "disable_tqdm": None,
        "save_steps": DEFAULT_SAVE_STEPS,
    }
    if cpu:
        defaults |= {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False}
    fixed = {"output_dir": str(run_path / "checkpoints"), "seed": config.seed, "remove_unused_columns": False}
    return {**defaults, **config.trainer, **validation_arguments(config.evaluation), **fixed}


Arguments = TypeVar("Arguments")


def checked(kind: Callable[..., Arguments], **values: Any) -> Arguments:
    """Create TRL's arguments.

    Raises:
        UserError: TRL or transformers refuses a value of the `trainer:` block.
    """
    try:
        return kind(**values)
    except (ValueError, TypeError, ImportError, KeyError, ZeroDivisionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"trainer: {first}", "values that TRL accepts together", "correct the trainer block") from None


def ledger_metrics(
    engine: Engine,
    environment: Environment,
    samples: list[Sample],
    validation: ValidationConfig,
    trained: Sampling,
    seed: int,
) -> dict[str, float]:
    """Validate greedily and return the ledger's rates as plain metrics.

    Args:
        trained: the limits of training's rollouts, which hold here where the validation has none of its own.
    """
    limit = validation.max_new_tokens or trained.max_new_tokens
    sampling = Sampling(temperature=0, max_new_tokens=limit, budget=validation.budget or max(limit, trained.total))
    found = evaluate(
        engine, environment, samples, sampling, seed=seed, batch_size=validation.batch_size, label="validation"
    ).ledger
    rates = {
        "first_accuracy": found.first_accuracy,
        "final_accuracy": found.final_accuracy,
        "gain": found.gain,
        "fix_rate": found.fix_rate,
        "harm_rate": found.harm_rate,
        "reflected": found.reflected,
    }
    return {name: rate.value for name, rate in rates.items() if rate.value is not None}


def save_finished(loaded: Loaded, trainer: Any, folder: Path) -> None:
    """Save the finished model as a whole, adapters merged in; the folder appears only when it is complete."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(folder.with_name("adapter"))
        model = model.merge_and_unload()
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    Loaded(model, loaded.tokenizer, loaded.processor).save(partial)
    flush(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    sync_folder(folder.parent)


def videos_read() -> dict[str, dict[str, int]]:
    """Return what was read of videos, for a run's result: how many clips were decoded, cached, repeated, given up."""
    counts = dict(sorted(default_reader().counts.items()))
    return {"videos": counts} if counts else {}


def last_values(history: list[dict[str, Any]], *names: str) -> dict[str, float]:
    """Return the newest logged value of each metric that was logged at all."""
    return {name: item[name] for item in history for name in names if name in item}
