"""Thoughts cut after the i-th candidate answer, and what candidates say ("First Try Matters", arXiv 2510.08308, 3).

    mmreflect build configs/build/first_try.yaml source.path=outputs/mine

The policy, a reasoning model, thinks about a question. Of a rollout that ends right and states the right answer more
than six times, the thoughts are cut after the line of the i-th candidate, the thinking is ended, and the same model
writes the final answer; a row whose answer is not the candidate that it was cut at is left out. Sets for i = 1 and 6
differ in nothing but how much checking they hold: with them the paper shows what checking in the data is worth.

The manifest says for all rollouts how candidates follow each other (right to right, wrong to right, ...), how good the
first and the last ones are, and where the first one stands.

Sets are equal in tokens where `tokens` says how many each is to have: the paper's have 28 millions, of fewer questions
the later the cut.

Where we differ: candidates are found by rules unless `extractor` asks the teacher, as the paper asks a model; tokens
are the policy's own count, of cut thoughts by their share of the characters; a row whose candidate is wrong is left
out as well.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from mmreflect.answers.extract import final_answer
from mmreflect.answers.grade import grade, reference_problem, verify
from mmreflect.answers.spec import AnswerSpec, spec_of
from mmreflect.building import Example, Rejected
from mmreflect.config import config as config_class
from mmreflect.data.store import sample_from_row
from mmreflect.errors import UserError
from mmreflect.evaluation.asking import Source, carried
from mmreflect.records import Count, Sample, Turn
from mmreflect.reflection.candidates import stated as stated_in
from mmreflect.reflection.transitions import CONFIRMATORY, Step, step_of
from mmreflect.teaching import maker
from mmreflect.teaching.drawing import spend
from mmreflect.teaching.maker import TeachingMaker, Wanted, describe, hold_together, inputs
from mmreflect.teaching.prompts import Prompts, asked_turns, taught
from mmreflect.teaching.speakers import SpeakerConfig, Speakers, name_of, sampler_of
from mmreflect.teaching.steps import Question, Said, Steps, ask

__all__ = ["Config", "describe", "inputs", "open_maker", "splits"]

EXEMPT = {"cut_at_i": ("repetition",)}  # thoughts that say the answer again and again are what is studied
PROMPTS = Path(__file__).parent / "prompts" / "first_try"
END = "</think>"
MILLION = 1_000_000
TOKENS = "tokens of cut "


@config_class
class Config:
    """What to build.

    Attributes:
        policy: who thinks, and writes the final answer after the cut.
        teacher: who finds candidates where `extractor` is `teacher`; `rules` asks nobody.
        cuts: after which candidates thoughts are cut; each question gives at most one row for each.
        samples: rollouts per question; the first that fits is cut.
        more_than: how often a rollout must state the right answer, and once more.
        finish: `prefill` lets the policy go on after the end of its thoughts, which an engine here can; `ask` shows it
            the thoughts and asks for the answer, which works with any server.
        tokens: of the responses of each cut at most, in all of a split, spread evenly over its shards; None keeps all.
        prompts: a folder with templates that stand in for ours of the same name.
        media: copy the videos, or link to the source's.
        shard_rows: rounded up, so that the rows of a question stand in one shard.
    """

    output: str
    source: Source
    policy: SpeakerConfig
    teacher: SpeakerConfig | None = None
    extractor: Literal["rules", "teacher"] = "rules"
    cuts: Annotated[list[Count], Field(min_length=1)] = Field(default_factory=lambda: [1])
    samples: Count = 1
    more_than: Annotated[int, Field(ge=0)] = 6
    finish: Literal["prefill", "ask"] = "ask"
    tokens: Count | None = None
    prompts: str | None = None
    media: Literal["copy", "link"] = "copy"
    seed: int = 0
    shard_rows: Count = 1000

    def __post_init__(self) -> None:
        """Check the options against each other.

        Raises:
            ValueError: a cut stands twice, greedy rollouts would be the same, or the teacher is missing or idle.
        """
        if len(set(self.cuts)) < len(self.cuts):
            raise ValueError("cuts holds one twice; name each once")
        if self.samples > 1 and self.policy.temperature == 0:
            raise ValueError(f"samples={self.samples} at temperature=0 would all be the same; set policy.temperature")
        if (self.extractor == "teacher") != (self.teacher is not None):
            raise ValueError("extractor: teacher and a teacher belong together; name both or neither")
        hold_together(self, len(self.cuts))

    @property
    def speakers(self) -> Speakers:
        """Who is asked."""
        return {"policy": self.policy} | ({"teacher": self.teacher} if self.teacher is not None else {})

    @property
    def sheet(self) -> Prompts:
        """The prompts."""
        return Prompts(PROMPTS, self.prompts)


class Stated(BaseModel):
    """A candidate as the teacher names it."""

    line: Annotated[int, Field(ge=1)]
    answer: str


class Candidates(BaseModel):
    """What the teacher replies."""

    candidates: list[Stated]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A line (from 0) that states an answer, and whether that is right."""

    line: int
    answer: str
    right: bool


