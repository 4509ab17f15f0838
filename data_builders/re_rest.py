r"""Self-training in which a reflector repairs what failed: Re-ReST (arXiv 2406.01495).

    mmreflect build configs/build/re_rest.yaml source.path=outputs/mine

The agent solves every question several times. Right solutions are rows of kind `agent` (the paper's D_M). Each failed
one goes to the reflector, with feedback in which the right answer stands by default, as in the published code, for one
try; right repairs are rows of kind `repair` (D_R). Rows of kind `reflector` teach the reflector: question, failed
solution and feedback in the prompt, a right solution as the reply, either the agent's own or the repair.

Since the reflector sees the answer, it can copy it under the old reasoning. A repair therefore stands only if its
reasoning, its answer cut off, is unlike the failed one and leads to the right answer once more when the agent concludes
from it without the reference. The paper does neither.
"""

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mmreflect.answers.extract import boxes
from mmreflect.building import Example, Rejected
from mmreflect.config import config as config_class
from mmreflect.evaluation.asking import Source, carried
from mmreflect.records import Count, Message, Turn
from mmreflect.seeds import derive_seed
from mmreflect.teaching import maker
from mmreflect.teaching.attempts import Graded, asked_of, check_response, sampled
from mmreflect.teaching.filters import LEAKS, check_patterns, likeness
from mmreflect.teaching.maker import TeachingMaker, Wanted, describe, hold_together, inputs
from mmreflect.teaching.prompts import Prompts, asked_turns, spoken
from mmreflect.teaching.solutions import without_answer
from mmreflect.teaching.speakers import SpeakerConfig, Speakers, name_of, sampler_of
from mmreflect.teaching.steps import Question, Steps, ask

__all__ = ["Config", "describe", "inputs", "open_maker", "splits"]

EXEMPT = {"reflector": ("leak",)}  # the right answer stands in its prompt
PROMPTS = Path(__file__).parent / "prompts" / "re_rest"
MARK = "Solution:"
Kind = Literal["agent", "repair", "reflector"]
Share = Annotated[float, Field(ge=0, le=1)]


@config_class
class Config:
    """What to build.

    Attributes:
        agent: who is trained; reflector: who repairs, the agent by default.
        kinds: of the rows; `agent` and `repair` train the agent, `reflector` the reflector; give them runs of
            their own.
        prompts: a folder with templates that stand in for ours of the same name.
        samples: solutions of the agent, per question.
        max_repairs: rows of a question from repairs of different failures at most, so that hard ones do not dominate.
        feedback: whether the reflector sees the right answer, or only that the answer is wrong.
        opener: what a reflection must begin with.
        conclude: let the agent conclude from a repair without its answer, as a check.
        max_likeness: share of runs of five words that a repair may have in common with the failed reasoning.
        max_words, latin_share: of a solution at most, and of its letters at least.
        leaks: regular expressions of what no solution may say; they take the place of ours.
        media: copy the videos, or link to the source's.
        shard_rows: rounded up, so that the rows of a question stand in one shard.
    """

    output: str
    source: Source
    agent: SpeakerConfig
    reflector: SpeakerConfig | None = None
    kinds: Annotated[list[Kind], Field(min_length=1)] = Field(default_factory=lambda: list[Kind](["agent", "repair"]))
    prompts: str | None = None
    samples: Count = 3
    max_repairs: Count = 1
    feedback: Literal["answer", "verdict"] = "answer"
    opener: Annotated[str, Field(min_length=1)] = "Reflection: I should have"
    conclude: bool = True
    max_likeness: Annotated[float, Field(gt=0, le=1)] = 0.9
    max_words: Count = 2048
    latin_share: Share = 0.9
    leaks: list[str] = Field(default_factory=lambda: list(LEAKS))
    media: Literal["copy", "link"] = "copy"
    seed: int = 0
    shard_rows: Count = 1000

    def __post_init__(self) -> None:
        """Check the options against each other.

        Raises:
            ValueError: greedy samples would all be the same, a kind stands twice, or a reflector is idle.
        """
        check_patterns(self.leaks)
        if self.samples > 1 and self.agent.temperature == 0:
            raise ValueError(f"samples={self.samples} at temperature=0 would all be the same; set a temperature")
        if len(set(self.kinds)) < len(self.kinds):
            raise ValueError("kinds holds one twice; name each once")
        if self.kinds == ["agent"] and self.reflector is not None:
            raise ValueError("reflector is set and none of the kinds asks it; remove it")
        if self.max_repairs > self.samples:
            raise ValueError(f"max_repairs={self.max_repairs} is above samples={self.samples}; lower it")
        hold_together(self, len(self.slots))

    @property
    def speakers(self) -> Speakers:
        """Who is asked."""
        alone = {"agent": self.agent}
        return alone if self.kinds == ["agent"] else alone | {"reflector": self.reflector or self.agent}

    @property
    def sheet(self) -> Prompts:
        """The prompts."""
        return Prompts(PROMPTS, self.prompts)

    @property
    def slots(self) -> list[tuple[Kind, int]]:
        """The rows that a question may give: a kind, and which solution or failure."""
        counts = {kind: self.samples if kind == "agent" else self.max_repairs for kind in self.kinds}
        return [(kind, place) for kind, count in counts.items() for place in range(count)]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row that may be made: the prompt, the reply to learn, the first answer and whether it was right."""

    turns: Sequence[Message]
    response: str
    first: Graded
    facts: dict[str, Any]


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split could have."""
    return {split: size * len(config.slots) for split, size in maker.splits(config).items()}


