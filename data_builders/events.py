"""Small videos with timed events, whose questions need a second, dense look.

    mmreflect build configs/events/data.yaml
    python -m data_builders.events configs/events/data.yaml

A grey scene with drifting blocks. For some seconds a white box stands in it, which the coarse look shows; in the box
something happens for about half a second, between the frames of the coarse look:

    colour      a dot flashes up                  Which colour does the dot in the box have?
    change      a dot changes its colour          Which colour does the dot in the box take on?
    direction   a dot crosses the box             Which way does the dot in the box move?
    grounding   the box itself is asked for       the time in which a box stands in the picture

The event lies between two frames of the environment's coarse look, so that no first guess beats chance, and a dense
look at the time of the box always shows what the question needs: the dot, the colour that it takes on, or two of its
places. The splits named in `demonstrate` hold conversations in the environment for SFT: careful ones name the right
segment, the lazy ones the first seconds of the video, after which most can only guess. That is put in on purpose: a
policy can then learn, by reinforcement alone, that choosing the segment well pays.
"""

import functools
import io
import itertools
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field

from mmreflect.building import Example
from mmreflect.components import EnvironmentOption, default
from mmreflect.config import config as config_class
from mmreflect.errors import UserError, unknown_name
from mmreflect.media.sampling import frame_count, frame_indices, frame_range
from mmreflect.records import Media, Sample
from mmreflect.rollouts.actions import Action, Observe, Probe
from mmreflect.rollouts.transcript import messages_of, play

if TYPE_CHECKING:
    from PIL.Image import Image

Share = Annotated[float, Field(ge=0, le=1)]
Kind = Literal["colour", "change", "direction", "grounding"]
COLOURS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 220), "yellow": (230, 200, 40)}
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
QUESTIONS: dict[Kind, str] = {
    "colour": "Which colour does the dot in the box have?",
    "change": "Which colour does the dot in the box take on?",
    "direction": "Which way does the dot in the box move?",
    "grounding": "a white box stands in the picture",
}
EXEMPT = {"*": ("answer",)}  # after a lazy look the answer is a guess, on purpose
LETTERS, CHANGES_AT = "ABCD", 0.3
"""Names of the options, and the share of an event after which a dot has its second colour."""


@config_class
class Config:
    """What to build.

    Attributes:
        splits: rows per split; `demonstrate` names those that hold conversations for SFT.
        kinds: which events, drawn evenly.
        seconds: length of a video; `box_seconds`: shortest and longest time of the box.
        fps, pixels: of the video files, which are square.
        event_seconds: how long the event lasts.
        careful: share of demonstrations that name the right segment.
        asides: share of demonstrations that show the probe's question in place of the conversation.
        shuffle_options: shuffle the letters of the options.
        environment: what the conversations are held in, and whose coarse look must miss the event.
    """

    output: str
    splits: Annotated[dict[str, Annotated[int, Field(gt=0)]], Field(min_length=1)]
    demonstrate: list[str] = Field(default_factory=list)
    seed: int = 0
    kinds: Annotated[list[Kind], Field(min_length=1)] = Field(default_factory=lambda: list(get_args(Kind)))
    seconds: Annotated[int, Field(ge=8)] = 12
    box_seconds: tuple[Annotated[int, Field(ge=2)], int] = (2, 4)
    fps: Annotated[int, Field(ge=4)] = 8
    pixels: Annotated[int, Field(ge=56)] = 112
    event_seconds: Annotated[float, Field(gt=0.5)] = 0.65
    careful: Share = 0.4
    asides: Share = 0.2
    shuffle_options: bool = True
    environment: EnvironmentOption = Field(default_factory=lambda: default("environment", "revisor"))
    shard_rows: Annotated[int, Field(gt=0)] = 500


@dataclass(frozen=True, slots=True)
class Scene:
    """What happens in one video.

    Attributes:
        box: first and last second of the box; `event`: of what happens in it.
        corner: upper left pixel of the box; `blocks`: start, drift per second and side of each grey block.
        first, second: what the dot looks like before and after a change, or which way it goes.
    """

    kind: Kind
    box: tuple[int, int]
    event: tuple[float, float]
    corner: tuple[int, int]
    blocks: tuple[tuple[float, float, float, float, int], ...]
    first: str
    second: str


