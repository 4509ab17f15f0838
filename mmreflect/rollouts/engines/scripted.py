"""An engine that says what it is told: for tests of environments, stages, rewards and builders without a model.

In YAML: `engine: {name: scripted, replies: replies.jsonl}` with rows `{"sample_id": ..., "replies": ["...", ...]}`;
the n-th request about a sample gets its n-th reply, round and round. A row of sample `*` stands for all others. What a
builder asks a teacher, and in which order, its docstring says; `configs/build/srpo_reflection.yaml` shows a script.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmreflect.config import config
from mmreflect.data.store import read_rows
from mmreflect.errors import UserError
from mmreflect.records import Reply, Stop, Turn
from mmreflect.rollouts.actions import Request, Sampling

OTHERS = "*"
CAPABILITIES = frozenset({"tokens", "continue", "media"})


@config
class Config:
    """Options of the engine. `replies`: a JSONL file."""

    replies: str


Script = Callable[[Request, int], str]
"""From a request and how many came before it for the same sample, to what is said."""


class ScriptedEngine:
    """Speaks from a script, one token per character; the end of a turn is token 0.

    A reply that ends with the character NUL or fits the limit ends its turn; a longer one is cut.
    """

    capabilities = CAPABILITIES
    end_ids = frozenset({0})
    end_id = 0

    def __init__(self, script: Script) -> None:
        self._script, self._asked = script, defaultdict[str, int](int)
        self.requests: list[Request] = []

    def encode(self, turns: Sequence[Sequence[Turn]]) -> list[list[int]]:
        """Return one token per character; a medium is the one token 1."""
        return [[token for turn in item for token in self._turn(turn)] for item in turns]

    def encode_turn(self, turn: Turn) -> list[int]:
        """Return the tokens of the turn's content."""
        return self._turn(turn)

    def _turn(self, turn: Turn) -> list[int]:
        return [token for part in turn.content for token in (self.tokenize(part) if isinstance(part, str) else [1])]

    def tokenize(self, text: str) -> list[int]:
        """Return one token per character."""
        return [ord(character) for character in text]

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Return the characters, without end tokens and media."""
        return "".join(chr(token) for token in token_ids if token > 1)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        """Return the script's replies."""
        replies = []
        for request in requests:
            self.requests.append(request)
            text = self._script(request, self._asked[request.sample_id])
            self._asked[request.sample_id] += 1
            ids = [*self.tokenize(text), 0]
            stop = Stop.EOS if len(ids) <= request.max_new_tokens else Stop.LENGTH
            kept = ids[: request.max_new_tokens]
            replies.append(Reply(self.detokenize(kept), kept, stop))
        return replies


def create(options: Config, loaded: Any = None, renderer: Any = None) -> ScriptedEngine:
    """Create the engine from a file.

    Raises:
        UserError: a sample is asked for that the file does not hold.
    """
    script = {str(row["sample_id"]): list(row["replies"]) for row in read_rows(Path(options.replies))}

    def say(request: Request, asked: int) -> str:
        if request.sample_id not in script and OTHERS not in script:
            raise UserError(
                f"{options.replies} has no replies for sample {request.sample_id!r}",
                f"a row per sample, or one of {OTHERS!r}",
                "add it",
            )
        said = script.get(request.sample_id) or script[OTHERS]
        return str(said[asked % len(said)])

    return ScriptedEngine(say)
