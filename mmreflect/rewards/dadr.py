"""REVISOR's reward for a video that was looked at twice (DADR, arXiv 2511.13026, Eq. 5-7).

    paper   R = 0.6 final + 0.3 sufficiency
    code    R = 0.6 final + 0.3 sufficiency + 0.1 format + 0.1 tool          format in {0, -1}, tool in {0, 1}
            R = IoU + 0.1 format                                             where the segment itself is asked for

`final` is the answer after both looks, `sufficiency` the answer of the environment's probe, which sees the chosen
segment alone. "Decoupled" means these terms: the paper sums them to one number per rollout. The advantage `per_stage`
gives each stage its own.

Where we differ from the released code: only what the model itself said is read (the code also reads the turn that it
inserts, whose example answer can stand in for a missing one); an option must be named by its letter, at the beginning
and apart from what follows, or by its whole text (the code takes the first letter of any text, so that "Batman" is B);
the probe belongs to its own rollout (the code's is left over from a neighbour where the segment was refused); both
published forms of the tags count; the interval of a grounding sample is cut to the video, as the segment is that the
environment notes.
"""

import re
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from mmreflect.answers.grade import verify
from mmreflect.answers.intervals import interval_of, iou, parse_interval
from mmreflect.answers.spec import AnswerSpec, spec_of
from mmreflect.answers.verdict import Verdict, judged
from mmreflect.config import config
from mmreflect.records import Group, Part, Rollout, Sample, Score
from mmreflect.rewards._segments import inside

LONGEST_ANSWER = 1000
"""An answer of so many characters or more is wrong and out of format."""

_LETTER = re.compile(r"(?:\(([A-Z])\)|\[([A-Z])\]|([A-Z]))(?:[.,):\s].*)?", re.DOTALL)

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
    verdict = read_strictly(None if long else last, sample.gold, spec)
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
    stated = parse_interval(rollout.text)
    given = inside(stated, sample, rollout)
    parts = {"iou": Part(iou(given, gold), 1.0, "propose")}
    problem = format_problem(rollout.text, needs_answer=False)
    if options.variant == "code":
        parts["format"] = Part(-1.0 if problem else 0.0, options.format)
    shown = given or stated
    answer = None if shown is None else f"{shown[0]:g} to {shown[1]:g}"
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
    return read_strictly(probe.text.strip(), sample.gold, spec).score or 0.0


def read_strictly(said: str | None, gold: str | None, spec: AnswerSpec) -> Verdict:
    """Grade an answer without its tags; where there are options, an answer that is not stated strictly is wrong.

    On top of that the project's grader must agree, so that a letter with another option's text, or "B or C", is wrong.
    What is no multiple choice is graded by that grader alone.
    """
    spec = spec.resolved(gold)
    verdict = verify(None if said is None else f"<answer>{said}</answer>", gold, spec)
    if said is None or not verdict.passed or spec.type != "multiple_choice":
        return verdict
    if verdict.gold in stated_options(said, spec):
        return verdict
    return judged(False, verdict.answer, verdict.gold, "neither an option's letter at the beginning nor its whole text")


def stated_options(said: str, spec: AnswerSpec) -> set[str]:
    """Return the letters of the options that an answer can be said to state; empty for none.

    An option is stated by its single capital letter, in brackets or followed by one of `. , ) :` or a blank, whatever
    stands after it; or by its whole text, but for case, blanks and a dot at the end. "A dog" may be both. Of options
    with the same text all are stated.
    """
    texts = {letter: _plain(text) for letter, text in spec.options or ()}
    found = _LETTER.fullmatch(said.strip())
    letters = {item for item in found.groups() if item} if found else set()
    wanted = {_plain(said), *(texts[letter] for letter in letters if letter in texts)}
    return letters | {letter for letter, text in texts.items() if text in wanted}


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).removesuffix(".")


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
