"""Solutions as hierarchical thought templates, and pairs of a teacher's and a student's correction: SuperCorrect.

    mmreflect build configs/build/super_correct.yaml source.path=outputs/mine
    mmreflect build configs/build/super_correct_pairs.yaml source.path=outputs/mine

The two stages of arXiv 2410.09008, one dataset each:

templates   The teacher, who sees the reference, writes <Step1>...</Step1>, with a <Key> note inside of hard steps, then
            <Generalized> and <Answer>. The student learns to write the same from the question alone.
pairs       The student of the first stage errs. The teacher finds the first wrong step k, its cause and its correction,
            which an inspector sends back up to three times. The student writes its own. A pair for DPO: question and
            steps 1 to k-1 as the prompt, the teacher's side chosen, the student's rejected.

Where we differ: the inspector also reads the student's correction, and a pair whose sides are both right is dropped, as
a right reply must not be trained against; the teacher says whether the mistake is one of perception or of reasoning.
"""

import re
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, field_validator

from mmreflect.answers.extract import blocks
from mmreflect.building import Example, Rejected
from mmreflect.config import config as config_class
from mmreflect.evaluation.asking import Source, carried
from mmreflect.records import Count, Message, Turn
from mmreflect.teaching import maker
from mmreflect.teaching.attempts import Graded, asked_of, check_response, refuse_leak
from mmreflect.teaching.filters import LEAKS, check_patterns, likeness
from mmreflect.teaching.maker import TeachingMaker, Wanted, describe, inputs
from mmreflect.teaching.prompts import Prompts, asked_turns, spoken
from mmreflect.teaching.speakers import SpeakerConfig, Speakers, name_of, sampler_of
from mmreflect.teaching.steps import Question, Steps, ask

__all__ = ["Config", "describe", "inputs", "open_maker", "splits"]

EXEMPT = {"correction_pair": ("answer", "final_answer")}  # its sides correct one step
PROMPTS = Path(__file__).parent / "prompts" / "super_correct"
_STEP = re.compile(r"\s*<Step ?(\d+)>\s*(.*?)\s*</Step ?\1>", re.DOTALL)
_REST = re.compile(r"\s*<Generalized>\s*(.+?)\s*</Generalized>\s*<Answer>\s*(.+?)\s*</Answer>\s*", re.DOTALL)
_OWN = re.compile(r"\s*<Cause>\s*(.+?)\s*</Cause>\s*<Correction>\s*(.+?)\s*</Correction>\s*", re.DOTALL)
_TAG = re.compile(r"</?(?:Step ?\d*|Key|Generalized|Answer|Cause|Correction)>")
_KEYS = re.compile(r"<Key>(?:(?!</?Key>).)+</Key>", re.DOTALL)
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


@config_class
class Config:
    """What to build.

    Attributes:
        stage: `templates` for supervised training, `pairs` for preference training.
        teacher: who writes templates and corrections; student: whose errors are corrected, and who corrects them too;
            inspector: who accepts corrections or sends them back, the teacher by default.
        prompts: a folder with templates that stand in for ours of the same name.
        attempts: of the student, per question; each that is wrong may give a pair.
        rounds: how often the teacher may correct a step before the row is given up.
        max_likeness: share of runs of five words that the sides of a pair may have in common.
        min_steps: of a solution.
        max_words, latin_share: of a response at most, and of its letters at least.
        leaks: regular expressions of what no response may say; they take the place of ours.
        media: copy the videos, or link to the source's.
    """

    output: str
    source: Source
    teacher: SpeakerConfig
    stage: Literal["templates", "pairs"] = "templates"
    student: SpeakerConfig | None = None
    inspector: SpeakerConfig | None = None
    prompts: str | None = None
    attempts: Count = 1
    rounds: Count = 3
    max_likeness: Annotated[float, Field(gt=0, le=1)] = 0.9
    min_steps: Count = 2
    max_words: Count = 1024
    latin_share: Annotated[float, Field(ge=0, le=1)] = 0.9
    leaks: list[str] = Field(default_factory=lambda: list(LEAKS))
    media: Literal["copy", "link"] = "copy"
    seed: int = 0
    shard_rows: Count = 1000

    def __post_init__(self) -> None:
        """Check the options against each other.

        Raises:
            ValueError: a student is missing or somebody is idle, or greedy attempts would all be the same.
        """
        check_patterns(self.leaks)
        if self.stage == "pairs" and self.student is None:
            raise ValueError("stage is 'pairs' and no student is named; add one")
        idle = [name for name in ("student", "inspector") if getattr(self, name) is not None]
        if self.stage == "templates" and (idle or self.attempts > 1):
            raise ValueError(f"stage 'templates' asks the teacher once; remove {', '.join(idle) or 'attempts'}")
        if self.student is not None and self.attempts > 1 and self.student.temperature == 0:
            raise ValueError(f"attempts={self.attempts} at temperature=0 would all be the same; set a temperature")

    @property
    def speakers(self) -> Speakers:
        """Who is asked."""
        if self.student is None:
            return {"teacher": self.teacher}
        return {"student": self.student, "teacher": self.teacher, "inspector": self.inspector or self.teacher}

    @property
    def sheet(self) -> Prompts:
        """The prompts."""
        return Prompts(PROMPTS, self.prompts)


