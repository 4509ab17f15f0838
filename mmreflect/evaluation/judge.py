"""How a model is asked where the official protocol needs one: to read the answer out of a response, or to judge it.

A leaf of `eval/` states one as `judge=Judge(...)`. Its steps are generators on plain rows: they yield what is asked,
receive what was read of the reply, and return fields for the rows, which the rules then read. So scoring stays a
function of rows alone, whoever has judged them. The prompts are ours, written after the described protocols.
"""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from mmreflect.evaluation.benchmark import Response, Row
from mmreflect.evaluation.contract import hash_of

OURS = "judge prompt: ours, after the official protocol"
ERROR = "judge_error"
"""The field of a row that the judge could not be asked about, or gave no usable reply on: why. It is not graded."""
MARK = "judged_by"
"""The field of a row that a model was asked about: which model, with which prompt."""

_MARKS = "\"'`*.()[]: \n"
_LABEL = re.compile(r"^[a-z]+\**:")


class UnusableReplyError(Exception):
    """The judge replied, and what it said cannot be read, however often it was asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Case:
    """A row that may need the judge, with its response and its place among the rows."""

    place: int
    row: Row
    response: Response


@dataclass(frozen=True, slots=True)
class Question:
    """One reply that is wanted of the judge.

    Attributes:
        prompt: what it is asked, to the letter.
        read: makes the step's value of the reply's text, its thoughts left out; a `ValueError` calls it unreadable.
        schema: the JSON that the reply must be, which then is the step's value; `read` is left out.
    """

    prompt: str
    read: Callable[[str], Any] = str
    schema: type[BaseModel] | None = None


Steps = Generator[Question, Any, Sequence[Mapping[str, Any]]]
"""Yields questions, receives their values, returns the fields of each row; an unusable reply is raised inside.

What is read of a row is read before the first question, so that a row that lacks it is found before anything is asked.
"""


def one_by_one(cases: Sequence[Case]) -> list[list[Case]]:
    """Judge every row alone."""
    return [[case] for case in cases]


@dataclass(frozen=True, slots=True)
class Judge:
    """What is asked of a model, and how.

    Attributes:
        prompts: every text that is asked with, by name; their hash is part of the contract.
        steps: by rule of the benchmark, what is asked about the rows of a batch; nothing, where it returns at once.
            A rule that is not here needs no judge.
        batches: which rows are asked about together; a row in none is not asked about.
        depth: questions that follow each other at most, for the progress line.
        max_tokens: limit of a reply, thoughts included.
        seed: of the draws, where the protocol names one.
        label: what is said of a score that was made with it.
    """

    prompts: Mapping[str, str]
    steps: Mapping[str, Callable[[Sequence[Case]], Steps]]
    batches: Callable[[Sequence[Case]], Sequence[Sequence[Case]]] = one_by_one
    depth: int = 1
    max_tokens: int = 1024
    seed: int | None = None
    label: str = OURS

    @property
    def prompt_hash(self) -> str:
        """Twelve hexadecimal digits over all prompts."""
        return hash_of(dict(self.prompts))


def after_label(label: str) -> Callable[[str], str]:
    """Return the reader of a reply of free text, which may repeat the label that the prompt ends with."""

    def read(text: str) -> str:
        bare = text.strip().removeprefix(label).strip()
        if not bare:
            raise ValueError("the reply is empty")
        return bare

    return read


def word_of(words: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return the reader of a reply that is, or begins with, one of these words.

    Case, marks around it, and a label before it ("Verdict: ") are ignored.

    Args:
        words: each in small letters, with what it stands for; of two that fit the longer one counts.
    """
    ordered = sorted(words, key=len, reverse=True)

    def read(text: str) -> Any:
        bare = _LABEL.sub("", text.strip().strip(_MARKS).lower()).lstrip(_MARKS)
        for word in ordered:
            if bare.startswith(word) and not bare[len(word) : len(word) + 1].isalnum():
                return words[word]
        raise ValueError(f"{text.strip()[:60]!r} is none of {', '.join(words)}")

    return read
