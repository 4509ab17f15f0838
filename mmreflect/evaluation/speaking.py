"""The engine that an evaluation asks through, with its model loaded where the engine needs one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mmreflect.config import Component, to_tree
from mmreflect.errors import UserError
from mmreflect.evaluation.contract import hash_of, model_subject
from mmreflect.files import content_mark, model_mark
from mmreflect.models import ModelConfig, check_model
from mmreflect.records import FrameSampling
from mmreflect.rollouts.actions import Engine

if TYPE_CHECKING:
    from mmreflect.models import Loaded


class PixelLimits(Protocol):
    """A part of a configuration that says how large pictures and clips are shown."""

    @property
    def min_pixels(self) -> int | None:
        """Smallest size of a picture; None keeps the processor's own."""

    @property
    def max_pixels(self) -> int | None:
        """Largest size of a picture; None keeps the processor's own."""

    @property
    def frames(self) -> FrameSampling:
        """How clips are sampled and sized that do not say so themselves."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who is asked.

    Attributes:
        subject: what the contract names as the model.
        template: hash of the chat template; None behind a server, which has one of its own.
    """

    engine: Engine
    subject: dict[str, Any]
    template: str | None


def needs_model(engine: Component) -> bool:
    """Tell whether an engine speaks with a model that is loaded here."""
    return "policy" in engine.module.CAPABILITIES


def check_speaker(engine: Component, model: ModelConfig | None) -> None:
    """Check what can be known of an engine and its model before anything is loaded.

    Raises:
        UserError: no model is named and the engine needs one; or the model or the engine cannot be used.
    """
    if hasattr(engine.module, "check"):
        engine.module.check(engine.options)
    if not needs_model(engine):
        return
    if model is None:
        raise UserError(
            f"no model is named, and engine {engine.name!r} speaks with one",
            "model: a folder or a Hub name",
            "add model=PATH, or set engine to openai with its server",
        )
    check_model(model)


def subject_of(engine: Component, model: ModelConfig | None) -> dict[str, Any]:
    """Return what the contract names as the model: its weights, or who answers behind the engine."""
    if needs_model(engine):
        return model_subject(model)
    options = to_tree(engine.options)
    server = options.get("server", {})
    if server:
        return {"path": server["model"], "revision": None, "weights": "remote", "server": server["base_url"]}
    return {"path": engine.name, "revision": None, "weights": hash_of(options)}


def speaker_mark(engine: Component, model: ModelConfig | None) -> str:
    """Return a mark of who answers, so that a retrained model or other replies make another run."""
    if needs_model(engine) and model is not None:
        return model_mark(model.path)
    replies = getattr(engine.options, "replies", None)
    return content_mark(replies) if replies else "remote"


def open_speaker(
    engine: Component, model: ModelConfig | None, limits: PixelLimits, corpus: Iterable[str], seed: int
) -> Speaker:
    """Load the model where the engine needs one, and create the engine.

    Args:
        corpus: texts that a tiny model's tokenizer is trained on.

    Raises:
        UserError: as `check_speaker`, and whatever loading finds wrong.
    """
    check_speaker(engine, model)
    subject = subject_of(engine, model)
    if not needs_model(engine):
        made = engine.module.create(engine.options)
        return Speaker(made, subject, None)
    from mmreflect.data.rendering import Renderer

    assert model is not None
    loaded = _loaded(model, corpus, seed)
    sizes: dict[str, Any] = {"min_pixels": limits.min_pixels, "max_pixels": limits.max_pixels, "frames": limits.frames}
    renderer = Renderer(loaded.tokenizer, loaded.processor, **sizes)
    created = engine.module.create(engine.options, loaded, renderer)
    return Speaker(created, subject, hash_of(loaded.tokenizer.chat_template))


_kept: dict[str, "Loaded"] = {}


def _loaded(model: ModelConfig, corpus: Iterable[str], seed: int) -> "Loaded":
    """Load a model, or take the last one where it is the same: several benchmarks in one call share it."""
    from mmreflect.models import load_model

    if model.path == "tiny":
        return load_model(model, corpus, seed)
    key = hash_of(to_tree(model), model_mark(model.path), seed)
    if key not in _kept:
        _kept.clear()
        _kept[key] = load_model(model, corpus, seed)
    return _kept[key]
