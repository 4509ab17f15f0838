"""Videos with timed events: the first look misses them, a look at the right segment shows them."""

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mmreflect import recipes
from mmreflect.config import load_yaml, parse
from mmreflect.data.store import open_dataset
from mmreflect.media.sampling import frame_count, frame_indices, frame_range
from mmreflect.media.video import load_video
from mmreflect.records import FrameSampling, Media

ROOT = Path(__file__).parent.parent.parent
COLOURS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 220), "yellow": (230, 200, 40)}


def config_of(folder: Path, **changes: Any) -> dict[str, Any]:
    tree = load_yaml(ROOT / "configs/events/data.yaml")
    tree |= {"output": str(folder / "data"), "splits": {"sft": 24, "train": 6, "test": 4}, "shard_rows": 12, **changes}
    return tree


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import json

    from mmreflect.cli import main

    folder = tmp_path_factory.mktemp("events")
    (folder / "c.yaml").write_text(json.dumps(config_of(folder)))
    assert main(["build", str(folder / "c.yaml")]) == 0
    return folder / "data"


def seen(path: str, colour: str, span: tuple[float, float] | None, sampling: FrameSampling) -> bool:
    """Tell whether a look shows a dot of a colour."""
    frames = load_video(Media("video", path, span=span, frames=sampling)).frames_FHWC.astype(int)
    return bool((np.abs(frames - np.array(COLOURS[colour])).sum(-1) < 90).sum() >= 4)


def test_the_first_look_misses_the_event_and_a_second_one_shows_it(built: Path) -> None:
    coarse = FrameSampling(fps=1, max_frames=16, min_tokens=16, max_tokens=16)
    dense = FrameSampling(fps=2, max_frames=8, min_tokens=16, max_tokens=16)
    samples = [*open_dataset(str(built)).samples("train"), *open_dataset(str(built)).samples("test")]
    for sample in samples:
        colour = sample.facts["options"]["ABCD".index(sample.gold or "")]
        path, true = sample.media[0].path, tuple(sample.facts["gt_interval"])
        assert not any(seen(path, name, None, coarse) for name in COLOURS)
        assert seen(path, colour, true, dense)
        assert not any(seen(path, name, true, dense) for name in COLOURS if name != colour)
        assert true[0] <= sample.facts["event"][0] < sample.facts["event"][1] <= true[1]


def test_demonstrations_are_conversations_in_the_environment(built: Path) -> None:
    samples = list(open_dataset(str(built)).samples("sft"))
    asides = [sample for sample in samples if len(sample.media) == 1]
    looks = [sample for sample in samples if len(sample.media) == 2]
    assert asides and looks and len(asides) + len(looks) == 24
    for sample in looks:
        first, second = sample.media
        assert first.span is None and first.frames == FrameSampling(fps=1, max_frames=16, min_tokens=4, max_tokens=4)
        assert second.span is not None and second.frames is not None and second.frames.fps == 2
        assert [turn["role"] for turn in sample.messages] == ["user", "assistant", "user"]
        said = sample.messages[1]["content"][0]["text"]
        assert said.endswith(f"<time_interval>[{second.span[0]:.1f}, {second.span[1]:.1f}]</time_interval>")
        shown = second.span[0] <= sample.facts["event"][0] and sample.facts["event"][1] <= second.span[1]
        assert shown or not sample.facts["careful"]
        assert not shown or f"<answer>{sample.gold}</answer>" in (sample.response or "")
    for sample in asides:
        assert sample.response == sample.gold and sample.media[0].span == tuple(sample.facts["gt_interval"])


def test_both_looks_share_one_file(built: Path) -> None:
    rows = list(open_dataset(str(built)).rows("sft"))
    row = next(row for row in rows if len(row["videos"]) == 2)
    assert row["videos"][0]["path"] == row["videos"][1]["path"] and "span" not in row["videos"][0]
    assert len(list((built / "media/sft").rglob("*.mp4"))) == 24


def test_a_row_is_a_function_of_its_place_alone(tmp_path: Path) -> None:
    leaf = recipes.load("builder", "events")
    tree = config_of(tmp_path)
    tree.pop("builder")
    config = parse(leaf.Config, tree, "events")
    one = leaf.make(config, "sft", 3)
    content = Path(one.videos[0].path).read_bytes()
    leaf.make(config, "train", 0)
    two = leaf.make(config, "sft", 3)
    assert Path(two.videos[0].path).read_bytes() == content and one.messages == two.messages


@pytest.mark.parametrize("kind", ["colour", "change", "direction", "grounding"])
def test_every_kind_can_be_built(tmp_path: Path, kind: str, run_cli: Callable[..., tuple[int, str]]) -> None:
    tree = config_of(tmp_path, kinds=[kind], splits={"sft": 3, "train": 2}, shuffle_options=True)
    code, text = run_cli("build", tree)
    assert code == 0, text
    rows = list(open_dataset(str(tmp_path / "data")).rows("train"))
    facts = rows[0]["facts"]
    assert facts["kind"] == kind and facts["task"] == ("grounding" if kind == "grounding" else "qa")
    if kind == "grounding":
        assert rows[0]["answer"] == "[{:.0f}, {:.0f}]".format(*facts["gt_interval"])
    with av.open(io.BytesIO((tmp_path / "data" / rows[0]["videos"][0]).read_bytes())) as film:
        assert film.streams.video[0].frames == 96 and film.streams.video[0].width == 112


