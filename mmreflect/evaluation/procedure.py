"""How a question is answered at evaluation: the environment, a decoding at every token, and stages after that.

Stages run as in training, but on questions without their reference and on rollouts without a score: what says how an
answer is to be read stays (its type, which the form of the reference decides where the dataset does not say; options,
precision, unit), all else that the dataset knows is taken away.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmreflect import console
from mmreflect.answers.extract import final_answer
from mmreflect.answers.grade import grade
from mmreflect.answers.spec import AnswerSpec, spec_of
from mmreflect.config import Component, to_tree
from mmreflect.errors import UserError
from mmreflect.files import content_mark
from mmreflect.records import Group, Rollout, Sample, content_parts
from mmreflect.reflection.ledger import Entry
from mmreflect.rollouts.actions import Engine, Environment, Sampling
from mmreflect.rollouts.driver import roll_out
from mmreflect.rollouts.rounds import first_round, noted
from mmreflect.rollouts.tools import Tools
from mmreflect.seeds import derive_seed
from mmreflect.stages import Needs

READING = ("answer_type", "options", "precision", "unit")
"""The facts of a sample that a stage may see: how an answer is read, never what it is."""


def check(
    engine: Component,
    environment: Component,
    stages: Sequence[Component],
    decoding: Component | None,
    temperature: float,
    max_new_tokens: int,
    n: int = 1,
) -> None:
    """Check everything about stages and decoding that can be known before anything is loaded.

    Raises:
        UserError: the engine lacks a capability; a stage looks at scores, or does not fit those beside it, the
            environment, the limits or `n`; several greedy answers would vote; a file of the user's is missing.
    """
    asked = [needs_of(stage) for stage in stages]
    _check_engine(engine.name, engine.module.CAPABILITIES, stages, asked, decoding)
    rollouts = rollouts_of(stages, asked)
    _check_answers(stages, asked, n)
    if rollouts is not None and rollouts > 1 and temperature == 0:
        raise UserError(
            f"stage {_first(stages, asked)!r} asks each question {rollouts} times at temperature 0: all answers would "
            "be the same",
            "a temperature above 0",
            "set temperature=0.6, for example",
        )
    for place, (stage, item) in enumerate(zip(stages, asked, strict=True)):
        if item.max_new_tokens is None:
            continue
        if place > 0:
            raise UserError(
                f"stage {stage.name!r} stands behind stage {stages[place - 1].name!r}, and works on unfinished answers",
                f"{stage.name} as the first stage",
                "change their order",
            )
        if environment.name != "single_turn":
            raise UserError(
                f"stage {stage.name!r} stops the first reply half way, and environment {environment.name!r} would take "
                "it for whole",
                "the environment single_turn",
                "leave the stage out, or set environment=single_turn",
            )
        if item.max_new_tokens >= max_new_tokens:
            raise UserError(
                f"stage {stage.name!r} begins after {item.max_new_tokens:,} tokens, but a reply has at most "
                f"{max_new_tokens:,}",
                "a longer reply",
                "raise max_new_tokens, or lower the stage's 'every'",
            )
    if decoding is not None and hasattr(decoding.module, "check"):
        decoding.module.check(decoding.options)


def needs_of(stage: Component) -> Needs:
    """Return what a stage asks of an evaluation.

    Raises:
        UserError: it looks at scores, which there are none of.
    """
    if not hasattr(stage.module, "needs"):
        raise UserError(
            f"stage {stage.name!r} looks at scores, and an evaluation has none to show",
            "a stage that goes by the answers alone",
            "use rethink for forced rethinking at test time"
            if stage.name == "forced_rethinking"
            else "leave it to training",
        )
    found: Needs = stage.module.needs(stage.options)
    return found


def _check_engine(
    name: str,
    capabilities: frozenset[str],
    stages: Sequence[Component],
    asked: Sequence[Needs],
    decoding: Component | None,
) -> None:
    wanted = [(f"stage {stage.name!r}", item.capabilities) for stage, item in zip(stages, asked, strict=True)]
    if decoding is not None:
        wanted.append((f"decoding {decoding.name!r}", frozenset({"decoding"})))
    for who, needed in wanted:
        if missing := sorted(needed - capabilities):
            raise UserError(
                f"{who} needs an engine that can do: {', '.join(missing)}; engine {name!r} cannot",
                f"an engine with the capability {missing[0]!r}",
                "use engine transformers",
            )


def rollouts_of(stages: Sequence[Component], asked: Sequence[Needs]) -> int | None:
    """Return how often each question is asked before the first stage; None: no stage says.

    Raises:
        UserError: a stage would get another number of answers than it takes.
    """
    known, by, number = None, "", None
    for stage, item in zip(stages, asked, strict=True):
        if item.rollouts is not None and number is not None and item.rollouts != number:
            raise UserError(
                f"stage {by!r} leaves {number} answers to a question, and stage {stage.name!r} takes {item.rollouts}",
                "the same number",
                f"set both to {number}, or leave one of them out",
            )
        if item.rollouts is not None and number is None:
            known = number = item.rollouts
            by = stage.name
        if item.leaves is not None:
            number, by = item.leaves, stage.name
    return known


def answers_of(stages: Sequence[Component], asked: Sequence[Needs]) -> int | None:
    """Return how many answers one run of the stages leaves of each question; None: as many as are asked for."""
    left = [item.leaves for item in asked if item.leaves is not None]
    return left[-1] if left else rollouts_of(stages, asked)


def _check_answers(stages: Sequence[Component], asked: Sequence[Needs], n: int) -> None:
    left = answers_of(stages, asked)
    if left is not None and n % left:
        raise UserError(
            f"stage {_first(stages, asked)!r} leaves {left} answers to a question, and {n} is asked for",
            f"a multiple of {left} answers, or a vote",
            "add the stage self_consistency behind it",
        )


def _first(stages: Sequence[Component], asked: Sequence[Needs]) -> str:
    return next(stage.name for stage, item in zip(stages, asked, strict=True) if item.rollouts is not None)


def plan_lines(stages: Sequence[Component], decoding: Component | None) -> dict[str, str]:
    """Say what stages and decoding will do; nothing where there are none."""
    lines: dict[str, str] = {}
    if decoding is not None:
        lines["at every token"] = _said(decoding)
    if stages:
        rollouts = rollouts_of(stages, [needs_of(stage) for stage in stages])
        each = f"each question {rollouts} times, then " if rollouts is not None else ""
        lines["stages"] = each + ", then ".join(_said(stage) for stage in stages)
    return lines


def _said(item: Component) -> str:
    plain = {key: value for key, value in to_tree(item.options).items() if isinstance(value, str | int | float)}
    options = ", ".join(
        f"{key} {str(value)[:40]!r}" if isinstance(value, str) else f"{key} {value}" for key, value in plain.items()
    )
    return f"{item.name} ({options})" if options else item.name


def terms(stages: Sequence[Component], decoding: Component | None) -> dict[str, Any]:
    """Return what the contract records: all options, and marks of the user's files; nothing where there are none."""
    found: dict[str, Any] = {}
    if stages:
        found["stages"] = to_tree(list(stages))
    if decoding is not None:
        found["token_level"] = to_tree(decoding)
        if files := marks(decoding):
            found["files"] = files
    return found


