"""What the trainers share at the start and the end of a run."""

import shutil
from pathlib import Path
from typing import Any

from mmreflect.data.loading import DataConfig, load_samples
from mmreflect.data.rendering import Renderer
from mmreflect.evaluation.runner import evaluate
from mmreflect.files import sync_folder
from mmreflect.models import Loaded
from mmreflect.records import Sample
from mmreflect.rollouts.actions import Engine, Environment, Sampling
from mmreflect.training.checkpoints import flush
from mmreflect.training.validation import ValidationConfig


def renderer_for(loaded: Loaded, data: DataConfig) -> Renderer:
    """Create the renderer of a model with the pixel limits of a data block."""
    return Renderer(loaded.tokenizer, loaded.processor, min_pixels=data.min_pixels, max_pixels=data.max_pixels)


def trainer_arguments(config: Any, run_path: Path) -> dict[str, Any]:
    """Return the arguments that both trainers take from the common blocks, the `trainer:` block last.

    Where the block is silent we differ from TRL: no reporting service is written to, and on a CPU neither bfloat16 nor
    gradient checkpointing is switched on.
    """
    import torch

    from mmreflect.training.validation import validation_arguments

    cpu = not torch.cuda.is_available()
    defaults: dict[str, Any] = {"report_to": "none", "logging_steps": 10, "disable_tqdm": None, "save_steps": 100}
    if cpu:
        defaults |= {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False}
    fixed = {"output_dir": str(run_path / "checkpoints"), "seed": config.seed, "remove_unused_columns": False}
    return {**defaults, **config.trainer, **validation_arguments(config.evaluation), **fixed}


def ledger_metrics(
    engine: Engine,
    environment: Environment,
    samples: list[Sample],
    validation: ValidationConfig,
    max_new_tokens: int,
    seed: int,
) -> dict[str, float]:
    """Validate greedily and return the ledger's rates as plain metrics."""
    sampling = Sampling(temperature=0, max_new_tokens=validation.max_new_tokens or max_new_tokens)
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


def validation_samples(validation: ValidationConfig | None, report: Path) -> list[Sample]:
    """Load the validation samples, none without a block."""
    return load_samples(validation.data, report, need="answer") if validation else []


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


def last_values(history: list[dict[str, Any]], *names: str) -> dict[str, float]:
    """Return the newest logged value of each metric that was logged at all."""
    return {name: item[name] for item in history for name in names if name in item}
