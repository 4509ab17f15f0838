"""Making readings: the plain cases of "this letter against that one", and the project's own grader as a rule."""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmreflect.answers.grade import AnswerSpec, verify
from mmreflect.evaluation.benchmark import BadField, Reading, Response, Row, Rule

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def listed(options: Any, name: str = "options") -> list[Any]:
    """Return the options of a question as a list; they may come as the text of a Python list, and null is none.

    Raises:
        BadField: they are something else, or more than there are letters.
    """
    if options is None or options == "":
        return []
    found = options
    if isinstance(options, str):
        try:
            found = ast.literal_eval(options)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise BadField(f"{name} is {options[:60]!r}, which is no Python list") from None
    if not isinstance(found, list | tuple) or len(found) > len(LETTERS):
        raise BadField(f"{name} is {str(options)[:60]!r}, which is no list of at most {len(LETTERS)}")
    return list(found)


def lettered(options: Any, name: str = "options") -> dict[str, str]:
    """Return options, in a form that `listed` knows, by their letters from A.

    Raises:
        BadField: as `listed`.
    """
    return {LETTERS[place]: str(option) for place, option in enumerate(listed(options, name))}


def by_letter(
    read: Callable[[str], str | None],
    gold: Callable[[Row], str | None],
    guess: Callable[[Row], Sequence[str]] | None = None,
    nothing: str | None = None,
) -> Rule:
    """Make the rule that compares the letter which `read` finds with the reference's letter.

    Args:
        gold: the reference's letter; None where the row has no reference.
        guess: the letters that the official code draws from where none is found.
        nothing: what the prediction is then, in the script's own form.
    """

    def rule(row: Row, response: Response) -> Reading:
        letter, wanted = read(response.final), gold(row)
        verdict = None if wanted is None else letter == wanted
        if letter is None:
            return Reading(nothing, verdict, parsed=False, guesses=tuple(guess(row)) if guess else (), gold=wanted)
        return Reading(letter, verdict)

    return rule


@dataclass(frozen=True, slots=True)
class Strict:
    """The rule that grades with the project's own verifier: one committed final answer, of the right type.

    Attributes:
        spec: how a row's answer is to be read.
        gold: the row's reference; None where it has none. One that cannot be graded against gives no verdict.
    """

    spec: Callable[[Row], AnswerSpec]
    gold: Callable[[Row], str | None]

    def __call__(self, row: Row, response: Response) -> Reading:
        """Return the verifier's reading of a response."""
        wanted = self.gold(row)
        found = verify(response.whole, wanted, self.spec(row))
        return Reading(
            found.answer,
            None if wanted is None else bool(found.correct) if found.score is not None else None,
            parsed=found.answer is not None,
            extra={"reason": found.reason},
        )


def strict(spec: Callable[[Row], AnswerSpec], gold: Callable[[Row], str | None]) -> Strict:
    """Make the rule that grades with the project's own verifier."""
    return Strict(spec, gold)


def letter_of(answer: Any, options: Any) -> str | None:
    """Return a reference's letter: itself where it is one, else that of the option with its text; None where unknown.

    Of options with the same text the first one counts.

    Raises:
        BadField: `options` is in no form that `listed` knows.
    """
    if answer is None or answer == "":
        return None
    text = str(answer)
    for letter, option in lettered(options, "candidates").items():
        if option == text:
            return letter
    return text if len(text) == 1 and text in LETTERS else None


def choice_spec(options: Mapping[str, str] | None) -> AnswerSpec:
    """Return the spec of a multiple-choice question."""
    return AnswerSpec("multiple_choice", tuple(options.items()) if options else None)