def splits(config: Config) -> dict[str, int]:
    """Return how many rows each split has."""
    _check(config)
    return dict(config.splits)


def _check(config: Config) -> None:
    """Check what the options must agree in.

    Raises:
        UserError: a split to demonstrate is not built, the box times do not fit, an event cannot hide from the coarse
            look, or the dense look cannot show one.
    """
    if not hasattr(config.environment.options, "coarse"):
        raise UserError(f"environment {config.environment.name!r} has no coarse look", "revisor", "name that one")
    if config.demonstrate and config.environment.options.stage2_context == "paper":
        raise UserError(
            "with stage2_context: paper a conversation breaks in two, and neither half is a demonstration",
            "stage2_context: code",
            "demonstrate with 'code', and train with either",
        )
    if config.pixels % 2:
        raise UserError(f"pixels is {config.pixels}", "an even number", "H.264 needs even sides")
    for name in config.demonstrate:
        if name not in config.splits:
            raise unknown_name("split to demonstrate", name, list(config.splits))
    shortest, longest = config.box_seconds
    if longest < shortest or longest + 2 > config.seconds:
        raise UserError(
            f"box_seconds is {shortest} to {longest} in videos of {config.seconds} seconds",
            "the shorter one first, and two seconds of the video left",
            "change box_seconds or seconds",
        )
    seen = _coarse_times(config)
    gap = min(after - before for before, after in itertools.pairwise(seen))
    if gap < config.event_seconds + 2 / config.fps:
        raise UserError(
            f"the coarse look has a frame every {gap:.2f} s, and the event lasts {config.event_seconds:g} s",
            "an event that fits between two frames of the coarse look",
            "lower environment.coarse.fps or event_seconds",
        )
    lengths = range(shortest, longest + 1)
    boxes = [(start, start + length) for length in lengths for start in range(1, config.seconds - length)]
    for kind in config.kinds:
        if not any(is_shown(config, kind, box, event) for box in boxes for event in _events(config, box)):
            raise UserError(
                f"the dense look has no frames that would answer a question of kind {kind!r}",
                "frames of the event: one for colour, one after the change, two for direction",
                "raise environment.dense.fps or max_frames, or event_seconds, or leave the kind out",
            )


def _coarse_times(config: Config) -> list[float]:
    """Return the times of the frames that the environment's coarse look shows."""
    total = config.seconds * config.fps
    count = frame_count(total, config.fps, config.environment.options.coarse)
    return [index / config.fps for index in frame_indices(count, 0, total - 1)]


def make(config: Config, split: str, index: int) -> Example:
    """Make one row from its place alone."""
    rng = random.Random(f"{config.seed}/{split}/{index}")
    scene = draw_scene(config, rng)
    names = list(COLOURS if scene.kind != "direction" else DIRECTIONS)
    if config.shuffle_options:
        rng.shuffle(names)
    grounding = scene.kind == "grounding"
    gold = f"[{scene.box[0]}, {scene.box[1]}]" if grounding else LETTERS[names.index(scene.second)]
    listed = "" if grounding else "".join(f"\n{LETTERS[place]}. {name}" for place, name in enumerate(names))
    facts: dict[str, Any] = {
        "task": "grounding" if grounding else "qa",
        "kind": scene.kind,
        "duration": float(config.seconds),
        "gt_interval": [float(item) for item in scene.box],
        "event": [round(item, 3) for item in scene.event],
        "answer_type": "temporal_iou" if grounding else "multiple_choice",
    }
    if not grounding:
        facts["options"] = names
    name = f"{split}-{index:06}"
    film = Media("video", str(_film(config, scene, name)))
    asked = [{"type": "video"}, {"type": "text", "text": f"{QUESTIONS[scene.kind]}{listed}"}]
    sample = Sample(name, [{"role": "user", "content": asked}], [film], gold, None, facts)
    if split in config.demonstrate:
        messages, media, facts["careful"] = _demonstrate(config, sample, scene, names, rng)
    else:
        messages, media = sample.messages, sample.media
    return Example(id=name, messages=messages, videos=media, answer=gold, facts=facts)


