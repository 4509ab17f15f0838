"""A decoding's say in the next tokens of a batch."""

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from mmreflect.decoding import NOTHING, Watch


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
        rows: list[int] = []
        tokens: list[int] = []
        added: list[float] = []
        forced: list[tuple[int, int]] = []
        for row, watch in enumerate(self._watches):
            say = NOTHING if self._ended[row] else watch.say()
            if say.forced is not None:
                forced.append((row, say.forced))
                continue
            rows += [row] * len(say.bias)
            tokens += say.bias.keys()
            added += say.bias.values()
        return _forced(_added(scores, rows, tokens, added), forced)

    def _take(self, tokens: list[int]) -> None:
        for row, token in enumerate(tokens):
            if not self._ended[row]:
                self._watches[row].take(token)
                self._ended[row] = token in self._end_ids


def _added(scores: torch.Tensor, rows: list[int], tokens: list[int], added: list[float]) -> torch.Tensor:
    """Return scores with one value added at each pair of row and token: one copy to the device, however many rows."""
    if not rows:
        return scores
    places = torch.tensor([rows, tokens], device=scores.device)
    values = torch.tensor(added, dtype=scores.dtype, device=scores.device)
    return scores.index_put((places[0], places[1]), values, accumulate=True)


def _forced(scores: torch.Tensor, forced: list[tuple[int, int]]) -> torch.Tensor:
    """Return scores in which some rows leave one token possible."""
    if not forced:
        return scores
    places = torch.tensor(forced, device=scores.device)
    emptied = scores.index_fill(0, places[:, 0], -torch.inf)
    return emptied.index_put((places[:, 0], places[:, 1]), torch.zeros((), dtype=scores.dtype, device=scores.device))
