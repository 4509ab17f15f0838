"""Responses that are looked back on for safety, and revised: Think-Reflect-Revise.

    mmreflect build configs/build/trr_safety.yaml source.path=outputs/requests

A vision-language model may write in its first pass what it failed to see in a picture. The writer thinks and responds;
then it is shown its response and the policy of the request's category, reflects and revises. The target is

    <think> t </think> <answer> a1 </answer> <reflect> r </reflect> <revise> a2 </revise>

of which only a2 is for the user. The policy stands in no prompt of the dataset: the model is to have it in itself.

Rows of the source with a category among their facts are harmful requests, all others harmless questions with a
reference. A harmful request's revision stands if the guard calls it safe; a harmless question's if the verifier calls
it right and it is no refusal, so that a model does not learn to refuse. Revisions that leave a good response as it is
are as welcome as others: what counts is where it ends. The tags, the prompts, the filter and the general policy are
ours, as the paper's are not published.
"""

import re
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, field_validator

from mmreflect.building import Example, Rejected
from mmreflect.config import config as config_class
from mmreflect.data.store import sample_from_row
from mmreflect.evaluation.asking import Source, carried
from mmreflect.records import Count
from mmreflect.reflection.tags import follows
from mmreflect.teaching.attempts import asked_of
from mmreflect.teaching.drawing import draw
from mmreflect.teaching.filters import check_patterns, leak_in, repetition_in
from mmreflect.teaching.maker import TeachingMaker, Wanted, describe, inputs, splits
from mmreflect.teaching.prompts import Prompts, asked_turns, taught
from mmreflect.teaching.speakers import SpeakerConfig, Speakers, name_of, sampler_of
from mmreflect.teaching.steps import Question, Steps, ask

__all__ = ["Config", "describe", "inputs", "open_maker", "splits"]

EXEMPT = {"principle_revision": ("answer", "final_answer")}  # what counts stands in <revise>, which a guard judged
PROMPTS = Path(__file__).parent / "prompts" / "trr_safety"
LEAKS = (
    r"\b(polic(y|ies)|guidelines?|system prompt)\b",
    r"\b(my|the|these|given) (instructions?|rules?) (say|says|state|states|forbid|forbids|require|requires)\b",
)
_TAG = re.compile(r"</?(?:think|answer|reflect|revise)>")
_PARTS = re.compile(r"\s*<think>\s*(.+?)\s*</think>\s*<answer>\s*(.+?)\s*</answer>\s*", re.DOTALL)
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


@config_class
class Config:
    """What to build.

    Attributes:
        writer: who responds, reflects and revises; guard: who judges safety.
        category: the fact of a row that names what kind of harm is asked for.
        policies: by category; the template `general_policy` stands for every other one, and for harmless questions.
        prompts: a folder with templates that stand in for ours of the same name.
        good_share: share of rows whose first response was good already, in every shard; None: as they come.
        leaks: regular expressions of what a reflection and a revision may not say; they take the place of ours.
        media: copy the videos, or link to the source's.
    """

    output: str
    source: Source
    writer: SpeakerConfig
    guard: SpeakerConfig
    category: str = "category"
    policies: dict[str, Text] = Field(default_factory=dict)
    prompts: str | None = None
    good_share: Annotated[float, Field(ge=0, le=1)] | None = None
    leaks: list[str] = Field(default_factory=lambda: list(LEAKS))
    media: Literal["copy", "link"] = "copy"
    seed: int = 0
    shard_rows: Count = 1000

    def __post_init__(self) -> None:
        """Check the patterns.

        Raises:
            ValueError: one is no regular expression.
        """
        check_patterns(self.leaks)

    @property
    def speakers(self) -> Speakers:
        """Who is asked."""
        return {"writer": self.writer, "guard": self.guard}

    @property
    def sheet(self) -> Prompts:
        """The prompts."""
        return Prompts(PROMPTS, self.prompts)


class Judgement(BaseModel):
    """What the guard says of a response."""

    reason: str = ""
    safe: bool
    refusal: bool


class Revision(BaseModel):
    """What the writer says when it looks back."""

    reflection: Text
    revised: Text

    @field_validator("reflection", "revised")
    @classmethod
    def _without_tags(cls, text: str) -> str:
        if _TAG.search(text):
            raise ValueError("it may hold no tags")
        return text


def open_maker(config: Config) -> TeachingMaker:
    """Return what makes the rows."""
    sheet = config.sheet
    return TeachingMaker(config, lambda wanted: _Making(config, sheet, wanted).steps())


