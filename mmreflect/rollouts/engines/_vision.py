"""What the vision tower made of each medium, kept while the weights stay as they are.

A group's rollouts share their pictures, a dense clip is seen by the second look and by the probe, and a rollout of
several turns is read again for every reply: without this the tower would see each of them anew.
"""

import inspect
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from mmreflect.data.rendering import Features, Renderer
from mmreflect.records import Media

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KINDS = {
    "image": ("pixel_values", "image_grid_thw"),
    "video": ("pixel_values_videos", "video_grid_thw"),
}
CHUNK = 16
"""Media that go through the tower at once."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One medium's embeddings (tokens, hidden), one of each deepstack level, and what else the model needs of it."""

    embeddings: torch.Tensor
    levels: list[torch.Tensor]
    extra: Features

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.embeddings, *self.levels))


class VisionCache:
    """Turns media into the inputs of `generate`, each medium through the vision tower once.

    Args:
        limit_bytes: how much is kept; what was not used for longest goes first.
    """

    def __init__(self, renderer: Renderer, limit_bytes: int = 1 << 30) -> None:
        self._renderer, self._limit = renderer, limit_bytes
        self._seen: OrderedDict[Media, Seen] = OrderedDict()
        self._kinds: dict[str, type[Any]] = {}
        self._held = 0

    def clear(self) -> None:
        """Forget everything: the weights have moved."""
        self._seen.clear()
        self._held = 0

    def inputs(self, model: "PreTrainedModel", media: Sequence[Media]) -> dict[str, Any]:
        """Return embeddings and grids of media in token order, as `generate` takes them; nothing without media."""
        known = {item: self._seen[item] for item in media if item in self._seen}
        missing = list(dict.fromkeys(item for item in media if item not in known))
        for start in range(0, len(missing), CHUNK):
            known |= self._look(model, missing[start : start + CHUNK])
        outputs: dict[str, Any] = {}
        inputs: dict[str, Any] = {}
        for kind in KINDS:
            seen = [known[item] for item in media if item.kind == kind]
            if not seen:
                continue
            outputs[kind] = self._output(kind, seen)
            for key in seen[0].extra:
                inputs[key] = torch.cat([item.extra[key] for item in seen]).to(model.device)
        for item in dict.fromkeys(media):
            self._remember(item, known[item])
        return inputs | {"mm_encoder_outputs": outputs} if outputs else {}

    def _look(self, model: "PreTrainedModel", media: Sequence[Media]) -> dict[Media, Seen]:
        found: dict[Media, Seen] = {}
        features = dict(zip(media, self._renderer.features(media), strict=True))
        for kind, (pixels, grid) in KINDS.items():
            items = [item for item in media if item.kind == kind]
            if not items:
                continue
            see: Any = getattr(model, f"get_{kind}_features")
            values, grids = (
                torch.cat([features[item][key] for item in items]).to(model.device) for key in (pixels, grid)
            )
            output = see(values, grids, return_dict=True)
            self._kinds[kind] = type(output)
            levels = getattr(output, "deepstack_features", None) or []
            for place, item in enumerate(items):
                extra = {key: value for key, value in features[item].items() if key != pixels}
                found[item] = Seen(output.pooler_output[place], [level[place] for level in levels], extra)
        return found

    def _output(self, kind: str, seen: Sequence[Seen]) -> Any:
        """Return what the model's own `get_..._features` returns for these media."""
        output = self._kinds[kind](pooler_output=tuple(item.embeddings for item in seen))
        if seen[0].levels:
            count = len(seen[0].levels)
            output.deepstack_features = [tuple(item.levels[level] for item in seen) for level in range(count)]
        return output

    def _remember(self, media: Media, seen: Seen) -> None:
        if media not in self._seen:
            self._held += seen.size
        self._seen[media] = seen
        self._seen.move_to_end(media)
        while self._held > self._limit and len(self._seen) > 1:
            _, dropped = self._seen.popitem(last=False)
            self._held -= dropped.size


def takes_embeddings(model: "PreTrainedModel") -> bool:
    """Tell whether a model's `generate` takes embeddings in place of pixels (transformers 5.20 and later)."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "mm_encoder_outputs" in inspect.signature(inner.forward).parameters
