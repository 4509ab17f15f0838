"""Supervised fine-tuning of a Qwen-VL model, or of its text decoder.

    mmreflect train configs/train/sft.yaml
    python -m train.sft configs/train/sft.yaml

Only assistant turns are learnt. Rows may hold one picture, several, videos, or text alone.
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from mmreflect.components import EnvironmentOption, default
from mmreflect.config import config as config_class
from mmreflect.data.loading import DataConfig, count_samples
from mmreflect.files import content_mark, model_mark
from mmreflect.models import ModelOption
from mmreflect.training.arguments import check_trainer
from mmreflect.training.validation import ValidationConfig, check_run

if TYPE_CHECKING:
    from mmreflect.data.guard import Limits, Report
    from mmreflect.rollouts.actions import Environment
    from mmreflect.runs import Run


@config_class
class Config:
    """A supervised run.

    Attributes:
        loss_on_error_prefix: learn the error as well with which a response begins, as published sets of corrections
            do; otherwise only what follows it. Rows say in `facts.error_prefix` how long theirs is.
        trainer: fields of TRL's SFTConfig under their own names.
    """

    output: str
    model: ModelOption
    data: DataConfig
    environment: EnvironmentOption = Field(default_factory=lambda: default("environment", "single_turn"))
    evaluation: ValidationConfig | None = None
    loss_on_error_prefix: bool = False
    trainer: Annotated[dict[str, Any], AfterValidator(check_trainer("sft"))] = Field(default_factory=dict)
    seed: int = 0


def inputs(config: Config) -> dict[str, str]:
    """Return marks of what the run works on, so that a retrained model or a rebuilt dataset makes another run."""
    return {"model": model_mark(config.model.path), "data": content_mark(f"{config.data.path}/manifest.json")}


def plan(config: Config) -> dict[str, str]:
    """Say what will be trained on what, and how many steps that is."""
    check_run(config)
    rows = count_samples(config.data)
    trainer = config.trainer
    batch = trainer.get("per_device_train_batch_size", 8) * trainer.get("gradient_accumulation_steps", 1)
    epochs = trainer.get("num_train_epochs", 3)
    steps = trainer.get("max_steps", -1)
    steps = steps if steps > 0 else round(epochs * -(-rows // batch))
    return {
        "model": config.model.path + (" (decoder only)" if config.model.part == "decoder" else ""),
        "data": f"{config.data.path} ({config.data.split}), {rows:,} rows",
        "steps": f"{steps:,} of {batch} rows per device, {steps * batch / max(1, rows):.1f} epochs on one device",
    }


def limits(config: Config, context: int | None) -> "Limits":
    """Return what a sample must fit into."""
    from mmreflect.data.guard import Limits

    longest = config.trainer.get("max_length")
    setting = "trainer.max_length" if longest else "the model's context"
    return Limits(prompt=config.data.max_prompt_tokens, whole=longest or context, setting=setting)


def _environment(config: Config) -> "Environment":
    made: Environment = config.environment.module.create(config.environment.options)
    return made


def check(config: Config) -> "Report":
    """Render and measure every sample without training."""
    from mmreflect.training.session import open_session

    return open_session(config, "response", limits, None, _environment(config)).report


def run(config: Config, run: "Run") -> dict[str, Any]:
    """Train, validate, and save the model."""
    from trl import SFTConfig

    from mmreflect.data.collation import SftCollator
    from mmreflect.models import lora_settings
    from mmreflect.rollouts.actions import Sampling, generation_round
    from mmreflect.rollouts.engines._generation import TransformersEngine
    from mmreflect.training import session
    from mmreflect.training.checkpoints import LogFile
    from mmreflect.training.progress import take_over_output
    from mmreflect.training.sft import PrefixCollator, ReflectSFTTrainer, error_prefix, mean_token_loss
    from mmreflect.training.survival import explained_memory

    opened = session.open_session(config, "response", limits, run.path, _environment(config))
    loaded, samples = opened.loaded, opened.samples
    given = session.trainer_arguments(config, run.path)
    arguments = session.checked(
        SFTConfig, **{"learning_rate": 1e-5, "max_length": None, **given}, dataset_kwargs={"skip_prepare_dataset": True}
    )
    collating = SftCollator if config.loss_on_error_prefix else PrefixCollator
    collator = collating(samples, opened.renderer, arguments.max_length)
    trainer = ReflectSFTTrainer(
        loaded,
        collator,
        samples,
        arguments,
        peft_config=lora_settings(config.model.lora) if config.model.lora else None,
        callbacks=[LogFile(run.path / "log.jsonl")],
    )

    def measure() -> dict[str, float]:
        assert config.evaluation is not None
        environment = config.environment.module.create(config.environment.options)
        engine = TransformersEngine(loaded, opened.renderer, config.evaluation.batch_size)
        with generation_round(engine, trainer.state.global_step):
            metrics = session.ledger_metrics(
                engine, environment, opened.held_out, config.evaluation, Sampling(max_new_tokens=256), config.seed
            )
        answered = [sample for sample in opened.held_out if sample.response]
        if answered:
            own = collating(answered, opened.renderer, None)
            metrics["loss"] = mean_token_loss(trainer.model, own, len(answered), config.evaluation.batch_size)
        return metrics

    trainer.validate_with(measure if config.evaluation else None, config.evaluation)
    take_over_output(trainer, "sft")
    with explained_memory("trainer.per_device_train_batch_size", "data.max_pixels", "trainer.max_length"):
        trainer.train_or_resume()
    session.save_finished(loaded, trainer, run.path / "model")
    return {
        "model": str(run.path / "model"),
        "steps": trainer.state.global_step,
        "samples": len(samples),
        **session.left_out(samples),
        **({} if config.data.stream else {"error_prefixes": sum(bool(error_prefix(sample)) for sample in samples)}),
        **session.videos_read(),
        **session.last_values(trainer.state.log_history, "loss", "eval_loss", "eval_final_accuracy"),
    }


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))
