r"""Forced Rethinking (VL-Rethinker, arXiv 2504.08837, section 3.3 and appendix B; details from the released code).

A finished answer is continued from a trigger such as "Wait, let's double check". Where the second look ends right, the
whole rollout y1 (+) trigger (+) y2 replaces the first one in its group, and an auxiliary supervised term teaches the
policy to begin such reflections by itself.

Where we differ from the released code: splicing is done in token space (the code decodes, joins and encodes again), the
score travels with its rollout (the code pairs them by a counter that can slip), and the supervised term covers trigger
and y2 of accepted rollouts only (the code: every token of any right answer that holds a "wait").
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from mmreflect.config import config
from mmreflect.records import Group, Rollout, Stop
from mmreflect.rollouts.actions import Continue, Engine, Sampling
from mmreflect.rollouts.scoring import part_value
from mmreflect.rollouts.tools import Tools

Share = Annotated[float, Field(ge=0, le=1)]
Trigger = Literal["bare", "self_questioning", "self_verification", "self_correction"]
_WAITS = re.compile(r"wait,|wait a|alternatively", re.IGNORECASE)


@config
class Triggers:
    """The words that are put in the model's mouth."""

    bare: str = "\n\nWait"
    self_questioning: str = "\n\nWait, does it seem right?"
    self_verification: str = "\n\nWait, let's double check"
    self_correction: str = "\n\nWait, there might be a mistake"


@config
class Cut:
    """A place to cut the first answer at: the first or last occurrence of a text."""

    text: str
    which: Literal["first", "last"] = "last"
    ignore_case: bool = False


def _paper_cuts() -> list[Cut]:
    return [
        Cut(text="Wait"),
        Cut(text="\\boxed"),
        Cut(text="answer", which="first", ignore_case=True),
        Cut(text="\n\n"),
    ]


@config
class Config:
    """Options of the stage; the defaults are those of the released code where it has one.

    Attributes:
        fraction: largest share of a group that may be replaced (q in the paper, which gives no number).
        accepted_per_query: largest number of accepted rollouts per group.
        keep_probability: share of the eligible rollouts that are tried.
        max_first_tokens: a longer first answer is not eligible; None is half of the largest completion, as in the code
            (1,024 of 2,048).
        easy_group: in groups with a mean correctness above this, wrong answers are not tried.
        append_probability: share of the tries that append the trigger at the end; the others cut the tail first.
        cuts: applied one after the other; each cuts where its text stands, if it does.
        bare_share: share of the bare trigger within the half of the tries that do not look at correctness.
        min_second_tokens, max_second_tokens: exclusive bounds of the second look's length.
        max_waits: most reflection words, the trigger's own counted as one.
        signal: the score part that says whether an answer is right.
        sft_coefficient: weight of the auxiliary supervised term; 0 switches it off.
        sft_span: what that term covers: `reflection` is trigger and second look (ours), `second` the second look alone
            (the paper's first version), `all` the whole accepted rollout (its third version), `code` every token of
            any rollout that holds a reflecting word, spontaneous ones included (the released code). The term takes
            only rollouts with A > 0.
        mask_trigger_in_pg: leave the trigger out of the policy gradient (the code does not).
    """

    fraction: Share = 0.25
    accepted_per_query: Annotated[int, Field(ge=0)] = 2
    keep_probability: Share = 0.65
    max_first_tokens: Annotated[int, Field(gt=0)] | None = None
    easy_group: Share = 0.7
    append_probability: Share = 0.5
    cuts: list[Cut] = Field(default_factory=_paper_cuts)
    bare_share: Share = 0.4
    triggers: Triggers = Field(default_factory=Triggers)
    temperature: Annotated[float, Field(ge=0)] = 0.9
    max_new_tokens: Annotated[int, Field(gt=0)] = 2048
    min_second_tokens: Annotated[int, Field(ge=0)] = 30
    max_second_tokens: Annotated[int, Field(gt=0)] = 1024
    max_waits: Annotated[int, Field(ge=0)] = 4
    signal: str = "accuracy"
    sft_coefficient: Annotated[float, Field(ge=0)] = 0.05
    sft_span: Literal["reflection", "second", "all", "code"] = "reflection"
    mask_trigger_in_pg: bool = False


