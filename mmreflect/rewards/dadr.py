"""REVISOR's reward for a video that was looked at twice (DADR, arXiv 2511.13026, Eq. 5-7).

    paper   R = 0.6 final + 0.3 sufficiency
    code    R = 0.6 final + 0.3 sufficiency + 0.1 format + 0.1 tool          format in {0, -1}, tool in {0, 1}
            R = IoU + 0.1 format                                             where the segment itself is asked for

`final` is the answer after both looks, `sufficiency` the answer of the environment's probe, which sees the chosen
segment alone. "Decoupled" means these terms: the paper sums them to one number per rollout. The advantage `per_stage`
gives each stage its own.

Where we differ from the released code: only what the model itself said is read (the code also reads the turn that it
inserts, whose example answer can stand in for a missing one); an answer is read by the project's grader (the code takes
the first letter of any text, so that "Batman" is B); the probe belongs to its own rollout (the code's is left over from
a neighbour where the segment was refused); both published forms of the tags count.
"""

import re
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from mmreflect.answers.grade import verify
from mmreflect.answers.intervals import interval_of, iou, parse_interval
from mmreflect.answers.spec import AnswerSpec, spec_of
from mmreflect.config import config
from mmreflect.records import Group, Part, Rollout, Sample, Score

LONGEST_ANSWER = 1000
"""An answer of so many characters or more is wrong and out of format."""

Weight = Annotated[float, Field(ge=0)]


@config
class Config:
    """Options of the reward.

    Attributes:
        variant: which of the published forms; `paper` has no format and no tool term.
        final, sufficiency: lambda1 and lambda2.
        format, tool: weights of the code's other two terms.
    """

    weight: float = 1.0
    variant: Literal["code", "paper"] = "code"
    final: Weight = 0.6
    sufficiency: Weight = 0.3
    format: Weight = 0.1
    tool: Weight = 0.1


def parts(options: Config) -> tuple[str, ...]:
    """Return the names of the terms; `iou` is that of samples that ask for the segment itself."""
    return ("final", "sufficiency", *(("format", "tool") if options.variant == "code" else ()), "iou")


def create(options: Config) -> Callable[[Group], list[Score]]:
    """Create the reward."""

    def dadr(group: Group) -> list[Score]:
        grounding = group.sample.facts.get("task") == "grounding"
        score = _score_segment if grounding else _score_answer
        return [score(options, group.sample, rollout) for rollout in group.rollouts]

    return dadr


def _score_answer(options: Config, sample: Sample, rollout: Rollout) -> Score:
    spec = spec_of(sample.facts)
    last = _last_answer(rollout.text)
    long = last is not None and len(last) >= LONGEST_ANSWER
    verdict = verify(None if last is None or long else f"<answer>{last}</answer>", sample.gold, spec)
    if verdict.score is None:
        return Score(None, verdict.answer, verdict.gold, verdict.reason)
    problem = "a very long answer" if long else format_problem(rollout.text, needs_answer=True)
    shown = rollout.facts.get("segment") is not None
    parts = {
        "final": Part(verdict.score, options.final, "revise"),
        "sufficiency": Part(_sufficiency(sample, rollout, spec), options.sufficiency, "propose"),
    }
    if options.variant == "code":
        parts["format"] = Part(-1.0 if problem else 0.0, options.format)
        parts["tool"] = Part(float(shown), options.tool, "propose")
    reasons = [verdict.reason, problem or "", "" if shown else f"no segment: {rollout.facts.get('problem')}"]
    return Score(_total(parts), verdict.answer, verdict.gold, "; ".join(item for item in reasons if item), parts)


def _score_segment(options: Config, sample: Sample, rollout: Rollout) -> Score:
    gold = interval_of(sample.facts.get("gt_interval"))
    if gold is None:
        return Score(None, reason=f"gt_interval is {sample.facts.get('gt_interval')!r}, not [start, end]")
    given = parse_interval(rollout.text)
    parts = {"iou": Part(iou(given, gold), 1.0, "propose")}
    problem = format_problem(rollout.text, needs_answer=False)
    if options.variant == "code":
        parts["format"] = Part(-1.0 if problem else 0.0, options.format)
    answer = None if given is None else f"{given[0]:g} to {given[1]:g}"
    return Score(_total(parts), answer, f"{gold[0]:g} to {gold[1]:g}", problem or "", parts)


def _total(parts: dict[str, Part]) -> float:
    return sum(part.weight * part.value for part in parts.values() if part.value is not None)


def _last_answer(text: str) -> str | None:
    found = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
    return found[-1].strip() if found else None


def _sufficiency(sample: Sample, rollout: Rollout, spec: AnswerSpec) -> float:
    """Return 1 if the probe of this very rollout found the gold answer; 0 without a probe."""
    probe = rollout.probes.get("sufficiency")
    if probe is None:
        return 0.0
    return verify(probe.text, sample.gold, spec).score or 0.0


def format_problem(text: str, *, needs_answer: bool) -> str | None:
    """Say what is wrong with the tags of what a model said over all turns; None when nothing is.

    Thoughts must be closed, an interval must be given, and after the last thoughts there must be an answer, unless the
    sample asks for the interval itself. `<rethink>` counts as thoughts; blanks next to the brackets are allowed.
    """
    opened, closed = (len(re.findall(rf"<{slash}(?:re)?think>", text)) for slash in ("", "/"))
    if opened != closed:
        return f"{opened} opened and {closed} closed thoughts"
    opened, closed = len(re.findall(r"<time_interval>\s*\[", text)), len(re.findall(r"\]\s*</time_interval>", text))
    if opened != closed or not opened:
        return f"{opened} opened and {closed} closed intervals"
    if needs_answer:
        after = re.split(r"</(?:re)?think>", text)[-1]
        opened, closed = after.count("<answer>"), after.count("</answer>")
        if opened != closed or not opened:
            return f"{opened} opened and {closed} closed answers after the last thoughts"
    return None