def marks(decoding: Component | None) -> dict[str, str]:
    """Return marks of the user's files that a decoding runs, by their names."""
    files = (
        decoding.module.files(decoding.options) if decoding is not None and hasattr(decoding.module, "files") else []
    )
    return {file.name: content_mark(str(file))[:16] for file in files}


class Procedure:
    """Answers questions.

    Raises:
        UserError: the engine cannot do it, or the stages do not fit each other.
    """

    def __init__(
        self,
        engine: Engine,
        environment: Environment,
        sampling: Sampling,
        stages: Sequence[Component] = (),
        decoding: Component | None = None,
    ) -> None:
        self.engine, self.environment = engine, environment
        self._components, self._needs = list(stages), [needs_of(stage) for stage in stages]
        _check_engine(type(engine).__name__, engine.capabilities, stages, self._needs, decoding)
        self._stages = [stage.module.create(stage.options) for stage in stages]
        self.decoding = None if decoding is None else decoding.module.create(decoding.options, engine)
        self.sampling = sampling if self.decoding is None else replace(sampling, decoding=self.decoding)
        self.rollouts = rollouts_of(stages, self._needs)

    def __call__(self, samples: Sequence[Sample], n: int, seed: int) -> list[Group]:
        """Answer every question `n` times.

        Stages that turn several rollouts into one answer run once for every answer, each time on rollouts of their own.

        Returns:
            A group of `n` rollouts per sample, in order, with the samples as they were given.

        Raises:
            UserError: the stages leave more answers than `n`, or no divisor of it.
        """
        if not self._stages:
            return roll_out(self.engine, self.environment, samples, n, self.sampling, seed)
        _check_answers(self._components, self._needs, n)
        left = answers_of(self._components, self._needs)
        runs = 1 if left is None else n // left
        size = self.rollouts or n
        made: list[list[Rollout]] = [[] for _ in samples]
        for run in range(runs):
            groups = self._run(samples, size, derive_seed(seed, "run", run) if run else seed)
            for rollouts, group in zip(made, groups, strict=True):
                rollouts += group.rollouts
        return [Group(sample.id, sample, rollouts) for sample, rollouts in zip(samples, made, strict=True)]

    def _run(self, samples: Sequence[Sample], size: int, seed: int) -> list[Group]:
        instruction = "\n\n".join(item.instruction for item in self._needs if item.instruction)
        limits = [item.max_new_tokens for item in self._needs if item.max_new_tokens is not None]
        shown = [_instructed(sample, instruction) for sample in samples] if instruction else list(samples)
        first = replace(self.sampling, max_new_tokens=min([self.sampling.max_new_tokens, *limits]))
        rolled = roll_out(self.engine, self.environment, shown, size, first, seed)
        groups = [Group(group.id, _without_reference(group.sample), group.rollouts) for group in rolled]
        tools = Tools(self.engine, self.sampling, None, seed, 0)
        for stage in self._stages:
            groups = stage(groups, tools)
        return groups

    def done(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what stages and decoding did over some records; nothing where there are none."""
        found = summed(records)
        if self.decoding is not None and found:
            found["token_level"] = found.get("token_level", {}) | self.decoding.report()
        return found


def _instructed(sample: Sample, instruction: str) -> Sample:
    """Return a sample whose last user turn ends with an instruction."""
    messages = list(sample.messages)
    users = [place for place, turn in enumerate(messages) if turn["role"] == "user"]
    place = users[-1] if users else -1
    parts = [*content_parts(messages[place]["content"]), {"type": "text", "text": f"\n\n{instruction}"}]
    messages[place] = {**messages[place], "content": parts}
    return replace(sample, messages=messages)


def _without_reference(sample: Sample) -> Sample:
    facts = {key: sample.facts[key] for key in READING if key in sample.facts}
    kind = spec_of(sample.facts).resolved(sample.gold).type
    return replace(sample, gold=None, response=None, facts=facts | ({"answer_type": kind} if kind else {}))


def summed(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up what the facts of some records count.

    Returns:
        `tokens`: of all rounds; `rounds`; `stages`: what each stage did; `token_level`: what a decoding did. Nothing
        where neither was at work.
    """
    stages: dict[str, Counter[str]] = {}
    decoding: Counter[str] = Counter()
    for item in records:
        for stage, counts in noted(item["facts"]).get("stages", {}).items():
            stages.setdefault(stage, Counter()).update(counts)
        decoding.update(noted(item["facts"]).get("decoding", {}))
    found: dict[str, Any] = {}
    if stages:
        found["stages"] = {stage: dict(counts) for stage, counts in stages.items()}
    if decoding:
        found["token_level"] = dict(decoding)
    if found:
        found["rounds"] = sum(_rounds_in(noted(item["facts"])) for item in records)
        found["tokens"] = sum(item["tokens"] for item in records)
    return found


def tell(done: Mapping[str, Any]) -> None:
    """Print what stages and a decoding did, a line each; nothing where there are none."""
    for name, counts in [*done.get("stages", {}).items(), ("at every token", done.get("token_level", {}))]:
        said = ", ".join(
            f"{key.replace('_', ' ')} {value:,}" for key, value in counts.items() if isinstance(value, int)
        )
        if said:
            console.say(f"{name}: {said}")
    if done:
        console.say(f"rounds {done['rounds']:,}, tokens of all rounds {done['tokens']:,}")


def _rounds_in(kept: Mapping[str, Any]) -> int:
    return sum(_rounds_in(item) for item in kept["rounds"]) if "rounds" in kept else 1


def read_rounds(read: Entry, facts: Mapping[str, Any], gold: str | None, spec: AnswerSpec) -> Entry:
    """Return the entry of an answer that took several rounds: its first try is the very first round's answer.

    The final answer is that of the chosen round; the tokens of all rounds count. Samples of a vote are no reflection.
    """
    kept, spec = noted(facts), spec.resolved(gold)
    rounds = kept["rounds"]
    begun = first_round(rounds)
    first, final = final_answer(begun["text"], spec), final_answer(rounds[kept["chosen"]]["text"], spec)
    return replace(
        read,
        first=first,
        final=final,
        first_correct=grade(first, gold, spec).passed,
        final_correct=grade(final, gold, spec).passed,
        reflected=read.reflected or any(item["stage"] != "sample" or "rounds" in item for item in rounds),
        corrective=first is not None and final is not None and grade(final, first, spec).passed is False,
        tokens=sum(int(item["tokens"]) for item in rounds),
        tokens_first=int(begun["tokens"]),
    )
