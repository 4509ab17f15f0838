"""From media to pixels, as one processor needs them: pictures whole, clips sampled, sized and stamped by our own rules.

The frames of a clip are chosen and resized here, and the processor is told to do neither: only then do a budget in
tokens and an absolute time mean the same for every family.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mmreflect.media.images import load_media_image
from mmreflect.media.video import Clip, load_stills, load_video
from mmreflect.records import FrameSampling, Media

if TYPE_CHECKING:
    from PIL.Image import Image

THREADS = 4
"""Clips and pictures that are read at once; each clip has a worker process of its own."""


class Pixels:
    """Loads media for one processor.

    Args:
        sampling: of clips whose media say nothing themselves; None is qwen-vl-utils' defaults.
    """

    def __init__(self, processor: Any, sampling: FrameSampling | None = None) -> None:
        self.sampling = sampling or FrameSampling()
        self._processor: Any = getattr(processor, "video_processor", None)

    @property
    def unit(self) -> int:
        """Pixels per side of one visual token: 28 or 32."""
        return int(self._processor.patch_size * self._processor.merge_size) if self._processor is not None else 28

    def load(self, media: Sequence[Media]) -> "dict[Media, Image | Clip]":
        """Read every medium once, several at a time.

        Raises:
            UserError: one of them cannot be read; the file and the reason are named.
        """
        distinct = list(dict.fromkeys(media))
        stills = [item for item in distinct if item.kind == "image" and item.at is not None]
        others = [item for item in distinct if item.kind == "video" or item.at is None]
        found: dict[Media, Image | Clip] = dict(zip(stills, load_stills(stills), strict=True)) if stills else {}
        if len(others) == 1:
            return found | {others[0]: self._one(others[0])}
        with ThreadPoolExecutor(THREADS) as pool:
            return found | dict(zip(others, pool.map(self._one, others), strict=True))

    def _one(self, media: Media) -> "Image | Clip":
        if media.kind == "image":
            return load_media_image(media)
        sampling, fallback = self.limits(media.frames or self.sampling)
        return load_video(replace(media, frames=sampling), sampling, self.unit, fallback)

    def limits(self, sampling: FrameSampling) -> tuple[FrameSampling, tuple[int, int] | None]:
        """Return a sampling with the processor's own limits where it sets none, and those per frame.

        Qwen2-VL and Qwen2.5-VL limit every frame; Qwen3-VL and Qwen3.5 the clip as a whole, in pixels of all frames.
        """
        size = getattr(self._processor, "size", None)
        least, most = (getattr(size, name, None) for name in ("shortest_edge", "longest_edge"))
        if not least or not most:
            return sampling, None
        if not type(self._processor).__name__.startswith("Qwen3"):
            return sampling, (int(least), int(most))
        if not (sampling.total_pixels or sampling.total_tokens):
            sampling = replace(sampling, total_pixels=int(most) // 2)
        return sampling, (self.unit**2, int(most))
