r"""Plan before looking: no frame is shown at first; the model asks for frames by window, count and size (EVA).

    user       Video Length: 59 seconds. Original video resolution: 720p. QUESTION with its options as (A) ..
    assistant  ..plan.. <tool_call>{"tool": "frame_select", "arguments": {"start_time": 0, "end_time": 60,
               "nframes": 16, "resize": 0.5}}</tool_call>
    tool       <tool_response>Frame 0 at [00:00]: (picture) .. QUESTION</tool_response>
    assistant  .. <answer>B</answer>

The protocol and the budget are those of the released evaluation code of arXiv 2603.22918. An episode ends with an
answer, with a reply that holds no valid call, or at the turn limit. Where we differ: the budget always holds (the code
rounds after it has cut, and forgets that processors enlarge small pictures: it can land above), a call has a largest
number of frames, a frame is labelled with its own time (the code labels a single frame with the start of its window),
and a native `"name"` is read like `"tool"`.
"""

import json
import math
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mmreflect.answers.spec import LETTERS
from mmreflect.config import config
from mmreflect.errors import UserError
from mmreflect.records import Media, Reply, Sample, Turn
from mmreflect.rollouts.actions import Action, Context, Environment, Observe

if TYPE_CHECKING:
    from mmreflect.media.video import VideoInfo

TOOL = "frame_select"
SYSTEM = (
    "Answer the question about a video. Choose the frames that you see: plan, then write for example "
    '<tool_call>{"tool": "frame_select", "arguments": {"start_time": 0, "end_time": 60, "nframes": 16, "resize": 0.5}}'
    "</tool_call> (times in seconds, resize 1 is full size). When you know the answer, write <answer>..</answer>."
)
REMINDER = "If this is not enough, select frames again."
FULL_SIDE = 720
"""The shorter side, in pixels, that a call above its budget is shrunk to first."""
LARGEST_NUMBER = 1e9
"""A call that holds a larger number, or one that is none, is refused: a model can write anything."""


@config
class Config:
    """Options of the environment.

    Attributes:
        unit: pixels per side of one visual token: 28 for Qwen2-VL and Qwen2.5-VL, 32 for Qwen3-VL and Qwen3.5.
        min_tokens: fewest visual tokens that the processor makes of a picture, however small: it enlarges what is
            smaller. None is that of the released processors: 64 for Qwen3-VL and Qwen3.5 (65,536 pixels), 4 for
            Qwen2-VL and Qwen2.5-VL (3,136 pixels). To be set where `data.min_pixels` is.
        budget: largest estimate of visual tokens per call; a call above it gets smaller and fewer frames.
        max_frames: largest number of frames per call, whatever their size (ours; the released code has no such limit).
        max_calls: calls of one reply that are granted; further ones are refused and counted (ours).
        max_turns: replies at most.
        reply_role: the role that frames are shown in. `tool` is EVA's, whose base is Qwen2.5-VL. `user` is right for
            Qwen3-VL and Qwen3.5: their templates turn a tool's turn into a user's and put the tags round it themselves,
            so that with `tool` they would stand there twice.
        system: one line before the question; None adds none.
        reminder: what stands between the frames and the repeated question.
    """

    unit: Literal[28, 32] = 28
    min_tokens: Annotated[int, Field(gt=0)] | None = None
    budget: Annotated[int, Field(gt=0)] = 12_000
    max_frames: Annotated[int, Field(gt=0)] = 768
    max_calls: Annotated[int, Field(gt=0)] = 8
    max_turns: Annotated[int, Field(gt=0)] = 6
    reply_role: Literal["tool", "user"] = "tool"
    system: str | None = SYSTEM
    reminder: str = REMINDER

    def __post_init__(self) -> None:
        """Check that the budget can hold.

        Raises:
            ValueError: one frame takes more.
        """
        if self.budget < self.least:
            raise ValueError(f"budget={self.budget} is below the {self.least} tokens of the smallest frame; raise it")

    @property
    def least(self) -> int:
        """The fewest visual tokens of a frame."""
        return self.min_tokens or {28: 4, 32: 64}[self.unit]


@dataclass(frozen=True, slots=True)
class Call:
    """A request for frames: `nframes` of them from `start` to `end` seconds, shrunk by `resize`."""

    start: float
    end: float
    nframes: int
    resize: float = 1.0


