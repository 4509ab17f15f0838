"""A model behind an OpenAI-compatible server: vLLM, SGLang, `transformers serve`, hosted; for teachers and evaluation.

    engine: {name: openai, server: {base_url: "http://localhost:8000/v1", model: Qwen/Qwen2.5-VL-7B-Instruct}}

The server takes conversations, not tokens: it cannot go on from the middle of a reply, its token ids and probabilities
are not known, and it is never the model that is trained. How many tokens a reply has is the server's own count.
"""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from mmreflect.config import config
from mmreflect.remote import settings
from mmreflect.remote.settings import PictureConfig, ServerConfig

if TYPE_CHECKING:
    from mmreflect.data.rendering import Renderer
    from mmreflect.models import Loaded
    from mmreflect.rollouts.engines._openai import OpenAIEngine

CAPABILITIES = frozenset({"media"})


@config
class Config:
    """Options of the engine. `server`: which one, its limits, prices and cache."""

    server: ServerConfig = Field()


def check(options: Config) -> None:
    """Check what can be known before the first request.

    Raises:
        UserError: the HTTP client is not installed, the key is missing, or the cache's folder is a file.
    """
    settings.check(options.server)


def terms(options: Config) -> dict[str, Any]:
    """Return what decides a reply beside the sampling, for a contract; the address is none of it."""
    return {"extra": dict(options.server.extra)}


def pictures(options: Config) -> PictureConfig:
    """Return how pictures and clips are sent: by the server's own settings."""
    return options.server.pictures


def create(options: Config, loaded: "Loaded | None" = None, renderer: "Renderer | None" = None) -> "OpenAIEngine":
    """Create the engine; it needs neither a loaded model nor its renderer.

    Raises:
        UserError: as `check`.
    """
    from mmreflect.remote.client import Client
    from mmreflect.rollouts.engines._openai import OpenAIEngine

    return OpenAIEngine(Client(options.server))
