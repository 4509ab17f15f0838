"""Validation while training: the project's own runner and ledger, so that "best" means the final answer is right."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from mmreflect.config import config
from mmreflect.data.loading import DataConfig


@config
class ValidationConfig:
    """When and on what a training run is validated.

    Attributes:
        every_steps: optimizer steps between two validations.
        metric: decides which checkpoint is best; greater is better.
        keep_best: end with the best checkpoint's weights instead of the last ones.
        patience: stop after so many validations without a better one; None never stops early.
        max_new_tokens: limit of a greedy answer; None is the training limit.
    """

    data: DataConfig
    every_steps: Annotated[int, Field(gt=0)]
    at_start: bool = False
    metric: Literal["final_accuracy", "first_accuracy", "gain", "fix_rate"] = "final_accuracy"
    keep_best: bool = False
    patience: Annotated[int, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(gt=0)] = 64
    max_new_tokens: Annotated[int, Field(gt=0)] | None = None


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
    }
    return arguments


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
