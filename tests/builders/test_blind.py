"""Questions that are answered without looking are left out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mmreflect import recipes
from mmreflect.data.store import open_dataset
from mmreflect.files import read_jsonl
from mmreflect.records import Media, Sample

Cli = Callable[..., tuple[int, str]]
REPLIES = {
    "q0": ["A"] * 8,
    "q1": ["B", "A", "B", "A", "B", "A", "B", "A"],
    "q2": ["A"] * 5 + ["B"] * 3,
    "q3": ["A"] * 6 + ["B"] * 2,
}


@pytest.fixture
def source(tmp_path: Path, clip: Path, run_cli: Cli) -> Path:
    rows = [
        {
            "id": f"q{place}",
            "question": f"What falls, {place}?\nA. a cup\nB. a book",
            "videos": [str(clip)],
            "answer": "A",
            "facts": {"options": ["a cup", "a book"]},
        }
        for place in range(4)
    ]
    rows.append(
        {
            "id": "g",
            "question": "a cup falls",
            "videos": [str(clip)],
            "answer": "[1, 2]",
            "facts": {"task": "grounding", "answer_type": "temporal_iou"},
        }
    )
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, text = run_cli(
        "build",
        {
            "builder": "rows",
            "source": str(tmp_path / "rows.jsonl"),
            "output": str(tmp_path / "data"),
            "validation": 0.0,
        },
    )
    assert code == 0, text
    return tmp_path / "data"


def test_what_is_answered_blindly_is_rejected(source: Path, tmp_path: Path, run_cli: Cli) -> None:
    (tmp_path / "replies.jsonl").write_text(
        "".join(json.dumps({"sample_id": name, "replies": said}) + "\n" for name, said in REPLIES.items())
    )
    code, text = run_cli(
        "build",
        {"builder": "blind", "source": {"path": str(source)}, "output": str(tmp_path / "out"), "model": "tiny", "engine": {"name": "scripted", "replies": str(tmp_path / "replies.jsonl")}},
    )  # fmt: skip
    assert code == 0, text
    kept = {sample.id: sample for sample in open_dataset(str(tmp_path / "out")).samples("train")}
    assert {name: sample.facts.get("blind") for name, sample in kept.items()} == {"q1": 0.5, "q2": 0.625, "g": None}
    rejected = list(read_jsonl(tmp_path / "out/rejects/train-00000.jsonl"))
    assert [(row["index"], row["reason"]) for row in rejected] == [
        (0, "answered without looking"),
        (3, "answered without looking"),
    ]
    assert all(Path(item.media[0].path).is_file() for item in kept.values())


def test_nothing_to_look_at_is_left() -> None:
    leaf = recipes.load("builder", "blind")
    film = Media("video", "a.mp4")
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "q"}]},
    ]
    asked = leaf.blind(Sample("x", messages, [film], "A"))
    assert asked.media == [] and [turn["content"] for turn in asked.messages] == [
        [{"type": "text", "text": "s"}],
        [{"type": "text", "text": "q"}],
    ]
    assert leaf.blind(Sample("x", messages, [film], None)) is None
    assert leaf.blind(Sample("x", messages, [film], "[1, 2]", facts={"task": "grounding"})) is None


def test_on_a_tiny_model(source: Path, tmp_path: Path, run_cli: Cli) -> None:
    recipe = (Path(__file__).parent.parent.parent / "configs/build/blind.yaml").read_text()
    tiny = "model={path: tiny, tiny: {hidden_size: 32, layers: 2, heads: 2, vision_hidden_size: 32}}"
    code, text = run_cli("build", recipe, tiny, f"source.path={source}", f"output={tmp_path / 'out'}", "media=copy")
    assert code == 0, text
    assert len(list(open_dataset(str(tmp_path / "out")).rows("train"))) == 5