@dataclass(frozen=True, slots=True)
class Try:
    """One first answer that is made to think again."""

    group: Group
    place: int
    trigger: Trigger
    action: Continue
    first_correct: bool


class ForcedRethinking:
    """The stage."""

    def __init__(self, options: Config) -> None:
        self.options = options

    def __call__(self, groups: Sequence[Group], tools: Tools) -> list[Group]:
        """Replace accepted rollouts inside their groups; the group size stays."""
        tries = [attempt for group in groups for attempt in self._tries(group, tools)]
        first = [self._correct(rollout) for group in groups for rollout in group.rollouts]
        tools.log(
            "rethink/spontaneous", _share([_waits(rollout.text) > 0 for group in groups for rollout in group.rollouts])
        )
        tools.log("rethink/first_accuracy", _share(first))
        tools.log("rethink/tried", len(tries) / max(1, len(first)))
        if tries:
            self._rethink(tries, tools)
        if self.options.sft_span == "code" and self.options.sft_coefficient > 0:
            for rollout in (item for group in groups for item in group.rollouts if _waits(item.text)):
                rollout.facts["sft_span"] = [0, len(rollout.token_ids)]
        return list(groups)

    def _rethink(self, tries: Sequence[Try], tools: Tools) -> None:
        """Let the tried rollouts go on, score them, and put the accepted ones into their groups (steps 5 to 7)."""
        rollouts = [attempt.group.rollouts[attempt.place] for attempt in tries]
        sampling = Sampling(
            self.options.temperature,
            tools.sampling.top_p,
            tools.sampling.top_k,
            self.options.max_new_tokens,
            tools.sampling.total,
        )
        seconds = tools.resume(rollouts, [attempt.action for attempt in tries], "rethink", sampling)
        for attempt, second in zip(tries, seconds, strict=True):
            second.facts["rethink"] = {"trigger": attempt.trigger, "first_correct": attempt.first_correct}
        tools.score(
            [
                Group(attempt.group.id, attempt.group.sample, [second])
                for attempt, second in zip(tries, seconds, strict=True)
            ]
        )
        self._accept(tries, seconds, tools)
        changed = {id(attempt.group): attempt.group for attempt in tries if _holds_accepted(attempt.group)}
        tools.score(list(changed.values()))  # step 8: a reward may look at the whole group

    def _tries(self, group: Group, tools: Tools) -> list[Try]:
        """Choose which rollouts of a group think again, and from which words (steps 2 to 4)."""
        rng = tools.rng("rethink", group.id, group.context)
        correct = [self._correct(rollout) for rollout in group.rollouts]
        easy = sum(correct) / len(correct) > self.options.easy_group
        tries = []
        for place, rollout in enumerate(group.rollouts):
            keep = rng.random() < self.options.keep_probability
            trigger = choose_trigger(correct[place], self.options.bare_share, rng)
            cut = rng.random() >= self.options.append_probability
            if not keep or not self._eligible(rollout, tools.sampling.total) or (easy and not correct[place]):
                continue
            text = str(getattr(self.options.triggers, trigger))
            kept = cut_length(rollout, self.options.cuts, tools.engine) if cut else None
            tries.append(Try(group, place, trigger, Continue(text, "rethink", kept), correct[place]))
        return tries

    def _eligible(self, rollout: Rollout, total: int) -> bool:
        return rollout.stop is Stop.EOS and len(rollout.token_ids) <= (self.options.max_first_tokens or total // 2)

    def _correct(self, rollout: Rollout) -> bool:
        return part_value(rollout.score, self.options.signal) >= 1

    def _accept(self, tries: Sequence[Try], seconds: Sequence[Rollout], tools: Tools) -> None:
        """Put accepted rollouts into their groups and log why the others were not (steps 6 and 7)."""
        size = len(tries[0].group.rollouts)
        limit = min(self.options.accepted_per_query, int(self.options.fraction * size))
        accepted: dict[int, int] = {}
        reasons: list[str] = []
        for attempt, second in zip(tries, seconds, strict=True):
            first_length, trigger_length = _lengths(second)
            correct = self._correct(second)
            second_ids = second.token_ids[first_length + trigger_length :]
            waits = 1 + _waits(tools.engine.detokenize(second_ids))
            ended = second.stop is Stop.EOS
            reason = acceptance(len(second_ids), correct, waits, self.options) if ended else "unfinished"
            if second.score is None or second.score.value is None:
                reasons.append("ungraded")
                continue
            if not reason and accepted.get(id(attempt.group), 0) >= limit:
                reason = "quota"
            reasons.append(reason)
            tools.log("rethink/second_accuracy", correct)
            if not attempt.first_correct:
                tools.log("rethink/fix_rate", correct)
            else:
                tools.log("rethink/harm_rate", not correct)
            if reason:
                continue
            accepted[id(attempt.group)] = accepted.get(id(attempt.group), 0) + 1
            self._mark(second, attempt, first_length, trigger_length, correct)
            attempt.group.rollouts[attempt.place] = second
        tools.log("rethink/accept_rate", _share([not reason for reason in reasons]))
        for name in ("unfinished", "short", "long", "wrong", "waits", "quota", "ungraded"):
            tools.log(f"rethink/dropped_{name}", _share([reason == name for reason in reasons]))

    def _mark(self, second: Rollout, attempt: Try, first: int, trigger: int, correct: bool) -> None:
        start = {"reflection": first, "second": first + trigger, "all": 0, "code": 0}[self.options.sft_span]
        if self.options.sft_coefficient > 0:
            second.facts["sft_span"] = [start, len(second.token_ids)]
        second.facts["train_forced"] = not self.options.mask_trigger_in_pg
        second.facts["rethink"] = {
            "trigger": attempt.trigger,
            "first_length": first,
            "trigger_length": trigger,
            "first_correct": attempt.first_correct,
            "second_correct": correct,
        }


def _holds_accepted(group: Group) -> bool:
    return any("rethink" in rollout.facts for rollout in group.rollouts)


def choose_trigger(correct: bool, bare_share: float, rng: Random) -> Trigger:
    """Draw a trigger: half bare or questioning, half verification or correction as the answer was right or wrong."""
    if rng.random() < 0.5:
        return "bare" if rng.random() < bare_share else "self_questioning"
    return "self_verification" if correct else "self_correction"


def acceptance(length: int, correct: bool, waits: int, options: Config) -> str:
    """Return why a second look of `length` tokens is refused (step 6), or an empty text."""
    if length <= options.min_second_tokens:
        return "short"
    if length >= options.max_second_tokens:
        return "long"
    if not correct:
        return "wrong"
    return "waits" if waits > options.max_waits else ""


def cut_length(rollout: Rollout, cuts: Sequence[Cut], engine: Engine) -> int:
    """Return how many tokens of the last reply are kept when its tail is cut (step 3).

    The cuts are made one after the other on the text; the result is the longest run of whole tokens before the place.
    A reply that would be cut to nothing is kept whole.
    """
    start = rollout.spans[-1].start if rollout.spans else 0
    ids = rollout.token_ids[start:]
    text = engine.detokenize(ids)
    for cut in cuts:
        searched, wanted = (text.lower(), cut.text.lower()) if cut.ignore_case else (text, cut.text)
        place = searched.find(wanted) if cut.which == "first" else searched.rfind(wanted)
        if place > 0:
            text = text[:place]
    low, high = 0, len(ids)
    while low < high:  # the longest prefix whose text fits: text length grows with the number of tokens
        middle = (low + high + 1) // 2
        if len(engine.detokenize(ids[:middle])) <= len(text):
            low = middle
        else:
            high = middle - 1
    return low or len(ids)


def _lengths(second: Rollout) -> tuple[int, int]:
    """Return the tokens of the first answer and of the trigger."""
    forced = [span for span in second.spans if span.author == "forced"]
    return (forced[-1].start, forced[-1].end - forced[-1].start) if forced else (len(second.token_ids), 0)


def _waits(text: str) -> int:
    """Count the code's reflection markers: "wait,", "wait a", "alternatively"."""
    return len(_WAITS.findall(text))


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0


def create(options: Config) -> ForcedRethinking:
    """Create the stage."""
    return ForcedRethinking(options)
