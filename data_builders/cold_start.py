r"""Four kinds of cold-start data by rejection sampling ("RL with Cold Start", arXiv 2505.22334).

    mmreflect build configs/build/cold_start.yaml source.path=outputs/mine

distilled    the shortest of several right solutions of the teacher
reflection   a wrong attempt, a sentence of doubt, a right solution
caption      a description of what is shown, then a solution from both
self_critic  an attempt, a critique of it, a revision, all by one model, up to two rounds

Every response ends right, by the project's verifier, and holds exactly one \boxed{}, the last: a wrong answer never
stands in one. The paper's templates are not published; these definitions are ours after its descriptions.
"""

import re
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mmreflect.answers.extract import boxes
from mmreflect.building import Example, Rejected
from mmreflect.config import config as config_class
from mmreflect.evaluation.asking import Source, carried
from mmreflect.records import Count
from mmreflect.seeds import python_rng
from mmreflect.teaching import maker
from mmreflect.teaching.attempts import Graded, asked_of
from mmreflect.teaching.drawing import draw
from mmreflect.teaching.filters import (
    LEAKS,
    check_patterns,
    latin_share,
    leak_in,
    likeness,
    repetition_in,
    says,
    unboxed,
)
from mmreflect.teaching.maker import TeachingMaker, Wanted, describe, hold_together, inputs
from mmreflect.teaching.prompts import Prompts, asked_turns, taught
from mmreflect.teaching.speakers import SpeakerConfig, Speakers, name_of, sampler_of
from mmreflect.teaching.steps import Question, Said, Steps, ask

__all__ = ["Config", "describe", "inputs", "open_maker", "splits"]

PROMPTS = Path(__file__).parent / "prompts" / "cold_start"
Share = Annotated[float, Field(ge=0, le=1)]
Kind = Literal["distilled", "reflection", "caption", "self_critic"]


