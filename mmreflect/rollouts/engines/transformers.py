"""The default engine: the model itself, in this process."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from mmreflect.config import config

if TYPE_CHECKING:
    from mmreflect.data.rendering import Renderer
    from mmreflect.models import Loaded
    from mmreflect.rollouts.engines._generation import TransformersEngine


CAPABILITIES = frozenset({"tokens", "continue", "media", "policy", "decoding"})


@config
class Config:
    """Options of the engine. `batch_size`: replies generated at once; lower it when memory runs out."""

    batch_size: Annotated[int, Field(gt=0)] = 128


def create(options: Config, loaded: "Loaded", renderer: "Renderer") -> "TransformersEngine":
    """Create the engine."""
    from mmreflect.rollouts.engines._generation import TransformersEngine

    return TransformersEngine(loaded, renderer, options.batch_size)
