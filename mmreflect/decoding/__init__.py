"""Decodings, one file each: what watches a reply at evaluation and has a say in its next token.

A decoding goes by the question and the turn so far alone. So what it did need not be recorded while the reply is made:
it is read off the finished reply by following it again (`follow`), and a batch of mixed rows is exact.

A module has `Config` and `create(options, vocabulary)`; `check(options)`, where there is more to check before the run
starts than the options themselves, and `files(options)`: files of the user's that it runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Say:
    """What a decoding does to the next token.

    Attributes:
        bias: token to what is added to its logit, before temperature.
        forced: the token that is put in; None leaves the choice to the model.
    """

    bias: Mapping[int, float] = field(default_factory=dict)
    forced: int | None = None


NOTHING = Say()


class Vocabulary(Protocol):
    """What turns texts into tokens: an engine."""

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text on its own."""

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids."""


class Watch(Protocol):
    """One reply as it grows."""

    def say(self) -> Say:
        """Return what is done to the next token; asking twice changes nothing."""

    def take(self, token: int) -> None:
        """Take the next token of the reply, whoever chose it."""

    def facts(self) -> dict[str, int]:
        """Return what was decided about this turn, beside the tokens that were forced or biased."""


class Decoding(Protocol):
    """Watches replies, each on its own."""

    def report(self) -> dict[str, Any]:
        """Return what is the same in all replies and worth knowing, such as words that the vocabulary lacks."""

    def watch(self, question: str, said: Sequence[int]) -> Watch:
        """Begin to watch a reply.

        Args:
            question: the text of the sample's last user turn.
            said: the tokens that the turn holds already, where a reply goes on from forced words; empty in a new turn.
        """


@dataclass(frozen=True, slots=True)
class Followed:
    """What a decoding did in one reply: `forced`: of each token, whether it was put in; `facts`: counts."""

    forced: list[bool]
    facts: dict[str, Any]


def follow(watch: Watch, token_ids: Sequence[int]) -> Followed:
    """Follow a finished reply again and say what the decoding did in it.

    Returns:
        Per token whether it was forced. Facts: `forced`: tokens put in, `cuts`: runs of them, `biased`: tokens whose
        logits were changed, and the watch's own.
    """
    forced: list[bool] = []
    biased = 0
    for token in token_ids:
        say = watch.say()
        forced.append(say.forced is not None)
        biased += say.forced is None and any(say.bias.values())
        watch.take(token)
    cuts = sum(is_forced and (place == 0 or not forced[place - 1]) for place, is_forced in enumerate(forced))
    return Followed(forced, {"forced": sum(forced), "cuts": cuts, "biased": biased, **watch.facts()})


class Tail:
    """The end of a growing reply as text: enough of it to see a tag that is spread over several tokens.

    A tag that is one token is also known by its id, because special tokens have no text.

    Args:
        tags: what is looked for; at most `SPAN` tokens are read back for it.
    """

    SPAN = 24

    def __init__(self, vocabulary: Vocabulary, *tags: str) -> None:
        self._vocabulary, self._tags = vocabulary, tags
        self._whole = {tag: vocabulary.tokenize(tag) for tag in tags}
        self._ids: list[int] = []
        self._before = dict.fromkeys(tags, 0)

    def take(self, token: int) -> set[str]:
        """Take a token and return the tags that it completed."""
        self._ids.append(token)
        counts = self._counts()
        found = {tag for tag in self._tags if counts[tag] > self._before[tag] or self._whole[tag] == [token]}
        if len(self._ids) > self.SPAN:
            del self._ids[0]
            counts = self._counts()
        self._before = counts
        return found

    def _counts(self) -> dict[str, int]:
        text = self._vocabulary.detokenize(self._ids)
        return {tag: text.count(tag) for tag in self._tags}

    def has_begun(self, tag: str) -> bool:
        """Tell whether the text ends with the beginning of a tag."""
        text = self._vocabulary.detokenize(self._ids[-len(tag) :])
        return any(text.endswith(tag[:length]) for length in range(1, len(tag)))
