"""Validation while training: the project's own runner and ledger, so that "best" means the final answer is right."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from mmreflect.config import config
from mmreflect.data.loading import DataConfig, count_samples
from mmreflect.errors import UserError
from mmreflect.models import check_model

DEFAULT_SAVE_STEPS = 100


@config
class ValidationConfig:
    """When and on what a training run is validated.

    Attributes:
        every_steps: optimizer steps between two validations.
        metric: decides which checkpoint is best; greater is better.
        keep_best: end with the best checkpoint's weights instead of the last ones.
        patience: stop after so many validations without a better one; None never stops early.
        max_new_tokens: limit of a greedy reply; None is the training limit.
        budget: limit of a whole answer, with everything that an environment shows in between; None is the training's.
    """

    data: DataConfig
    every_steps: Annotated[int, Field(gt=0)]
    at_start: bool = False
    metric: Literal["final_accuracy", "first_accuracy", "gain"] = "final_accuracy"
    keep_best: bool = False
    patience: Annotated[int, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(gt=0)] = 64
    max_new_tokens: Annotated[int, Field(gt=0)] | None = None
    budget: Annotated[int, Field(gt=0)] | None = None

    def __post_init__(self) -> None:
        """Check that the questions can be asked.

        Raises:
            ValueError: they are to be streamed.
        """
        if self.data.stream:
            raise ValueError("data.stream is for training: a validation asks all of its questions; remove it")


def validation_arguments(validation: ValidationConfig | None) -> dict[str, Any]:
    """Return the trainer arguments that a validation block stands for."""
    if validation is None:
        return {"eval_strategy": "no"}
    arguments: dict[str, Any] = {
        "eval_strategy": "steps",
        "eval_steps": validation.every_steps,
        "eval_on_start": validation.at_start,
        "metric_for_best_model": validation.metric,
        "greater_is_better": True,
        "load_best_model_at_end": validation.keep_best,
        "restore_callback_states_from_checkpoint": True,
    }
    return arguments


def check_run(config: Any) -> None:
    """Check what the blocks of a training run must agree in, before anything heavy is loaded.

    Raises:
        UserError: the model cannot be used, nothing of it would be trained, there is no step to take, the validation
            split is missing, or checkpoints and validations do not meet.
    """
    check_model(config.model)
    if {"vision", "projector", "decoder"} <= set(config.model.freeze):
        raise UserError("model.freeze names every part of the model", "at least one part that moves", "leave one out")
    steps = config.trainer.get("max_steps", -1)
    if steps == 0 or config.trainer.get("num_train_epochs", 1) <= 0:
        raise UserError("the run would take no step", "trainer.max_steps or num_train_epochs above 0", "raise it")
    if config.trainer.get("max_grad_norm", 1.0) <= 0:
        raise UserError("trainer.max_grad_norm is 0", "a norm above 0", "clipping is also what finds bad gradients")
    validation = config.evaluation
    if validation is None:
        return
    count_samples(validation.data)
    every, save = validation.every_steps, config.trainer.get("save_steps", DEFAULT_SAVE_STEPS)
    if validation.keep_best and (save < every or save % every):
        raise UserError(
            f"evaluation.keep_best needs every checkpoint validated, but trainer.save_steps is {save} "
            f"and evaluation.every_steps is {every}",
            f"trainer.save_steps a multiple of {every}",
            f"set trainer.save_steps to {every * max(1, round(save / every))}",
        )


class ValidationMixin:
    """Replaces a trainer's `evaluate` by a function that measures the model as it is.

    Args to `validate_with`: a function that returns plain metrics without prefix.
    """

    _measure: Callable[[], dict[str, float]] | None = None

    def validate_with(
        self, measure: Callable[[], dict[str, float]] | None, validation: ValidationConfig | None
    ) -> None:
        """Set what `evaluate` measures, and early stopping."""
        self._measure = measure
        if validation is not None and validation.patience is not None:
            from transformers import EarlyStoppingCallback

            self.add_callback(EarlyStoppingCallback(early_stopping_patience=validation.patience))  # type: ignore[attr-defined]

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Measure, log, and tell the callbacks."""
        assert self._measure is not None
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self._measure().items()}
        training = self.model.training  # type: ignore[attr-defined]
        self.model.eval()  # type: ignore[attr-defined]  # TRL's log() would else flush the running training means here
        self.log(dict(metrics))  # type: ignore[attr-defined]
        self.model.train(training)  # type: ignore[attr-defined]
        trainer: Any = self
        trainer.control = trainer.callback_handler.on_evaluate(trainer.args, trainer.state, trainer.control, metrics)
        return metrics
