"""Temporal grounding: overlap with the annotated event, and a term for the layout of the answer.

Two published forms, each the sum of its two parts:

    revisor   IoU + 0.1 * f, f in {0, -1}   REVISOR's released code (arXiv 2511.13026), samples that stop after turn 1
    videotg   IoU + f, f in {0, 1}          VideoTG-R1 (arXiv 2510.23397): IoU + format; f and its weight are ours

The true event is the sample's fact `gt_interval`, else its answer as `[start, end]`, in seconds.
"""

import re
from collections.abc import Callable
from typing import Literal

from mmreflect.answers.intervals import Interval, interval_of, iou, parse_interval
from mmreflect.config import config
from mmreflect.records import Group, Part, Rollout, Sample, Score
from mmreflect.reflection.tags import follows
from mmreflect.rewards._segments import inside

Variant = Literal["revisor", "videotg"]
Tag = Literal["answer", "time_interval"]
_TAGS: dict[Variant, Tag] = {"revisor": "time_interval", "videotg": "answer"}
_WEIGHTS: dict[Variant, float] = {"revisor": 0.1, "videotg": 1.0}


@config
class Config:
    """Options of the reward.

    Attributes:
        layout: the tag that holds the interval; None is the variant's own: `time_interval` for revisor, `answer` for
            videotg. It has to be the environment's.
        format_weight: weight of the layout's term; None is the variant's own, 0.1 and 1.
    """

    weight: float = 1.0
    variant: Variant = "videotg"
    layout: Tag | None = None
    format_weight: float | None = None


def parts(options: Config) -> tuple[str, ...]:
    """Return the names of the terms."""
    return ("iou", "format")


def penalty(text: str, tag: str) -> float:
    """Return REVISOR's format term: 0, or -1 for unequal think tags, or for unequal or no interval brackets.

    A blank between tag and bracket is accepted, as the paper's figures print it; the released check refuses it, though
    the released parser reads it.
    """
    thinks = text.count("<think>") == text.count("</think>")
    opened, closed = len(re.findall(rf"<{tag}>\s*\[", text)), len(re.findall(rf"\]\s*</{tag}>", text))
    return 0.0 if thinks and opened == closed > 0 else -1.0


def in_layout(text: str, tag: str) -> bool:
    """Tell whether a text is `<think>..</think><tag>[s, e]</tag>` and nothing else, with thoughts that are not empty.

    Nothing but the interval may stand in the tag.
    """
    as_answer = text if tag == "answer" else re.sub(rf"<(/?){tag}>", r"<\1answer>", text)
    held = re.search(r"<answer>\s*\[[^\[\]]*\]\s*</answer>\s*$", as_answer)
    return held is not None and follows(as_answer, "think") and parse_interval(as_answer, "answer") is not None


def create(options: Config) -> Callable[[Group], list[Score]]:
    """Create the reward."""

    def grounding(group: Group) -> list[Score]:
        gold, problem = true_interval(group.sample)
        if gold is None:
            return [Score(None, reason=problem) for _ in group.rollouts]
        return [score(options, group.sample, rollout, gold) for rollout in group.rollouts]

    return grounding


def true_interval(sample: Sample) -> tuple[Interval | None, str]:
    """Return the annotated event, or None and why there is none."""
    given = sample.facts.get("gt_interval")
    if given is not None:
        gold = interval_of(given)
        return gold, "" if gold else f"facts.gt_interval is {given!r}, no [start, end] that runs forwards"
    if sample.gold is None:
        return None, "the sample has neither facts.gt_interval nor an answer"
    gold = interval_of(list(parse_interval(f"<answer>{sample.gold}</answer>", "answer") or ()))
    return gold, "" if gold else f"the answer {sample.gold!r} is no [start, end] that runs forwards"


def score(options: Config, sample: Sample, rollout: Rollout, gold: Interval) -> Score:
    """Score one rollout by what it said; an interval that is missing or runs backwards has an IoU of 0.

    The interval is cut to the video where the environment noted how long that is: an end beyond it costs nothing.
    """
    tag = options.layout or _TAGS[options.variant]
    weight = _WEIGHTS[options.variant] if options.format_weight is None else options.format_weight
    stated = parse_interval(rollout.text, tag)
    given = inside(stated, sample, rollout)
    overlap = iou(given, gold)
    kept = penalty(rollout.text, tag) if options.variant == "revisor" else float(in_layout(rollout.text, tag))
    parts = {"iou": Part(overlap, 1.0), "format": Part(kept, weight)}
    said = f"IoU {overlap:.3f}" if stated else f"no interval in <{tag}>"
    reason = f"{said}; format {kept:g}"
    return Score(overlap + weight * kept, _shown(given or stated), _shown(gold), reason, parts)


def _shown(interval: Interval | None) -> str | None:
    return None if interval is None else f"[{interval[0]:g}, {interval[1]:g}]"
