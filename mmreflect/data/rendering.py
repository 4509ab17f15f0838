"""From messages and media to token ids and visual features, through the model's own processor.

The processor alone decides how many placeholder tokens a picture or clip takes and what text goes between them. Visual
features are kept per medium, so that a picture is decoded and patched once per group, however often it is used.
"""

import contextlib
import re
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from mmreflect.data.pixels import Pixels
from mmreflect.errors import UserError
from mmreflect.media.video import Clip
from mmreflect.records import FrameSampling, Media, Message, content_parts

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import PreTrainedTokenizerBase

Features = dict[str, torch.Tensor]
"""Visual tensors as the model takes them: `pixel_values` (patches, values), `image_grid_thw` (media, 3), ..."""

_KEYS = {
    "image": ("pixel_values", "image_grid_thw"),
    "video": ("pixel_values_videos", "video_grid_thw", "second_per_grid_ts"),
}

SEEN_AT_ONCE = 4
STILLS_AT_ONCE = 64
"""Media in one call of the processor; and stills of one video that are decoded in one go, and held until seen."""
MOST_WRITTEN = 1 << 16
_PLACE = re.compile(r"<\|vision_start\|><\|(?:image|video)_pad\|><\|vision_end\|>")


def _place(kind: str) -> str:
    """Return what a chat template writes for a medium."""
    return f"<|vision_start|><|{kind}_pad|><|vision_end|>"


@dataclass(frozen=True, slots=True)
class Conversation:
    """Chat turns and the media that their parts stand for, in order."""

    messages: Sequence[Message]
    media: Sequence[Media]