def create(options: Config) -> Environment:
    """Create the environment."""

    def frame_select(sample: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        video, begin, info = _video(sample)
        question = _question(sample)
        facts = context.facts
        facts |= {
            "duration": round(info.duration, 3), "replies": 0, "calls": [], "frames": 0, "visual_tokens": 0,
            "cut_calls": 0, "refused_calls": [], "problem": None,
        }  # fmt: skip
        reply = yield _opening(options, sample, info, question)
        while True:
            facts["replies"] += 1
            if final_answer(reply.text) is not None:
                return facts
            calls, refused = read_calls(reply.text, options.max_calls)
            facts["refused_calls"] += refused
            if not calls:
                return facts | {"problem": refused[0] if refused else "neither an answer nor a call"}
            if facts["replies"] >= options.max_turns:
                return facts | {"problem": f"no answer in {options.max_turns} replies"}
            granted = [grant(call, info, options) for call in calls]
            facts["cut_calls"] += sum(
                (given.nframes, given.resize) != (call.nframes, call.resize)
                for given, call in zip(granted, calls, strict=True)
            )
            for call in granted:
                facts["calls"].append([round(call.start, 3), round(call.end, 3), call.nframes, round(call.resize, 4)])
                facts["frames"] += call.nframes
                facts["visual_tokens"] += estimate(
                    call.nframes, call.resize, info.height, info.width, options.unit, options.least
                )
            reply = yield Observe(
                _response(options, granted, video, begin, info, question), stage="look", role=options.reply_role
            )

    return frame_select


def _video(sample: Sample) -> tuple[Media, float, "VideoInfo"]:
    """Return a sample's video, the second of the file that it begins at, and what is known about it.

    Where the sample shows a part of a file, that part is the video: its times begin at 0.

    Raises:
        UserError: the sample shows something else, or several videos; or the file cannot be opened.
    """
    from mmreflect.media.video import video_info

    if [item.kind for item in sample.media] != ["video"]:
        shown = ", ".join(item.kind for item in sample.media) or "no media"
        raise UserError(f"sample {sample.id!r} shows {shown}", "one video for environment frame_select", "leave it out")
    video = sample.media[0]
    info = video_info(video.path)
    begin, end = video.span or (0.0, info.duration)
    return video, begin, replace(info, duration=min(end, info.duration) - begin)


def _question(sample: Sample) -> str:
    """Return the question with its options as (A) ..: rewritten where they stand in the text, else after it."""
    text = sample.question.strip()
    given = sample.facts.get("options") or []
    options = list(given.values()) if isinstance(given, dict) else list(given)
    missing = []
    for letter, option in zip(LETTERS, options, strict=False):
        line = re.compile(rf"^[ \t]*\(?{letter}[.):][ \t]*(?={re.escape(str(option))}[ \t]*$)", re.MULTILINE)
        text, found = line.subn(f"({letter}) ", text)
        missing += [] if found else [f"({letter}) {option}"]
    return "\n".join([text, *missing])


def _opening(options: Config, sample: Sample, info: "VideoInfo", question: str) -> Observe:
    """Return the first turn: length, resolution and question, and not one frame."""
    length = int(max(info.duration - 0.5, 1))
    side = min(info.width, info.height)
    history = [
        Turn(turn.role, [part for part in turn.content if isinstance(part, str)]) for turn in sample.turns()[:-1]
    ]
    if options.system is not None:
        history = [Turn("system", [options.system]), *history]
    content = [f"Video Length: {length} seconds. Original video resolution: {side}p. {question}"]
    return Observe(content, stage="plan", history=history)


def _response(
    options: Config, calls: list[Call], video: Media, begin: float, info: "VideoInfo", question: str
) -> list["str | Media"]:
    """Return the tool's turn: every frame with its number and time, the reminder, and the question once more."""
    content: list[str | Media] = []
    number = 0
    for call in calls:
        for time in frame_times(call, info.fps):
            before = "<tool_response>" if number == 0 else "\n"
            content.append(f"{before}Frame {number} at [{clock(time)}]: ")
            at = round(begin + time, 6)
            content.append(replace(video, kind="image", span=None, frames=None, at=at, scale=call.resize))
            number += 1
    return [*content, f"\n{options.reminder}\n\nQuestion: {question}</tool_response>"]


def clock(seconds: float) -> str:
    """Return a time as mm:ss, rounded down; minutes go on beyond 59."""
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def final_answer(text: str) -> str | None:
    """Return the answer that ends the episode: in `<answer>` tags, or after a trailing "answer:"; None without one."""
    tagged = re.search(r"<answer>\s*(.*?)\s*</answer>", text, re.DOTALL)
    if tagged and tagged.group(1):
        return tagged.group(1)
    trailing = re.search(r"\banswer\s*[:.]\s*\(?(\w)\)?(?:\W[^<]{0,100})?$", text, re.IGNORECASE)
    return trailing.group(1) if trailing else None


def read_calls(text: str, limit: int) -> tuple[list[Call], list[str]]:
    """Return the first `limit` valid calls inside the first `<tool_call>` pair, and why the others were refused."""
    pair = re.search(r"<tool_call>(.*?)</tool_call>", text, re.DOTALL)
    if pair is None:
        return [], []
    calls: list[Call] = []
    refused: list[str] = []
    for value in _objects(pair.group(1)):
        found = _call(value)
        if isinstance(found, Call) and len(calls) < limit:
            calls.append(found)
        elif isinstance(found, Call):
            refused.append(f"the reply holds more than {limit} calls")
        else:
            refused.append(found)
    return calls, refused if calls or refused else ["the call is no JSON object"]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects that stand one after the other in a text; what is none is skipped."""
    decoder, place = json.JSONDecoder(), text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError):
            end = place + 1
        else:
            yield value
        place = text.find("{", end)


def _call(value: dict[str, Any]) -> Call | str:
    """Read one call, or say what is wrong with it."""
    tool = value.get("tool", value.get("name"))
    if tool != TOOL:
        return f"unknown tool {str(tool)[:40]!r}"
    arguments = value.get("arguments", value.get("parameters"))
    if not isinstance(arguments, dict):
        return "the call has no arguments"
    numbers: dict[str, float] = {}
    for key in ("start_time", "end_time", "nframes", "resize"):
        number = arguments.get(key)
        if number is None and key == "resize":
            number = 1.0
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= LARGEST_NUMBER:
            return f"{key} is {str(number)[:40]!r}"
        numbers[key] = float(number)
    if numbers["nframes"] < 1 or numbers["resize"] <= 0:
        wrong = "nframes" if numbers["nframes"] < 1 else "resize"
        return f"{wrong} is {numbers[wrong]:g}"
    return Call(numbers["start_time"], numbers["end_time"], int(numbers["nframes"]), numbers["resize"])


def grant(call: Call, info: "VideoInfo", options: Config) -> Call:
    """Return what a call gets: its window inside the video, its frames within the budget.

    Bounds are clamped to the video; a window that is empty then becomes the whole video.
    """
    start, end = (min(max(bound, 0.0), info.duration) for bound in (call.start, call.end))
    if end <= start:
        start, end = 0.0, info.duration
    nframes = min(call.nframes, options.max_frames)
    nframes, resize = within_budget(
        nframes, call.resize, info.height, info.width, options.budget, options.unit, options.least
    )
    return Call(start, end, nframes, resize)


def estimate(nframes: int, resize: float, height: int, width: int, unit: int = 28, min_tokens: int = 1) -> int:
    """Return the visual tokens that frames of these sizes (pixels) are estimated to take.

    A frame of fewer than `min_tokens` counts as what the processor enlarges it to. Its other limit, the largest
    picture, may make it take less.
    """
    high, wide = (max(1, round(side * resize / unit)) for side in (height, width))
    if high * wide < min_tokens:
        loaded = [max(1, round(side * resize)) for side in (height, width)]  # in whole pixels, as frames are read
        grow = math.sqrt(min_tokens / (loaded[0] * loaded[1]))
        high, wide = math.ceil(loaded[0] * grow), math.ceil(loaded[1] * grow)
    return nframes * high * wide


def within_budget(
    nframes: int,
    resize: float,
    height: int,
    width: int,
    budget: int = 12_000,
    unit: int = 28,
    min_tokens: int = 1,
) -> tuple[int, float]:
    """Return count and size of the frames that a call gets.

    Above the budget frames are first shrunk to a shorter side of 720 pixels. Where that is not enough, count and both
    sides are cut by the same factor, the cube root of budget / estimate. What rounding then leaves above the budget is
    taken from the count (ours); one frame always stays, shrunk until it fits or the processor would enlarge it again.
    """
    if estimate(nframes, resize, height, width, unit, min_tokens) <= budget:
        return nframes, resize
    resize = min(resize, min(1.0, FULL_SIDE / min(height, width)))
    needed = estimate(nframes, resize, height, width, unit, min_tokens)
    if needed > budget:
        factor = (budget / needed) ** (1 / 3)
        smallest = unit * math.sqrt(min_tokens / (height * width))  # below it frames lose pixels and save no token
        nframes, resize = max(1, int(nframes * factor)), max(resize * factor, min(resize, smallest))
    one = estimate(1, resize, height, width, unit, min_tokens)
    while one > budget and resize * max(height, width) > unit:
        resize *= 0.9
        one = estimate(1, resize, height, width, unit, min_tokens)
    return max(1, min(nframes, budget // one)), resize


def frame_times(call: Call, fps: float) -> list[float]:
    """Return the times of a call's frames in seconds: evenly spaced from the start to one frame before the end.

    A single frame is taken from the middle. A window shorter than one frame repeats its start.

    Args:
        fps: frames per second of the source.
    """
    if call.nframes == 1:
        return [(call.start + call.end) / 2]
    last = max(call.start, call.end - 1 / fps if fps > 0 else call.end)
    step = (last - call.start) / (call.nframes - 1)
    return [call.start + place * step for place in range(call.nframes)]
