"""Is a grounding sample's event annotated wherever it happens? Those where it is not are dropped (VideoTG-R1).

    mmreflect build configs/build/boundary_reflection.yaml source.path=outputs/grounding

The frames outside of the annotated time are shown to a model, one a second, and it is asked at which of them the event
is seen too. Where enough replies name the same seconds, the sample is "partially annotated": training on it would
punish right answers. The row goes to the rejects with its id and those seconds; a row that stays keeps what was named
as the fact `boundary`.

That much is published of the Boundary Reflection Agent (arXiv 2510.23397). Windows, replies, the rule and the prompt
are our defaults.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mmreflect.answers.intervals import Interval, interval_of
from mmreflect.building import Example
from mmreflect.components import EngineOption, default
from mmreflect.config import config as config_class
from mmreflect.data.store import sample_from_row
from mmreflect.environments import grounding, single_turn
from mmreflect.errors import UserError
from mmreflect.evaluation.asking import Source, ask_each, carried, engine_of, inputs, rows_of, splits
from mmreflect.models import ModelOption
from mmreflect.quality import EXEMPTIBLE
from mmreflect.records import Media, Sample
from mmreflect.rollouts.actions import Sampling

if TYPE_CHECKING:
    from mmreflect.media.video import VideoInfo

Count = Annotated[int, Field(gt=0)]
ASK = (
    "\nThese are frames of one video, each after its time in seconds. At which of these times is the following seen?\n"
    "{question}\nReply with a list of seconds and nothing else, such as [{first}, {second}], or [] if at none."
)


__all__ = ["EXEMPT", "Config", "inputs", "make", "splits"]

EXEMPT = {"*": EXEMPTIBLE}  # rows stay as their source has them, which checked them its own way


@config_class
class Config:
    """What to look through, and with which model.

    Attributes:
        margin: seconds next to the annotated time that are not looked at.
        window: frames per question, one a second.
        replies: sampled replies per window; `agreeing`: how many of them must name a second for it to count.
        consecutive: so many seconds in a row that count flag the sample.
        frame_pixels: a larger frame is shrunk to so many pixels.
        ask: the question after the frames; `{question}`, `{first}` and `{second}` are filled in.
        media: copy the videos, or link to the source's.
    """

    output: str
    source: Source
    model: ModelOption
    engine: EngineOption = Field(default_factory=lambda: default("engine", "transformers"))
    margin: Annotated[float, Field(ge=0)] = 1.0
    window: Count = 32
    replies: Count = 3
    agreeing: Count = 2
    consecutive: Count = 2
    frame_pixels: Count = 128 * 28 * 28
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Count = 256
    ask: str = ASK
    media: Literal["copy", "link"] = "copy"
    seed: int = 0
    shard_rows: Count = 200

    def __post_init__(self) -> None:
        """Check that the rule can be met.

        Raises:
            ValueError: more replies would have to agree than are asked for.
        """
        if self.agreeing > self.replies:
            raise ValueError(f"agreeing={self.agreeing} is above replies={self.replies}; lower it")


def make(config: Config, split: str, index: int) -> Example:
    """Return a row of the source with what was named outside of its annotated time.

    Raises:
        UserError: the event was named there by enough replies; or the row has no `gt_interval` or not just one whole
            video, or the video cannot be shown.
    """
    from mmreflect.media.video import video_info

    row = rows_of(config.source, split)[index]
    sample = sample_from_row(row, config.source.folder)
    video, gold = grounding.video_of(sample), interval_of(sample.facts.get("gt_interval"))
    if gold is None:
        raise UserError(f"facts.gt_interval is {sample.facts.get('gt_interval')!r}", "[start, end] in seconds")
    info = video_info(video.path)
    seconds = outside_seconds(grounding.whole_of(video), gold, config.margin)
    windows = [seconds[start : start + config.window] for start in range(0, len(seconds), config.window)]
    questions = [_question(config, sample, video, info, place, shown) for place, shown in enumerate(windows)]
    votes, unread = _votes(config, questions, windows)
    flagged = runs(votes, config.agreeing, config.consecutive)
    if flagged:
        spans = ", ".join(f"{first} to {last} s" for first, last in flagged)
        raise UserError(
            "the event is also seen outside of its annotation",
            f"{sample.id}: nothing outside of {gold[0]:g} to {gold[1]:g} s, where {config.agreeing} or more of "
            f"{config.replies} replies named {spans}",
        )
    named = {str(second): count for second, count in sorted(votes.items())}
    facts = {"seconds": len(seconds), "windows": len(windows), "named": named, "unread_replies": unread}
    return carried(row, config.source, {"boundary": facts}, config.media == "link")


def _votes(config: Config, questions: Sequence[Sample], windows: Sequence[Sequence[int]]) -> tuple[Counter[int], int]:
    """Ask about every window; return how many replies named each second, and how many replies hold no list.

    Raises:
        UserError: a window cannot be shown.
    """
    engine = engine_of(config.model, config.engine, config.source, config.seed)
    sampling = Sampling(config.temperature, config.top_p, max_new_tokens=config.max_new_tokens)
    environment = single_turn.create(single_turn.Config())
    votes: Counter[int] = Counter()
    unread = 0
    for found, shown in zip(
        ask_each(engine, environment, questions, config.replies, sampling, config.seed), windows, strict=True
    ):
        if isinstance(found, UserError):
            raise found
        for rollout in found.rollouts:
            named = named_seconds(rollout.text, shown)
            unread += named is None
            votes.update(named or ())
    return votes, unread


def _question(
    config: Config, sample: Sample, video: Media, info: "VideoInfo", place: int, shown: Sequence[int]
) -> Sample:
    """Return the question about one window as a sample of its own."""
    scale = min(1.0, math.sqrt(config.frame_pixels / (info.width * info.height)))
    parts: list[dict[str, Any]] = []
    for second in shown:
        parts += [{"type": "text", "text": f"{second} s: "}, {"type": "image"}, {"type": "text", "text": "\n"}]
    filled = {"question": sample.question.strip(), "first": str(shown[0]), "second": str(shown[-1])}
    ask = re.sub(r"\{(question|first|second)\}", lambda found: filled[found.group(1)], config.ask)
    frames = [Media("image", video.path, crop=video.crop, at=float(second), scale=scale) for second in shown]
    return Sample(
        f"{sample.id}/{place}", [{"role": "user", "content": [*parts, {"type": "text", "text": ask}]}], frames
    )


def outside_seconds(whole: Interval, gold: Interval, margin: float) -> list[int]:
    """Return the whole seconds of a video, its end not included, that lie outside of the annotated time and its margin.

    Args:
        whole: start and end of what the sample shows of its file, in seconds; `gold` in the same time.
    """
    seconds = range(math.ceil(whole[0]), math.ceil(whole[1]))
    return [second for second in seconds if second < gold[0] - margin or second > gold[1] + margin]


def named_seconds(text: str, shown: Sequence[int]) -> set[int] | None:
    """Return which of the shown seconds the last list of a reply names, rounded; None where it holds no list."""
    lists = re.findall(r"\[([\d\s.,]*)\]", text)
    if not lists:
        return None
    numbers = [float(item) for item in re.findall(r"\d+(?:\.\d+)?", lists[-1])]
    return {round(number) for number in numbers} & set(shown)


def runs(votes: Mapping[int, int], agreeing: int, consecutive: int) -> list[tuple[int, int]]:
    """Return first and last of every stretch of at least `consecutive` seconds that `agreeing` replies or more named.

    A stretch may go on from one window to the next.
    """
    counted = sorted(second for second, count in votes.items() if count >= agreeing)
    found: list[tuple[int, int]] = []
    for second in counted:
        if found and found[-1][1] == second - 1:
            found[-1] = (found[-1][0], second)
        else:
            found.append((second, second))
    return [(first, last) for first, last in found if last - first + 1 >= consecutive]


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