def open_maker(config: Config) -> TeachingMaker:
    """Return what makes the rows; those of one question share its solutions and repairs."""
    sheet = config.sheet
    return TeachingMaker(config, lambda wanted: _Making(config, sheet, wanted).steps(), len(config.slots))


class _Making:
    """One row in the making; `counted` counts the samples of a question for one of its rows."""

    def __init__(self, config: Config, sheet: Prompts, wanted: Wanted) -> None:
        self.config, self.sheet, self.row, self.name = config, sheet, wanted.row, wanted.name
        self.counted = wanted.counted if wanted.slot == 0 else Counter[str]()
        self.kind, self.place = config.slots[wanted.slot]
        self.system = sheet.text("system")
        self.asked = asked_of(self.row, config.source)

    def steps(self) -> Steps:
        """Solve, repair what failed, check the repair, assemble."""
        turns = asked_turns(self.asked.sample, self.system)
        questions = [Question("agent", "sample", turns, place) for place in range(self.config.samples)]
        pool = yield from sampled(self.asked, questions, self.counted)
        if self.kind == "agent":
            return self._example(self._solution(pool))
        failed = self._failed(pool)
        rights = [one for one in pool if one is not None and one.right and len(boxes(one.text)) == 1]
        if self.kind == "reflector" and rights:
            # the agent's own pair of right and wrong needs no reflection of anybody's
            check_response(rights[0].text, self.config)
            opening = self.sheet.text("own", opener=self.config.opener)
            return self._example(self._lesson(failed, f"{opening}\n\n{MARK}\n{rights[0].text}", "own"))
        reflection, repair = yield from self._repaired(failed)
        if self.kind == "reflector":
            reply = f"{reflection}\n\n{MARK}\n{repair}"
            return self._example(self._lesson(failed, reply, "repair"))
        facts = {"kind": "reflector_repair", "attempt": failed.text, "reflection": reflection, "repair_mode": "repair"}
        return self._example(_Row(self._turns(), repair, failed, facts))

    def _solution(self, pool: Sequence[Graded | None]) -> _Row:
        one = pool[self.place]
        if one is None or not one.right:
            raise Rejected("agent: the sample is wrong, or failed")
        if any(other is not None and other.text == one.text for other in pool[: self.place]):
            raise Rejected("agent: an earlier sample is the same")
        check_response(one.text, self.config)
        return _Row(self._turns(), one.text, one, {"kind": "agent_solution"})

    def _failed(self, pool: Sequence[Graded | None]) -> Graded:
        """Return the failure that this row is about: some of a question's different ones, drawn by its name."""
        different: dict[str, Graded] = {}
        for one in pool:
            if one is not None and not one.right:
                different.setdefault(one.text, one)
        order = sorted(
            different.values(), key=lambda one: derive_seed(self.config.seed, self.name, one.place, "failed")
        )
        if self.place >= len(order):
            raise Rejected(f"{self.kind}: the agent has not failed so often")
        return order[self.place]

    def _shown(self, failed: Graded) -> Turn:
        """Return the turn that asks the reflector."""
        gold = self.asked.sample.gold if self.config.feedback == "answer" else None
        answer = failed.answer if boxes(failed.text) else None
        feedback = self.sheet.text("feedback", answer=answer, gold=gold)
        words = {"attempt": failed.text, "feedback": feedback, "opener": self.config.opener, "mark": MARK}
        return self.sheet.turn("reflect", self.asked.sample, **words)

    def _repaired(self, failed: Graded) -> Generator[Any, Any, tuple[str, str]]:
        """Return reflection and repaired solution; one try."""
        said = yield from ask(Question("reflector", "repair", [self._shown(failed)], failed.place))
        reflection, mark, repair = (part.strip() for part in said.text.partition(f"\n{MARK}"))
        if not mark or not reflection.startswith(self.config.opener) or boxes(reflection):
            raise Rejected("repair: it is not a reflection and a solution as asked for", said.text[:200])
        if not self.asked.graded(repair).right:
            raise Rejected("repair: the answer is wrong", repair[-200:])
        check_response(repair, self.config)
        reasoning = without_answer(repair).strip()
        if not reasoning:
            raise Rejected("repair: there is nothing but the answer", repair)
        if likeness(reasoning, without_answer(failed.text)) >= self.config.max_likeness:
            raise Rejected("repair: the answer is changed and the reasoning is not", repair)
        if self.config.conclude:
            turn = self.sheet.turn("conclude", self.asked.sample, reasoning=reasoning)
            concluded = yield from ask(Question("agent", "conclude", [turn], failed.place))
            again = self.asked.graded(concluded.text)
            if not again.right:
                raise Rejected("repair: its reasoning does not lead to its answer", str(again.answer), reply=repair)
        return reflection, repair

    def _lesson(self, failed: Graded, reply: str, origin: str) -> _Row:
        """Return a row for the reflector, its prompt as it is asked."""
        shown = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": part.kind}
            for part in self._shown(failed).content
        ]
        facts = {"kind": "reflector", "repair_mode": origin, "attempt": failed.text}
        return _Row([{"role": "user", "content": shown}], reply, failed, facts)

    def _turns(self) -> list[Message]:
        own = [turn for turn in self.asked.sample.messages if turn["role"] != "system"]
        return [spoken("system", self.system), *own]

    def _example(self, made: _Row) -> Example:
        config = self.config
        who: dict[str, Any] = {part: name_of(options) for part, options in config.speakers.items()}
        attempt = f"{self.name}/agent#{made.first.place}"
        sampler = {**sampler_of(config.agent), "n": config.samples}
        facts = {
            **made.facts,
            "first_answer": made.first.answer,
            "first_correct": made.first.right,
            "final_answer": self.asked.graded(made.response).answer,
            "final_correct": True,
            "provenance": {**who, "sampler": sampler, "source": self.name, "attempt_id": attempt},
        }
        row = carried(self.row, config.source, facts, config.media == "link")
        return replace(
            row, id=f"{self.name}/{self.kind}-{self.place}", messages=[*made.turns, spoken("assistant", made.response)]
        )


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
