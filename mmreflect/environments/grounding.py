"""Temporal grounding in one turn: the video and a sentence in, `[start, end]` in seconds out.

    <think>..</think><answer>[12.3, 28.7]</answer>                  layout: answer (VideoTG-R1, arXiv 2510.23397)
    <think>..</think><time_interval>[12.3, 28.7]</time_interval>    layout: time_interval (REVISOR, arXiv 2511.13026)

With a `curriculum`, hard samples show less of the video early in training: a window around the annotated event, at the
times that its frames have in the whole video. Nothing is hidden outside of training, where the progress is 1.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, Literal

from mmreflect.answers.intervals import Interval, clamped, interval_of, parse_interval
from mmreflect.config import config
from mmreflect.environments._bounds import bounds
from mmreflect.errors import UserError
from mmreflect.records import FrameSampling, Media, Reply, Sample, Turn
from mmreflect.rollouts.actions import Action, Context, Environment, Observe
from mmreflect.rollouts.curriculum import Curriculum, is_hard, mask_ratio, visible_window

ASK = (
    "The video lasts {duration} seconds{bounds}. Find the moment at which this happens, and reply with nothing but "
    "<think>your thoughts</think><{tag}>[start, end]</{tag}>, start and end in seconds."
)


@config
class Config:
    """Options of the environment.

    Attributes:
        layout: the tag that the interval stands in.
        frames: how the video is shown; None leaves it to the sample.
        curriculum: hide part of hard samples' videos early in training; every sample then needs the facts `gt_interval`
            and `difficulty`, which the builder `difficulty` measures.
        system: a system turn before the sample's own; None adds none.
        ask: text after the question; `{duration}` and `{tag}` are filled in, and `{bounds}`: from when to when a sample
            runs that is about a part of a file, else nothing.
    """

    layout: Literal["answer", "time_interval"] = "answer"
    frames: FrameSampling | None = None
    curriculum: Curriculum | None = None
    system: str | None = None
    ask: str = ASK


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of a sample's video, in seconds.

    Attributes:
        whole: the part of the file that the sample is about.
        visible: the part that is not hidden.
        ratio: share of the time outside the event that is hidden.
    """

    whole: Interval
    visible: Interval
    ratio: float


def create(options: Config) -> Environment:
    """Create the environment."""

    def grounding(sample: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        video = video_of(sample)
        view = view_of(options.curriculum, sample, video, context.progress)
        reply = yield opening(options, sample, video, view)
        segment, problem = read_reply(reply.text, options.layout, view.whole)
        return {
            "task": "grounding",
            "duration": round(view.whole[1] - view.whole[0], 3),
            "segment": None if segment is None else [round(segment[0], 3), round(segment[1], 3)],
            "problem": problem,
            "masked": round(view.ratio, 6),
            "visible": [round(view.visible[0], 3), round(view.visible[1], 3)],
        }

    return grounding


def video_of(sample: Sample) -> Media:
    """Return the one video that a sample shows.

    Raises:
        UserError: it shows something else, or several.
    """
    if [item.kind for item in sample.media] != ["video"]:
        shown = ", ".join(item.kind for item in sample.media) or "no media"
        raise UserError(f"sample {sample.id!r} shows {shown}", "one video", "leave such samples out")
    return sample.media[0]


def whole_of(video: Media) -> Interval:
    """Return the seconds of a file that a sample is about: its span, cut to the file.

    Raises:
        UserError: the file cannot be opened.
    """
    from mmreflect.media.video import video_info

    duration = video_info(video.path).duration
    start, end = video.span or (0.0, duration)
    return start, min(end, duration)


def view_of(curriculum: Curriculum | None, sample: Sample, video: Media, progress: float) -> View:
    """Return what a sample shows of its video at a progress of the training.

    Raises:
        UserError: a curriculum is asked for and the sample lacks what it goes by; whatever the progress, so that the
            check before a training finds it.
    """
    whole = whole_of(video)
    if curriculum is None:
        return View(whole, whole, 0.0)
    gold, difficulty = interval_of(sample.facts.get("gt_interval")), sample.facts.get("difficulty")
    if gold is None or isinstance(difficulty, bool) or not isinstance(difficulty, int | float):
        lacking = "gt_interval" if gold is None else "difficulty"
        raise UserError(
            f"sample {sample.id!r}: facts.{lacking} is {sample.facts.get(lacking)!r}",
            "facts.gt_interval ([start, end]) and facts.difficulty (1 - IoU of a first try)",
            "build the dataset with the builder 'difficulty', or take the curriculum out",
        )
    ratio = mask_ratio(curriculum, progress) if is_hard(difficulty, curriculum.hard_below) else 0.0
    return View(whole, visible_window(whole, gold, ratio), ratio)


def opening(options: Config, sample: Sample, video: Media, view: View) -> Observe:
    """Return the one turn: the visible part of the video, the question, and how to answer."""
    span = video.span if view.visible == view.whole else view.visible
    shown = replace(video, span=span, frames=options.frames or video.frames)
    turns = [
        Turn(turn.role, [part if isinstance(part, str) else shown for part in turn.content]) for turn in sample.turns()
    ]
    *history, last = turns
    if options.system is not None:
        history = [Turn("system", [options.system]), *history]
    duration = f"{view.whole[1] - view.whole[0]:.1f}"
    ask = options.ask.replace("{duration}", duration).replace("{bounds}", bounds(view.whole, video))
    ask = ask.replace("{tag}", options.layout)
    return Observe([*last.content, f"\n{ask}"], stage="answer", role=last.role, history=history)


def read_reply(text: str, tag: str, whole: Interval) -> tuple[Interval | None, str | None]:
    """Return the interval that a reply states, cut to the video, or None with what is wrong with it."""
    stated = parse_interval(text, tag)
    if stated is None:
        return None, f"no interval in <{tag}>"
    start, end = stated
    if end <= start:
        return None, f"[{start:g}, {end:g}] does not end after it starts"
    inside = clamped((start - whole[0], end - whole[0]), whole[1] - whole[0])
    if inside is None:
        return None, f"[{start:g}, {end:g}] lies outside the video"
    return (inside[0] + whole[0], inside[1] + whole[0]), None
