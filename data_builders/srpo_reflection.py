"""Reflections that a teacher writes about the policy's own attempts: the cold start of SRPO (arXiv 2506.01713, 3.1.1).

    mmreflect build configs/build/srpo_reflection.yaml source.path=outputs/mine

The policy attempts a question, the project's verifier grades it, a judge rates whether the attempt is worth discussing,
and right and wrong ones are drawn in a share of 30 to 70. The teacher, who sees the reference answer, writes the
reflection: of a right attempt how to be tighter (`refine`), of a wrong one where it errs (`revise`). The target is

    <think> attempt </think> <answer> first </answer> <reflection> ... </reflection> <answer> reference </answer>

with a second <think> block where `second_think` says so, which SRPO's format in reinforcement learning asks for.

Where we differ from the published code: attempts are graded by value, not by string; a reflection that gives away that
the answer was known is rejected; the second <think> is by default a solution of the teacher's, found without the
reference and verified against it; the share holds in every shard. The judge's criteria are ours, as none are published.
"""

import re
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, field_validator

from mmreflect.answers.extract import candidates
from mmreflect.answers.grade import grade, reference_problem
from mmreflect.answers.spec import AnswerSpec, spec_of
from mmreflect.building import Example, Rejected
from mmreflect.config import config as config_class
from mmreflect.data.store import sample_from_row
from mmreflect.evaluation.asking import Source, carried
from mmreflect.records import Count, Sample
from mmreflect.reflection.tags import TAGS, follows
from mmreflect.teaching.attempts import refuse_leak
from mmreflect.teaching.drawing import draw
from mmreflect.teaching.filters import LEAKS, check_patterns, sentence_count
from mmreflect.teaching.maker import TeachingMaker, Wanted, describe, inputs, splits
from mmreflect.teaching.prompts import Prompts, asked_turns
from mmreflect.teaching.speakers import SpeakerConfig, Speakers, name_of, sampler_of
from mmreflect.teaching.steps import Question, Steps, ask

__all__ = ["Config", "describe", "inputs", "open_maker", "splits"]

PROMPTS = Path(__file__).parent / "prompts" / "srpo_reflection"
Share = Annotated[float, Field(ge=0, le=1)]
_PLAIN_GOLD = re.compile(r"[A-D]|-?\d+(?:\.\d+)?", re.IGNORECASE)
_INSIDE = re.compile(r"<think>(.*)</think>", re.DOTALL)


@config_class
class Config:
    """What to build.

    Attributes:
        policy: whose attempts are reflected on; teacher: who reflects; judge: who rates attempts, the teacher by
            default.
        prompts: a folder with templates that stand in for ours of the same name.
        golds: `plain` keeps questions whose reference is a letter from A to D or a number; `any` all gradable ones.
        min_sentences, min_score: what an attempt needs at least; a score of None asks no judge.
        correct_share: share of right attempts among those kept, in every shard; None keeps them as they come.
        keep: share of the good attempts that is kept at most: 0.1 takes 10,000 of 100,000.
        reply: whether the teacher replies in JSON; `text` for a small model here.
        leaks: regular expressions of what a reflection may not say; they take the place of ours.
        second_think: `teacher` asks for another solution and verifies it, `short` takes one sentence of ours.
        mask_wrong_attempt: note where a wrong attempt ends, so that SFT puts no loss on it (`facts.error_prefix`).
        user_turn: `srpo` as the published set has it, `source` as the source has it.
        media: copy the videos, or link to the source's.
    """

    output: str
    source: Source
    policy: SpeakerConfig
    teacher: SpeakerConfig
    judge: SpeakerConfig | None = None
    prompts: str | None = None
    golds: Literal["plain", "any"] = "plain"
    min_sentences: Annotated[int, Field(ge=0)] = 3
    min_score: Annotated[int, Field(ge=1, le=5)] | None = 3
    correct_share: Share | None = 0.3
    keep: Annotated[float, Field(gt=0, le=1)] = 1.0
    reply: Literal["json", "text"] = "json"
    leaks: list[str] = Field(default_factory=lambda: list(LEAKS))
    second_think: Literal["none", "short", "teacher"] = "teacher"
    mask_wrong_attempt: bool = False
    user_turn: Literal["srpo", "source"] = "srpo"
    media: Literal["copy", "link"] = "copy"
    seed: int = 0
    shard_rows: Count = 1000

    def __post_init__(self) -> None:
        """Check the patterns.

        Raises:
            ValueError: one is no regular expression, or a judge is named and not asked.
        """
        check_patterns(self.leaks)
        if self.judge is not None and self.min_score is None:
            raise ValueError("judge is set and min_score=null asks none; remove one of the two")

    @property
    def speakers(self) -> Speakers:
        """Who is asked."""
        known = {"policy": self.policy, "teacher": self.teacher}
        return known if self.min_score is None else known | {"judge": self.judge or self.teacher}

    @property
    def sheet(self) -> Prompts:
        """The prompts."""
        return Prompts(PROMPTS, self.prompts)


