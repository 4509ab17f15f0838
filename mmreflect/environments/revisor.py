"""REVISOR: look over the whole video, name a segment, look at that segment again, answer (arXiv 2511.13026).

    propose   the whole video, coarsely      ->  <think>..</think><time_interval>[start, end]</time_interval>
    revise    the segment, densely           ->  <think>..</think><answer>B</answer>
    probe     the segment alone, on the side ->  B        (is what was chosen sufficient to answer from?)

Grounding samples (`task: grounding` in their facts) end with the interval. The paper's reward is `dadr`.
"""

import json
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from mmreflect.answers.intervals import Interval, clamped, interval_of, iou, parse_interval
from mmreflect.config import config
from mmreflect.environments._bounds import bounds
from mmreflect.errors import UserError
from mmreflect.media.video import video_info
from mmreflect.records import FrameSampling, Media, Reply, Sample, Turn
from mmreflect.rollouts.actions import FIRST_TRY, Action, Context, Environment, Observe, Probe

TOOL = {
    "name": "temporal_zoom_in_tool",
    "description": "Shows a segment of the video again, with more frames per second and more pixels per frame.",
    "parameters": {"interval": "start and end of the segment in seconds, at least {minimum} apart"},
    "call": "<time_interval>[12.3, 28.7]</time_interval>",
}
SYSTEM = (
    "You answer questions about videos. The time in seconds is written into every frame. You have one tool, to be used "
    f"once before you answer:\n{json.dumps(TOOL)}\nIt returns the frames of that segment."
)
ASK = (
    "The video lasts {duration} seconds{bounds}. Look over it, find the segment that the question turns on, and reply "
    "with nothing but <think>your thoughts</think><time_interval>[start, end]</time_interval>."
)
ASK_GROUNDING = (
    "The video lasts {duration} seconds{bounds}. Find the segment in which this happens, and reply with nothing but "
    "<think>your thoughts</think><time_interval>[start, end]</time_interval>."
)
LOOK = (
    "This is the segment that you asked for, from {start} to {end} seconds. Check your first thoughts against it, and "
    "reply with nothing but <{tag}>your thoughts</{tag}><answer>the letter</answer>."
)
REFUSED = (
    "The segment cannot be shown: {problem}. Reply with nothing but <{tag}>your thoughts</{tag}>"
    "<answer>the letter</answer>."
)
RETHINK = (
    "Think again about what you saw from {start} to {end} seconds, and reply with nothing but "
    "<{tag}>your thoughts</{tag}><answer>the letter</answer>."
)


@config
class Config:
    """Options of the environment.

    Attributes:
        coarse, dense: how the whole video and the segment are shown.
        min_segment: shortest segment that is shown, in seconds.
        looks: segments that are shown before the model must answer: 1 in training, 2 in the paper's evaluation.
        show: `text` shows no frames in the second turn: reflection in words alone, to compare with.
        stage2_context: `code` keeps the whole dialogue in view, as REVISOR's code does; `paper` only the question, the
            first reply and the segment (Eq. 3), which saves the coarse frames.
        second_tag: what the second thoughts stand in: `think` in REVISOR's code, `rethink` in its paper.
        probe: ask, greedily and on the side, for the answer from the segment alone.
        first_try: ask, on the side and from the whole video alone, for the answer before anything is looked at again:
            the first try of the ledger, which says what looking again adds. For evaluation; training needs none.
        probe_tokens: limit of a reply on the side.
        system, ask, ask_grounding, look, refused, rethink, probe_system, probe_ask: the texts; what stands in braces is
            filled in (duration, start, end, problem, tag, minimum; bounds is empty, but for a sample about a part of a
            file: then it says from when to when, in the seconds that its frames show).
    """

    coarse: FrameSampling = Field(
        default_factory=lambda: FrameSampling(
            fps=1.0, max_frames=512, min_tokens=8, max_tokens=128, total_tokens=8192, timestamps=True
        )
    )
    dense: FrameSampling = Field(
        default_factory=lambda: FrameSampling(
            fps=2.0, max_frames=512, min_tokens=8, max_tokens=256, total_tokens=8192, timestamps=True
        )
    )
    min_segment: Annotated[float, Field(gt=0)] = 2.0
    looks: Annotated[int, Field(gt=0)] = 1
    show: Literal["clip", "text"] = "clip"
    stage2_context: Literal["code", "paper"] = "code"
    second_tag: Literal["think", "rethink"] = "think"
    probe: bool = True
    first_try: bool = False
    probe_tokens: Annotated[int, Field(gt=0)] = 16
    system: str | None = SYSTEM
    ask: str = ASK
    ask_grounding: str = ASK_GROUNDING
    look: str = LOOK
    refused: str = REFUSED
    rethink: str = RETHINK
    probe_system: str | None = "You are a helpful assistant."
    probe_ask: str = "Reply with the option letter only."