def test_a_dot_moves_the_way_the_answer_says(tmp_path: Path) -> None:
    leaf = recipes.load("builder", "events")
    tree = config_of(tmp_path, kinds=["direction"])
    tree.pop("builder")
    config = parse(leaf.Config, tree, "events")
    scene = leaf.draw_scene(config, random.Random(4))
    places = []
    for number in range(config.seconds * config.fps):
        picture = np.asarray(leaf.frame(config, scene, number)).astype(int)
        rows, columns = np.nonzero(np.abs(picture - np.array(COLOURS["red"])).sum(-1) < 60)
        if len(rows):
            places.append((columns.mean(), rows.mean()))
    moved = np.array(places[-1]) - np.array(places[0])
    across, down = leaf.DIRECTIONS[scene.second]
    assert moved @ np.array([across, down]) > 10 and abs(moved @ np.array([down, across])) < 3


def configured(folder: Path, **changes: Any) -> tuple[Any, Any]:
    leaf = recipes.load("builder", "events")
    tree = config_of(folder, **changes)
    tree.pop("builder")
    return leaf, parse(leaf.Config, tree, "events")


def dots(picture: Any) -> dict[str, tuple[float, float]]:
    """Return the colours of the dots in a picture with the middle of each."""
    pixels = np.asarray(picture).astype(int)
    places = {name: np.nonzero(np.abs(pixels - np.array(colour)).sum(-1) < 60) for name, colour in COLOURS.items()}
    return {name: (columns.mean(), rows.mean()) for name, (rows, columns) in places.items() if len(rows) > 4}


@pytest.mark.parametrize("kind", ["colour", "change", "direction"])
def test_the_dense_look_always_shows_what_is_asked_for(tmp_path: Path, kind: str) -> None:
    """Over many scenes, on the frames of the dense look at the true segment as they are drawn."""
    leaf, config = configured(tmp_path, kinds=[kind])
    dense = FrameSampling(fps=2, max_frames=8)
    lengths = set()
    for seed in range(60):
        scene = leaf.draw_scene(config, random.Random(seed))
        first, last = frame_range(96, 8, scene.box)
        indices = frame_indices(frame_count(last - first + 1, 8, dense), first, last)
        seen = [dots(leaf.frame(config, scene, index)) for index in indices]
        lengths.add(scene.box[1] - scene.box[0])
        if kind == "direction":
            places = [shown["red"] for shown in seen if shown]
            moved = np.array(places[-1]) - np.array(places[0])
            assert moved @ np.array(leaf.DIRECTIONS[scene.second]) > 5 and np.abs(moved).min() < 3
        else:
            assert any(scene.second in shown for shown in seen)
            assert {name for shown in seen for name in shown} <= {scene.first, scene.second}
    assert lengths == {2, 3, 4}, "no length is left out"


def test_a_lazy_look_that_shows_too_little_is_a_guess(tmp_path: Path) -> None:
    """The words of a demonstration say what its frames show, and its answer is right where they show enough."""
    leaf, config = configured(tmp_path, kinds=["change", "direction"], careful=0.0, asides=0.0)
    right, guessed = [], []
    for index in range(60):
        row = leaf.make(config, "sft", index)
        gold, said = row.facts["options"]["ABCD".index(row.answer)], row.messages[-1]["content"][0]["text"]
        seen = gold in said.split("</think>")[0].removeprefix("<think>").split()
        whole = row.facts["event"][1] <= 4.0
        (right if seen and whole else guessed).append(f"<answer>{row.answer}<" in said)
        assert not seen or row.facts["event"][0] < 4.0
    assert len(right) >= 3 and all(right), "what was seen is answered"
    assert len(guessed) >= 20 and not all(guessed), "what was not is guessed"


TWO_FRAMES = {"fps": 2, "min_frames": 2, "max_frames": 2, "min_tokens": 16, "max_tokens": 16}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"demonstrate": ["sfd"]}, "split to demonstrate"),
        ({"box_seconds": [2, 11]}, "box_seconds is 2 to 11 in videos of 12 seconds"),
        (
            {"kinds": ["direction"], "environment": {"name": "revisor", "dense": TWO_FRAMES}},
            "answer a question of kind 'direction'",
        ),
        ({"event_seconds": 1.5}, "the coarse look has a frame every 1.00 s, and the event lasts 1.5 s"),
    ],
)
def test_options_that_do_not_fit(
    tmp_path: Path, changes: dict[str, Any], message: str, run_cli: Callable[..., tuple[int, str]]
) -> None:
    code, text = run_cli("build", config_of(tmp_path, **changes))
    assert code == 2 and message in text
