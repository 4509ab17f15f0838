"""From an ask to the request that is sent, and to the key under which its answer is kept."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mmreflect import console
from mmreflect.files import to_json
from mmreflect.records import Media, Turn
from mmreflect.remote.asks import Ask
from mmreflect.remote.pictures import Part, Pictures
from mmreflect.remote.settings import ServerConfig
from mmreflect.seeds import derive_seed

KEY_VERSION = 1
"""Raised when requests are made in another way, so that answers to the old ones are not taken for new."""
CHARACTERS_PER_TOKEN = 3
"""For estimates only; most texts have more."""
PICTURE_TOKENS = 1500
"""Of one picture, for estimates only."""


class Requests:
    """Makes the requests to one server."""

    def __init__(self, server: ServerConfig, pictures: Pictures) -> None:
        self._server, self._pictures = server, pictures

    def key(self, ask: Ask) -> str:
        """Return the hash of everything that an answer depends on; files count by their content.

        Raises:
            UserError: a medium's file is missing.
        """
        turns = [
            [turn.role, *(part if isinstance(part, str) else self._pictures.mark(part) for part in turn.content)]
            for turn in ask.turns
        ]
        sampling = [ask.max_tokens, ask.temperature, ask.top_p, ask.top_k, ask.seed]
        whole = [KEY_VERSION, self._server.model, turns, sampling, ask.json_schema(), self._server.extra]
        if self._server.version is not None:
            whole.append(self._server.version)
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    def body(self, ask: Ask, takes_schema: bool) -> bytes:
        """Return the request as it is sent.

        Args:
            takes_schema: the server has `response_format`; else the schema is told in words.

        Raises:
            UserError: a medium cannot be read.
        """
        if ask.schema is not None and not takes_schema:
            ask = with_note(ask, schema_in_words(ask))
        fields: dict[str, Any] = {
            "model": self._server.model,
            "messages": [self._message(turn) for turn in ask.turns],
            self._server.limit_field: ask.max_tokens,
            "temperature": ask.temperature,
            "top_p": ask.top_p if ask.top_p < 1 else None,
            "top_k": ask.top_k or None,
            "seed": None if ask.seed is None else ask.seed % 2**31,
        }
        if ask.schema is not None and takes_schema:
            name = re.sub(r"\W", "_", ask.schema.__name__)[:64]
            fields["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": name, "schema": ask.json_schema()},
            }
        fields |= self._server.extra
        kept = {name: value for name, value in fields.items() if value is not None}
        return to_json(kept).encode(errors="replace")

    def tokens_in(self, ask: Ask) -> int:
        """Return about how many tokens the prompt of an ask has, its media read.

        Raises:
            UserError: a medium cannot be read.
        """
        parts = [part for turn in ask.turns for part in self._parts(turn)]
        texts = [part["text"] for part in parts if part["type"] == "text"]
        return sum(-(-len(text) // CHARACTERS_PER_TOKEN) for text in texts) + PICTURE_TOKENS * (len(parts) - len(texts))

    def _message(self, turn: Turn) -> dict[str, Any]:
        """Return a turn; one without media as plain text, which every server takes in every role."""
        if all(isinstance(part, str) for part in turn.content):
            return {"role": turn.role, "content": "".join(part for part in turn.content if isinstance(part, str))}
        return {"role": turn.role, "content": self._parts(turn)}

    def _parts(self, turn: Turn) -> list[Part]:
        parts: list[Part] = []
        for part in turn.content:
            parts += self._pictures.parts(part) if isinstance(part, Media) else [{"type": "text", "text": part}]
        return parts


def with_note(ask: Ask, note: str) -> Ask:
    """Return an ask with a paragraph more at its end."""
    *before, last = ask.turns
    if last.role != "user":
        return replace(ask, turns=[*ask.turns, Turn("user", [note])])
    content: Sequence[str | Media] = [*last.content, f"\n\n{note}"]
    return replace(ask, turns=[*before, Turn(last.role, content)])


def schema_in_words(ask: Ask) -> str:
    """Say which JSON is wanted."""
    schema = json.dumps(ask.json_schema(), ensure_ascii=False)
    return f"Reply with one JSON value that fits this JSON schema, and with nothing else:\n{schema}"


def again(ask: Ask, number: int, reason: str) -> Ask:
    """Return what is asked after a refused reply: the same with the reason, drawn from another seed."""
    seed = None if ask.seed is None else derive_seed(ask.seed, "again", number)
    # The number makes it another request than the one before, whose reply may be in the cache.
    note = f"{console.count(number, 'refusal')} so far, the last because {reason}. {schema_in_words(ask)}"
    return replace(with_note(ask, note), seed=seed)
