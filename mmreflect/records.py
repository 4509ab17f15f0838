"""The nouns of mmreflect and their JSON form.

A `Sample` is a question with its media and gold answer. A `Rollout` is one answer as tokens, in which every token
knows who wrote it. A `Group` is all rollouts of one sample. A `Score` explains itself. Nothing here imports torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field

from mmreflect.config import config

# numpy is imported where it is used, here and below: a rejected YAML is answered in less time than it takes to load
if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
else:
    Floats = Any
Message = dict[str, Any]
"""One chat turn: `{"role": ..., "content": str | [{"type": "text" | "image" | "video", ...}]}`."""


class Author(StrEnum):
    """Who wrote a token of a rollout."""

    MODEL = "model"
    """Sampled from the policy: the only tokens that a policy gradient is taken on by default."""
    ENVIRONMENT = "environment"
    """Shown to the model: a new turn, a picture, a tool's result."""
    FORCED = "forced"
    """Words put in the model's own mouth, such as a rethinking trigger."""


class Stop(StrEnum):
    """Why the model stopped speaking."""

    EOS = "eos"
    """It ended its turn."""
    LENGTH = "length"
    """It reached the limit of new tokens of one reply."""
    BUDGET = "budget"
    """The rollout's whole token budget was spent, so nothing more was asked of it."""
    ERROR = "error"
    """The environment or the engine failed; the rollout is quarantined, never trained on."""


Count = Annotated[int, Field(gt=0)]


@config
class FrameSampling:
    """How the frames of a clip are chosen and sized; the names and what they mean are qwen-vl-utils' own.

    A size limit is given in pixels of one frame, or in tokens, which mean the same to the 28-pixel and the 32-pixel
    families: one token shows unit x unit pixels of two merged frames. Where neither is given the processor's holds.

    Attributes:
        fps: frames per second of the clip; not used where `nframes` is given.
        nframes: exactly so many frames.
        min_frames, max_frames: limits of the count that follows from `fps`.
        min_pixels, max_pixels: limits per frame; `total_pixels`: limit of the clip, two merged frames counted once.
        min_tokens, max_tokens, total_tokens: the same in tokens.
        timestamps: burn the absolute time into every frame.
    """

    fps: Annotated[float, Field(gt=0)] = 2.0
    nframes: Count | None = None
    min_frames: Count = 4
    max_frames: Count = 768
    min_pixels: Count | None = None
    max_pixels: Count | None = None
    total_pixels: Count | None = None
    min_tokens: Count | None = None
    max_tokens: Count | None = None
    total_tokens: Count | None = None
    timestamps: bool = False

    def __post_init__(self) -> None:
        """Check the limits against each other.

        Raises:
            ValueError: a limit is given in both units, or a minimum is above its maximum.
        """
        for name in ("min", "max", "total"):
            if getattr(self, f"{name}_pixels") and getattr(self, f"{name}_tokens"):
                raise ValueError(f"{name}_pixels and {name}_tokens are both given; keep one of them")
        for unit in ("frames", "pixels", "tokens"):
            least, most = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            if least and most and least > most:
                raise ValueError(f"min_{unit}={least} is above max_{unit}={most}; swap them")


@dataclass(frozen=True, slots=True)
class Media:
    """A picture or a video by reference; pixels are loaded late.

    Attributes:
        path: absolute, or relative to the dataset folder while inside one.
        crop: left, top, right, bottom in pixels.
        span: start and end in seconds, for videos.
        frames: how a video is sampled; None leaves it to the run.
        at: seconds into a video, for a picture that is one of its frames, shrunk by `scale`.
    """

    kind: Literal["image", "video"]
    path: str
    crop: tuple[int, int, int, int] | None = None
    span: tuple[float, float] | None = None
    frames: FrameSampling | None = None
    at: float | None = None
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Turn:
    """A chat turn with its media in place: what an environment shows."""

    role: str
    content: "Sequence[str | Media]"


@dataclass(frozen=True, slots=True)
class Sample:
    """One question.

    Attributes:
        messages: the prompt as chat turns; every media part stands for the next entry of `media`.
        gold: the reference answer, or None where there is none.
        response: the target that SFT learns, or None.
        facts: whatever else the dataset knows about the question.
    """

    id: str
    messages: list[Message]
    media: list[Media] = field(default_factory=list)
    gold: str | None = None
    response: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def question(self) -> str:
        """The text of the last user turn."""
        for message in reversed(self.messages):
            if message["role"] == "user":
                return text_of(message["content"])
        return ""

    def turns(self) -> list[Turn]:
        """Return the prompt's turns with the media in the places of their placeholders."""
        waiting = iter(self.media)
        return [
            Turn(
                turn["role"],
                [part["text"] if part["type"] == "text" else next(waiting) for part in content_parts(turn["content"])],
            )
            for turn in self.messages
        ]