@dataclass(frozen=True, slots=True)
class Shown:
    """One sample's video and what is said about it.

    Attributes:
        whole: the seconds of the file that the sample is about.
    """

    options: Config
    sample: Sample
    video: Media
    whole: Interval

    def fill(self, text: str, **values: object) -> str:
        """Put values into the braces of a text; other braces stay as they are."""
        known = {
            "duration": f"{self.whole[1] - self.whole[0]:.1f}",
            "bounds": bounds(self.whole, self.video),
            "tag": self.options.second_tag,
            "minimum": f"{self.options.min_segment:g} seconds",
            **{key: f"{value:.1f}" if isinstance(value, float) else str(value) for key, value in values.items()},
        }
        return re.sub(r"\{(\w+)\}", lambda found: known.get(found.group(1), found.group(0)), text)

    def history(self) -> list[Turn]:
        """Return the turns before the question: the system turn, and what the sample itself has there."""
        turns = list(self.sample.turns()[:-1])
        return turns if self.options.system is None else [Turn("system", [self.fill(self.options.system)]), *turns]

    def question(self) -> str:
        """Return the question with its options, without media."""
        return "".join(part for part in self.sample.turns()[-1].content if isinstance(part, str)).strip()

    def opening(self) -> Observe:
        """Show the whole video coarsely and ask for a segment."""
        ask = self.options.ask_grounding if is_grounding(self.sample) else self.options.ask
        return Observe([self.coarse(), f"{self.question()}\n{self.fill(ask)}"], "propose", history=self.history())

    def coarse(self) -> Media:
        """Return the whole video as the first look shows it."""
        return replace(self.video, frames=self.options.coarse)

    def clip(self, segment: Interval) -> Media:
        """Return the dense clip of a segment."""
        return replace(self.video, frames=self.options.dense, span=segment)

    def second_look(self, segment: Interval, first: str) -> Observe:
        """Show a segment, or ask to think again about it."""
        start, end = segment
        if self.options.show == "text":
            return Observe([self.fill(self.options.rethink, start=start, end=end)], "revise")
        clip, text = self.clip(segment), self.fill(self.options.look, start=start, end=end)
        if self.options.stage2_context == "code":
            return Observe([clip, text], "revise")
        content: list[str | Media] = [f"{self.question()}\n{first}\n", clip, text]
        return Observe(content, "revise", history=self.history(), afresh=True)

    def aside(self, name: str, clip: Media) -> Probe:
        """Ask for the answer from one clip alone."""
        system = self.options.probe_system
        history = [] if system is None else [Turn("system", [system])]
        content: Sequence[str | Media] = [clip, f"{self.question()}\n{self.options.probe_ask}"]
        return Probe(name, content, history, afresh=True, max_new_tokens=self.options.probe_tokens)


def starts_afresh(options: Config) -> bool:
    """Tell whether episodes go on after another prompt: the update then sees a rollout as several sequences."""
    return options.stage2_context == "paper" and options.show == "clip"


