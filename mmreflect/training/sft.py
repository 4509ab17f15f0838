"""Supervised fine-tuning: TRL's SFTTrainer trains, our collator makes the batch."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from mmreflect.data.collation import IGNORED, SftCollator
from mmreflect.data.rendering import assistant_spans
from mmreflect.errors import UserError
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


class PrefixCollator(SftCollator):
    """A collator that puts no loss on the error with which a response begins.

    `error_prefix` among a sample's facts is how many characters of its response lead to the error and hold it. A token
    that holds the last of them and what follows counts to the error.
    """

    def _labels(self, ids: list[int], sample: Sample) -> list[int]:
        """Return the labels of one row.

        Raises:
            UserError: the response does not begin with the prefix that the facts speak of.
        """
        labels = super()._labels(ids, sample)
        prefix = error_prefix(sample)
        if prefix:
            start, end = assistant_spans(ids, self.renderer.tokenizer)[-1]
            tokens = self._tokens_of(ids[start:end], prefix)
            if tokens is None:
                raise UserError(
                    f"sample {sample.id!r}: its response does not begin with the error of {len(prefix)} characters "
                    "that facts.error_prefix speaks of",
                    "a response as the builder has written it",
                    "build the dataset anew, or set loss_on_error_prefix=true",
                )
            labels[start : start + tokens] = [IGNORED] * tokens
        return labels

    def _tokens_of(self, ids: list[int], prefix: str) -> int | None:
        """Return how many tokens cover a text at their beginning; None where another text stands there."""
        tokenizer = self.renderer.tokenizer

        def text(count: int) -> str:
            return str(tokenizer.decode(ids[:count], clean_up_tokenization_spaces=False))

        first = bisect_left(range(len(ids)), len(prefix), key=lambda count: len(text(count)))
        # the tokens of one character may show as another until the last of its four bytes is there
        counts = range(first, min(first + 3, len(ids)) + 1)
        return next((count for count in counts if text(count).startswith(prefix)), None)


def error_prefix(sample: Sample) -> str:
    """Return the error with which a sample's response begins, with the steps before it; empty where it has none."""
    return (sample.response or "")[: sample.facts.get("error_prefix") or 0]


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
