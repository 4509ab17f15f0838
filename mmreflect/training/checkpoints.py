"""Checkpoints that are either whole or ignored, and runs that go on as if nothing had happened.

A `complete` marker is written and flushed last; older checkpoints are removed only after it. Beside what transformers
saves, a checkpoint holds what lives between two steps: running means of the log and the trainer's own counters.
"""

import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerState

from mmreflect.errors import Interrupted
from mmreflect.files import append_jsonl, read_json, sync_folder, write_atomic, write_json, write_jsonl
from mmreflect.training.survival import SaveOnTerm

MARKER = "complete"
STATE = "mmreflect_state.json"


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint, or None."""
    found = [path for path in folder.glob("checkpoint-*") if (path / MARKER).is_file()]
    return max(found, key=_step_of, default=None)


def _step_of(path: Path) -> int:
    match = re.fullmatch(r"checkpoint-(\d+)", path.name)
    return int(match.group(1)) if match else -1


def flush(folder: Path) -> None:
    """Flush every file of a folder to disk."""
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            sync_folder(path)
        else:
            with open(path, "rb") as file:
                os.fsync(file.fileno())


class CheckpointMixin:
    """Makes a transformers Trainer save whole checkpoints and resume exactly.

    A subclass adds its own state in `extra_state` and takes it back in `restore_extra`.
    """

    _restored_from: Path | None = None

    def keep_checkpoints(self) -> None:
        """Take rotation over from transformers, which removes an old checkpoint before the new one is whole."""
        self._keep: int | None = self.args.save_total_limit  # type: ignore[attr-defined]
        self.args.save_total_limit = None  # type: ignore[attr-defined]
        self._term = SaveOnTerm()
        self.add_callback(_Restore(self))  # type: ignore[attr-defined]
        self.add_callback(self._term)  # type: ignore[attr-defined]

    def train_or_resume(self) -> Any:
        """Train from the newest complete checkpoint, or from the start.

        Raises:
            Interrupted: SIGTERM came; the state is saved.
        """
        folder = Path(self.args.output_dir)  # type: ignore[attr-defined]
        self._restored_from = newest_checkpoint(folder)
        for path in folder.glob("checkpoint-*"):
            if not (path / MARKER).is_file():
                shutil.rmtree(path)
        if self._restored_from is not None and read_json(self._restored_from / STATE)["stopped"]:
            return self._finish_stopped(self._restored_from)
        resume = str(self._restored_from) if self._restored_from else None
        result = self.train(resume_from_checkpoint=resume)  # type: ignore[attr-defined]
        if self._term.asked and not self._term.natural:
            raise Interrupted(self.state.global_step)  # type: ignore[attr-defined]
        return result

    def _finish_stopped(self, folder: Path) -> Any:
        """Finish a run that was killed after its last checkpoint; transformers would train one step too many."""
        trainer: Any = self
        self._load_from_checkpoint(str(folder))
        trainer.state = TrainerState.load_from_json(str(folder / "trainer_state.json"))
        trainer.state.init_training_references(trainer, trainer.state.max_steps, trainer.state.num_train_epochs, None)
        trainer._memory_tracker.start()
        trainer.control = trainer.callback_handler.on_train_begin(trainer.args, trainer.state, trainer.control)
        trainer.model.train()
        return trainer._finalize_training(None, 0, time.time())

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)  # type: ignore[misc]
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"  # type: ignore[attr-defined]
        self.extra_state(folder)
        self.accelerator.wait_for_everyone()  # type: ignore[attr-defined]
        if self.args.should_save:  # type: ignore[attr-defined]
            write_json(folder / STATE, self._between_steps())
            flush(folder)
            write_atomic(folder / MARKER, "")
            self._rotate()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load every weight of a checkpoint, strictly.

        transformers loads the file's names into memory's names without complaint about what does not fit. Qwen2-VL and
        Qwen2.5-VL are saved under other names than they have in memory, so it loads nothing of them: a "resumed" run
        goes on from the initial weights.
        """
        model = self.model if model is None else model  # type: ignore[attr-defined]
        if hasattr(model, "peft_config") or self.is_fsdp_enabled or self.is_deepspeed_enabled:  # type: ignore[attr-defined]
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        saved = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype)
        model.load_state_dict(saved.state_dict(), strict=True)

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint  # type: ignore[attr-defined]
        if hasattr(self.model, "peft_config") or self.is_fsdp_enabled or self.is_deepspeed_enabled:  # type: ignore[attr-defined]
            super()._load_best_model()  # type: ignore[misc]
        else:
            self._load_from_checkpoint(best)

    def _rotate(self) -> None:
        if not self._keep:
            return
        best = self.state.best_model_checkpoint  # type: ignore[attr-defined]
        found = sorted(Path(self.args.output_dir).glob("checkpoint-*"), key=_step_of)  # type: ignore[attr-defined]
        for path in found[: -self._keep]:
            if best is None or path.resolve() != Path(best).resolve():
                (path / MARKER).unlink(missing_ok=True)
                shutil.rmtree(path)

    def _between_steps(self) -> dict[str, Any]:
        """Return what transformers and TRL keep in memory only."""
        metrics = getattr(self, "_metrics", {"train": {}})["train"]
        return {
            "loss_since_logged": self._tr_loss.item(),
            "loss_total": self._total_loss_scalar,
            "last_logged": self._globalstep_last_logged,
            "stopped": self.control.should_training_stop,  # type: ignore[attr-defined]
            "train_tokens": getattr(self, "_total_train_tokens", 0),
            "metrics": {name: list(values) for name, values in metrics.items()},
        }

    def restore_between_steps(self) -> None:
        """Take back what `_between_steps` saved; called when training begins."""
        if self._restored_from is None:
            return
        saved = read_json(self._restored_from / STATE)
        self._tr_loss = torch.tensor(saved["loss_since_logged"], device=self.args.device)  # type: ignore[attr-defined]
        self._total_loss_scalar = saved["loss_total"]
        self._globalstep_last_logged = saved["last_logged"]
        self._initial_global_step = 0
        self._total_train_tokens = saved["train_tokens"]
        for name, values in saved["metrics"].items():
            self._metrics["train"][name] = list(values)  # type: ignore[attr-defined]
        self.restore_extra(self._restored_from)

    def create_model_card(self, *arguments: Any, **keys: Any) -> None:
        """Write none: TRL's names a Hub model that there is not."""

    def extra_state(self, folder: Path) -> None:
        """Write a subclass's own state into a checkpoint folder; called on every rank."""

    def restore_extra(self, folder: Path) -> None:
        """Read a subclass's own state from a checkpoint folder."""


class _Restore(TrainerCallback):  # type: ignore[misc]
    def __init__(self, trainer: CheckpointMixin) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer.restore_between_steps()


class LogFile(TrainerCallback):  # type: ignore[misc]
    """Keeps `log.jsonl` equal to the trainer's history: a resumed run drops the lines after its checkpoint."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the history so far."""
        if state.is_world_process_zero:
            write_jsonl(self._path, state.log_history)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Append the newest entry."""
        if state.is_world_process_zero and state.log_history:
            append_jsonl(self._path, state.log_history[-1:])