def draw_scene(config: Config, rng: random.Random) -> Scene:
    """Draw what happens, the event between two frames of the coarse look and inside the time of the box."""
    kind = rng.choice(config.kinds)
    box, event = _draw_time(config, rng)
    while not is_shown(config, kind, box, event):
        box, event = _draw_time(config, rng)
    first, second = rng.sample(list(DIRECTIONS if kind == "direction" else COLOURS), 2)
    side = config.pixels // 2
    corner = (rng.randint(4, config.pixels - side - 4), rng.randint(4, config.pixels - side - 4))
    edge, drift = (0, config.pixels), (-8, 8)
    blocks = tuple(
        (rng.uniform(*edge), rng.uniform(*edge), rng.uniform(*drift), rng.uniform(*drift), rng.randint(6, 14))
        for _ in range(4)
    )
    return Scene(kind, box, event, corner, blocks, first, second)


def _draw_time(config: Config, rng: random.Random) -> tuple[tuple[int, int], tuple[float, float]]:
    """Draw the time of the box, and the event's in it."""
    length = rng.randint(*config.box_seconds)
    start = rng.randint(1, config.seconds - 1 - length)
    box = (start, start + length)
    return box, rng.choice(_events(config, box))


def _events(config: Config, box: tuple[int, int]) -> list[tuple[float, float]]:
    """Return the times that an event may have: between two frames of the coarse look, in the time of the box."""
    seen = itertools.pairwise(_coarse_times(config))
    middles = [(before + after) / 2 for before, after in seen if box[0] <= before and after <= box[1]]
    half = config.event_seconds / 2
    return [(middle - half, middle + half) for middle in middles or [(box[0] + box[1]) / 2]]


def is_shown(config: Config, kind: Kind, segment: tuple[float, float], event: tuple[float, float]) -> bool:
    """Tell whether a dense look at a segment shows what a question needs: for a direction two frames of the event."""
    shares = [_share(event, time) for time in _dense_times(config, segment)]
    if kind == "change":
        return any(CHANGES_AT <= share < 1 for share in shares)
    needed = {"colour": 1, "direction": 2, "grounding": 0}[kind]
    return len({share for share in shares if 0 <= share < 1}) >= needed


def _share(event: tuple[float, float], time: float) -> float:
    """Return how much of an event is over, 0 to 1; below 0 before it, above 1 after it."""
    return (time - event[0]) / (event[1] - event[0])


def _dense_times(config: Config, segment: tuple[float, float]) -> list[float]:
    """Return the times of the frames that a dense look at a segment shows."""
    first, last = frame_range(config.seconds * config.fps, config.fps, segment)
    count = frame_count(last - first + 1, config.fps, config.environment.options.dense)
    return [index / config.fps for index in frame_indices(count, first, last)]


def frame(config: Config, scene: Scene, number: int) -> "Image":
    """Draw one frame of a scene."""
    from PIL import Image, ImageDraw

    time, pixels = number / config.fps, config.pixels
    picture = Image.new("RGB", (pixels, pixels), (90, 90, 95))
    draw = ImageDraw.Draw(picture)
    for x, y, across, down, size in scene.blocks:
        left, top = (x + across * time) % pixels, (y + down * time) % pixels
        draw.rectangle([left, top, left + size, top + size], fill=(125, 125, 125))
    if not scene.box[0] <= time < scene.box[1]:
        return picture
    left, top = scene.corner
    side = config.pixels // 2
    draw.rectangle([left, top, left + side, top + side], fill=(250, 250, 250))
    share = _share(scene.event, time)
    if not 0 <= share < 1:
        return picture
    middle = (left + side / 2, top + side / 2)
    if scene.kind == "colour":
        _dot(draw, middle, side, COLOURS[scene.second])
    elif scene.kind == "change":
        _dot(draw, middle, side, COLOURS[scene.first if share < CHANGES_AT else scene.second])
    elif scene.kind == "direction":
        across, down = DIRECTIONS[scene.second]
        way = (share - 0.5) * side * 0.6
        _dot(draw, (middle[0] + across * way, middle[1] + down * way), side, COLOURS["red"])
    return picture


@functools.cache
def _studio() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="mmreflect-events-")