@config_class
class Config:
    """What to build.

    Attributes:
        kinds: of the rows; each question gives at most one row of each, `distilled` up to `per_question`.
        teacher: whose right solutions are wanted; policy: whose wrong attempts are; None takes the teacher's own.
        critic: who attempts, criticises and revises in `self_critic`, in at most `rounds` rounds.
        samples: solutions per question and speaker for `distilled` and `reflection`.
        prompts: a folder with templates that stand in for ours of the same name.
        min_chosen: tokens of a sampled solution that is chosen, at least.
        likeness: two rows of one question are less alike than this, by the runs of five words that they share.
        gold_in_caption: `allow` where the answer is a text that stands in the picture, as in charts.
        correct_share: of right first attempts among the rows of `self_critic`, in every shard; None: as they come.
        min_tokens, max_tokens: of a whole response, as those who spoke count them.
        latin_share: of a response's letters at least; 0 lets all scripts through.
        leaks: regular expressions of what no response may say; they take the place of ours.
        media: copy the videos, or link to the source's.
        shard_rows: rounded up, so that the rows of a question stand in one shard.
    """

    output: str
    source: Source
    teacher: SpeakerConfig
    policy: SpeakerConfig | None = None
    kinds: Annotated[list[Kind], Field(min_length=1)] = Field(default_factory=lambda: list[Kind](["distilled"]))
    per_question: Annotated[int, Field(gt=0, le=4)] = 1
    critic: Literal["teacher", "policy"] = "teacher"
    rounds: Literal[1, 2] = 2
    samples: Count = 8
    prompts: str | None = None
    min_chosen: Annotated[int, Field(ge=0)] = 30
    likeness: Annotated[float, Field(gt=0, le=1)] = 0.7
    gold_in_caption: Literal["reject", "allow"] = "reject"
    correct_share: Share | None = 0.3
    min_tokens: Annotated[int, Field(ge=0)] = 32
    max_tokens: Count = 2048
    latin_share: Share = 0.9
    leaks: list[str] = Field(default_factory=lambda: list(LEAKS))
    media: Literal["copy", "link"] = "copy"
    seed: int = 0
    shard_rows: Count = 1000

    def __post_init__(self) -> None:
        """Check the options against each other.

        Raises:
            ValueError: a kind stands twice, several greedy samples would be the same, or a policy is missing or idle.
        """
        check_patterns(self.leaks)
        if len(set(self.kinds)) < len(self.kinds):
            raise ValueError("kinds holds one twice; name each once")
        sampling = {"distilled", "reflection"} & set(self.kinds)
        warm = [self.teacher, *([self.policy] if self.policy and "reflection" in self.kinds else [])]
        if sampling and self.samples > 1 and any(speaker.temperature == 0 for speaker in warm):
            raise ValueError(f"samples={self.samples} at temperature=0 would all be the same; set a temperature")
        if self.critic == "policy" and self.policy is None and "self_critic" in self.kinds:
            raise ValueError("critic is 'policy' and no policy is named; add one")
        asked = "reflection" in self.kinds or ("self_critic" in self.kinds and self.critic == "policy")
        if self.policy is not None and not asked:
            raise ValueError("policy is set and none of the kinds asks it; remove it")
        hold_together(self, len(self.slots))

    @property
    def speakers(self) -> Speakers:
        """Who is asked."""
        return {"teacher": self.teacher} | ({"policy": self.policy} if self.policy is not None else {})

    @property
    def sheet(self) -> Prompts:
        """The prompts."""
        return Prompts(PROMPTS, self.prompts)

    @property
    def slots(self) -> list[tuple[Kind, int]]:
        """The rows that a question may give: a kind, and which of its kind."""
        counts = {kind: self.per_question if kind == "distilled" else 1 for kind in self.kinds}
        return [(kind, place) for kind, count in counts.items() for place in range(count)]


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split could have."""
    return {split: size * len(config.slots) for split, size in maker.splits(config).items()}


def open_maker(config: Config) -> TeachingMaker:
    """Return what makes the rows; the rows of one question share what is sampled for it."""
    sheet = config.sheet
    return TeachingMaker(config, lambda wanted: _Making(config, sheet, wanted).steps(), len(config.slots))


@dataclass(frozen=True, slots=True)
class _Written:
    """A response that may become a row.

    Attributes:
        first: the first answer that was given, and whether it is right.
        attempts: which draws it is made of.
    """

    text: str
    tokens: int
    first: tuple[str | None, bool]
    attempts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sampled:
    """A sampled solution, and who has written it."""

    speaker: str
    own: Graded

    @property
    def label(self) -> str:
        return f"{self.speaker}#{self.own.place}"


class _Making:
    """One row in the making."""

    def __init__(self, config: Config, sheet: Prompts, wanted: Wanted) -> None:
        self.config, self.sheet = config, sheet
        self.row, self.name, self.counted = wanted.row, wanted.name, wanted.counted
        self.kind, self.place = config.slots[wanted.slot]
        self.asked, self.system = asked_of(self.row, config.source), sheet.text("system")
        self.sample = self.asked.sample

    def steps(self) -> Steps:
        """Write a response of the row's kind, check it, assemble the row."""
        write = {
            "distilled": self._distilled,
            "reflection": self._reflection,
            "caption": self._caption,
            "self_critic": self._self_critic,
        }
        written = yield from write[self.kind]()
        self._check(written)
        if self.kind == "self_critic":
            yield from draw(self.name, written.first[1], self.config.correct_share, 1.0, self.config.seed)
        return self._example(written)

    # ---- kinds -------------------------------------------------------------------------------------------------

    def _distilled(self) -> Generator[Any, Any, _Written]:
        pool = yield from self._pool(["teacher"])
        chosen: list[_Sampled] = []
        for one in self._choosable(pool, "teacher"):
            if all(likeness(one.own.text, known.own.text) < self.config.likeness for known in chosen):
                chosen.append(one)
        if len(chosen) <= self.place:
            raise Rejected(
                "distilled: no right solution that can be chosen" if not chosen else "distilled: no other one"
            )
        taken = chosen[self.place]
        return _Written(taken.own.text, taken.own.tokens, (taken.own.answer, True), (taken.label,))

    def _reflection(self) -> Generator[Any, Any, _Written]:
        speakers = ["policy", "teacher"] if self.config.policy is not None else ["teacher"]
        pool = yield from self._pool(speakers)
        wrongs = [
            one
            for part in speakers
            for one in pool
            if one.speaker == part and not one.own.right and boxes(one.own.text)
        ]
        rights = [one for part in reversed(speakers) for one in self._choosable(pool, part)]
        if not wrongs or not rights:
            raise Rejected("reflection: no wrong attempt" if not wrongs else "reflection: no right solution")
        rng = python_rng(self.config.seed, self.name, "link")
        wrong, right = rng.choice([one for one in wrongs if one.speaker == wrongs[0].speaker]), rights[0]
        link = rng.choice(self.sheet.lines("links"))
        text = f"{unboxed(wrong.own.text).strip()}\n\n{link}\n\n{right.own.text}"
        tokens = wrong.own.tokens + right.own.tokens
        return _Written(text, tokens, (wrong.own.answer, False), (wrong.label, right.label))

    def _caption(self) -> Generator[Any, Any, _Written]:
        if not self.sample.media:
            raise Rejected("caption: there is nothing to describe")
        described = yield from ask(Question("teacher", "describe", [self.sheet.turn("describe", self.sample)]))
        caption = described.text.strip()
        if not caption or boxes(caption) or "caption>" in caption:
            raise Rejected("caption: the description is empty, or holds a box or a tag", caption[:200])
        value = self._visible_gold()
        if self.config.gold_in_caption == "reject" and value is not None and says(caption, value):
            raise Rejected("caption: the description says the answer", value)
        turn = self.sheet.turn("solve", self.sample, caption=caption)
        solved = yield from ask(Question("teacher", "solve", [turn]))
        solution = self.asked.graded(solved.text)
        if not solution.right:
            raise Rejected("caption: the solution is wrong", str(solution.answer))
        text = f"<caption>{caption}</caption>\n{solution.text}"
        return _Written(text, described.tokens + solved.tokens, (solution.answer, True), ("teacher#0",))

    def _visible_gold(self) -> str | None:
        """Return what a description must not say: the answer, of an option its text; None where that is not known."""
        gold = (self.sample.gold or "").strip()
        if re.fullmatch(r"[A-Z]", gold, re.IGNORECASE):
            return dict(self.asked.spec.options or ()).get(gold.upper())
        return gold

    def _self_critic(self) -> Generator[Any, Any, _Written]:
        speaker = self.config.critic
        first = yield from ask(Question(speaker, "attempt", asked_turns(self.sample, self.system)))
        attempt = self.asked.graded(first.text)
        if not boxes(attempt.text):
            raise Rejected("self_critic: the attempt gives no answer in a box", first.text[-200:])
        first_try, tokens, parts = (attempt.answer, attempt.right), first.tokens, list[str]()
        for number in range(1, self.config.rounds + 1):
            parts.append(unboxed(attempt.text).strip())
            turn = self.sheet.turn("critique", self.sample, attempt=attempt.text)
            critique = yield from ask(Question(speaker, f"critique {number}", [turn]))
            turn = self.sheet.turn("revise", self.sample, attempt=attempt.text, critique=critique.text.strip())
            revised = yield from ask(Question(speaker, f"revision {number}", [turn]))
            tokens += critique.tokens + revised.tokens
            parts.append(unboxed(critique.text).strip())
            attempt = self.asked.graded(revised.text)
            if attempt.right:
                return _Written("\n\n".join([*parts, attempt.text]), tokens, first_try, (f"{speaker}#0",))
        raise Rejected("self_critic: the last revision is wrong", str(attempt.answer))

    # ---- what they share ---------------------------------------------------------------------------------------

    def _pool(self, speakers: list[str]) -> Generator[Any, Any, list[_Sampled]]:
        """Sample solutions and grade them; those that failed or were cut off are left out and counted."""
        turns = asked_turns(self.sample, self.system)
        questions = [
            Question(speaker, "sample", turns, place) for speaker in speakers for place in range(self.config.samples)
        ]
        heard: list[Said] = yield questions
        pool = []
        for question, said in zip(questions, heard, strict=True):
            if said.problem is not None or said.cut:
                self.counted[f"{self.kind}: samples failed or cut off"] += 1
                continue
            own = self.asked.graded(said.text, said.tokens, question.place)
            self.counted[f"{self.kind}: {question.speaker}'s samples {'right' if own.right else 'wrong'}"] += 1
            pool.append(_Sampled(question.speaker, own))
        if not pool:
            raise next((said.problem for said in heard if said.problem), Rejected("all samples were cut off"))
        return pool

    def _choosable(self, pool: list[_Sampled], speaker: str) -> list[_Sampled]:
        """Return a speaker's right solutions with one box that are long enough, the shortest first."""
        fitting = [
            one
            for one in pool
            if one.speaker == speaker and one.own.right and len(boxes(one.own.text)) == 1
            and one.own.tokens >= self.config.min_chosen
        ]  # fmt: skip
        return sorted(fitting, key=lambda one: (one.own.tokens, one.own.place))

    def _check(self, written: _Written) -> None:
        """Reject a response that is not fit to be learnt."""
        config, text = self.config, written.text
        if len(boxes(text)) != 1:
            raise Rejected("not exactly one final answer", f"{len(boxes(text))} boxes")
        if not self.asked.graded(text).right:
            raise Rejected("the response does not end on the right answer", text[-200:])
        if not config.min_tokens <= written.tokens <= config.max_tokens:
            raise Rejected(f"not {config.min_tokens} to {config.max_tokens} tokens", str(written.tokens))
        if latin_share(text) < config.latin_share:
            raise Rejected("in another script", f"{latin_share(text):.2f} of the letters are Latin")
        leak = leak_in(text, config.leaks)
        if leak is not None:
            raise Rejected("it gives away that the answer was known", leak)
        repeated = repetition_in(text)
        if repeated is not None:
            raise Rejected("it repeats itself", repeated)

    def _example(self, written: _Written) -> Example:
        config = self.config
        who = {part: name_of(options) for part, options in config.speakers.items()}
        sampler = sampler_of(config.teacher)
        if self.kind in ("distilled", "reflection"):
            sampler["n"] = config.samples
        attempts = [f"{self.name}/{label}" for label in written.attempts]
        provenance = {**who, "sampler": sampler, "source": self.name, "attempt_id": attempts}
        facts = {
            "kind": self.kind,
            "first_answer": written.first[0],
            "first_correct": written.first[1],
            "final_answer": self.asked.graded(written.text).answer,
            "final_correct": True,
            "provenance": provenance,
        }
        name = f"{self.name}/{self.kind}" + (f"-{self.place + 1}" if self.place else "")
        turns = taught(self.sample, self.system, written.text)
        return replace(carried(self.row, config.source, facts, config.media == "link"), id=name, messages=turns)


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
