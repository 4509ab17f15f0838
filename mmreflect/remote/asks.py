"""The nouns of asking a server: what is asked, what came back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from mmreflect.errors import UserError
from mmreflect.records import Turn


@dataclass(frozen=True, slots=True)
class Ask:
    """One reply that is wanted.

    Two asks that are equal in content are one request: give those that shall be drawn apart seeds of their own.

    Attributes:
        turns: the conversation, media in place; the last one is usually the user's.
        max_tokens: limit of the reply.
        temperature: 0 is greedy.
        top_k: 0 keeps all tokens; any other number is an extension that not every server takes.
        seed: of the draw; the server gets it modulo 2**31.
        schema: a pydantic model that the reply must fit as JSON; its validators count.
    """

    turns: Sequence[Turn]
    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    schema: type[BaseModel] | None = None

    def json_schema(self) -> dict[str, Any] | None:
        """Return the JSON schema of the reply."""
        return None if self.schema is None else self.schema.model_json_schema()


@dataclass(frozen=True, slots=True)
class Completion:
    """What a server said.

    Attributes:
        finish: why it ended: `stop`, `length`, or what else the server calls it.
        tokens_in, tokens_out: as the server counted them; None where it does not.
        reasoning: what a reasoning model said before its reply, where the server keeps the two apart.
        address: of the server that said it; empty where a cache from before this was kept does not know.
    """

    text: str
    finish: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    reasoning: str = ""
    address: str = ""

    def to_json(self) -> str:
        """Return the plain form that `from_json` reads back."""
        said = [self.text, self.finish, self.tokens_in, self.tokens_out, self.reasoning, self.address]
        return json.dumps(said, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> "Completion":
        """Rebuild a completion from `to_json`."""
        return cls(*json.loads(text))


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an ask.

    Attributes:
        text: the reply; of a structured ask that was given up, the last one that was refused.
        tokens_in, tokens_out: of all tries together; estimated where the server counts none.
        cached: nothing was paid for it now.
        value: the reply of a structured ask, as its model.
        tries: replies that were asked for.
        repaired: what was mended in the JSON of `value`.
        error: why there is no good reply; None where there is one.
    """

    text: str
    finish: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    cached: bool = False
    reasoning: str = ""
    value: BaseModel | None = None
    tries: int = 1
    repaired: int = 0
    error: UserError | None = None


class RefusedError(UserError):
    """The server took this request for wrong: others may be right."""


class UnansweredError(UserError):
    """The server did not answer this request, however often it was sent."""


class StopError(UserError):
    """Nothing more is asked of this server."""


class LimitReachedError(StopError):
    """The next request could go beyond the limit of tokens or of cost."""
