"""Supervised fine-tuning: TRL's SFTTrainer trains, our collator makes the batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from mmreflect.data.collation import SftCollator
from mmreflect.models import Loaded
from mmreflect.records import Sample
from mmreflect.training.checkpoints import CheckpointMixin
from mmreflect.training.sampler import SeededOrder
from mmreflect.training.survival import FiniteMixin
from mmreflect.training.validation import ValidationMixin


class ReflectSFTTrainer(FiniteMixin, CheckpointMixin, ValidationMixin, SFTTrainer):  # type: ignore[misc]
    """TRL's SFTTrainer on the project's samples, with exact resume and validation by the ledger."""

    def __init__(
        self, loaded: Loaded, collator: SftCollator, samples: Sequence[Sample], arguments: SFTConfig, **kwargs: Any
    ) -> None:
        self.samples = samples
        index = Dataset.from_dict({"index": np.arange(len(samples)), "labels": [[0]] * len(samples)})
        super().__init__(
            model=loaded.model,
            args=arguments,
            data_collator=collator,
            train_dataset=index,
            eval_dataset=index if arguments.eval_strategy != "no" else None,
            processing_class=loaded.processor or loaded.tokenizer,
            **kwargs,
        )
        loaded.model = self.accelerator.unwrap_model(self.model)
        self.keep_checkpoints()

    def _get_train_sampler(self, train_dataset: Any = None) -> SeededOrder:
        return SeededOrder(len(self.samples), self.args.seed)


def mean_token_loss(model: Any, collator: SftCollator, count: int, batch_size: int) -> float:
    """Return the mean NLL per assistant token over the collator's first `count` samples."""
    total, tokens = 0.0, 0
    with torch.no_grad():
        for start in range(0, count, batch_size):
            batch = collator([{"index": place} for place in range(start, min(count, start + batch_size))])
            batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
            learnt = int((batch["labels"][:, 1:] != -100).sum())
            total += float(model(**batch).loss) * learnt
            tokens += learnt
    return total / max(1, tokens)