def create(options: Config) -> Environment:
    """Create the environment."""

    def revisor(sample: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        shown = shown_for(options, sample)
        facts = context.facts
        facts |= {
            "task": "grounding" if is_grounding(sample) else "qa",
            "duration": round(shown.whole[1] - shown.whole[0], 3),
            "segment": None,
            "looks": 0,
            "problem": None,
        }
        true = interval_of(sample.facts.get("gt_interval"))
        reply = yield shown.opening()
        if is_grounding(sample):  # nothing will be shown, so that no segment is too short
            segment, facts["problem"] = read_segment(reply.text, shown.whole, 0.0)
            facts |= _chosen(segment, true)
            return facts
        _, problem = read_segment(reply.text, shown.whole, options.min_segment)
        facts["problem"] = "answered in the first turn" if "<answer>" in reply.text else problem
        looked: Interval | None = None
        if options.first_try:
            yield shown.aside(FIRST_TRY, shown.coarse())
        while facts["looks"] < options.looks and "<answer>" not in reply.text:
            if parse_interval(reply.text) is None:
                break
            asked, problem = read_segment(reply.text, shown.whole, options.min_segment)
            facts["problem"] = problem
            if asked is None:
                reply = yield Observe([shown.fill(options.refused, problem=problem)], "revise")
                facts["looks"] += 1
                continue
            reply = yield shown.second_look(asked, reply.text)
            looked = asked  # only now: the budget may have left no room to show it
            facts |= _chosen(looked, true)
            facts["looks"] += 1
        if options.probe and options.show == "clip" and looked is not None:
            yield shown.aside(
                "sufficiency", shown.clip(looked)
            )  # the very clip of the last look: its features are kept
        return facts

    return revisor


def shown_for(options: Config, sample: Sample) -> Shown:
    """Find a sample's video and the seconds of it that the sample is about.

    Raises:
        UserError: the sample has no video, or several, or its file cannot be opened.
    """
    videos = [item for item in sample.media if item.kind == "video"]
    if len(videos) != 1 or len(sample.media) != 1:
        kinds = ", ".join(item.kind for item in sample.media) or "no media"
        raise UserError(
            f"sample {sample.id!r} shows {kinds}", "one video for environment revisor", "leave such samples out"
        )
    duration = video_info(videos[0].path).duration
    start, end = videos[0].span or (0.0, duration)
    return Shown(options, sample, videos[0], (start, min(end, duration)))


def is_grounding(sample: Sample) -> bool:
    """Tell whether a sample asks for the segment itself."""
    return sample.facts.get("task") == "grounding"


def read_segment(text: str, whole: Interval, minimum: float) -> tuple[Interval | None, str | None]:
    """Return the segment that a reply names, clamped to the video, or None with what is wrong with it."""
    found = parse_interval(text)
    if found is None:
        return None, "no interval"
    start, end = found
    if end <= start:
        return None, f"[{start:g}, {end:g}] does not end after it starts"
    segment = clamped((start - whole[0], end - whole[0]), whole[1] - whole[0], minimum)
    if segment is None:
        where = "the video" if whole[0] == 0 else f"the video, which is shown from {whole[0]:.1f} to {whole[1]:.1f}"
        left = f"leaves less than {minimum:g} seconds of" if minimum else "lies outside"
        return None, f"[{start:g}, {end:g}] {left} {where}"
    return (segment[0] + whole[0], segment[1] + whole[0]), None


def _chosen(segment: Interval | None, true: Interval | None) -> dict[str, Any]:
    """Return what is known about the segment: its seconds, and its overlap with the true one where there is one."""
    if segment is None:
        return {"segment": None}
    facts: dict[str, Any] = {
        "segment": [round(segment[0], 3), round(segment[1], 3)],
        "segment_seconds": round(segment[1] - segment[0], 3),
    }
    return facts if true is None else facts | {"segment_iou": round(iou(segment, true), 4)}
