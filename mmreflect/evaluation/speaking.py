"""The engine that an evaluation asks through, with its model loaded where the engine needs one."""

import gc
import sys
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
        terms: what else decides a reply: the engine's own options, and how the model was loaded.
        pixels: the limits that pictures and clips are really shown by.
        packages: of Python, whose versions count.
    """

    engine: Engine
    subject: dict[str, Any]
    template: str | None
    terms: dict[str, Any]
    pixels: dict[str, Any]
    packages: tuple[str, ...] = ()


def needs_model(engine: Component) -> bool:
    """Tell whether an engine speaks with a model that is loaded here."""
    return "policy" in engine.module.CAPABILITIES


def check_speaker(engine: Component, model: ModelConfig | None, limits: PixelLimits) -> None:
    """Check what can be known of an engine and its model before anything is loaded.

    Raises:
        UserError: no model is named and the engine needs one; the model or the engine cannot be used; or limits are set
            that the engine does not go by.
    """
    _check_limits(engine, limits)
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


def _check_limits(engine: Component, limits: PixelLimits) -> None:
    if not hasattr(engine.module, "pictures"):
        return
    given = [name for name in ("min_pixels", "max_pixels") if getattr(limits, name) is not None]
    given += ["frames"] if limits.frames != FrameSampling() else []
    if given:
        raise UserError(
            f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} set, and engine {engine.name!r} sends "
            "pictures and clips by limits of its own",
            "engine.server.pictures: {max_pixels: .., frames: {..}}",
            "set them there",
        )


def most_frames(engine: Component, limits: PixelLimits) -> int:
    """Return how many frames of a clip are shown at most, for prompts that depend on it."""
    own = engine.module.pictures(engine.options).frames if hasattr(engine.module, "pictures") else limits.frames
    return int(own.max_frames)


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
    check_speaker(engine, model, limits)
    subject, terms = subject_of(engine, model), _terms(engine)
    if not needs_model(engine):
        made = engine.module.create(engine.options)
        sent = engine.module.pictures(engine.options) if hasattr(engine.module, "pictures") else None
        return Speaker(made, subject, None, terms, to_tree(sent) if sent else _limits(limits))
    from mmreflect.data.rendering import Renderer

    assert model is not None
    loaded = _loaded(model, corpus, seed)
    sizes: dict[str, Any] = {"min_pixels": limits.min_pixels, "max_pixels": limits.max_pixels, "frames": limits.frames}
    renderer = Renderer(loaded.tokenizer, loaded.processor, **sizes)
    created = engine.module.create(engine.options, loaded, renderer)
    loading = loaded.model.config
    subject |= {"commit": commit} if (commit := getattr(loading, "_commit_hash", None)) else {}
    terms |= {"dtype": str(loaded.model.dtype).removeprefix("torch."), "attention": loading._attn_implementation}
    packages = ("torch", *(("vllm",) if engine.name == "vllm" else ()))
    pixels = {**_limits(limits), "processor": _processor_sizes(loaded)}
    return Speaker(created, subject, hash_of(loaded.tokenizer.chat_template), terms, pixels, packages)


def _terms(engine: Component) -> dict[str, Any]:
    return engine.module.terms(engine.options) if hasattr(engine.module, "terms") else {}


def _limits(limits: PixelLimits) -> dict[str, Any]:
    tree: dict[str, Any] = to_tree({"frames": limits.frames})
    return {"min_pixels": limits.min_pixels, "max_pixels": limits.max_pixels, **tree}


def _processor_sizes(loaded: "Loaded") -> dict[str, Any]:
    """Return the processor's own limits per picture and clip, which hold where the run sets none."""
    found = {}
    for kind in ("image", "video"):
        part = getattr(loaded.processor, f"{kind}_processor", None)
        size = getattr(part, "size", None)
        if size is not None:
            found[kind] = {name: size[name] for name in ("shortest_edge", "longest_edge") if size.get(name)}
    return found


_kept: dict[str, "Loaded"] = {}


def forget() -> None:
    """Let go of the model that was loaded last: what follows needs its memory."""
    _kept.clear()
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            gc.collect()
            torch.cuda.empty_cache()


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
