"""Reflection cut after a number of tokens: how much of it does the answer need?

A reflection is what follows `<reflection>`, or, in answers without such a block, the thinking after the first line that
presents a candidate answer ("First Try Matters" takes everything after that for reflection). After `max_tokens` of it
the end tag is put in and the model goes on: with 0 it answers without reflecting.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from mmreflect.config import config
from mmreflect.decoding import NOTHING, Say, Tail, Vocabulary
from mmreflect.reflection.candidates import presents_candidate

_TAGS = {"block": ("<reflection>", "</reflection>"), "candidate": ("<think>", "</think>")}


@config
class Config:
    """Options of the decoding.

    Attributes:
        max_tokens: tokens of a reflection that are kept.
        begins: `block`: with the start tag; `candidate`: after the first complete line of the thinking that presents a
            candidate answer.
        start_tag, end_tag: of the block that holds the reflection; None: `<reflection>`, or `<think>` by `begins`.
    """

    max_tokens: Annotated[int, Field(ge=0)] = 0
    begins: Literal["block", "candidate"] = "block"
    start_tag: str | None = None
    end_tag: str | None = None


class TruncateReflection:
    """The decoding."""

    def __init__(self, options: Config, vocabulary: Vocabulary) -> None:
        self.options, self.vocabulary = options, vocabulary
        start, end = _TAGS[options.begins]
        self.start_tag, self.end_tag = options.start_tag or start, options.end_tag or end
        self.end_ids = vocabulary.tokenize(self.end_tag)

    def report(self) -> dict[str, Any]:
        """Return nothing: what was cut is a fact of each answer."""
        return {}

    def watch(self, question: str, said: Sequence[int]) -> "TruncationWatch":
        """Begin to watch a reply; the question has no part in it."""
        return TruncationWatch(self, said)


class TruncationWatch:
    """One reply: whether it is reflecting, and for how many tokens it may go on."""

    def __init__(self, decoding: TruncateReflection, said: Sequence[int]) -> None:
        self._decoding = decoding
        self._tail = Tail(decoding.vocabulary, decoding.start_tag.strip(), decoding.end_tag.strip())
        self._line: list[int] = []
        self._forcing: list[int] = []
        self._open = decoding.options.begins == "candidate"
        self._left: int | None = None
        for token in said:
            self.take(token)

    def say(self) -> Say:
        """Put in the next token of the end tag, where the reflection has used up its tokens.

        An end tag of several tokens that the model has begun by itself is left to it.
        """
        whole = len(self._forcing) == len(self._decoding.end_ids)
        if not self._forcing or (whole and self._tail.has_begun(self._decoding.end_tag.strip())):
            return NOTHING
        return Say(forced=self._forcing[0])

    def take(self, token: int) -> None:
        """Read on."""
        if self._forcing and token == self._forcing[0]:
            del self._forcing[0]
            self._left = None if not self._forcing else self._left
        found = self._tail.take(token)
        if self._decoding.end_tag.strip() in found:
            self._open, self._left, self._forcing = False, None, []
        elif self._decoding.start_tag.strip() in found:
            self._open, self._line = True, []
            self._left = self._decoding.options.max_tokens if self._decoding.options.begins == "block" else None
        elif self._left is not None and not self._forcing:
            self._left -= 1
        elif self._open and self._left is None and self._completes_candidate(token):
            self._left = self._decoding.options.max_tokens
        if self._left == 0 and not self._forcing and self._open:
            self._open, self._forcing = False, list(self._decoding.end_ids)

    def _completes_candidate(self, token: int) -> bool:
        self._line.append(token)
        if "\n" not in self._decoding.vocabulary.detokenize([token]):
            return False
        text, self._line = self._decoding.vocabulary.detokenize(self._line), []
        return any(presents_candidate(line) for line in text.split("\n"))

    def facts(self) -> dict[str, int]:
        """Return nothing more."""
        return {}


def create(options: Config, vocabulary: Vocabulary) -> TruncateReflection:
    """Create the decoding."""
    return TruncateReflection(options, vocabulary)