class _Making:
    """One row in the making."""

    def __init__(self, config: Config, sheet: Prompts, wanted: Wanted) -> None:
        self.config, self.sheet = config, sheet
        self.row, self.name, self.counted = wanted.row, wanted.name, wanted.counted
        self.sample = sample_from_row(wanted.row, config.source.folder)
        category = self.sample.facts.get(config.category)
        self.category = None if category is None else str(category)
        # A harmless question must have a reference; a harmful one needs none.
        self.asked = asked_of(wanted.row, config.source) if self.category is None else None
        self.policy = config.policies.get(self.category or "", sheet.text("general_policy"))

    @property
    def whose(self) -> str:
        return "harmless" if self.category is None else "harmful"

    def steps(self) -> Steps:
        """Respond, judge, look back, judge again, assemble."""
        said = yield from ask(
            Question("writer", "attempt", asked_turns(self.sample, self.sheet.text("attempt_system")))
        )
        parts = _PARTS.fullmatch(said.whole)
        if parts is None or not follows(said.whole, "think") or any(_TAG.search(part) for part in parts.groups()):
            raise Rejected("attempt: the tags are not as asked for", said.whole[:200])
        reasoning, first = parts.groups()
        good, _ = yield from self._judged("judge attempt", first)
        if self.category is not None and self.category not in self.config.policies:
            self.counted["harmful: by the general policy"] += 1
        self.counted[f"{self.whose}: first response {'good' if good else 'bad'}"] += 1
        turn = self.sheet.turn("revise", self.sample, reasoning=reasoning, answer=first, policy=self.policy)
        looked = yield from ask(Question("writer", "revise", [turn], schema=Revision))
        found: Revision = looked.value
        for text in (found.reflection, found.revised):
            leak = leak_in(text, self.config.leaks)
            if leak is not None:
                raise Rejected("revise: it speaks of what it was told to do", leak, reply=text)
        repeated = repetition_in(f"{found.reflection}\n{found.revised}")
        if repeated is not None:
            raise Rejected("revise: it repeats itself", repeated)
        yield from self._check_revision(found.revised)
        yield from draw(self.name, good, self.config.good_share, 1.0, self.config.seed)
        return self._example(reasoning, first, good, found)

    def _judged(self, purpose: str, response: str) -> Generator[Any, Any, tuple[bool, str]]:
        """Return whether a response is good, and why: safe to a harmful request, right to a harmless question."""
        if self.asked is not None:
            graded = self.asked.graded(response)
            return graded.right, str(graded.answer)
        turn = self.sheet.turn("guard", self.sample, policy=self.policy, response=response)
        said = yield from ask(Question("guard", purpose, [turn], schema=Judgement))
        return bool(said.value.safe), str(said.value.reason)

    def _check_revision(self, revised: str) -> Generator[Any, Any, None]:
        good, why = yield from self._judged("judge revision", revised)
        if self.asked is None:
            if not good:
                raise Rejected("revise: the guard calls it unsafe", why, reply=revised)
            return
        if not good:
            raise Rejected("revise: the harmless question's answer is wrong", why, reply=revised)
        turn = self.sheet.turn("guard", self.sample, policy=self.policy, response=revised)
        said = yield from ask(Question("guard", "judge revision", [turn], schema=Judgement))
        if said.value.refusal:
            self.counted["harmless: refused in the revision"] += 1
            raise Rejected("revise: a harmless question is refused", said.value.reason, reply=revised)
        if not said.value.safe:
            raise Rejected("revise: the guard calls it unsafe", said.value.reason, reply=revised)

    def _example(self, reasoning: str, first: str, good: bool, found: Revision) -> Example:
        config = self.config
        who: dict[str, Any] = {part: name_of(options) for part, options in config.speakers.items()}
        response = (
            f"<think>{reasoning}</think>\n<answer>{first}</answer>\n"
            f"<reflect>{found.reflection}</reflect>\n<revise>{found.revised}</revise>"
        )
        facts = {
            "kind": "principle_revision",
            "harmful": self.category is not None,
            "first_answer": first,
            "first_correct": good,
            "final_answer": found.revised,
            "final_correct": True,
            "checks": {"safe": True, "right": None if self.asked is None else True},
            "provenance": {**who, "sampler": sampler_of(config.writer), "source": self.name},
        }
        turns = taught(self.sample, self.sheet.text("system"), response)
        return replace(carried(self.row, config.source, facts, config.media == "link"), messages=turns)


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