class Renderer:
    """Turns conversations into tokens and media into features, for one processor.

    Args:
        processor: a Qwen-VL processor, or None for a text-only model.
        min_pixels, max_pixels: limits per picture; None keeps the processor's own.
        frames: how clips are sampled whose media say nothing themselves.
        cache_bytes: how many bytes of visual features are kept.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        processor: Any = None,
        *,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        frames: FrameSampling | None = None,
        cache_bytes: int = 512 * 2**20,
    ) -> None:
        self.tokenizer, self.processor = tokenizer, processor
        self.pixels = Pixels(processor, frames)
        self.image_limits = {
            key: value for key, value in (("min_pixels", min_pixels), ("max_pixels", max_pixels)) if value is not None
        }
        controls = [token for token in tokenizer.all_special_tokens if token.startswith("<|")]
        self._control = re.compile("|".join(re.escape(token) for token in controls) or r"(?!)")
        self._cache: OrderedDict[Media, Features] = OrderedDict()
        self._written: OrderedDict[Media, bytes] = OrderedDict()
        self._cache_bytes, self._cached = cache_bytes, 0
        self.image_pad, self.video_pad = (
            tokenizer.convert_tokens_to_ids(f"<|{kind}_pad|>") if processor is not None else -1 for kind in _KEYS
        )

    def encode(self, conversations: Sequence[Conversation], *, reply: bool) -> list[list[int]]:
        """Return the token ids of each conversation, placeholders expanded.

        Args:
            reply: end with the header of an assistant turn, for the model to speak.

        Raises:
            UserError: a text-only model is shown media, or a medium cannot be loaded.
        """
        if not conversations:
            return []
        media = [item for conversation in conversations for item in conversation.media]
        if self.processor is None and media:
            raise UserError(
                f"a text-only model was given {media[0].path}", "samples without media", "use a vision-language model"
            )
        texts = [self._chat(conversation.messages, reply) for conversation in conversations]
        if media:
            self._see([item for item in dict.fromkeys(media) if item not in self._written], keep=False)
            texts = [
                self._expanded(text, conversation.media)
                for text, conversation in zip(texts, conversations, strict=True)
            ]
            self._forget()
        return [list(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]

    def load_ahead(self, media: Sequence[Media]) -> None:
        """See media that will be written one by one, several at a time; a faulty one is named when its turn comes."""
        if self.processor is not None:
            with contextlib.suppress(UserError):
                self._see([item for item in dict.fromkeys(media) if item not in self._written], keep=False)

    def _expanded(self, text: str, media: Sequence[Media]) -> str:
        """Put into the places of a conversation's media what the processor writes there."""
        pieces = _PLACE.split(text)
        if len(pieces) != len(media) + 1:
            raise UserError(
                f"the chat template wrote {len(pieces) - 1} places for {len(media)} media",
                "a template in Qwen's form: <|vision_start|>, the pad, <|vision_end|>",
                "check the model's chat template",
            )
        written = [zlib.decompress(self._written[item]).decode() for item in media]
        return "".join(piece for pair in zip(pieces, [*written, ""], strict=True) for piece in pair)

    def _chat(self, messages: Sequence[Message], reply: bool) -> str:
        for part in (part for turn in messages for part in content_parts(turn["content"]) if part["type"] == "text"):
            held = self._control.search(part["text"])
            if held:
                raise UserError(
                    f"a text holds the control token {held.group(0)}",
                    "text without control tokens",
                    "remove it from the text",
                )
        speaker = self.processor or self.tokenizer
        turns = list(messages)
        if self.processor is not None:
            turns = [{**turn, "content": list(content_parts(turn["content"]))} for turn in turns]
        else:
            turns = [
                {**turn, "content": "".join(part["text"] for part in content_parts(turn["content"]))} for turn in turns
            ]
        return str(speaker.apply_chat_template(turns, add_generation_prompt=reply, tokenize=False))

    def _forget(self) -> None:
        """Drop the oldest placeholders, only between two calls: one call may need old and new ones together."""
        while len(self._written) > MOST_WRITTEN:
            self._written.popitem(last=False)

    def _see(self, media: list[Media], *, keep: bool = True) -> dict[Media, Features]:
        """Load media, let the processor make features and placeholders of each, and remember both.

        A medium's placeholders do not depend on the text around it, so that a text is written without loading what was
        seen before.
        """
        found: dict[Media, Features] = {}
        for chunk, loaded in self._loaded(media):
            images = [loaded[item] for item in chunk if item.kind == "image"]
            clips = [clip for item in chunk if isinstance(clip := loaded[item], Clip)]
            call: dict[str, Any] = {"text": [_place(item.kind) for item in chunk]}
            if images:
                call |= {"images": images, "images_kwargs": self._image_sizes()}
            if clips:
                call |= self._video_call(clips)
            batch = self.processor(**call, return_tensors=None)
            for item, ids in zip(chunk, batch["input_ids"], strict=True):
                text = self.tokenizer.decode(list(ids), skip_special_tokens=False)
                self._written[item] = zlib.compress(text.encode())  # thousands of equal pads
            features = self._split(chunk, batch)
            for item, tensors in features.items():
                self._remember(item, tensors)
            found |= features if keep else {}
        return found

    def _loaded(self, media: Sequence[Media]) -> Iterator[tuple[list[Media], "dict[Media, Image | Clip]"]]:
        """Yield media a few at a time, with their pixels; stills of one video come one after another."""
        stills: dict[str, list[Media]] = {}
        others = []
        for item in media:
            if item.kind == "image" and item.at is not None:
                stills.setdefault(item.path, []).append(item)
            else:
                others.append(item)
        for group, most in [*((group, STILLS_AT_ONCE) for group in stills.values()), (others, SEEN_AT_ONCE)]:
            for start in range(0, len(group), most):
                batch = group[start : start + most]
                loaded = self.pixels.load(batch)
                for place in range(0, len(batch), SEEN_AT_ONCE):
                    yield batch[place : place + SEEN_AT_ONCE], loaded

    def _image_sizes(self) -> dict[str, Any]:
        """Return the limits per picture in the processor's own words, in which each needs the other one."""
        if not self.image_limits:
            return {}
        own = self.processor.image_processor.size
        least = self.image_limits.get("min_pixels", own["shortest_edge"])
        most = self.image_limits.get("max_pixels", own["longest_edge"])
        return {"size": {"shortest_edge": min(least, most), "longest_edge": most}}

    def _video_call(self, clips: list[Clip]) -> dict[str, Any]:
        """Give the processor the frames as we chose and sized them, with their times: it does neither itself."""
        frames = [torch.from_numpy(clip.frames_FHWC).permute(0, 3, 1, 2).contiguous() for clip in clips]
        metadata = [clip.metadata() for clip in clips]
        options = {"video_metadata": metadata, "do_sample_frames": False, "do_resize": False}
        if hasattr(self.processor.video_processor, "cap_pixels_per_frame"):  # transformers asks for it to be said
            options["cap_pixels_per_frame"] = False
        return {"videos": frames, "videos_kwargs": options}

    @staticmethod
    def _split(media: list[Media], batch: Any) -> dict[Media, Features]:
        """Split the processor's concatenated features between the media."""
        found: dict[Media, Features] = {}
        for kind in ("image", "video"):
            items = [item for item in media if item.kind == kind]
            if not items:
                continue
            values, grids = (_tensor(batch[key]) for key in _KEYS[kind][:2])
            seconds = batch.get("second_per_grid_ts") if kind == "video" else None
            start = 0
            for place, item in enumerate(items):
                end = start + int(grids[place].prod())
                features = {_KEYS[kind][0]: values[start:end].clone(), _KEYS[kind][1]: grids[place : place + 1].clone()}
                if seconds is not None:
                    features["second_per_grid_ts"] = _tensor(seconds)[place : place + 1].clone()
                found[item] = features
                start = end
        return found

    def _remember(self, media: Media, features: Features) -> None:
        old = self._cache.pop(media, None)
        if old is not None:
            self._cached -= _size(old)
        self._cache[media] = features
        self._cached += _size(features)
        while self._cached > self._cache_bytes and len(self._cache) > 1:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= _size(dropped)

    def features(self, media: Sequence[Media]) -> list[Features]:
        """Return the visual features of each medium, computed again where the cache has dropped them."""
        missing = list(dict.fromkeys(item for item in media if item not in self._cache))
        kept = {item: self._cache[item] for item in media if item in self._cache} | self._see(missing)
        for item in set(media) & set(self._cache):
            self._cache.move_to_end(item)
        return [kept[item] for item in media]

    def model_inputs(
        self, rows_BT: Sequence[Sequence[int]], media: Sequence[Sequence[Media]], device: Any = None
    ) -> dict[str, Any]:
        """Return what the model's forward needs beside `input_ids` and `attention_mask` for a batch of rows.

        Args:
            rows_BT: token ids per row, unpadded; used to find where media were really put.
            media: the media of each row in token order.

        Returns:
            The concatenated visual features on `device`; nothing for a text-only batch.
        """
        found = self.features([item for row in media for item in row])
        inputs: dict[str, Any] = {}
        for key in ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw", "second_per_grid_ts"):
            tensors = [features[key] for features in found if key in features]
            if tensors:
                inputs[key] = torch.cat(tensors).to(device)
        return inputs

    def token_types(self, input_ids: torch.Tensor) -> torch.Tensor | None:
        """Return `mm_token_type_ids` (B, T): 1 on picture tokens, 2 on video tokens; None for a text-only model.

        The model never samples a pad (engines suppress them), so every pad in a row stands for a medium that is there.
        """
        if self.processor is None:
            return None
        return (input_ids == self.image_pad).long() + 2 * (input_ids == self.video_pad).long()


