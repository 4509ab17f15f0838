"""GRPO on groups of rollouts: TRL trains, we decide on what.

TRL stays responsible for arguments, optimizer, accelerate, every loss type and logging. We override how a generation
batch becomes rows (rollouts, scores, stages, advantages, selection), what the policy's forward sees (pictures and
videos of every row), the order of samples, validation, and checkpoints. See docs/design.md, section 5.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from mmreflect.answers.stats import grading_stats
from mmreflect.data.rendering import Renderer, pad_rows
from mmreflect.errors import UserError
from mmreflect.files import read_json, to_json, write_atomic, write_json
from mmreflect.models import Loaded
from mmreflect.records import Floats, Group, Sample
from mmreflect.rl.metrics import log_round
from mmreflect.rl.rows import Piece, Row, pack_rows, pieces_of, rows_of, unpack_rows
from mmreflect.rl.selections import Selection
from mmreflect.rollouts.actions import Engine, Environment, Sampling, generation_round
from mmreflect.rollouts.driver import roll_out
from mmreflect.rollouts.scoring import Scorer
from mmreflect.rollouts.tools import Tools
from mmreflect.seeds import derive_seed, numpy_rng
from mmreflect.stages import Stage
from mmreflect.training.checkpoints import CheckpointMixin
from mmreflect.training.sampler import SeededOrder
from mmreflect.training.survival import FiniteMixin
from mmreflect.training.validation import ValidationMixin

Advantage = Callable[[Group], list[Floats]]


@dataclass
class Method:
    """Everything that turns samples into rows.

    Attributes:
        sft_coefficient: weight of the auxiliary supervised term of rows that carry `sft_weights_T`.
        watch: called with the step and the groups of each round, to keep some for the report.
    """

    engine: Engine
    environment: Environment
    scorer: Scorer
    advantage: Advantage
    selection: Selection
    sampling: Sampling
    stages: Sequence[Stage] = ()
    sft_coefficient: float = 0.0
    watch: Callable[[int, Sequence[Group]], None] = field(default=lambda step, groups: None)


def _scored_by_us(prompts: Any, completions: Any, **kwargs: Any) -> list[float]:
    raise RuntimeError("rewards are computed by the project's scorer, never through TRL's hook")


class ReflectGRPOTrainer(FiniteMixin, CheckpointMixin, ValidationMixin, GRPOTrainer):  # type: ignore[misc]
    """TRL's GRPOTrainer, with rollouts, replay and forced rethinking of our own."""

    def __init__(
        self,
        loaded: Loaded,
        renderer: Renderer,
        samples: Sequence[Sample],
        method: Method,
        arguments: GRPOConfig,
        **kwargs: Any,
    ) -> None:
        self.samples, self.method, self.renderer = samples, method, renderer
        self._window: list[list[Row]] | None = None
        self._pieces: list[Piece] = []
        self._sft_weight = 0.0
        self._inputs: dict[str, Any] = {}
        index = Dataset.from_dict({"prompt": [""] * len(self.samples), "index": np.arange(len(self.samples))})
        super().__init__(
            model=loaded.model,
            reward_funcs=[_scored_by_us],
            args=arguments,
            train_dataset=index,
            eval_dataset=index if arguments.eval_strategy != "no" else None,
            processing_class=loaded.processor or loaded.tokenizer,
            **kwargs,
        )
        loaded.model = self.accelerator.unwrap_model(self.model)
        attach = getattr(method.engine, "attach", None)
        if attach is not None:
            attach(self.model, self.accelerator)
        self.keep_checkpoints()

    # ---- order -------------------------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset: Any = None) -> SeededOrder:
        batch = self.args.generation_batch_size // self.num_generations
        repeats = self.num_iterations * self.args.steps_per_generation
        return SeededOrder(len(self.samples), self.args.seed, self.num_generations, batch, repeats)

    # ---- from samples to rows ----------------------------------------------------------------------------------

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """Return the next micro-batch; a new window of rows is made when the last one is used up."""
        every = self.args.steps_per_generation * self.num_iterations
        if self._step % every == 0 or self._window is None:
            indices = [row["index"] for row in generation_batch[:: self.num_generations]]
            self._window = self._make_window([self.samples[index] for index in indices])
            if self.args.gradient_accumulation_steps % every:
                self._freeze_old_logps(self._window)
        return self._collate(self._step % self.args.steps_per_generation)

    def _make_window(self, samples: list[Sample]) -> list[list[Row]]:
        """Roll out, score, select, and split the rows into micro-batches."""
        with generation_round(self.method.engine, self.state.global_step):
            rows = self._make_rows(samples)
        size = self.args.per_device_train_batch_size
        order = numpy_rng(self.args.seed, self._step, "rows").permutation(len(rows))
        rows = [rows[place] for place in order]
        return [rows[start * size : (start + 1) * size] for start in range(self.args.steps_per_generation)]

    def _make_rows(self, samples: list[Sample]) -> list[Row]:
        method, step = self.method, self.state.global_step
        steps = max(1, self.args.steps_per_generation * self.num_iterations // self.args.gradient_accumulation_steps)
        place = self._step // (self.args.steps_per_generation * self.num_iterations)
        tools = Tools(method.engine, method.sampling, method.scorer, self.args.seed, step, steps, place)
        graded = grading_stats()
        groups, rows = self._round(samples, tools, "rollout")
        self._check_failures(groups)
        unasked = self._unasked(samples)

        def more(count: int) -> list[Row]:
            chosen = [sample for _, sample in zip(range(count), unasked, strict=False)]
            further, fresh = self._round(chosen, tools, "more")
            groups.extend(further)
            rows.extend(fresh)
            return fresh

        selected = method.selection(list(rows), len(rows), tools, more)
        method.watch(step, groups)
        log_round(self, groups, rows, tools, graded)
        return selected

    def _round(self, samples: list[Sample], tools: Tools, purpose: str) -> tuple[list[Group], list[Row]]:
        """Roll out, score, run the stages, and turn the groups into rows."""
        method, seed = self.method, derive_seed(self.args.seed, tools.round, purpose)
        groups = roll_out(
            method.engine,
            method.environment,
            samples,
            self.num_generations,
            method.sampling,
            seed,
            policy_step=tools.step,
            progress=tools.step / max(1, self.state.max_steps),
        )
        tools.score(groups)
        for stage in method.stages:
            groups = stage(groups, tools)
        return groups, rows_of(groups, method.advantage)

    def _check_failures(self, groups: list[Group]) -> None:
        """Count the rollouts that could not be graded, and end a run in which none could.

        Raises:
            UserError: every rollout of the round failed; the first reason is given.
        """
        scores = [rollout.score for group in groups for rollout in group.rollouts if rollout.score is not None]
        failed = [score.reason for score in scores if score.value is None]
        self._metrics["train"]["quarantine/share"].append(len(failed) / max(1, len(scores)))
        if failed and len(failed) == len(scores):
            step = self.state.global_step
            raise UserError(
                f"none of the {len(failed)} rollouts of step {step} could be graded; the first: {failed[0]}",
                "rewards and environments that work on this data",
                "correct what the reason names; mmreflect score shows every part of a reward on a file of rollouts",
            )

    def _unasked(self, asked: list[Sample]) -> Iterator[Sample]:
        """Yield the other questions in an order of this round's own, for selections that want more."""
        known = {sample.id for sample in asked}
        for place in numpy_rng(self.args.seed, self._step, "more").permutation(len(self.samples)):
            if (sample := self.samples[place]).id not in known:
                yield sample

    # ---- from rows to tensors ----------------------------------------------------------------------------------

    def _collate(self, place: int) -> dict[str, Any]:
        assert self._window is not None
        rows = self._window[place]
        if not rows:
            return {"rows": rows}
        device = self.accelerator.device
        pad_id = self._tokenizer.pad_token_id
        pieces = pieces_of(rows)
        inputs = {
            "prompt_ids": pad_rows([piece.stretch.prompt_ids for piece in pieces], pad_id, left=True),
            "prompt_mask": pad_rows([[1] * len(piece.stretch.prompt_ids) for piece in pieces], 0, left=True),
            "completion_ids": pad_rows([piece.token_ids for piece in pieces], pad_id),
            "completion_mask": pad_rows([[1] * len(piece.token_ids) for piece in pieces], 0),
            "tool_mask": pad_rows([piece.cut(piece.row.policy_mask_T) for piece in pieces], 0),
            "advantages": pad_rows([piece.cut(piece.row.advantages_T) for piece in pieces], 0, dtype=torch.float32),
            "num_items_in_batch": self._loss_tokens(place),
        }
        return {"rows": rows} | {name: tensor.to(device) for name, tensor in inputs.items()}

    def _loss_tokens(self, place: int) -> torch.Tensor:
        """Return the loss tokens of this accumulation window over all ranks, in the scale that TRL divides by.

        Also notes the window's SFT weight, which the supervised term divides by.

        TRL counts over the generation batch and rescales by accumulation / steps per generation; we count the window
        itself, so that windows of unequal length are normalised exactly, and undo that factor.
        """
        assert self._window is not None
        span = min(self.current_gradient_accumulation_steps, self.args.steps_per_generation)
        start = place // span * span
        window = [row for rows in self._window[start : start + span] for row in rows]
        tokens = sum(int(row.policy_mask_T.sum()) for row in window)
        self._sft_weight = sum(float(row.sft_weights_T.sum()) for row in window if row.sft_weights_T is not None)
        total: torch.Tensor = self.accelerator.reduce(
            torch.tensor(float(tokens), device=self.accelerator.device), reduction="sum"
        )
        generations = max(1, self.current_gradient_accumulation_steps // self.args.steps_per_generation)
        self._sft_weight *= generations  # an update over several generations is the mean of theirs
        factor = generations * self.args.steps_per_generation / self.current_gradient_accumulation_steps
        scaled: torch.Tensor = total * factor
        return scaled

    # ---- the update --------------------------------------------------------------------------------------------

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss; a micro-batch without rows has none, and leaves every gradient as it is.

        With no gradient at all the optimizer does not move: AdamW with gradients of zero still would.
        """
        rows = inputs.pop("rows")
        if not rows:
            self._metrics["train"]["replay/skipped_micro_batches"].append(1.0)
            return torch.zeros((), device=self.accelerator.device, requires_grad=True)
        self._pieces, self._inputs = pieces_of(rows), inputs
        if self.beta != 0.0:
            inputs["ref_per_token_logps"] = self._reference_logps(inputs)
        self._captured: torch.Tensor | None = None
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return loss + self._supervised_term()

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, batch_size: Any = None,
        compute_entropy: bool = False, compute_aux_loss: bool = False, **_: Any,
    ) -> tuple[Any, Any, Any]:  # fmt: skip
        """Return log-probs and entropies (B, T) of the completion tokens, with the media of `self._pieces`.

        The first forward of the policy over rows that were never trained on is also their behaviour policy's.
        """
        ids_BT = [[*piece.stretch.prompt_ids, *piece.token_ids] for piece in self._pieces]
        extra = self.renderer.model_inputs(ids_BT, [piece.stretch.media for piece in self._pieces], input_ids.device)
        types = self.renderer.token_types(input_ids)
        if types is not None:
            extra["mm_token_type_ids"] = types
        if compute_aux_loss:
            extra["output_router_logits"] = True
        labels = input_ids.masked_fill(attention_mask == 0, -100)
        labels[:, :-logits_to_keep] = -100
        with self.accelerator.autocast():
            output = model(
                input_ids=input_ids, attention_mask=attention_mask, labels=labels, fused_lm_head=True, **extra
            )
        logps_BT = output.log_probs[:, -logits_to_keep:]
        if compute_entropy:
            self._captured = logps_BT
            self._inputs["old_per_token_logps"] = self._old_logps(logps_BT.detach())
        entropies_BT = output.entropy[:, -logits_to_keep:] if compute_entropy else None
        return logps_BT, entropies_BT, output.aux_loss if compute_aux_loss else None

    def _old_logps(self, logps_BT: torch.Tensor) -> torch.Tensor:
        """Return the behaviour policy's log-probs: the stored ones, or these, which are then stored."""
        old_BT = logps_BT.clone()
        new: set[int] = set()
        for place, piece in enumerate(self._pieces):
            row, length = piece.row, len(piece.token_ids)
            if row.old_logps_T is None:
                row.old_logps_T = np.zeros(len(row.rollout.token_ids), np.float32)
                new.add(id(row))
            if id(row) in new:
                piece.cut(row.old_logps_T)[:] = logps_BT[place, :length].float().cpu().numpy()
            else:
                old_BT[place, :length] = torch.from_numpy(piece.cut(row.old_logps_T)).to(old_BT)
        return old_BT

    def _freeze_old_logps(self, window: list[list[Row]]) -> None:
        """Store the log-probs of rows that more than one optimizer step will use, before the first moves the policy."""
        with torch.no_grad():
            for place, rows in enumerate(window):
                if any(row.old_logps_T is None for row in rows):
                    self._forward(self.model, self._collate(place), store=True)

    def _forward(self, model: Any, inputs: dict[str, Any], *, store: bool = False) -> torch.Tensor:
        self._pieces = pieces_of(inputs["rows"]) if "rows" in inputs else self._pieces
        ids_BT = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        mask_BT = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        logps_BT, _, _ = self._get_per_token_logps_and_entropies(
            model, ids_BT, mask_BT, inputs["completion_ids"].size(1)
        )
        if store:
            self._old_logps(logps_BT)
        return torch.as_tensor(logps_BT)

    def _reference_logps(self, inputs: dict[str, Any]) -> torch.Tensor:
        with torch.no_grad():
            if self.ref_model is not None:
                return self._forward(self.ref_model, inputs)
            with self.accelerator.unwrap_model(self.model).disable_adapter():
                return self._forward(self.model, inputs)

    def _supervised_term(self) -> Any:
        """Return coefficient x mean NLL over the weighted tokens of the accumulation window (step 9)."""
        whole = [(piece, piece.row.sft_weights_T) for piece in self._pieces]
        weighted = [None if weights_T is None else piece.cut(weights_T) for piece, weights_T in whole]
        if self.method.sft_coefficient == 0 or self._captured is None or all(item is None for item in weighted):
            return 0.0
        empty = np.zeros(0, np.float32)
        weights_BT = pad_rows([empty if item is None else item for item in weighted], 0, dtype=torch.float32)
        weights_BT = torch.nn.functional.pad(weights_BT, (0, self._captured.shape[1] - weights_BT.shape[1])).to(
            self._captured
        )
        total = -(self._captured * weights_BT).sum()
        self._metrics["train"]["rethink/sft_loss"].append(total.item() / max(1.0, weights_BT.sum().item()))
        return self.method.sft_coefficient * total / max(1.0, self._sft_weight)

    # ---- checkpoints -------------------------------------------------------------------------------------------

    def extra_state(self, folder: Path) -> None:
        """Save this rank's selection, the rows of a window that is not used up, and the micro-step."""
        values, buffer = self.method.selection.state()
        used_up = self._step % (self.args.steps_per_generation * self.num_iterations) == 0
        window = [] if used_up else self._window or []
        records, arrays = pack_rows([*(row for rows in window for row in rows), *buffer])
        rank = f"rank{self.args.process_index:05}"
        write_atomic(folder / f"rows-{rank}.json", to_json(records))
        np.savez(folder / f"rows-{rank}.npz", **arrays)  # type: ignore[arg-type]
        write_json(
            folder / f"grpo_state-{rank}.json",
            {"step": self._step, "window": [len(rows) for rows in window], "selection": values},
        )

    def restore_extra(self, folder: Path) -> None:
        """Take back what `extra_state` saved; rows that the window and the buffer share are one object again."""
        rank = f"rank{self.args.process_index:05}"
        state = read_json(folder / f"grpo_state-{rank}.json")
        with np.load(folder / f"rows-{rank}.npz", allow_pickle=False) as arrays:
            rows = unpack_rows(read_json(folder / f"rows-{rank}.json"), dict(arrays))
        self._step, self._window = state["step"], []
        for length in state["window"]:
            self._window.append(rows[:length])
            rows = rows[length:]
        self.method.selection.restore(state["selection"], rows)
