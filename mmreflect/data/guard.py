"""The token guard: before training, every sample is rendered through the real processor and measured.

Placeholder tokens and visual features must agree for every sample, and every sample must fit: the most reported failure
of every trainer of this kind is a mismatch that shows at a random step, and a cut inside a picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmreflect.data.loading import Quarantined
from mmreflect.data.rendering import Conversation, Renderer, assistant_spans
from mmreflect.errors import UserError
from mmreflect.records import Media, Sample

BATCH = 32


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sample must fit into, in tokens; None sets no limit.

    Attributes:
        prompt: of the prompt alone.
        whole: of prompt and answer together; `answer` tokens are reserved where the answer is not known yet.
        setting: the key that sets `whole`, for the message.
    """

    prompt: int | None = None
    whole: int | None = None
    answer: int = 0
    setting: str = "trainer.max_length"


@dataclass(slots=True)
class Report:
    """What the guard found: token counts of what could be rendered, and the bad samples with their reasons."""

    good: int = 0
    prompt_tokens: list[int] = field(default_factory=list)
    whole_tokens: list[int] = field(default_factory=list)
    visual_tokens: list[int] = field(default_factory=list)
    bad: list[Quarantined] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return counts, extremes and a histogram over powers of two, as plain values."""
        return {
            "samples": self.good,
            "bad": len(self.bad),
            "prompt_tokens": _spread(self.prompt_tokens),
            "whole_tokens": _spread(self.whole_tokens),
            "visual_tokens": _spread(self.visual_tokens),
        }


def _spread(counts: Sequence[int]) -> dict[str, Any]:
    if not counts:
        return {}
    ordered = sorted(counts)
    histogram: dict[str, int] = {}
    for count in ordered:
        top = 1 << max(count - 1, 0).bit_length()
        label = f"{top // 2 + 1}-{top}" if top > 1 else "0-1"
        histogram[label] = histogram.get(label, 0) + 1
    middle = ordered[len(ordered) // 2]
    return {"least": ordered[0], "median": middle, "most": ordered[-1], "histogram": histogram}


Shown = Callable[[Sample], Conversation]
"""From a sample to what the model is shown of it."""


def learnt(sample: Sample) -> Conversation:
    """Return the whole conversation, as SFT learns it."""
    answer = {"role": "assistant", "content": [{"type": "text", "text": sample.response or ""}]}
    return Conversation([*sample.messages, answer], sample.media)


def guard(samples: Sequence[Sample], renderer: Renderer, limits: Limits, shown: Shown) -> tuple[list[Sample], Report]:
    """Render every sample and return those that are sound, with the report.

    Args:
        shown: what is rendered: `learnt`, or what an environment shows first, up to where the model speaks.
    """
    learn = shown is learnt
    report, good = Report(), []
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        rendered: list[list[int] | None]
        try:
            rendered = list(renderer.encode([shown(sample) for sample in batch], reply=not learn))
        except (UserError, ValueError):
            rendered = [None] * len(batch)  # one of them is at fault: found one by one below
        for sample, ids in zip(batch, rendered, strict=True):
            try:
                conversation = shown(sample)
                known = ids or renderer.encode([conversation], reply=not learn)[0]
                _measure(conversation.media, known, renderer, limits, report, learn)
                good.append(sample)
                report.good += 1
            except UserError as error:
                report.bad.append(Quarantined(sample.id, error.given))
            except ValueError as error:
                report.bad.append(Quarantined(sample.id, f"the processor refused it: {error}"))
    return good, report


def _measure(
    media: Sequence[Media], ids: list[int], renderer: Renderer, limits: Limits, report: Report, learn: bool
) -> None:
    visual = _agreeing_tokens(media, ids, renderer)
    if learn:
        spans = assistant_spans(ids, renderer.tokenizer)
        if not spans:
            raise UserError("no assistant turn found in the rendered conversation: is the chat template Qwen's?")
        prompt, whole = spans[-1][0], len(ids)
    else:
        prompt, whole = len(ids), len(ids) + limits.answer
    report.prompt_tokens.append(prompt)
    report.whole_tokens.append(whole)
    report.visual_tokens.append(visual)
    if limits.prompt is not None and prompt > limits.prompt:
        raise UserError(
            f"prompt of {prompt} tokens, {visual} of them visual; data.max_prompt_tokens is {limits.prompt}"
        )
    if limits.whole is not None and whole > limits.whole:
        reserved = "" if learn else f" with {limits.answer} for the answer"
        raise UserError(f"{whole} tokens{reserved}, {visual} visual; {limits.setting} is {limits.whole}")


def _agreeing_tokens(media: Sequence[Media], ids: list[int], renderer: Renderer) -> int:
    """Return the number of visual tokens.

    Raises:
        UserError: it differs from the number of visual features.
    """
    if renderer.processor is None:
        return 0
    unit = renderer.processor.image_processor.merge_size**2
    features = renderer.features(media)
    total = 0
    for pad, key, kind in (
        (renderer.image_pad, "image_grid_thw", "image"),
        (renderer.video_pad, "video_grid_thw", "video"),
    ):
        tokens = ids.count(pad)
        expected = sum(int(item[key].prod()) // unit for item in features if key in item)
        if tokens != expected:
            raise UserError(f"{tokens} {kind} tokens, but {expected} {kind} features: does its text hold a pad token?")
        total += tokens
    return total
