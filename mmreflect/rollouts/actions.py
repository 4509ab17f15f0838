"""What an environment can do, and the interface of engines.

An environment is a generator: it yields what the model shall see next and receives what the model said. The dict that
it returns becomes the rollout's facts.

    def single_turn(sample, context):
        yield Observe(sample.turns()[-1].content, stage="answer")
        return {}
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from mmreflect.decoding import Decoding
from mmreflect.records import Author, Media, Reply, Sample, Turn


@dataclass(frozen=True, slots=True)
class Observe:
    """Show this to the model as a new turn, then let it speak.

    The first `Observe` of an environment is a function of the sample (and the training's progress) alone, so that a
    group shares its prompt.

    Attributes:
        afresh: forget everything so far: what follows is said with nothing but `history` and this turn in view.
        history: turns before this one (a system turn, earlier turns); only in the first `Observe` or one `afresh`.
        begin: words that are put in the model's mouth as the beginning of its reply.
    """

    content: Sequence[str | Media]
    stage: str
    role: str = "user"
    history: Sequence[Turn] = ()
    afresh: bool = False
    begin: str = ""


@dataclass(frozen=True, slots=True)
class Continue:
    """Put words in the model's own mouth and let it go on; the end token of its last reply is taken away first.

    Attributes:
        text: the words, tokenised on their own and spliced in token space.
        keep: how many tokens of the last reply are kept; None keeps all but its end token.
        author: `ENVIRONMENT` for words that are somebody else's, shown in the middle of a reply.
    """

    text: str
    stage: str
    keep: int | None = None
    author: Author = Author.FORCED


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask something on the side: greedily, never trained on and never seen again by the rollout.

    The reply is handed to the environment and kept in the rollout's `probes` under `name`.

    Attributes:
        afresh: ask with nothing but `history` and this turn in view, not the rollout so far.
        max_new_tokens: limit of the reply; None is that of any other.
    """

    name: str
    content: Sequence[str | Media]
    history: Sequence[Turn] = ()
    afresh: bool = False
    max_new_tokens: int | None = None


FIRST_TRY = "first_try"
"""The probe of this name asks for the answer before anything else: the ledger takes it for the first try."""

Action = Observe | Continue | Probe


@dataclass(frozen=True, slots=True)
class Context:
    """What an environment may use beside the sample.

    Attributes:
        rng: its own seeded random numbers.
        progress: share of the training's optimizer steps that are done; 1 outside of training.
        facts: what the environment found out so far. They are kept when the budget ends an episode in the middle,
            while what the environment returns is only had from one that it ended itself.
    """

    rng: Random
    progress: float = 1.0
    facts: dict[str, Any] = field(default_factory=dict)


Environment = Callable[[Sample, Context], Generator[Action, Reply, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the model speaks.

    Attributes:
        temperature: 0 is greedy.
        top_k: 0 keeps all tokens.
        max_new_tokens: limit of one reply.
        budget: limit of a whole rollout, inserted tokens included; None is `max_new_tokens`.
        max_turns: replies of one rollout at most, for environments that would never stop.
        decoding: what watches every reply but those on the side; only for engines with the capability.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 256
    budget: int | None = None
    max_turns: int = 32
    decoding: Decoding | None = None

    @property
    def total(self) -> int:
        """The budget of a whole rollout in tokens."""
        return self.max_new_tokens if self.budget is None else self.budget


@dataclass(frozen=True, slots=True)
class Request:
    """One reply to generate.

    Attributes:
        prompt_ids: the tokens of the group's shared prompt.
        token_ids: what has been said and shown since.
        media: every medium in both, in token order.
        seed: of this reply alone, so that it does not depend on what else is in the batch.
        question: the sample's, for a decoding.
        turn: how many of the last `token_ids` the turn holds already, where a reply goes on; for a decoding.
    """

    sample_id: str
    prompt_ids: Sequence[int]
    token_ids: Sequence[int]
    media: Sequence[Media]
    max_new_tokens: int
    seed: int
    question: str = ""
    turn: int = 0

    @property
    def said(self) -> Sequence[int]:
        """What the turn holds already."""
        return self.token_ids[len(self.token_ids) - self.turn :]


class Engine(Protocol):
    """Something that speaks in tokens.

    Capabilities: `tokens` (ids in, ids out), `continue` (goes on from the middle of a reply), `media` (pictures and
    video), `policy` (what speaks is the model that is trained), `decoding` (obeys `Sampling.decoding`). Each engine's
    module names its own as `CAPABILITIES`.
    `end_ids` all end a turn; `end_id` is the one that the chat template writes.
    """

    capabilities: frozenset[str]
    end_ids: frozenset[int]
    end_id: int

    def encode(self, turns: Sequence[Sequence[Turn]]) -> list[list[int]]:
        """Return the prompt ids of each conversation, ending where the model shall speak."""

    def encode_turn(self, turn: Turn) -> list[int]:
        """Return the tokens of one more turn after a reply that has ended, up to where the model shall speak."""

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text on its own."""

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens left out."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        """Return one reply per request, in order."""


def load_ahead(engine: Engine, turns: Iterable[Turn]) -> None:
    """Let an engine that reads media itself load those of many turns at once; what cannot be read is met later."""
    load: Callable[[Sequence[Media]], None] | None = getattr(engine, "load_ahead", None)
    media = list(dict.fromkeys(part for turn in turns for part in turn.content if isinstance(part, Media)))
    if load is not None and len(media) > 1:
        load(media)


def generation_round(engine: Engine, step: int) -> AbstractContextManager[None]:
    """Let an engine that speaks outside of the trained model have the weights of an optimizer step while this is open.

    Engines that hold weights of their own have a method `round`. All processes enter and leave together.
    """
    opened: Callable[[int], AbstractContextManager[None]] | None = getattr(engine, "round", None)
    return nullcontext() if opened is None else opened(step)