class Quality(BaseModel):
    """What the judge replies."""

    reason: str = ""
    score: Annotated[int, Field(ge=1, le=5)]


class Reflection(BaseModel):
    """What the teacher replies."""

    reflection: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

    @field_validator("reflection")
    @classmethod
    def _without_tags(cls, text: str) -> str:
        if any(tag in text for tag in TAGS):
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

    def steps(self) -> Steps:
        """Attempt, grade, judge, draw, reflect, think again, assemble."""
        config = self.config
        sample, spec = self._sample()
        reasoning, answer = yield from self._attempt(sample)
        right = self._is_right(answer, sample.gold, spec)
        score = yield from self._judged(sample, reasoning, answer)
        self.counted["good attempts, right" if right else "good attempts, wrong"] += 1
        yield from draw(self.name, right, config.correct_share, config.keep, config.seed)
        regime = "refine" if right else "revise"
        shown = {"reasoning": reasoning, "answer": answer}
        reflection = yield from self._reflected(sample, {**shown, "gold": sample.gold, "regime": regime})
        second = yield from self._second(sample, spec, {**shown, "reflection": reflection})
        # What was rejected since has shifted the share; another draw among those left puts it right.
        yield from draw(self.name, right, config.correct_share, 1.0, config.seed)
        facts = {"kind": "srpo_reflection", "regime": regime, "first_answer": answer, "first_correct": right}
        facts |= {"final_answer": sample.gold, "final_correct": True, "judge_score": score}
        if config.mask_wrong_attempt:
            facts["error_prefix"] = None if right else len(_attempted(reasoning, answer))
        return self._example(sample, _target(reasoning, answer, reflection, second, str(sample.gold)), facts)

    def _sample(self) -> tuple[Sample, AnswerSpec]:
        sample = sample_from_row(self.row, self.config.source.folder)
        spec = spec_of(sample.facts)
        if self.config.golds == "plain" and not _PLAIN_GOLD.fullmatch((sample.gold or "").strip()):
            raise Rejected("the reference is neither a letter from A to D nor a number", str(sample.gold))
        problem = reference_problem(sample.gold, spec)
        if problem is not None:
            raise Rejected("the reference cannot be graded against", problem)
        return sample, spec

    def _attempt(self, sample: Sample) -> Generator[Any, Any, tuple[str, str]]:
        turns = asked_turns(sample, self.sheet.text("attempt_system"))
        said = yield from ask(Question("policy", "attempt", turns))
        parts = tagged(said.whole)
        if parts is None:
            raise Rejected("attempt: the tags are not as asked for", said.whole[:200])
        if sentence_count(parts[0]) < self.config.min_sentences:
            reason = f"attempt: fewer than {self.config.min_sentences} sentences"
            raise Rejected(reason, parts[0][:200])
        return parts

    def _is_right(self, answer: str, gold: str | None, spec: AnswerSpec) -> bool:
        verdict = grade(answer, gold, spec)
        if verdict.passed is None:
            raise Rejected("the attempt could not be graded", verdict.reason)
        return verdict.passed

    def _judged(self, sample: Sample, reasoning: str, answer: str) -> Generator[Any, Any, int | None]:
        if self.config.min_score is None:
            return None
        turn = self.sheet.turn("judge", sample, reasoning=reasoning, answer=answer)
        said = yield from ask(Question("judge", "judge", [turn], schema=Quality))
        if said.value.score < self.config.min_score:
            reason = f"judge: a score below {self.config.min_score}"
            raise Rejected(reason, f"{said.value.score}: {said.value.reason}")
        return int(said.value.score)

    def _reflected(self, sample: Sample, shown: dict[str, Any]) -> Generator[Any, Any, str]:
        if self.config.reply == "json":
            turn = self.sheet.turn("reflect", sample, **shown)
            said = yield from ask(Question("teacher", "reflect", [turn], schema=Reflection))
            text = str(said.value.reflection)
        else:
            turn = self.sheet.turn("reflect_text", sample, **shown)
            said = yield from ask(Question("teacher", "reflect", [turn]))
            text = said.text.strip()
            if not text or any(tag in text for tag in TAGS):
                raise Rejected("reflect: the reply is empty or holds tags", text[:200])
        refuse_leak("reflect", text, self.config.leaks, sample.gold)
        return text

    def _second(self, sample: Sample, spec: AnswerSpec, shown: dict[str, Any]) -> Generator[Any, Any, str | None]:
        """Return the second thought, or None."""
        if self.config.second_think == "none":
            return None
        if self.config.second_think == "short":
            return self.sheet.text("second_think_short")
        said = yield from ask(Question("teacher", "solve", [self.sheet.turn("solve", sample, **shown)]))
        parts = tagged(said.whole)
        if parts is None:
            raise Rejected("solve: the tags are not as asked for", said.whole[:200])
        if grade(parts[1], sample.gold, spec).passed is not True:
            raise Rejected("solve: the second solution is wrong", parts[1][:200])
        refuse_leak("solve", parts[0], self.config.leaks)
        return parts[0]

    def _example(self, sample: Sample, response: str, facts: dict[str, Any]) -> Example:
        config = self.config
        provenance = {part: name_of(options) for part, options in config.speakers.items()}
        facts["provenance"] = {**provenance, "sampler": sampler_of(config.policy), "source": self.name}
        system = self.sheet.text("system", second_think=config.second_think != "none")
        turns: list[dict[str, Any]] = [{"role": "system", "content": [_text(system)]}]
        if config.user_turn == "source":
            turns += [turn for turn in sample.messages if turn["role"] != "system"]
        else:
            turns.append({"role": "user", "content": _srpo_turn(sample)})
        turns.append({"role": "assistant", "content": [_text(response)]})
        return replace(carried(self.row, config.source, facts, config.media == "link"), messages=turns)