@dataclass(frozen=True, slots=True)
class _Rollout:
    """A rollout's thoughts by lines, and their candidates.

    Attributes:
        density: tokens per character.
    """

    place: int
    density: float
    lines: list[str]
    candidates: list[Candidate]
    ends_right: bool


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split could have.

    Raises:
        UserError: as for any builder that asks, or the policy's engine cannot go on from words put into its mouth.
    """
    if config.finish == "prefill" and "continue" not in config.policy.engine.module.CAPABILITIES:
        raise UserError(
            f"engine {config.policy.engine.name!r} cannot go on from thoughts that are put into the policy's mouth",
            "an engine with the capability 'continue'",
            "set finish=ask, or use engine transformers or vllm",
        )
    return {split: size * len(config.cuts) for split, size in maker.splits(config).items()}


def open_maker(config: Config) -> TeachingMaker:
    """Return what makes the rows; the rows of one question share its rollouts."""
    sheet = config.sheet
    return TeachingMaker(config, lambda wanted: _Making(config, sheet, wanted).steps(), len(config.cuts), statistics)


class _Making:
    """One row in the making."""

    def __init__(self, config: Config, sheet: Prompts, wanted: Wanted) -> None:
        self.config, self.sheet, self.slot = config, sheet, wanted.slot
        self.row, self.name, self.counted = wanted.row, wanted.name, wanted.counted
        self.cut = config.cuts[wanted.slot]
        self.budget = None if config.tokens is None else config.tokens * wanted.share
        self.sample: Sample = sample_from_row(self.row, config.source.folder)
        self.spec: AnswerSpec = spec_of(self.sample.facts).resolved(self.sample.gold)
        self.asked = asked_turns(self.sample, sheet.text("system"))

    def steps(self) -> Steps:
        """Roll out, find candidates, cut, finish, compare."""
        problem = reference_problem(self.sample.gold, self.spec)
        if problem is not None:
            raise Rejected("the reference cannot be graded against", problem)
        heard: list[Said] = yield [
            Question("policy", "rollout", self.asked, place) for place in range(self.config.samples)
        ]
        fitting: _Rollout | None = None
        for place, said in enumerate(heard):
            thoughts = None if said.problem is not None or said.cut else thoughts_of(said)
            if thoughts is None:
                self._count("rollouts without whole thoughts")
                continue
            found = yield from self._read(place, said.tokens / max(1, len("".join(thoughts))), *thoughts)
            self._tell(found)
            if fitting is None and self._fits(found):
                fitting = found
        if fitting is None:
            raise next((said.problem for said in heard if said.problem), self._unfit())
        return (yield from self._row(fitting))

    def _unfit(self) -> Rejected:
        return Rejected(
            f"no rollout ends right, states that more than {self.config.more_than} times and has candidate {self.cut}"
        )

    def _fits(self, found: _Rollout) -> bool:
        rights = sum(item.right for item in found.candidates)
        return found.ends_right and rights > self.config.more_than and len(found.candidates) >= self.cut

    def _read(self, place: int, density: float, thoughts: str, final: str) -> Generator[Any, Any, _Rollout]:
        lines = thoughts.splitlines()
        stated = candidate_lines(lines)
        if self.config.extractor == "teacher":
            numbered = "\n".join(f"{number}: {line}" for number, line in enumerate(lines, 1))
            turn = self.sheet.turn("extract", self.sample, lines=numbered)
            said = yield from ask(Question("teacher", f"extract {place}", [turn], schema=Candidates))
            named = [(item.line - 1, item.answer) for item in said.value.candidates if item.line <= len(lines)]
            named.sort(key=lambda item: item[0])
            ours, theirs = {line for line, _ in stated}, {line for line, _ in named}
            self._count("candidate lines of rules and teacher", len(ours & theirs))
            self._count("candidate lines of one alone", len(ours ^ theirs))
            stated = named
        candidates = [Candidate(line, answer, self._is_right(answer)) for line, answer in stated]
        return _Rollout(place, density, lines, candidates, verify(final, self.sample.gold, self.spec).passed is True)

    def _is_right(self, answer: str) -> bool:
        return grade(answer, self.sample.gold, self.spec).passed is True

    def _row(self, found: _Rollout) -> Generator[Any, Any, Example]:
        at = found.candidates[self.cut - 1]
        kept = "\n".join(found.lines[: at.line + 1])
        said = yield from ask(Question("policy", f"finish {self.cut}", self._finishing(kept)))
        final = said.text.strip()
        if "<think>" in final or END in final:
            raise Rejected("finish: the policy thinks on", final[:200])
        same = verify(final, at.answer, self.spec).passed is True
        if not same:
            raise Rejected("finish: another answer than the candidate", str(final_answer(final, self.spec)))
        if not verify(final, self.sample.gold, self.spec).passed:
            raise Rejected("the candidate at the cut is wrong", at.answer)
        tokens = round(found.density * len(kept)) + said.tokens
        yield from spend(self.name, self.cut, tokens, self.budget, self.config.seed)
        self.counted[f"{TOKENS}{self.cut}"] += tokens
        return self._example(found, kept, final, tokens)

    def _finishing(self, kept: str) -> list[Turn]:
        if self.config.finish == "ask":
            return [self.asked[0], self.sheet.turn("finish", self.sample, thoughts=kept)]
        return [*self.asked, Turn("assistant", [_thinking(kept)])]

    def _example(self, found: _Rollout, kept: str, final: str, tokens: int) -> Example:
        config, first = self.config, found.candidates[0]
        sampler = sampler_of(config.policy) | {"n": config.samples}
        who = {part: name_of(options) for part, options in config.speakers.items()}
        provenance = {**who, "sampler": sampler, "source": self.name, "attempt_id": f"{self.name}/policy#{found.place}"}
        facts = {
            "kind": "cut_at_i",
            "cut": self.cut,
            "first_answer": first.answer,
            "first_correct": first.right,
            "final_answer": final_answer(final, self.spec),
            "final_correct": True,
            "candidates": [item.answer for item in found.candidates],
            "steps": [str(step) for step in self._steps_of(found)],
            "kept_lines": kept.count("\n") + 1,
            "lines": len(found.lines),
            "tokens": tokens,
            "extractor": config.extractor,
            "provenance": provenance,
        }
        response = _thinking(kept) + final
        turns = taught(self.sample, self.sheet.text("system"), response)
        name = f"{self.name}/cut-{self.cut}"
        return replace(carried(self.row, config.source, facts, config.media == "link"), id=name, messages=turns)

    # ---- statistics --------------------------------------------------------------------------------------------

    def _count(self, name: str, number: int = 1) -> None:
        """Count something about a question once, however many rows it may give."""
        if self.slot == 0 and number:
            self.counted[name] += number

    def _steps_of(self, found: _Rollout) -> list[Step]:
        return [
            step_of(early.right, late.right, grade(late.answer, early.answer, self.spec).passed is True)
            for early, late in pairwise(found.candidates)
        ]

    def _tell(self, found: _Rollout) -> None:
        self._count("rollouts")
        if not found.candidates:
            self._count("rollouts without a candidate")
            return
        first = found.candidates[0]
        self._count("candidates", len(found.candidates))
        self._count("first right", int(first.right))
        self._count("last right", int(found.candidates[-1].right))
        self._count("first line, millionths", round(MILLION * (first.line + 1) / len(found.lines)))
        lengths = [len(line) + 1 for line in found.lines]
        self._count("characters", sum(lengths))
        self._count("characters after the first", sum(lengths[first.line + 1 :]))
        for step in self._steps_of(found):
            self._count(f"step {step}")


def thoughts_of(said: Said) -> tuple[str, str] | None:
    """Return a rollout's thoughts and what follows them; None where it has no end of thinking, or nothing after it.

    A server may keep the two apart.
    """
    text = f"{said.reasoning}{END}{said.text}" if said.reasoning else said.text
    thoughts, end, final = text.partition(END)
    thoughts = thoughts.strip().removeprefix("<think>").strip()
    return (thoughts, final) if end and thoughts and final.strip() else None


def candidate_lines(lines: list[str]) -> list[tuple[int, str]]:
    """Return the lines (from 0) that present a candidate answer by the rules, each with its answer."""
    found = [(place, stated_in(line)) for place, line in enumerate(lines)]
    return [(place, answers[-1].text) for place, answers in found if answers and answers[-1].text]


def _thinking(kept: str) -> str:
    return f"<think>\n{kept}\n{END}\n\n"


def statistics(counted: Mapping[str, int]) -> dict[str, Any]:
    """Return what the rollouts of all questions show; what has nothing to average is None, never 0."""
    rollouts, without = counted.get("rollouts", 0), counted.get("rollouts without a candidate", 0)
    steps = {str(step): counted.get(f"step {step}", 0) for step in Step}
    total, answered = sum(steps.values()), rollouts - without
    from_wrong = total - steps[Step.KEPT_RIGHT] - steps[Step.SPOILED]
    first = _share(counted.get("first right", 0), answered)
    final = _share(counted.get("last right", 0), answered)
    both, alone = counted.get("candidate lines of rules and teacher", 0), counted.get("candidate lines of one alone", 0)
    cuts = {name.removeprefix(TOKENS): count for name, count in sorted(counted.items()) if name.startswith(TOKENS)}
    return {
        "tokens_by_cut": cuts,
        "rollouts": rollouts,
        "without_whole_thoughts": counted.get("rollouts without whole thoughts", 0),
        "without_candidate": without,
        "steps": {name: _share(count, total) for name, count in steps.items()},
        "confirmatory": _share(sum(steps[step] for step in CONFIRMATORY), total),
        "corrective": _share(steps[Step.CORRECTED], total),
        "p_corrected": _share(steps[Step.CORRECTED], from_wrong),
        "first_accuracy": first,
        "final_accuracy": final,
        "gain": None if first is None or final is None else round(final - first, 6),
        "candidates": _share(counted.get("candidates", 0), answered),
        "first_line": _share(counted.get("first line, millionths", 0), answered * MILLION),
        "spent_after_first": _share(counted.get("characters after the first", 0), counted.get("characters", 0)),
        "rules_agree_with_teacher": _share(both, both + alone),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