class Correction(BaseModel):
    """What the teacher says of a wrong solution."""

    step: int
    cause: Text
    kind: Literal["perception", "reasoning"]
    correction: Text

    @field_validator("cause", "correction")
    @classmethod
    def _without_tags(cls, text: str) -> str:
        if _TAG.search(text):
            raise ValueError("it may hold no tags")
        return text


class Inspection(BaseModel):
    """What the inspector says of a correction."""

    remark: str = ""
    accepted: bool


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split could have."""
    return {split: size * config.attempts for split, size in maker.splits(config).items()}


def open_maker(config: Config) -> TeachingMaker:
    """Return what makes the rows."""
    sheet = config.sheet
    return TeachingMaker(config, lambda wanted: _Making(config, sheet, wanted).steps(), config.attempts)


def parsed(text: str) -> tuple[list[str], str, str] | None:
    """Return steps, recipe and answer of a template; None where it is not just that.

    Both "Step1" and "Step 1" are read; steps count from 1 without a gap; notes stand inside of steps alone.
    """
    steps, place = [], 0
    while found := _STEP.match(text, place):
        steps.append(found.group(2))
        place = found.end()
        plain = _KEYS.sub("", found.group(2))
        if int(found.group(1)) != len(steps) or not plain.strip() or _TAG.search(plain):
            return None
    rest = _REST.fullmatch(text, place)
    if rest is None or any(_TAG.search(part) for part in rest.groups()):
        return None
    return steps, rest.group(1), rest.group(2)


def in_tags(steps: list[str]) -> str:
    """Return steps in their tags, as we write them."""
    return "\n".join(f"<Step{number}>{step}</Step{number}>" for number, step in enumerate(steps, 1))


class _Making:
    """One row in the making."""

    def __init__(self, config: Config, sheet: Prompts, wanted: Wanted) -> None:
        self.config, self.sheet, self.place = config, sheet, wanted.slot
        self.row, self.name, self.counted = wanted.row, wanted.name, wanted.counted
        self.system = sheet.text("system")
        self.asked = asked_of(self.row, config.source)

    def steps(self) -> Steps:
        """Write a template or a pair."""
        return (yield from (self._template() if self.config.stage == "templates" else self._pair()))

    def _template(self) -> Steps:
        said = yield from ask(Question("teacher", "template", [self._turn("template")]))
        steps, recipe, answer = self._read("template", said.text)
        text = f"{in_tags(steps)}\n<Generalized>{recipe}</Generalized>\n<Answer>{answer}</Answer>"
        graded = self.asked.graded(text)
        if not graded.right:
            raise Rejected("template: the answer is wrong", answer)
        check_response(text, self.config, blocks)
        self.counted["steps"] += len(steps)
        self.counted["notes"] += text.count("<Key>")
        sampler = sampler_of(self.config.teacher)
        facts = {"kind": "thought_template", "first_answer": answer, "first_correct": True, "final_answer": answer}
        own = [turn for turn in self.asked.sample.messages if turn["role"] != "system"]
        return self._example([spoken("system", self.system), *own], text, {**facts, "final_correct": True}, sampler)

    def _pair(self) -> Steps:
        attempt, steps = yield from self._attempt()
        found, rounds = yield from self._corrected(attempt, steps)
        own = yield from self._own(steps, found.step)
        chosen, rejected = _sides(found.cause, found.correction), _sides(*own)
        if likeness(chosen, rejected) >= self.config.max_likeness:
            raise Rejected("pair: both sides say the same", rejected)
        verdict = yield from self._inspected("inspect own", steps[: found.step], *own)
        if verdict.accepted:
            raise Rejected("pair: the student's correction is right as well", rejected)
        self.counted[f"pairs, {found.kind}"] += 1
        self.counted[f"pairs, accepted in round {rounds}"] += 1
        facts = {
            "kind": "correction_pair",
            "first_answer": attempt.answer,
            "first_correct": False,
            "error_step": found.step,
            "error_kind": found.kind,
            "checks": {"teacher's correction accepted": True, "student's correction accepted": False},
        }
        right = in_tags(steps[: found.step - 1])
        asked = _message(self.sheet.turn("pair", self.asked.sample, steps=right, number=found.step))
        assert self.config.student is not None
        made = self._example([spoken("system", self.system), asked], chosen, facts, sampler_of(self.config.student))
        return replace(made, rejected=rejected)

    def _attempt(self) -> Generator[Any, Any, tuple[Graded, list[str]]]:
        turns = asked_turns(self.asked.sample, self.system)
        said = yield from ask(Question("student", "attempt", turns, self.place))
        steps, _, _ = self._read("attempt", said.text)
        attempt = self.asked.graded(said.text)
        self.counted["attempts, right" if attempt.right else "attempts, wrong"] += 1
        if attempt.right:
            raise Rejected("attempt: it is right")
        return attempt, steps

    def _corrected(self, attempt: Graded, steps: list[str]) -> Generator[Any, Any, tuple[Correction, int]]:
        """Return the teacher's correction that the inspector accepts, and in which round."""
        shown: dict[str, Any] = {"steps": in_tags(steps), "answer": attempt.answer, "remark": "", "before": None}
        for number in range(1, self.config.rounds + 1):
            turn = self._turn("correct", **shown)
            said = yield from ask(Question("teacher", f"correct {number}", [turn], self.place, Correction))
            found: Correction = said.value
            if not 1 <= found.step <= len(steps):
                raise Rejected("correct: there is no such wrong step", str(found.step))
            refuse_leak("correct", found.cause, self.config.leaks, self.asked.sample.gold)
            refuse_leak("correct", found.correction, self.config.leaks)
            verdict = yield from self._inspected(
                f"inspect {number}", steps[: found.step], found.cause, found.correction
            )
            if verdict.accepted:
                return found, number
            shown |= {"remark": verdict.remark or "it is not right", "before": found}
        raise Rejected(f"inspect: no correction was accepted in {self.config.rounds} rounds", shown["remark"])

    def _inspected(
        self, purpose: str, steps: list[str], cause: str, correction: str
    ) -> Generator[Any, Any, Inspection]:
        shown = {"steps": in_tags(steps), "number": len(steps), "cause": cause, "correction": correction}
        said = yield from ask(Question("inspector", purpose, [self._turn("inspect", **shown)], self.place, Inspection))
        return said.value  # type: ignore[no-any-return]

    def _own(self, steps: list[str], number: int) -> Generator[Any, Any, tuple[str, str]]:
        """Return the student's own cause and correction, which it writes without the reference."""
        turn = self.sheet.turn("own", self.asked.sample, steps=in_tags(steps[:number]), number=number)
        said = yield from ask(Question("student", "own correction", [turn], self.place))
        found = _OWN.fullmatch(said.text)
        if found is None or any(_TAG.search(part) for part in found.groups()):
            raise Rejected("own correction: the tags are not as asked for", said.text[:200])
        return found.group(1), found.group(2)

    def _read(self, purpose: str, text: str) -> tuple[list[str], str, str]:
        found = parsed(text)
        if found is None:
            raise Rejected(f"{purpose}: the tags are not as asked for", text[:200])
        if len(found[0]) < self.config.min_steps:
            raise Rejected(f"{purpose}: fewer than {self.config.min_steps} steps", text[:200])
        return found

    def _turn(self, template: str, **values: Any) -> Turn:
        sample = self.asked.sample
        return self.sheet.turn(template, sample, gold=sample.gold, reference=sample.response or "", **values)

    def _example(self, prompt: list[Message], text: str, facts: dict[str, Any], sampler: dict[str, Any]) -> Example:
        who: dict[str, Any] = {part: name_of(options) for part, options in self.config.speakers.items()}
        facts["provenance"] = {**who, "sampler": sampler, "source": self.name}
        made = carried(self.row, self.config.source, facts, self.config.media == "link")
        name = self.name if self.config.stage == "templates" else f"{self.name}/pair-{self.place}"
        return replace(made, id=name, messages=[*prompt, spoken("assistant", text)])


def _sides(cause: str, correction: str) -> str:
    return f"<Cause>{cause}</Cause>\n<Correction>{correction}</Correction>"


def _message(turn: Turn) -> Message:
    parts = [{"type": "text", "text": part} if isinstance(part, str) else {"type": part.kind} for part in turn.content]
    return {"role": turn.role, "content": parts}


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
