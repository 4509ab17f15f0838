r"""Text that goes wrong, notices it and comes right: LEMMA (arXiv 2503.17439), for pictures, charts and clips too.

    mmreflect build configs/build/lemma.yaml source.path=outputs/mine

1. The student attempts every question several times; its wrong attempts are errors.
2. The teacher names the first wrong step of each and the type of the error. For questions that the student fails it
   also writes solutions with one error of a given type in them: these are errors too.
3. Every error is cut just after its first wrong step. That step stays, nothing that follows from it does: without the
   cut the paper's scores fall below those of plain training.
4. The teacher goes on in two ways: `fix` puts the step right and goes on, `restart` solves the question anew.
5. If wished, it smooths the whole.

Where we differ: the kept steps are copied by us and the sentence of doubt is drawn by us, so that both are exact, and
the teacher writes the rest alone; types of errors in seeing are ours; a solution without a step that the analysis names
is left out, where the published code keeps all of it.
"""

import re
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from mmreflect.answers.extract import boxes
from mmreflect.building import Example, Rejected
from mmreflect.config import config as config_class
from mmreflect.errors import unknown_name
from mmreflect.evaluation.asking import Source, carried
from mmreflect.records import Count
from mmreflect.seeds import derive_seed, python_rng
from mmreflect.teaching import maker
from mmreflect.teaching.attempts import Asked, Graded, asked_of, check_response, refuse_leak, sampled
from mmreflect.teaching.filters import LEAKS, check_patterns, likeness, sentence_count, unboxed
from mmreflect.teaching.maker import TeachingMaker, Wanted, describe, hold_together, inputs
from mmreflect.teaching.mistakes import REASONING, SEEING, speaks_of_sight, types_of, why_unseen
from mmreflect.teaching.prompts import Prompts, asked_turns, taught
from mmreflect.teaching.solutions import By, kept_of, numbered, steps_of, without_answer
from mmreflect.teaching.speakers import SpeakerConfig, Speakers, name_of, sampler_of
from mmreflect.teaching.steps import Question, Steps, ask

__all__ = ["Config", "describe", "inputs", "open_maker", "splits"]

PROMPTS = Path(__file__).parent / "prompts" / "lemma"
MENTIONS = (r"\bprevious (attempt|solution|answer)\b", r"\b(earlier|first) attempt\b", r"\breference\b")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
Mode = Literal["fix", "restart"]
Share = Annotated[float, Field(ge=0, le=1)]


@config_class
class Config:
    """What to build.

    Attributes:
        student: whose errors are put right; teacher: who analyses, injects, corrects and smooths.
        prompts: a folder with templates that stand in for ours of the same name.
        attempts: of the student, per question.
        types: of errors that are injected; those of seeing only where there is something to see.
        injections: solutions per type and question that the student has failed at least once; 0 injects none.
        min_failure: share of the student's attempts that must be wrong, for the question to be used.
        hard: rows of a question that the student always fails; one that it fails at times gives its share of them, half
            from its own errors and half from injected ones (LEMMA-Hard). None takes all there are.
        modes: how an error is put right; each error gives one row of each.
        steps: how a solution is split.
        smooth: let the teacher smooth the whole.
        max_likeness: share of runs of five words that a repair may have in common with the wrong steps that it
            replaces: one with more has copied the answer, not changed the reasoning.
        min_sentences: of a repair.
        max_words, latin_share: of a response at most, and of its letters at least.
        leaks: regular expressions of what no response may say; they take the place of ours.
        media: copy the videos, or link to the source's.
        shard_rows: rounded up, so that the rows of a question stand in one shard.
    """

    output: str
    source: Source
    student: SpeakerConfig
    teacher: SpeakerConfig
    prompts: str | None = None
    attempts: Count = 8
    types: list[str] = Field(default_factory=lambda: [*REASONING, *SEEING])
    injections: Annotated[int, Field(ge=0)] = 1
    min_failure: Share = 0.0
    hard: Count | None = None
    modes: Annotated[list[Mode], Field(min_length=1)] = Field(default_factory=lambda: list[Mode](["fix", "restart"]))
    steps: By = "lines"
    smooth: bool = True
    max_likeness: Annotated[float, Field(gt=0, le=1)] = 0.7
    min_sentences: Annotated[int, Field(ge=0)] = 2
    max_words: Count = 2048
    latin_share: Share = 0.9
    leaks: list[str] = Field(default_factory=lambda: [*LEAKS, *MENTIONS])
    media: Literal["copy", "link"] = "copy"
    seed: int = 0
    shard_rows: Count = 1000

    def __post_init__(self) -> None:
        """Check the options against each other.

        Raises:
            ValueError: greedy attempts or injections would all be the same, something stands twice, or types are idle.
        """
        check_patterns(self.leaks)
        drawn = {"attempts": (self.student, self.attempts), "injections": (self.teacher, self.injections)}
        for name, (speaker, count) in drawn.items():
            if count > 1 and speaker.temperature == 0:
                raise ValueError(f"{name}={count} at temperature=0 would all be the same; set a temperature")
        for name, given in (("types", self.types), ("modes", list[str](self.modes))):
            if len(set(given)) < len(given):
                raise ValueError(f"{name} holds one twice; name each once")
        if self.injections and not self.types:
            raise ValueError("injections need types; name some, or set injections=0")
        hold_together(self, len(self.slots))

    @property
    def speakers(self) -> Speakers:
        """Who is asked."""
        return {"student": self.student, "teacher": self.teacher}

    @property
    def sheet(self) -> Prompts:
        """The prompts."""
        return Prompts(PROMPTS, self.prompts)

    @property
    def slots(self) -> list[tuple[str | None, int, Mode]]:
        """The rows that a question may give: type of the injected error, None for the student's; which one; mode."""
        errors: list[tuple[str | None, int]] = [(None, place) for place in range(self.attempts)]
        errors += [(kind, place) for place in range(self.injections) for kind in self.types]
        return [(*error, mode) for error in errors for mode in self.modes]