def tagged(text: str) -> tuple[str, str] | None:
    """Return thought and answer of a reply in the layout `think`; None where it is not just that."""
    found = candidates(text)
    inside = _INSIDE.search(text)
    if not follows(text, "think") or inside is None or not found or not found[0].text:
        return None
    return inside.group(1).strip(), found[0].text


def _attempted(reasoning: str, answer: str) -> str:
    return f"<think>{reasoning}</think>\n<answer>{answer}</answer>"


def _target(reasoning: str, first: str, reflection: str, second: str | None, final: str) -> str:
    """Return what the policy shall say."""
    again = "" if second is None else f"<think>{second}</think>\n"
    text = (
        f"{_attempted(reasoning, first)}\n<reflection>{reflection}</reflection>\n"
        f"{again}<answer>{final.strip()}</answer>"
    )
    assert follows(text, "cold_start" if second is None else "srpo")
    return text


def _srpo_turn(sample: Sample) -> list[dict[str, Any]]:
    """Return the user's turn of the published set: the question in a tag of its own, then what is shown."""
    parts = [_text(f"Question:<question>{sample.question.strip()}</question>\n")]
    for medium in sample.media:
        parts += [_text("Image: " if medium.kind == "image" else "Video: "), {"type": medium.kind}, _text("\n")]
    return parts


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
