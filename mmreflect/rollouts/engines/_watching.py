"""A decoding's say in the next tokens of a batch."""

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from mmreflect.decoding import Watch


class Watching(LogitsProcessor):  # type: ignore[misc]
    """Biases and forces the next token of every row by its own watch; to stand before temperature.

    A row that has ended is left alone: what stands there is padding.

    Args:
        watches: one per row.
        prompt: columns before the first generated token, padding and visual placeholders among them.
    """

    def __init__(self, watches: Sequence[Watch], prompt: int, end_ids: frozenset[int]) -> None:
        self._watches, self._prompt, self._end_ids = watches, prompt, end_ids
        self._ended = [False] * len(watches)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores (B, V) with what the watches say."""
        if input_ids.shape[1] > self._prompt:
            self._take(input_ids[:, -1].tolist())
        scores = scores.clone()
        for row, watch in enumerate(self._watches):
            if self._ended[row]:
                continue
            say = watch.say()
            if say.forced is not None:
                scores[row] = -torch.inf
                scores[row, say.forced] = 0.0
            elif say.bias:
                ids = torch.tensor(list(say.bias), device=scores.device)
                scores[row, ids] += torch.tensor(list(say.bias.values()), dtype=scores.dtype, device=scores.device)
        return scores

    def _take(self, tokens: list[int]) -> None:
        for row, token in enumerate(tokens):
            if not self._ended[row]:
                self._watches[row].take(token)
                self._ended[row] = token in self._end_ids
