r"""CyclicReflex: reflecting words made likelier and less likely in turns (arXiv 2506.11077; "code": its release).

While the model thinks, the logits of a few tokens ("Wait", "But", ...) move along a triangular wave over the position t
in the reply (paper and code agree):

    delta(t) = A * | 4 * ((t + phi C - C/4) mod C) / C - 2 | - A        0, +A at C/4, 0, -A at 3C/4, 0 at C

`wave: constant` is the paper's baseline TIP: `amplitude` itself is added, -3 in the code.

Where we differ: a word that is no single token is left out and counted, where the code's lookup gives the id of another
token; t counts the tokens of the turn, where frameworks that hand on the prompt count that too.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field

from mmreflect import console
from mmreflect.config import config
from mmreflect.decoding import NOTHING, Say, Tail, Vocabulary
from mmreflect.errors import UserError

WORDS = ("wait", "Wait", "but", "But", "Alternatively")


@config
class Config:
    """Options of the decoding; defaults for unknown models, the code's run scripts have 5 and 1200 (7B) or 900 (AMC23).

    Attributes:
        amplitude: A, in logits; of a constant wave what is added.
        period: C, in tokens; for short visual answers about the median length of the thinking.
        phase: phi, as a share of the period.
        wave: `cyclic`, or `constant` (TIP).
        words: looked up as they stand, without a blank before them, as the code does.
        with_space_variants: the same words after a blank too, as they stand inside a line.
        start, stop: positions in the turn, from 0, between which the wave acts; `stop` is exclusive.
        start_tag, end_tag: of the thinking; after the end tag nothing is changed any more.
        reset_on_think: a new phase of thinking (a start tag, or forced words after which the reply goes on) begins at
            t = 0 again, also after an end tag.
    """

    amplitude: float = 3.0
    period: Annotated[int, Field(gt=0)] = 600
    phase: Annotated[float, Field(ge=0, lt=1)] = 0.0
    wave: Literal["cyclic", "constant"] = "cyclic"
    words: Annotated[list[str], Field(min_length=1)] = Field(default_factory=lambda: list(WORDS))
    with_space_variants: bool = False
    start: Annotated[int, Field(ge=0)] = 0
    stop: Annotated[int, Field(gt=0)] = 8192
    start_tag: str = "<think>"
    end_tag: str = "</think>"
    reset_on_think: bool = False


def delta(t: int, amplitude: float, period: int, phase: float = 0.0) -> float:
    """Return what is added to the logits at position t, between -amplitude and amplitude."""
    place = (t + phase * period - period / 4) % period
    return amplitude * abs(4 * place / period - 2) - amplitude


class CyclicReflex:
    """The decoding.

    Raises:
        UserError: none of the words is a single token of this vocabulary.
    """

    def __init__(self, options: Config, vocabulary: Vocabulary) -> None:
        self.options, self.vocabulary = options, vocabulary
        variants = [f" {word}" for word in options.words] if options.with_space_variants else []
        known = {text: vocabulary.tokenize(text) for text in [*options.words, *variants]}
        self.token_ids = sorted({ids[0] for ids in known.values() if len(ids) == 1})
        self.left_out = [text for text, ids in known.items() if len(ids) != 1]
        if not self.token_ids:
            raise UserError(
                f"none of the words is a single token of this model: {', '.join(map(repr, self.left_out))}",
                "words of its vocabulary",
                "set decoding.words",
            )
        if self.left_out:
            from mmreflect.console import escape

            words = escape(", ".join(map(repr, self.left_out)))
            console.say(f"[yellow]{console.count(len(self.left_out), 'word')} left out[/], no single token: {words}")

    @cached_property
    def cycle(self) -> list[Say]:
        """What is said at each position of a period; one entry for a constant wave."""
        options = self.options
        if options.wave == "constant":
            return [Say(dict.fromkeys(self.token_ids, options.amplitude))]
        values = [delta(t, options.amplitude, options.period, options.phase) for t in range(options.period)]
        return [Say(dict.fromkeys(self.token_ids, value)) for value in values]

    def report(self) -> dict[str, Any]:
        """Return how many tokens move, and the words that are no single token."""
        return {"tokens": len(self.token_ids), "left_out": self.left_out}

    def watch(self, question: str, said: Sequence[int]) -> "CyclicWatch":
        """Begin to watch a reply; the question has no part in it."""
        return CyclicWatch(self, said)


class CyclicWatch:
    """One reply: its position and whether the thinking has ended."""

    def __init__(self, decoding: CyclicReflex, said: Sequence[int]) -> None:
        self._decoding, options = decoding, decoding.options
        self._tail = Tail(decoding.vocabulary, options.start_tag, options.end_tag)
        self._t, self._ended = 0, False
        for token in said:
            self.take(token)
        if said and options.reset_on_think:
            self._t, self._ended = 0, False

    def say(self) -> Say:
        """Return the wave at this position."""
        options = self._decoding.options
        if self._ended or not options.start <= self._t < options.stop:
            return NOTHING
        return self._decoding.cycle[self._t % len(self._decoding.cycle)]

    def take(self, token: int) -> None:
        """Go on to the next position, and see whether a tag is complete."""
        self._t += 1
        found = self._tail.take(token)
        if self._decoding.options.end_tag in found:
            self._ended = True
        if self._decoding.options.reset_on_think and self._decoding.options.start_tag in found:
            self._t, self._ended = 0, False

    def facts(self) -> dict[str, int]:
        """Return nothing more."""
        return {}


def create(options: Config, vocabulary: Vocabulary) -> CyclicReflex:
    """Create the decoding."""
    return CyclicReflex(options, vocabulary)
