"""Who is asked while a dataset is made: the teacher, the policy whose attempts are wanted, a judge.

    teacher: {engine: {name: openai, server: {base_url: "http://localhost:8000/v1", model: NAME}}, temperature: 0.7}
    policy: {model: Qwen/Qwen2.5-VL-7B-Instruct, max_new_tokens: 1024}

Each is an engine with its way of speaking: a server, a model that is loaded here, or a script for tests.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mmreflect.components import EngineOption, default
from mmreflect.config import config, to_tree
from mmreflect.evaluation.speaking import check_speaker, needs_model, open_speaker, speaker_mark, subject_of
from mmreflect.files import to_json
from mmreflect.models import ModelOption
from mmreflect.records import Count, FrameSampling
from mmreflect.rollouts.actions import Engine, Sampling

if TYPE_CHECKING:
    from mmreflect.remote.client import Client


@config
class SpeakerConfig:
    """One who is asked.

    Attributes:
        model: for an engine that speaks with a model loaded here.
        temperature: 0 is greedy.
        max_new_tokens: limit of one reply, thoughts included.
        unanswered: what becomes of a row whose request a server did not answer however often it was sent: `stop` ends
            the build, which goes on from there when it is started again, also with `reject`, which leaves the row out.
        min_pixels, max_pixels, frames: how pictures and clips are shown to a model loaded here; what a server is sent
            is set in its `server.pictures`.
    """

    engine: EngineOption = Field(default_factory=lambda: default("engine", "transformers"))
    model: ModelOption | None = None
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    max_new_tokens: Count = 1024
    unanswered: Literal["stop", "reject"] = "stop"
    min_pixels: Count | None = None
    max_pixels: Count | None = None
    frames: FrameSampling = Field(default_factory=FrameSampling)

    def __post_init__(self) -> None:
        """Check the options against each other.

        Raises:
            ValueError: what only a model loaded here would obey is set for another engine.
        """
        if needs_model(self.engine):
            return
        given = [name for name in ("model", "min_pixels", "max_pixels") if getattr(self, name) is not None]
        if given or self.frames != FrameSampling():
            names = ", ".join(given or ["frames"])
            raise ValueError(
                f"engine {self.engine.name!r} does not obey {names}; a server has its own in engine.server"
            )

    @property
    def sampling(self) -> Sampling:
        """How this one speaks."""
        drawn = self.temperature > 0
        return Sampling(self.temperature, self.top_p if drawn else 1.0, self.top_k if drawn else 0, self.max_new_tokens)


Speakers = Mapping[str, SpeakerConfig]
"""By their parts: `teacher`, `policy`, `judge`."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker that is open.

    Attributes:
        client: of the server that it speaks through; None where it speaks here.
    """

    options: SpeakerConfig
    engine: Engine
    subject: Mapping[str, Any]
    client: "Client | None"

    def priced(self) -> bool:
        """Tell whether its tokens have a price."""
        return self.client is not None and bool(self.client.server.price_in or self.client.server.price_out)


def check_speakers(speakers: Speakers) -> None:
    """Check what can be known before anything is loaded or asked.

    Raises:
        UserError: a model is missing or cannot be used, or an engine cannot run here.
    """
    for options in speakers.values():
        check_speaker(options.engine, options.model, options)


def speaker_marks(speakers: Speakers) -> dict[str, str]:
    """Return marks of who answers, so that a retrained model or another script makes another dataset."""
    return {part: speaker_mark(options.engine, options.model) for part, options in speakers.items()}


def speaker_lines(speakers: Speakers) -> dict[str, str]:
    """Say in a plan who is asked."""
    return {part: f"{name_of(options)}, {_drawn(options)}" for part, options in speakers.items()}


def name_of(options: SpeakerConfig) -> str:
    """Return the name of the model that speaks."""
    return str(subject_of(options.engine, options.model)["path"])


def sampler_of(options: SpeakerConfig) -> dict[str, Any]:
    """Return how it speaks, for the provenance of a row."""
    sampling = options.sampling
    drawn = {"top_p": sampling.top_p, "top_k": sampling.top_k} if sampling.temperature else {}
    return {"temperature": sampling.temperature, **drawn, "max_new_tokens": sampling.max_new_tokens}


def _drawn(options: SpeakerConfig) -> str:
    how = f"temperature {options.temperature:g}" if options.temperature else "greedy"
    return f"{how}, at most {options.max_new_tokens:,} new tokens"


def open_voices(speakers: Speakers, corpus: Iterable[str], seed: int) -> dict[str, Voice]:
    """Open every speaker; those with the same engine and model share one.

    Args:
        corpus: texts that a tiny model's tokenizer is trained on.

    Raises:
        UserError: as `check_speakers`, and whatever loading finds wrong.
    """
    opened: dict[str, Voice] = {}
    voices: dict[str, Voice] = {}
    texts = list(corpus) if any(needs_model(options.engine) for options in speakers.values()) else []
    for part, options in speakers.items():
        shown = [options.min_pixels, options.max_pixels, to_tree(options.frames)]
        key = to_json([to_tree(options.engine), to_tree(options.model), shown])
        if key not in opened:
            speaker = open_speaker(options.engine, options.model, options, texts, seed)
            client = getattr(speaker.engine, "client", None)
            opened[key] = Voice(options, speaker.engine, speaker.subject, client)
        known = opened[key]
        voices[part] = Voice(options, known.engine, known.subject, known.client)
    return voices
