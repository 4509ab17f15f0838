"""Keeping a run alive, or ending it so that nothing is lost: SIGTERM, numbers that are not finite, out of memory."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback

from mmreflect.errors import UserError

PATIENCE = 5
"""Steps in a row without a finite gradient after which a run is given up."""


class SaveOnTerm(TrainerCallback):  # type: ignore[misc]
    """On SIGTERM, as schedulers send it before they kill, saves after the current step and ends the run."""

    def __init__(self) -> None:
        self.asked = self.natural = False
        self._before: Any = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to listen; only the main thread of a process can."""
        try:
            self._before = signal.signal(signal.SIGTERM, self._ask)
        except ValueError:
            self._before = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Have the step saved when asked to end."""
        if self.asked:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop once it is saved, and note whether the run would have stopped here by itself."""
        if self.asked:
            self.natural = control.should_training_stop
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Listen no longer."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None


class FiniteMixin:
    """Leaves out updates whose gradient is not finite, counts them, and gives up when they do not end."""

    _unfinite_in_a_row = 0

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)  # type: ignore[misc]
        if norm is None or bool(torch.isfinite(torch.as_tensor(float(norm)))):
            self._unfinite_in_a_row = 0
            return norm
        model.zero_grad(set_to_none=True)
        self._unfinite_in_a_row += 1
        self._metrics["train"]["guard/skipped_updates"].append(1.0)  # type: ignore[attr-defined]
        if self._unfinite_in_a_row >= PATIENCE:
            raise UserError(
                f"the gradient was not finite {PATIENCE} steps in a row (step {self.state.global_step})",  # type: ignore[attr-defined]
                "finite numbers",
                "start again from the last checkpoint with a lower trainer.learning_rate, or with model.dtype=float32",
            )
        return torch.zeros_like(torch.as_tensor(norm))


@contextmanager
def explained_memory(*settings: str) -> Iterator[None]:
    """Turn an out-of-memory error into one that names the settings to change.

    Raises:
        UserError: the device ran out of memory inside.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f"out of memory: {first}",
            "a step that fits",
            f"lower {', or '.join(settings)}; then start the same command again, it goes on at its last checkpoint",
        ) from None
