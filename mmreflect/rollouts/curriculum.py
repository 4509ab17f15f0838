"""Curriculum masking of videos by training progress (VideoTG-R1, arXiv 2510.23397): hard samples show less at first.

VideoTG-R1 hides the distracting part of a hard sample's video early in training and shows more of it with every step.
Only the idea is published in what could be read: the threshold, the shares and the shape of the schedule are our
defaults, not the paper's values.

A mask is a window of the video, so that what is left keeps its own times. Annotated time is never hidden.
"""

from typing import Annotated

from pydantic import Field

from mmreflect.answers.intervals import Interval
from mmreflect.config import config


@config
class Curriculum:
    """When and how much of a video is hidden; all three are our defaults.

    Attributes:
        start: share of the time outside the annotation that is hidden from a hard sample when training begins.
        until: share of the training after which nothing is hidden; in between the hidden share falls in a line.
        hard_below: a sample is hard when the zero-shot prediction's IoU, 1 - facts.difficulty, is below this.
    """

    start: Annotated[float, Field(ge=0, le=1)] = 0.8
    until: Annotated[float, Field(gt=0, le=1)] = 0.7
    hard_below: Annotated[float, Field(ge=0, le=1)] = 0.3


def is_hard(difficulty: float, hard_below: float) -> bool:
    """Tell whether a sample of this difficulty (1 - IoU) is hard; one whose IoU is the limit itself is not."""
    return 1 - difficulty < hard_below - 1e-9


def mask_ratio(curriculum: Curriculum, progress: float) -> float:
    """Return the share of a hard sample's outside time that is hidden: start * max(0, 1 - progress / until).

    Args:
        progress: share of the training's steps that are done, 0 to 1.
    """
    return curriculum.start * max(0.0, 1 - progress / curriculum.until)


def visible_window(video: Interval, gold: Interval, ratio: float) -> Interval:
    """Return the part of a video that stays visible when `ratio` of the time outside the annotation is hidden.

    Half of it is taken from each end inwards; where one side of the annotation is too short for its half, the rest is
    taken from the other side. An annotation that reaches beyond the video is cut to it; one that lies outside
    altogether, or runs backwards, protects nothing, and then the whole video stays.

    Args:
        video: start and end in seconds; `gold`: the annotated event in the same time.
        ratio: 0 hides nothing, 1 everything but the event.
    """
    first, last = max(video[0], gold[0]), min(video[1], gold[1])
    if last <= first:
        return video
    left, right = first - video[0], video[1] - last
    hidden = ratio * (left + right)
    from_left = min(left, max(hidden / 2, hidden - right))
    # the ends may pass the event by a rounding error
    return min(first, video[0] + from_left), max(last, video[1] - (hidden - from_left))