def content_parts(content: str | Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the parts of a message's content; a plain string is one text part."""
    if isinstance(content, str):
        yield {"type": "text", "text": content}
    else:
        yield from content


def text_of(content: str | Sequence[dict[str, Any]]) -> str:
    """Join the text parts of a message's content."""
    return "".join(part["text"] for part in content_parts(content) if part["type"] == "text")


def texts_in(value: object) -> Iterator[str]:
    """Yield all texts in plain values, the keys of mappings too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from texts_in(pair)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens `start` to `end` (exclusive) of a rollout, their author and the stage they belong to."""

    start: int
    end: int
    author: Author
    stage: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What an engine answered: `token_ids` include the end token when `stop` is `eos`; `text` does not.

    Attributes:
        refused: of one of stop `error`: who was asked has refused, so that asking again would bring the same.
    """

    text: str
    token_ids: list[int]
    stop: Stop
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """One named part of a score; None means that it could not be graded."""

    value: float | None
    weight: float = 1.0
    stage: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """A score that explains itself; `value` None means "could not grade", which is never the same as 0."""

    value: float | None
    answer: str | None = None
    gold: str | None = None
    reason: str = ""
    parts: dict[str, Part] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Restart:
    """From token `start` and medium `media_start` on, a rollout goes on after another prompt, all else forgotten."""

    start: int
    prompt_ids: list[int]
    media_start: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens `start` to `end` of a rollout with the prompt and the media that were in view: one sequence."""

    prompt_ids: Sequence[int]
    start: int
    end: int
    media: Sequence[Media]


@dataclass(slots=True)
class Rollout:
    """One answer of the policy, as tokens after the prompt.

    Attributes:
        prompt_ids: tokens of the prompt, media placeholders expanded.
        token_ids: every token after the prompt, whoever wrote it.
        spans: a partition of `token_ids` in order.
        media: every picture and video shown, in token order, the prompt's first.
        text: what the model itself said, forced words included; nothing that it was shown.
        restarts: where the episode went on after another prompt.
        policy_step: the optimizer step whose weights sampled it.
        facts: what the environment and the stages found out.
        probes: replies to questions on the side, by name.
    """

    sample_id: str
    prompt_ids: list[int]
    token_ids: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    media: list[Media] = field(default_factory=list)
    text: str = ""
    stop: Stop = Stop.EOS
    policy_step: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    probes: dict[str, Reply] = field(default_factory=dict)
    score: Score | None = None
    restarts: list[Restart] = field(default_factory=list)

    def stretches(self) -> list[Stretch]:
        """Return the sequences that the tokens stand in, in order: one, and one more for every restart."""
        first = Restart(0, self.prompt_ids, 0)
        begins = [first, *self.restarts]
        ends = [*begins[1:], Restart(len(self.token_ids), [], len(self.media))]
        return [
            Stretch(begin.prompt_ids, begin.start, end.start, self.media[begin.media_start : end.media_start])
            for begin, end in zip(begins, ends, strict=True)
        ]

    def append(self, token_ids: Sequence[int], author: Author, stage: str) -> None:
        """Add tokens at the end, joined to the last span when author and stage are the same."""
        if not token_ids:
            return
        start = len(self.token_ids)
        self.token_ids.extend(token_ids)
        last = self.spans[-1] if self.spans else None
        if last and (last.author, last.stage) == (author, stage):
            self.spans[-1] = Span(last.start, len(self.token_ids), author, stage)
        else:
            self.spans.append(Span(start, len(self.token_ids), author, stage))

    def keep(self, length: int) -> None:
        """Cut everything after the first `length` tokens."""
        del self.token_ids[length:]
        self.spans = [
            Span(span.start, min(span.end, length), span.author, span.stage)
            for span in self.spans
            if span.start < length
        ]

    def author_mask(self, *authors: Author) -> "npt.NDArray[np.bool_]":
        """Return a mask (T,) over `token_ids`, true where one of `authors` wrote the token."""
        import numpy as np

        mask_T = np.zeros(len(self.token_ids), dtype=bool)
        for span in self.spans:
            if span.author in authors:
                mask_T[span.start : span.end] = True
        return mask_T

    def to_json(self) -> dict[str, Any]:
        """Return the plain form that `from_json` reads back to an equal rollout."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Rebuild a rollout from `to_json`."""
        data = dict(data)
        data["spans"] = [
            Span(span["start"], span["end"], Author(span["author"]), span["stage"]) for span in data["spans"]
        ]
        data["media"] = [media_from_json(item) for item in data["media"]]
        data["restarts"] = [Restart(**item) for item in data.get("restarts", [])]
        data["stop"] = Stop(data["stop"])
        data["probes"] = {
            name: Reply(reply["text"], reply["token_ids"], Stop(reply["stop"]))
            for name, reply in data["probes"].items()
        }
        score = data.get("score")
        if score is not None:
            parts = {name: Part(**part) for name, part in score["parts"].items()}
            data["score"] = Score(**{**score, "parts": parts})
        return cls(**data)


def media_from_json(data: dict[str, Any]) -> Media:
    """Rebuild a `Media` from its plain form, where tuples have become lists."""
    crop, span, frames = data.get("crop"), data.get("span"), data.get("frames")
    return Media(
        data["kind"],
        data["path"],
        tuple(crop) if crop else None,
        tuple(span) if span else None,
        FrameSampling(**frames) if frames else None,
        data.get("at"),
        data.get("scale", 1.0),
    )


@dataclass(slots=True)
class Group:
    """All rollouts of one sample in one generation round.

    `context` tells groups of one sample apart when they were asked in different ways.
    """

    id: str
    sample: Sample
    rollouts: list[Rollout]
    context: str = "plain"
