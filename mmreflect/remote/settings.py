"""Which server is asked, how fast, and how much it may cost."""

import importlib.util
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from mmreflect.config import FREE, FolderOrOff, config
from mmreflect.errors import UserError
from mmreflect.records import Count, FrameSampling

_OURS = ("model", "messages", "stream", "n", "response_format", "max_tokens", "max_completion_tokens")
"""Fields of a request that `extra` may not touch."""


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.username or parts.password or parts.query:
        raise ValueError("an address holds no user, password or query; name the key's variable in api_key_env")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"expected an address such as http://localhost:8000/v1 (given: {text!r})")
    plain = text.rstrip("/")
    if plain.endswith("/completions"):
        raise ValueError(f"leave the endpoint out, as in http://localhost:8000/v1 (given: {text!r})")
    return plain


def _variable(text: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", text):
        # What was given is not repeated: it may be the key itself.
        raise ValueError(
            "expected the name of an environment variable in capitals, such as OPENAI_API_KEY, never the key itself"
        )
    return text


Positive = Annotated[float, Field(gt=0)]
Price = Annotated[float, Field(ge=0)]


@config
class PictureConfig:
    """How pictures and clips are sent.

    Attributes:
        max_pixels: a larger picture is shrunk to it, frames of clips too; None sends every picture as large as it is.
        frames: how clips are sampled that do not say so themselves; each frame is sent as a picture after its time.
    """

    max_pixels: Count | None = None
    frames: FrameSampling = Field(default_factory=lambda: FrameSampling(fps=1.0, max_frames=32))


@config
class ServerConfig:
    """A server of the OpenAI chat-completions protocol, and the limits of what is asked of it.

    Attributes:
        base_url: where it is, usually up to and with `/v1`. A server that moves goes on with its answers: where those
            in the cache come from another address, that is said and counted.
        version: tells apart models that are served under one name, such as checkpoints of a training: answers are
            shared by what has the same `model` and `version`, at any address.
        api_key_env: name of the environment variable that holds the key; None sends no key.
        concurrency: requests under way at once at most; fewer while the server is overloaded.
        requests_per_minute: spaced evenly; None sets no pace. It holds for this process alone.
        timeout_s: seconds for a whole answer.
        retries: how often a request is sent again after a failure that may pass.
        patience_s: the longest wait that the server may ask for by `Retry-After`; beyond it the run ends.
        tries: replies that are asked for before a structured one is given up.
        max_tokens_total, max_cost: limits of what a run pays for, prompt and reply, over all of its starts: what they
            have paid stands in the cache beside the answers. Blocks of a run, such as `policy` and `teacher`, pay from
            one purse where model, version, extra, pictures, prices and cache are the same: a limit is of what all of
            them pay together. With `cache: off` they hold for each start and each block alone; a request that was
            under way at a kill -9 is not in the account. Before a request goes out it is reckoned
            with the whole of its limit of new tokens and an estimate of its prompt (3 characters a token, 1,500 tokens
            a picture): prompts with more, such as other scripts or large pictures, may pass the limit by as much as the
            requests under way were underrated.
        price_in, price_out: per million tokens, in the currency of `max_cost`.
        cache: folder of finished requests, on a local disk; `off` keeps none.
        limit_field: what the server calls the limit of new tokens.
        extra: further fields of every request; null takes one of ours out, as in `{temperature: null}`.

    What is marked `FREE` is in no request's key (`remote.requests`): a run goes on when it has changed. `tries` is not
    free, as it decides which rows there are, nor are prices, which stand in a dataset's account.
    """

    base_url: Annotated[str, AfterValidator(_address), FREE]
    model: Annotated[str, Field(min_length=1)]
    version: Annotated[str, Field(min_length=1)] | None = None
    api_key_env: Annotated[Annotated[str, AfterValidator(_variable)] | None, FREE] = None
    concurrency: Annotated[Count, FREE] = 16
    requests_per_minute: Annotated[Positive | None, FREE] = None
    timeout_s: Annotated[Positive, FREE] = 600.0
    retries: Annotated[int, Field(ge=0), FREE] = 6
    patience_s: Annotated[Positive, FREE] = 600.0
    tries: Count = 3
    max_tokens_total: Annotated[Count | None, FREE] = None
    max_cost: Annotated[Positive | None, FREE] = None
    price_in: Price = 0.0
    price_out: Price = 0.0
    cache: Annotated[FolderOrOff, FREE] = "outputs/requests"
    limit_field: Annotated[Literal["max_tokens", "max_completion_tokens"], FREE] = "max_tokens"
    pictures: PictureConfig = Field(default_factory=PictureConfig)
    extra: dict[str, Any] = Field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the options against each other.

        Raises:
            ValueError: a cost limit without prices, or an extra field that is ours to set.
        """
        if self.max_cost is not None and not (self.price_in or self.price_out):
            raise ValueError("max_cost needs price_in and price_out, per million tokens")
        taken = sorted(set(self.extra) & set(_OURS))
        if taken:
            raise ValueError(f"extra may not set {', '.join(taken)}")
        if any(re.search(r"api_?key|authorization", name, re.IGNORECASE) for name in self.extra):
            raise ValueError("extra may not hold a key; name its variable in api_key_env")

    @property
    def cache_folder(self) -> Path | None:
        """The folder of the cache, or None."""
        return None if self.cache == "off" else Path(self.cache)

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Return what so many tokens cost."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6


def key_of(server: ServerConfig) -> str | None:
    """Return the server's key from the environment.

    Raises:
        UserError: the variable is not set.
    """
    if server.api_key_env is None:
        return None
    key = os.environ.get(server.api_key_env, "").strip()
    if not key:
        raise UserError(
            f"the environment variable {server.api_key_env} is not set",
            f"the key of {server.base_url} in it",
            f"export {server.api_key_env}=..., or remove api_key_env for a server without a key",
        )
    return key


def check(server: ServerConfig) -> None:
    """Check what can be known before the first request.

    Raises:
        UserError: the HTTP client is not installed, the key is missing, or the cache's folder is a file.
    """
    if importlib.util.find_spec("httpx") is None:
        raise UserError(
            "asking a server needs the package httpx, which is not installed",
            "an installed httpx",
            "pip install 'mmreflect[teacher]'",
        )
    key_of(server)
    folder = server.cache_folder
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UserError(f"cache {server.cache!r} is a file", "a folder, or off", "choose another cache")
