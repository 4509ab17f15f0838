"""What a person sees while a model trains: one bar, and the figures that matter."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback

SHOWN = {
    "loss": "loss",
    "reward": "reward",
    "rewards/accuracy/mean": "accuracy",
    "replay/effective_ratio_raw": "effective",
    "eval_loss": "validation loss",
    "eval_first_accuracy": "validation first",
    "eval_final_accuracy": "validation final",
}
"""Logged names and what they are called on the screen; everything else is in `log.jsonl`."""


class TrainingProgress(TrainerCallback):  # type: ignore[misc]
    """Shows a bar on a terminal, and a line per logging step elsewhere."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._console = Console(soft_wrap=True, highlight=False)
        self._bar: Progress | None = None
        self._figures: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar at the step that training begins at."""
        if not state.is_world_process_zero or not self._console.is_terminal:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, TextColumn("{task.fields[figures]}"), console=self._console)
        self._bar.add_task(self._label, total=state.max_steps, completed=state.global_step, figures="")
        self._bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Show the newest figures."""
        if not state.is_world_process_zero:
            return
        fresh = {SHOWN[name]: value for name, value in (logs or {}).items() if name in SHOWN and value is not None}
        if not fresh:
            return
        self._figures |= fresh
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], figures=_words(self._figures))
        else:
            self._console.print(f"step {state.global_step}/{state.max_steps}: {_words(fresh)}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.stop()


def _words(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items())


def take_over_output(trainer: Any, label: str) -> None:
    """Replace transformers' printing callbacks by our bar."""
    from transformers import PrinterCallback, ProgressCallback

    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(TrainingProgress(label))
