"""Batches for supervised fine-tuning: only the assistant's tokens are learnt."""

from collections.abc import Sequence
from typing import Any

import torch

from mmreflect.data.rendering import Conversation, Renderer, assistant_spans, pad_rows
from mmreflect.errors import UserError
from mmreflect.records import Sample

IGNORED = -100


class SftCollator:
    """Turns sample indices into a padded batch; text-only, one-picture, many-picture and video rows mix freely.

    Args:
        samples: looked up by the `index` column of the trainer's dataset.
        max_length: the longest row in tokens; None sets no limit. A longer row is an error, never cut: a cut inside a
            picture breaks the model, a cut inside the answer teaches it to stop short.
    """

    def __init__(self, samples: Sequence[Sample], renderer: Renderer, max_length: int | None) -> None:
        self.samples, self.renderer, self.max_length = samples, renderer, max_length

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids, attention_mask, labels (B, T), token types and visual features."""
        samples = [self.samples[row["index"]] for row in rows]
        conversations = [Conversation(_with_response(sample), sample.media) for sample in samples]
        ids_BT = self.renderer.encode(conversations, reply=False)
        labels_BT = [self._labels(ids, sample) for ids, sample in zip(ids_BT, samples, strict=True)]
        pad_id = self.renderer.tokenizer.pad_token_id
        batch: dict[str, Any] = {
            "input_ids": pad_rows(ids_BT, pad_id),
            "attention_mask": pad_rows([[1] * len(ids) for ids in ids_BT], 0),
            "labels": pad_rows(labels_BT, IGNORED),
        }
        types = self.renderer.token_types(batch["input_ids"])
        if types is not None:
            batch["mm_token_type_ids"] = types
        return batch | self.renderer.model_inputs(ids_BT, [sample.media for sample in samples])

    def _labels(self, ids: list[int], sample: Sample) -> list[int]:
        if self.max_length is not None and len(ids) > self.max_length:
            raise UserError(
                f"sample {sample.id!r} has {len(ids)} tokens, trainer.max_length is {self.max_length}",
                "every sample within the limit",
                "raise trainer.max_length, lower data.max_pixels, or leave the sample out",
            )
        spans = assistant_spans(ids, self.renderer.tokenizer)
        if not spans:
            raise UserError(
                f"sample {sample.id!r}: no assistant turn found in the rendered conversation",
                "a chat template in Qwen's form (<|im_start|>assistant ... <|im_end|>)",
                "check the model's chat template",
            )
        labels = [IGNORED] * len(ids)
        for start, end in spans:
            labels[start:end] = ids[start:end]
        return labels


def _with_response(sample: Sample) -> list[dict[str, Any]]:
    return [*sample.messages, {"role": "assistant", "content": [{"type": "text", "text": sample.response or ""}]}]