def _tensor(value: Any) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.as_tensor(value)


def _size(features: Features) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in features.values())


def assistant_spans(ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> list[tuple[int, int]]:
    """Find the assistant turns of a rendered conversation in token space.

    A turn begins after `<|im_start|>assistant` and its line break, and ends with (and includes) `<|im_end|>`.

    Returns:
        Start and end (exclusive) of each turn's own tokens.
    """
    header = tokenizer("<|im_start|>assistant", add_special_tokens=False)["input_ids"]
    end_id = tokenizer.convert_tokens_to_ids("<|im_end|>")
    ids, spans, place = list(ids), [], 0
    while place <= len(ids) - len(header):
        if ids[place : place + len(header)] != header:
            place += 1
            continue
        start = place + len(header)
        start += 1 if start < len(ids) and tokenizer.decode(ids[start : start + 1]).isspace() else 0
        end = ids.index(end_id, start) + 1 if end_id in ids[start:] else len(ids)
        spans.append((start, end))
        place = end
    return spans


def pad_rows(rows: Sequence[Any], value: int, *, left: bool = False, dtype: torch.dtype = torch.long) -> torch.Tensor:
    """Stack rows (lists or arrays) of unequal length to (B, T), padded on the right or the left."""
    width = max((len(row) for row in rows), default=0)
    padded = torch.full((len(rows), width), value, dtype=dtype)
    for place, row in enumerate(rows):
        if len(row):
            cells = torch.as_tensor(row, dtype=dtype)
            padded[place, width - len(row) :] = cells if left else padded[place, width - len(row) :]
            if not left:
                padded[place, : len(row)] = cells
    return padded
