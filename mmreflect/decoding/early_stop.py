r"""Question-aware early stopping ("First Try Matters", arXiv 2510.08308, section 4).

Thinking ends after the line of the first candidate answer, or of the third where a classifier expects that reflecting
would correct the first one: the end tag is put in, and the model goes on to answer. A line counts when its newline is
there.

Where we differ: candidates are found by rules (`reflection/candidates.py`), where the paper trained a classifier of
lines; the classifier of questions is the user's own function.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mmreflect.components import user_function
from mmreflect.config import config
from mmreflect.decoding import NOTHING, Say, Tail, Vocabulary
from mmreflect.errors import UserError
from mmreflect.reflection.candidates import presents_candidate


@config
class Config:
    """Options of the decoding.

    Attributes:
        stop_after: the candidate whose line ends the thinking.
        classifier: `path.py:function`, from a question's text to the probability (or True, False) that reflecting
            corrects its first answer; None expects it of no question.
        threshold: probability from which on a question is expected to be corrected (the paper's).
        stop_after_expected: `stop_after` for such questions (the paper's).
        start_tag, end_tag: of the thinking. A reply that begins without a start tag is taken to think from its first
            token; what follows the end tag is left alone until a start tag comes again.
    """

    stop_after: Annotated[int, Field(gt=0)] = 1
    classifier: str | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.05
    stop_after_expected: Annotated[int, Field(gt=0)] = 3
    start_tag: str = "<think>"
    end_tag: str = "</think>"


def check(options: Config) -> None:
    """Check that the classifier is there.

    Raises:
        UserError: there is no such file or function.
    """
    if options.classifier is not None:
        user_function(options.classifier)


def files(options: Config) -> list[Path]:
    """Return the classifier's file."""
    return [Path(options.classifier.rpartition(":")[0])] if options.classifier is not None else []


class EarlyStop:
    """The decoding.

    Raises:
        UserError: as `check`; and when a question is asked: the classifier returned something that is no probability.
    """

    def __init__(self, options: Config, vocabulary: Vocabulary) -> None:
        self.options, self.vocabulary = options, vocabulary
        self.end_ids = vocabulary.tokenize(options.end_tag)
        self._classify = user_function(options.classifier) if options.classifier is not None else None
        self._expected: dict[str, bool] = {}

    def expects_correction(self, question: str) -> bool:
        """Tell whether reflecting is expected to correct the first answer to a question; each is classified once."""
        if self._classify is None:
            return False
        if question not in self._expected:
            found = self._classify(question)
            if not isinstance(found, int | float) or not 0 <= found <= 1:
                raise UserError(
                    f"{self.options.classifier} returned {found!r}",
                    "a probability, True or False",
                    "correct the function",
                )
            self._expected[question] = found >= self.options.threshold
        return self._expected[question]

    def report(self) -> dict[str, Any]:
        """Return nothing: what was decided is a fact of each answer."""
        return {}

    def watch(self, question: str, said: Sequence[int]) -> "EarlyStopWatch":
        """Begin to watch a reply."""
        return EarlyStopWatch(self, self.expects_correction(question), said)


class EarlyStopWatch:
    """One reply: its line so far, the candidates seen, and what is left to put in."""

    def __init__(self, decoding: EarlyStop, expected: bool, said: Sequence[int]) -> None:
        options = decoding.options
        self._decoding, self._expected = decoding, expected
        self._left = self._limit = options.stop_after_expected if expected else options.stop_after
        self._tail = Tail(decoding.vocabulary, options.start_tag.strip(), options.end_tag.strip())
        self._line: list[int] = []
        self._forcing: list[int] = []
        self._thinking = True
        for token in said:
            self.take(token)

    def say(self) -> Say:
        """Put in the next token of the end tag, where thinking shall end."""
        return Say(forced=self._forcing[0]) if self._forcing else NOTHING

    def take(self, token: int) -> None:
        """Read on; a line is looked at when it is complete."""
        if self._forcing and token == self._forcing[0]:
            del self._forcing[0]
            self._thinking = bool(self._forcing)
        found = self._tail.take(token)
        if self._decoding.options.end_tag.strip() in found:
            self._thinking, self._forcing = False, []
        elif self._decoding.options.start_tag.strip() in found:
            self._thinking, self._line, self._left = True, [], self._limit
        if not self._thinking or self._forcing:
            return
        self._line.append(token)
        if "\n" not in self._decoding.vocabulary.detokenize([token]):
            return
        *lines, rest = self._decoding.vocabulary.detokenize(self._line).split("\n")
        self._left -= sum(presents_candidate(line) for line in lines)
        self._line = self._decoding.vocabulary.tokenize(rest) if rest else []
        if self._left <= 0:
            self._forcing = list(self._decoding.end_ids)

    def facts(self) -> dict[str, int]:
        """Return whether a correction was expected."""
        return {"correction_expected": int(self._expected)}


def create(options: Config, vocabulary: Vocabulary) -> EarlyStop:
    """Create the decoding."""
    return EarlyStop(options, vocabulary)