class Analysis(BaseModel):
    """What the teacher says of a wrong attempt."""

    explanation: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    first_error_step: int
    error_type: str


class Injection(BaseModel):
    """A solution that the teacher has written with an error in it."""

    solution: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    first_error_step: int
    explanation: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


@dataclass(frozen=True, slots=True)
class Wrong:
    """A wrong solution; `step` is the first wrong one, from 1, as the teacher says."""

    text: str
    answer: str | None
    step: int
    kind: str
    explanation: str


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split could have.

    Raises:
        UserError: a type of error is not known, or as the foundation's.
    """
    known = types_of(config.sheet)
    for kind in config.types:
        if kind not in known:
            raise unknown_name("type of error", kind, list(known))
    return {split: size * len(config.slots) for split, size in maker.splits(config).items()}


def open_maker(config: Config) -> TeachingMaker:
    """Return what makes the rows; those of one question share its attempts, analyses and injections."""
    sheet = config.sheet
    return TeachingMaker(config, lambda wanted: _Making(config, sheet, wanted).steps(), len(config.slots))


def hard_rows(wrong: int, attempts: int, most: int) -> int:
    """Return how many rows a question gives: `most` times the share of attempts that are wrong."""
    return round(most * wrong / attempts)


class _Making:
    """One row in the making."""

    def __init__(self, config: Config, sheet: Prompts, wanted: Wanted) -> None:
        self.config, self.sheet = config, sheet
        self.row, self.name, self.counted = wanted.row, wanted.name, wanted.counted
        self.injected, self.place, self.mode = config.slots[wanted.slot]
        self.first = wanted.slot == 0
        self.system, self.types = sheet.text("system"), types_of(sheet)
        self.asked: Asked = asked_of(self.row, config.source)

    @property
    def origin(self) -> str:
        return "student" if self.injected is None else "injected"

    def steps(self) -> Steps:
        """Attempt, find or write an error, cut it, put it right, smooth, assemble."""
        config = self.config
        unseen = why_unseen(self.injected, self.asked.sample)
        if unseen is not None:
            raise Rejected(f"injected: {unseen}")
        turns = asked_turns(self.asked.sample, self.system)
        questions = [Question("student", "attempt", turns, place) for place in range(config.attempts)]
        count = self.counted if self.first else Counter[str]()
        pool = yield from sampled(self.asked, questions, count)
        wrongs = self._wrongs(pool)
        self._refuse_by_failures(pool, wrongs)
        wrong = yield from (self._analysed(wrongs) if self.injected is None else self._injected())
        kept = self._kept(wrong)
        rng = python_rng(config.seed, self.name, self.origin, str(self.injected), self.place, self.mode, "doubt")
        transition = rng.choice(self.sheet.lines("transitions"))
        repair = yield from self._repair(
            wrong, kept, transition, [one for one in pool if one is not None and one.right]
        )
        response = f"{kept}\n{transition}\n{repair}"
        check_response(response, config)
        if config.smooth:
            response = yield from self._smoothed(response, steps_of(kept, config.steps)[-1])
        return self._example(wrong, response, transition, 0 if config.smooth else len(kept))

    # ---- which errors --------------------------------------------------------------------------------------------

    def _wrongs(self, pool: list[Graded | None]) -> list[Graded]:
        """Return the wrong attempts that give an answer in one box, each text once."""
        found: dict[str, Graded] = {}
        for one in pool:
            if one is not None and not one.right and len(boxes(one.text)) == 1:
                found.setdefault(one.text, one)
        return list(found.values())

    def _refuse_by_failures(self, pool: list[Graded | None], wrongs: list[Graded]) -> None:
        heard = [one for one in pool if one is not None]
        failed = sum(not one.right for one in heard)
        if self.injected is not None and not failed:
            raise Rejected("injected: the student never fails the question")
        if failed < self.config.min_failure * len(heard):
            raise Rejected(f"the student fails less than {self.config.min_failure:g} of its attempts")
        places = [one.place for one in wrongs]
        if self.injected is None and self.place not in places:
            raise Rejected("student: the attempt is no error that can be used", self._why_not(pool))
        if self.config.hard is None:
            return
        total = hard_rows(failed, len(heard), self.config.hard)
        if self.injected is not None:
            rank = self._injection_order().index((self.injected, self.place))
        else:
            rank = places.index(self.place)
        modes = self.config.modes
        most = total // 2 if self.injected is not None else total - total // 2
        if rank * len(modes) + modes.index(self.mode) >= most:
            raise Rejected(f"{self.origin}: the question has rows enough for how hard it is")

    def _injection_order(self) -> list[tuple[str, int]]:
        """Return the injections of the question that can be made, each round of types in an order drawn for it."""
        types = [kind for kind in self.config.types if why_unseen(kind, self.asked.sample) is None]
        types.sort(key=lambda kind: derive_seed(self.config.seed, self.name, kind, "order"))
        return [(kind, place) for place in range(self.config.injections) for kind in types]

    def _why_not(self, pool: list[Graded | None]) -> str:
        one = pool[self.place]
        if one is None:
            return "it failed or was cut off"
        if one.right:
            return "it is right"
        return "an earlier one is the same" if len(boxes(one.text)) == 1 else "it does not give one answer in a box"

    # ---- errors --------------------------------------------------------------------------------------------------

    def _analysed(self, wrongs: list[Graded]) -> Generator[Any, Any, Wrong]:
        attempt = next(one for one in wrongs if one.place == self.place)
        turn = self._turn(
            "analyse",
            steps=numbered(steps_of(attempt.text, self.config.steps)),
            types="\n".join(f"{name}: {meaning}" for name, meaning in self.types.items()),
        )
        said = yield from ask(Question("teacher", "analyse", [turn], self.place, Analysis))
        found: Analysis = said.value
        if found.error_type not in self.types:
            raise Rejected("analyse: a type of error that is not on the list", found.error_type)
        return Wrong(attempt.text, attempt.answer, found.first_error_step, found.error_type, found.explanation)

    def _injected(self) -> Generator[Any, Any, Wrong]:
        kind = str(self.injected)
        turn = self._turn("inject", kind=f"{kind}: {self.types[kind]}", perception=kind in SEEING)
        said = yield from ask(Question("teacher", f"inject {kind}", [turn], self.place, Injection))
        found: Injection = said.value
        graded = self.asked.graded(found.solution)
        if graded.right:
            raise Rejected("injected: the answer is right", str(graded.answer))
        if len(boxes(found.solution)) != 1:
            raise Rejected("injected: it does not give one answer in a box", found.solution[-200:])
        return Wrong(found.solution, graded.answer, found.first_error_step, kind, found.explanation)

    def _kept(self, wrong: Wrong) -> str:
        """Cut an error just after its first wrong step, and open its box, if it comes as far."""
        kept = kept_of(wrong.text, wrong.step, self.config.steps)
        if kept is None:
            raise Rejected(f"{self.origin}: there is no such wrong step", str(wrong.step))
        if self.asked.graded(steps_of(kept, self.config.steps)[-1]).right:
            raise Rejected(f"{self.origin}: the wrong step ends on the right answer", kept[-200:])
        return unboxed(kept)

    # ---- repairs -------------------------------------------------------------------------------------------------

    def _repair(self, wrong: Wrong, kept: str, transition: str, rights: list[Graded]) -> Generator[Any, Any, str]:
        shown: dict[str, Any] = {"kept": kept, "transition": transition, "perception": wrong.kind in SEEING}
        shown |= {"error_type": wrong.kind, "explanation": wrong.explanation, "gold": self.asked.sample.gold}
        if self.mode == "restart":
            solutions = [one.text for one in rights] or [self.asked.sample.response or ""]
            shown["solution"] = python_rng(self.config.seed, self.name, self.place, "solution").choice(solutions)
        turn = self.sheet.turn(self.mode, self.asked.sample, **shown)
        purpose = f"{self.mode} {self.injected or 'own'}"
        said = yield from ask(Question("teacher", purpose, [turn], self.place))
        repair = said.text.strip()
        if not self.asked.graded(repair).right:
            raise Rejected(f"{self.mode}: the repair is wrong", repair[-200:])
        refuse_leak(self.mode, repair, self.config.leaks)
        replaced = "\n".join(steps_of(wrong.text, self.config.steps)[wrong.step - 1 :])
        reasoning = without_answer(repair)
        if sentence_count(reasoning) < self.config.min_sentences:
            raise Rejected(f"{self.mode}: fewer than {self.config.min_sentences} sentences before the answer", repair)
        if likeness(reasoning, without_answer(replaced)) >= self.config.max_likeness:
            raise Rejected(f"{self.mode}: the answer is changed and the reasoning is not", repair)
        if shown["perception"] and not speaks_of_sight(reasoning):
            raise Rejected(f"{self.mode}: an error of seeing is put right without a word on what is visible", repair)
        return repair

    def _smoothed(self, response: str, wrong_step: str) -> Generator[Any, Any, str]:
        """Return the response in one flow; its answer is checked anew, as is that its wrong step still stands."""
        purpose = f"smooth {self.mode} {self.injected or 'own'}"
        turn = self.sheet.turn("smooth", self.asked.sample, response=response)
        said = yield from ask(Question("teacher", purpose, [turn], self.place))
        text = said.text.strip()
        if not self.asked.graded(text).right:
            raise Rejected("smooth: the answer was lost", text[-200:])
        if not set(_NUMBER.findall(wrong_step)) <= set(_NUMBER.findall(text)):
            raise Rejected("smooth: the values of the wrong step were changed", wrong_step)
        check_response(text, self.config)
        return text

    def _turn(self, template: str, **values: Any) -> Any:
        sample = self.asked.sample
        return self.sheet.turn(template, sample, gold=sample.gold, reference=sample.response or "", **values)

    def _example(self, wrong: Wrong, response: str, transition: str, prefix: int) -> Example:
        config = self.config
        who: dict[str, Any] = {part: name_of(options) for part, options in config.speakers.items()}
        label = f"{self.injected or 'student'}-{self.place}"
        sampler = {**sampler_of(config.student), "n": config.attempts}
        facts = {
            "kind": f"lemma_{self.mode}",
            "first_answer": wrong.answer,
            "first_correct": False,
            "final_answer": self.asked.graded(response).answer,
            "final_correct": True,
            "error_type": wrong.kind,
            "error_kind": "perception" if wrong.kind in SEEING else "reasoning",
            "error_origin": self.origin,
            "error_step": wrong.step,
            "kept_steps": wrong.step,
            "repair_mode": self.mode,
            "marker": transition,
            "smoothed": config.smooth,
            # where a trainer that wants no loss on the wrong steps cuts; smoothed text has no such place
            "error_prefix": prefix or None,
            "provenance": {**who, "sampler": sampler, "source": self.name, "attempt_id": f"{self.name}/{label}"},
        }
        turns = taught(self.asked.sample, self.system, response)
        made = carried(self.row, config.source, facts, config.media == "link")
        return replace(made, id=f"{self.name}/{self.mode}-{label}", messages=turns)


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
