"""Placeholders of media, written out and collapsed: our ids hold all of them, vLLM wants one per medium.

vLLM expands a placeholder itself, by the grid that its own processor computes. Given ids that are expanded already it
would expand the first pad of each medium a second time.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from mmreflect.data.rendering import Conversation, Renderer
from mmreflect.errors import UserError
from mmreflect.records import Media
from mmreflect.rollouts.actions import Request

_KEPT_EXPANSIONS = 4096


@dataclass(frozen=True, slots=True)
class Expansion:
    """The tokens of one medium in our ids, and what vLLM wants in their place."""

    expanded: tuple[int, ...]
    placeholder: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request as vLLM takes it.

    Attributes:
        token_ids: our ids, every placeholder written out.
        collapsed: the same with one placeholder per medium.
        spans: start and end (exclusive) of each medium's tokens in `token_ids`.
    """

    token_ids: list[int]
    collapsed: list[int]
    spans: list[tuple[int, int]]
    media: tuple[Media, ...]


class Placeholders:
    """Collapses requests, for one renderer."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self._expansions: OrderedDict[Media, Expansion] = OrderedDict()

    def prompt(self, request: Request) -> Prompt:
        """Return a request with its media collapsed.

        Raises:
            UserError: its tokens do not match its media.
        """
        ids = [*request.prompt_ids, *request.token_ids]
        shown = [self._expansion(item) for item in request.media]
        pads = {self.renderer.image_pad, self.renderer.video_pad} - {-1}
        collapsed, spans = collapse(ids, shown, pads)
        return Prompt(ids, collapsed, spans, tuple(request.media))

    def _expansion(self, media: Media) -> Expansion:
        if media not in self._expansions:
            make = self._image_expansion if media.kind == "image" else self._video_expansion
            self._expansions[media] = make(media)
            if len(self._expansions) > _KEPT_EXPANSIONS:
                self._expansions.popitem(last=False)
        self._expansions.move_to_end(media)
        return self._expansions[media]

    def _image_expansion(self, media: Media) -> Expansion:
        grid = self.renderer.features([media])[0]["image_grid_thw"]
        count = int(grid.prod()) // int(self.renderer.processor.image_processor.merge_size) ** 2
        return Expansion((self.renderer.image_pad,) * count, (self.renderer.image_pad,))

    def _video_expansion(self, media: Media) -> Expansion:
        """Find what a video turns into by rendering it alone: pads, or times and pads by temporal patch."""
        turn = [{"role": "user", "content": [{"type": "video"}]}]
        expanded = self.renderer.encode([Conversation(turn, [media])], reply=False)[0]
        text = self.renderer.processor.apply_chat_template(turn, add_generation_prompt=False, tokenize=False)
        written = list(self.renderer.tokenizer(text, add_special_tokens=False)["input_ids"])
        place = written.index(self.renderer.video_pad)
        start = min(_common(written, expanded), place)
        tail = min(_common(written[::-1], expanded[::-1]), len(written) - place - 1)
        return Expansion(tuple(expanded[start : len(expanded) - tail]), tuple(written[start : len(written) - tail]))


def collapse(ids: Sequence[int], shown: Sequence[Expansion], pads: set[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """Replace each medium's tokens by its placeholder.

    Args:
        shown: the media in token order.
        pads: the ids that only media use, to notice tokens that no medium accounts for.

    Returns:
        The collapsed ids, and start and end of each medium in `ids`.

    Raises:
        UserError: the tokens do not match the media.
    """
    ids, collapsed, spans, cursor = list(ids), list[int](), list[tuple[int, int]](), 0
    for number, item in enumerate(shown):
        start = _find(ids, item.expanded, cursor)
        end = start + len(item.expanded)
        if start < 0 or pads & set(ids[cursor:start]):
            raise UserError(
                f"medium {number + 1} of {len(shown)} stands for {len(item.expanded)} tokens, which are not where "
                "its turn comes in the prompt",
                "the tokens that the processor gives to this medium alone",
                "put a line break between a text and a video after it, or use rollout.engine transformers",
            )
        collapsed += [*ids[cursor:start], *item.placeholder]
        spans.append((start, end))
        cursor = end
    if pads & set(ids[cursor:]):
        raise UserError("the prompt holds placeholders that no medium accounts for", "one medium per placeholder")
    return [*collapsed, *ids[cursor:]], spans


def _find(ids: list[int], wanted: Sequence[int], start: int) -> int:
    """Return where a subsequence begins at or after `start`, or -1."""
    wanted = list(wanted)
    while True:
        try:
            start = ids.index(wanted[0], start)
        except ValueError:
            return -1
        if ids[start : start + len(wanted)] == wanted:
            return start
        start += 1


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many leading elements two sequences share."""
    return next((place for place, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), len(left))
