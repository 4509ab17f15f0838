r"""Principle-guided revision: "Reflect" (arXiv 2601.18730).

1. The question is asked with all principles behind it. 2. The model scores its answer, each principle from 1 to 5.
3. If any score is below the threshold, it criticises the answer by the flagged principles alone. 4. It revises. 2 to 4
are repeated until nothing is flagged or the rounds are used up; one is usually enough (official readme).

A score that cannot be read counts as flagged. Scores are asked for on the side, greedily; critique and revision are
turns of the conversation.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from mmreflect.answers.spec import AnswerSpec, spec_of
from mmreflect.config import config
from mmreflect.records import Group, Rollout, Stop
from mmreflect.rollouts.actions import Action, Observe, Probe
from mmreflect.rollouts.rounds import Round, begun, count, keep_rounds, last_reply_start, place_of_chosen, round_of
from mmreflect.rollouts.tools import Step, Tools
from mmreflect.stages import Needs

EVALUATION_ONLY = True
_SCORE = re.compile(r"^\W*(\d+)\s*[.:)=-]\W*([1-5])(?!\d|\.\d)", re.MULTILINE)
_BARE = re.compile(r"[\s\[(]*([1-5](?:\s*[,;/\s]\s*[1-5])*)[\s\])]*\.?\s*")


@config
class Config:
    """Options of the stage.

    Attributes:
        principles: what an answer must keep to, such as "Every number must be readable in the picture."
        threshold: a score below it flags its principle (the source leaves it to the user; 4 is ours).
        rounds: at most so many critiques and revisions.
        score_tokens: limit of the reply that scores.
        preamble, ask_scores, ask_critique, ask_revision: the texts; {principles} are all of them, numbered, in the
            critique the flagged ones.
    """

    principles: Annotated[list[str], Field(min_length=1)]
    threshold: Annotated[int, Field(ge=1, le=5)] = 4
    rounds: Annotated[int, Field(gt=0)] = 1
    score_tokens: Annotated[int, Field(gt=0)] = 128
    preamble: str = "Keep to these principles in your answer:\n{principles}"
    ask_scores: str = (
        "How well does your answer keep to each principle? Give each a score from 1 (not at all) to 5 (fully), a line "
        "for each in the form `number: score`, and nothing else.\n{principles}"
    )
    ask_critique: str = (
        "Your answer falls short of these principles:\n{principles}\nSay for each of them where and why. Do not answer "
        "the question again yet."
    )
    ask_revision: str = (
        "Now revise your answer by this critique. Change nothing that was right, and end with the final answer in the "
        "same form as before."
    )


def needs(options: Config) -> Needs:
    """Return that the principles stand behind the question; only new turns are asked for."""
    return Needs(
        instruction=_filled(options.preamble, _numbered(options.principles, range(1, len(options.principles) + 1)))
    )


def read_scores(text: str, number: int) -> list[int | None]:
    """Read a score from 1 to 5 for each principle: lines `number: score`, or exactly as many bare scores in a row.

    Returns:
        One per principle; None where there is none, or two different ones.
    """
    found: dict[int, set[int]] = {}
    for place, score in _SCORE.findall(text):
        found.setdefault(int(place), set()).add(int(score))
    bare = _BARE.fullmatch(text)
    if bare and not found:
        scores = [int(score) for score in re.findall(r"[1-5]", bare.group(1))]
        return list(scores) if len(scores) == number else [None] * number
    return [next(iter(found[place])) if len(found.get(place, ())) == 1 else None for place in range(1, number + 1)]


def flagged(scores: Sequence[int | None], threshold: int) -> list[int]:
    """Return the numbers (from 1) of the principles whose score is below the threshold or could not be read."""
    return [place for place, score in enumerate(scores, 1) if score is None or score < threshold]


@dataclass(slots=True)
class Answer:
    """An answer in the making: the rollout as it is, and the principles that it falls short of."""

    group: Group
    place: int
    rollout: Rollout
    short_of: list[int]

    def step(self, action: Action) -> Step:
        """Return one more action for it."""
        return Step(self.group, self.place, self.rollout, action)


class Principles:
    """The stage."""

    def __init__(self, options: Config) -> None:
        self.options = options

    def __call__(self, groups: Sequence[Group], tools: Tools) -> list[Group]:
        """Revise answers until nothing is flagged; where a step fails or has no room the answer before it stays."""
        answers = [
            Answer(group, place, rollout, [])
            for group in groups
            for place, rollout in enumerate(group.rollouts)
            if rollout.stop is not Stop.ERROR
        ]
        waiting = answers
        for number in range(1, self.options.rounds + 1):
            self._score(waiting, number, tools)
            waiting = [answer for answer in waiting if answer.short_of]
            waiting = self._revise(waiting, number, tools)
        for answer in answers:
            answer.group.rollouts[answer.place] = answer.rollout
        return list(groups)

    def _score(self, answers: Sequence[Answer], number: int, tools: Tools) -> None:
        """Let the model score its answers on the side."""
        options = self.options
        name = f"principles_{number}"
        text = _filled(options.ask_scores, _numbered(options.principles, range(1, len(options.principles) + 1)))
        probe = Probe(name, [text], max_new_tokens=options.score_tokens)
        made = tools.go_on([answer.step(probe) for answer in answers], name)
        for answer, rollout in zip(answers, made, strict=True):
            reply = rollout.probes.get(name)
            if reply is None or reply.stop is Stop.ERROR:
                answer.short_of = []
                count(answer.rollout, "principles", failed=1)
                continue
            scores = read_scores(reply.text, len(options.principles))
            answer.short_of = flagged(scores, options.threshold)
            spec = spec_of(answer.group.sample.facts)
            rounds = begun(answer.rollout, spec)
            place = place_of_chosen(rollout)
            answer.rollout = rollout
            keep_rounds(rollout, [*rounds, round_of("score", reply.text, len(reply.token_ids), spec)], place)
            count(
                rollout,
                "principles",
                scored=1,
                unreadable=sum(score is None for score in scores),
                flagged=len(answer.short_of),
            )

    def _revise(self, answers: Sequence[Answer], number: int, tools: Tools) -> list[Answer]:
        """Criticise and revise; return the answers that were revised."""
        critiques = [answer.step(self._critique(answer)) for answer in answers]
        going: list[tuple[Answer, Rollout]] = []
        for answer, middle in zip(answers, tools.go_on(critiques, f"critique {number}"), strict=True):
            if _went_on(answer, middle):
                going.append((answer, middle))
        ask = Observe([self.options.ask_revision], "revise")
        revisions = [Step(answer.group, answer.place, middle, ask) for answer, middle in going]
        done = []
        for (answer, middle), rollout in zip(going, tools.go_on(revisions, f"revise {number}"), strict=True):
            spec = spec_of(answer.group.sample.facts)
            rounds = [*begun(answer.rollout, spec), self._round("critique", middle, answer.rollout, spec, tools)]
            if not _went_on(answer, rollout):
                keep_rounds(answer.rollout, rounds, place_of_chosen(answer.rollout))
                continue
            keep_rounds(rollout, [*rounds, self._round("revise", rollout, middle, spec, tools)], -1)
            count(rollout, "principles", revised=1, tokens=len(rollout.token_ids) - len(answer.rollout.token_ids))
            answer.rollout = rollout
            done.append(answer)
        return done

    def _critique(self, answer: Answer) -> Observe:
        principles = self.options.principles
        return Observe([_filled(self.options.ask_critique, _numbered(principles, answer.short_of))], "critique")

    def _round(self, stage: str, after: Rollout, before: Rollout, spec: AnswerSpec, tools: Tools) -> Round:
        text = tools.engine.detokenize(after.token_ids[last_reply_start(after) :])
        return round_of(stage, text, len(after.token_ids) - len(before.token_ids), spec)


def _went_on(answer: Answer, rollout: Rollout) -> bool:
    """Tell whether a step was made; one that failed or had no room is counted."""
    if rollout.stop not in (Stop.BUDGET, Stop.ERROR):
        return True
    count(answer.rollout, "principles", **({"no_room": 1} if rollout.stop is Stop.BUDGET else {"failed": 1}))
    return False


def _numbered(principles: Sequence[str], numbers: Iterable[int]) -> str:
    """Return some principles, a line each, with their numbers from 1."""
    return "\n".join(f"{number}. {principles[number - 1]}" for number in numbers)


def _filled(text: str, principles: str) -> str:
    return text.replace("{principles}", principles)


def create(options: Config) -> Principles:
    """Create the stage."""
    return Principles(options)