def _film(config: Config, scene: Scene, name: str) -> Path:
    """Write a scene's video where the next row's takes its place: by then it is stored in the dataset."""
    folder = Path(_studio().name)
    for old in folder.iterdir():
        old.unlink()
    path = folder / f"{name}.mp4"
    frames = [frame(config, scene, number) for number in range(config.seconds * config.fps)]
    path.write_bytes(encode(frames, config.fps))
    return path


def _dot(draw: Any, middle: tuple[float, float], side: int, colour: tuple[int, int, int]) -> None:
    radius = side / 5
    x, y = middle
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)


def encode(frames: Sequence["Image"], fps: int) -> bytes:
    """Encode frames as an mp4 file, the same frames to the same bytes.

    H.264 where PyAV's build has it, else MPEG-4 Part 2.
    """
    import av

    buffer = io.BytesIO()
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        # the bytes must not depend on the machine: one thread, and no lookahead, which reads memory it has not set
        stream.thread_count = 1
        steady = {"crf": "18", "preset": "veryfast", "g": str(2 * fps), "x264-params": "mbtree=0:rc-lookahead=0"}
        stream.options = steady if codec == "libx264" else {}
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return buffer.getvalue()


def _demonstrate(
    config: Config, sample: Sample, scene: Scene, names: list[str], rng: random.Random
) -> tuple[list[dict[str, Any]], list[Media], bool]:
    """Hold a conversation in the environment, or the probe's in its place; say whether it was careful."""
    careful = rng.random() < config.careful
    aside = sample.facts["task"] == "qa" and rng.random() < config.asides
    lazy = (0.0, float(config.box_seconds[1]))
    segment = (float(scene.box[0]), float(scene.box[1])) if careful or aside else lazy
    whole = segment[0] <= scene.event[0] and scene.event[1] <= segment[1]
    shown = whole and is_shown(config, scene.kind, segment, scene.event)
    guess = names.index(scene.second) if shown and (sample.gold or " ") in LETTERS else rng.randrange(len(names))
    letter = LETTERS[guess]

    def answer(action: Action) -> str:
        if isinstance(action, Probe):
            return letter
        assert isinstance(action, Observe), "these environments put no words in a reply"
        if action.stage == "propose":
            thoughts = " ".join(_glance(config, scene))
            return f"<think>{thoughts}</think><time_interval>[{segment[0]:.1f}, {segment[1]:.1f}]</time_interval>"
        thoughts = " ".join(_gaze(config, scene, action.content))
        return f"<think>{thoughts}</think><answer>{letter}</answer>"

    environment = config.environment.module.create(config.environment.options)
    transcript = play(environment, sample, answer)
    turns = transcript.asides.get("sufficiency") if aside else None
    turns = turns or transcript.conversations[0]
    messages, media = messages_of(turns)
    return messages, media, careful


def _glance(config: Config, scene: Scene) -> list[str]:
    """Put into words what the coarse look shows: for every two frames their second, and whether the box is there."""
    times = _coarse_times(config)
    words = []
    for first, second in zip(times[::2], times[1::2], strict=True):
        seen = any(scene.box[0] <= time < scene.box[1] for time in (first, second))
        words += [str(int(first)), "box" if seen else "-"]
    return words


def _gaze(config: Config, scene: Scene, content: Sequence[str | Media]) -> list[str]:
    """Put into words what the dense look shows: for every two frames what happens, the box, or neither."""
    clip = next((part for part in content if isinstance(part, Media)), None)
    if clip is None or clip.span is None:
        return ["nothing"]
    times = _dense_times(config, clip.span)
    known = scene.kind != "direction" or is_shown(config, "direction", clip.span, scene.event)
    words = []
    for pair in zip(times[::2], times[1::2], strict=True):
        seen = [share for share in (_share(scene.event, time) for time in pair) if 0 <= share < 1]
        box = any(scene.box[0] <= time < scene.box[1] for time in pair)
        if seen and known and scene.kind != "grounding":
            words.append(scene.first if scene.kind == "change" and max(seen) < CHANGES_AT else scene.second)
        else:
            words.append("box" if box else "-")
    return words


if __name__ == "__main__":
    import sys

    from mmreflect.cli import main

    sys.exit(main(["build", *sys.argv[1:]]))
