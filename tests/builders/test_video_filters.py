"""Boundary reflection and difficulty through the command line, on small films, by scripts and on a tiny model."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmreflect import recipes
from mmreflect.data.store import open_dataset
from mmreflect.files import read_jsonl

Cli = Callable[..., tuple[int, str]]
ROOT = Path(__file__).parent.parent.parent
TINY = {"path": "tiny", "tiny": {"hidden_size": 32, "layers": 2, "heads": 2, "vision_hidden_size": 32}}
boundary = recipes.load("builder", "boundary_reflection")


def write_film(path: Path, seconds: int, shade: int) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=2)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for place in range(2 * seconds):
            picture = np.full((64, 64, 3), (shade + place * 3) % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


EVENTS: dict[str, Any] = {"a": [8.0, 12.0], "b": [0.0, 6.0], "c": [3.0, 4.5], "d": [10.0, 20.0]}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four grounding questions about 20 s each, as a dataset folder."""
    from mmreflect.cli import main

    folder = tmp_path_factory.mktemp("films")
    rows = []
    for place, (name, event) in enumerate(EVENTS.items()):
        write_film(folder / f"{name}.mp4", 20, 40 * place)
        facts = {"task": "grounding", "gt_interval": event, "answer_type": "temporal_iou"}
        rows.append(
            {"id": name, "question": f"The light of film {name} grows.", "videos": [f"{name}.mp4"],
             "answer": str(event), "facts": facts}
        )  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {"builder": "rows", "output": str(folder / "data"), "source": str(folder / "rows.jsonl"), "validation": 0}
    (folder / "build.yaml").write_text(json.dumps(config | {"validation": 0.0}))
    assert main(["build", str(folder / "build.yaml")]) == 0
    return folder / "data"


def replies(folder: Path, script: dict[str, list[str]]) -> dict[str, str]:
    file = folder / "replies.jsonl"
    file.write_text("".join(json.dumps({"sample_id": key, "replies": said}) + "\n" for key, said in script.items()))
    return {"name": "scripted", "replies": str(file)}


def settings(builder: str, films: Path, output: Path, **keys: Any) -> dict[str, Any]:
    return {"builder": builder, "output": str(output), "source": {"path": str(films)}, "model": TINY, **keys}


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("config.yaml", "result.json", "run.lock")
    }


# ---- boundary reflection ---------------------------------------------------------------------------------------


def test_seconds_outside_of_the_annotation_and_its_margin() -> None:
    assert boundary.outside_seconds((0.0, 20.0), (8.0, 12.0), 1.0) == [*range(7), *range(14, 20)]
    assert boundary.outside_seconds((0.0, 4.2), (1.5, 2.0), 0.25) == [0, 1, 3, 4]
    assert boundary.outside_seconds((10.5, 15.0), (12.0, 13.0), 0.0) == [11, 14]
    assert boundary.outside_seconds((0.0, 20.0), (0.0, 20.0), 1.0) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [("[14, 15]", {14, 15}), ("[]", set()), ("none", None), ("At [3] no; so [14.4, 15.0, 99, 8]", {14, 15}),
     ("[about 14]", None)],
)  # fmt: skip
def test_replies_are_read(text: str, named: set[int] | None) -> None:
    assert boundary.named_seconds(text, [*range(7), *range(14, 20)]) == named


@pytest.mark.parametrize(
    ("votes", "found"),
    [({}, []), ({3: 3}, []), ({3: 2, 4: 2}, [(3, 4)]), ({3: 2, 4: 1, 5: 2}, []), ({3: 2, 5: 3}, []),
     ({14: 2, 15: 3, 16: 2, 2: 2, 3: 2}, [(2, 3), (14, 16)])],
)  # fmt: skip
def test_the_rule_wants_consecutive_seconds_that_replies_agree_on(votes: dict[int, int], found: Any) -> None:
    assert boundary.runs(votes, agreeing=2, consecutive=2) == found


SCRIPT = {
    "a/0": ["[2, 3]", "[3]", "[]"],  # only one second is agreed on
    "b/0": ["[15, 16]", "[16, 15, 18]", "none"],  # two of three replies name two seconds in a row
    "c/0": ["[5]", "[9, 30]", "[9, 10]"],  # 5 lies in the margin, 30 beyond the video
    "d/0": ["[1, 2]", "[]", "[3, 4]"],  # three replies, and no two agree
}


def test_flagged_rows_are_dropped_with_their_seconds_and_the_others_say_what_was_named(
    run_cli: Cli, films: Path, tmp_path: Path
) -> None:
    config = settings("boundary_reflection", films, tmp_path / "out", engine=replies(tmp_path, SCRIPT))
    code, text = run_cli("build", config)
    assert code == 0 and "rejected 1 row" in text, text
    kept = {sample.id: sample for sample in open_dataset(str(tmp_path / "out")).samples("train")}
    assert list(kept) == ["a", "c", "d"]
    assert kept["a"].facts["boundary"] == {"seconds": 13, "windows": 1, "named": {"2": 1, "3": 2}, "unread_replies": 0}
    assert kept["c"].facts["boundary"]["named"] == {"9": 2, "10": 1}
    assert kept["a"].facts["gt_interval"] == [8.0, 12.0] and kept["a"].gold == "[8.0, 12.0]"
    (reject,) = read_jsonl(tmp_path / "out/rejects/train-00000.jsonl")
    assert reject["index"] == 1 and reject["reason"] == "the event is also seen outside of its annotation"
    assert "b: nothing outside of 0 to 6 s, where 2 or more of 3 replies named 15 to 16 s" in json.dumps(reject)
    for sample in kept.values():
        original = next(item for item in open_dataset(str(films)).samples("train") if item.id == sample.id)
        assert Path(sample.media[0].path).read_bytes() == Path(original.media[0].path).read_bytes()
        assert sample.messages == original.messages


def test_windows_and_their_votes(run_cli: Cli, films: Path, tmp_path: Path) -> None:
    script = {f"{name}/{window}": ["[]"] for name in EVENTS for window in range(4)}
    script |= {"a/0": ["[3]"], "a/1": ["[4]"]}  # 0 to 3, 4 to 6 and 14, ...: a stretch across two windows
    config = settings("boundary_reflection", films, tmp_path / "out", engine=replies(tmp_path, script), window=4)
    assert run_cli("build", config)[0] == 0
    (reject,) = read_jsonl(tmp_path / "out/rejects/train-00000.jsonl")
    assert reject["index"] == 0 and "named 3 to 4 s" in json.dumps(reject)


def test_what_cannot_be_asked_about_is_named(run_cli: Cli, tmp_path: Path) -> None:
    write_film(tmp_path / "x.mp4", 3, 0)
    rows = [
        {"id": "none", "question": "where?", "videos": ["x.mp4"]},
        {"id": "backwards", "question": "where now?", "videos": ["x.mp4"], "facts": {"gt_interval": [2, 1]}},
        {"id": "text", "question": "where then?", "facts": {"gt_interval": [0, 1]}},
        {"id": "good", "question": "where is it?", "videos": ["x.mp4"], "facts": {"gt_interval": [0, 1]}},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"builder": "rows", "output": str(tmp_path / "in"), "source": str(tmp_path / "rows.jsonl")}
    assert run_cli("build", source | {"validation": 0.0})[0] == 0
    engine = replies(tmp_path, {"good/0": ["[]"], "good": ["<think>a</think><answer>[0, 1]</answer>"]})
    for builder in ("boundary_reflection", "difficulty"):
        code, text = run_cli("build", settings(builder, tmp_path / "in", tmp_path / builder, engine=engine))
        assert code == 0 and "rejected 3 rows" in text, text
        reasons = [row["reason"] for row in read_jsonl(tmp_path / builder / "rejects/train-00000.jsonl")]
        assert reasons == [
            *["facts.gt_interval is not [start, end] in seconds"] * 2, "sample 'text' shows no media",
        ]  # fmt: skip


# ---- difficulty ------------------------------------------------------------------------------------------------

GUESSES = {
    "a": ["<think>x</think><answer>[8, 12]</answer>"],
    "b": ["<answer>[3, 9]</answer>"],  # 3 of 9 seconds
    "c": ["I do not know."],
    "d": [f"<answer>[20, 1{'0' * 400}]</answer>"],  # beyond the floats
}


def test_difficulty_is_one_minus_iou_and_every_row_stays(run_cli: Cli, films: Path, tmp_path: Path) -> None:
    config = settings("difficulty", films, tmp_path / "out", engine=replies(tmp_path, GUESSES), batch_size=3)
    assert run_cli("build", config)[0] == 0
    facts = {sample.id: sample.facts for sample in open_dataset(str(tmp_path / "out")).samples("train")}
    assert {name: item["difficulty"] for name, item in facts.items()} == {
        "a": 0.0, "b": pytest.approx(2 / 3, abs=1e-6), "c": 1.0, "d": 1.0,
    }  # fmt: skip
    assert [item["zero_shot"] for item in facts.values()] == [[8.0, 12.0], [3.0, 9.0], None, None]


def test_rows_outside_of_the_limits_are_counted(run_cli: Cli, films: Path, tmp_path: Path) -> None:
    engine = replies(tmp_path, GUESSES)
    config = settings("difficulty", films, tmp_path / "out", engine=engine, min_difficulty=0.1, max_difficulty=0.9)
    code, text = run_cli("build", config)
    assert code == 0 and "difficulty outside 0.1 to 0.9 (3)" in text
    assert [sample.id for sample in open_dataset(str(tmp_path / "out")).samples("train")] == ["b"]


def test_a_broken_video_fails_alone(run_cli: Cli, films: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(films, tmp_path / "in")
    broken = sorted((tmp_path / "in/media").rglob("*.mp4"))[1]
    broken.write_bytes(b"no video")
    config = settings("difficulty", tmp_path / "in", tmp_path / "out", engine=replies(tmp_path, GUESSES))
    code, text = run_cli("build", config)
    assert code == 0 and "rejected 1 row" in text, text
    assert [sample.id for sample in open_dataset(str(tmp_path / "out")).samples("train")] == ["a", "c", "d"]


def test_settings_that_cannot_hold_are_refused(run_cli: Cli, films: Path, tmp_path: Path) -> None:
    for builder, keys, message in (
        ("difficulty", {"min_difficulty": 0.9, "max_difficulty": 0.1}, "min_difficulty=0.9 is above"),
        ("difficulty", {"ask": {"curriculum": {}}}, "ask.curriculum goes by the difficulty that is measured here"),
        ("boundary_reflection", {"agreeing": 4}, "agreeing=4 is above replies=3"),
        ("boundary_reflection", {"source": {"path": str(films), "split": "trian"}}, "did you mean 'train'"),
        ("difficulty", {"source": {"path": str(films), "split": "trian"}}, "did you mean 'train'"),
        ("difficulty", {"model": "nowhere"}, "no such model: nowhere"),
    ):
        code, text = run_cli("build", {**settings(builder, films, tmp_path / "out"), **keys})
        assert code == 2 and message in text and "Traceback" not in text, text


def test_videos_can_be_linked(run_cli: Cli, films: Path, tmp_path: Path) -> None:
    config = settings("difficulty", films, tmp_path / "out", engine=replies(tmp_path, GUESSES), media="link")
    assert run_cli("build", config)[0] == 0
    for sample in open_dataset(str(tmp_path / "out")).samples("train"):
        assert Path(sample.media[0].path).is_symlink() and Path(sample.media[0].path).is_file()


# ---- on a tiny model -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("builder", ["boundary_reflection", "difficulty"])
def test_a_killed_build_goes_on_to_the_same_bytes(builder: str, run_cli: Cli, films: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"max_new_tokens": 6, "shard_rows": 2}
    keys |= {"batch_size": 3} if builder == "difficulty" else {}
    for name in ("whole", "cut"):
        assert run_cli("build", settings(builder, films, tmp_path / name, **keys))[0] == 0
    for name in ("manifest.json", "result.json", "train/00001.jsonl"):
        (tmp_path / "cut" / name).unlink()
    kept = (tmp_path / "cut/train/00000.jsonl").stat().st_mtime_ns
    assert run_cli("build", settings(builder, films, tmp_path / "cut", **keys))[0] == 0
    assert digest(tmp_path / "whole") == digest(tmp_path / "cut")
    assert (tmp_path / "cut/train/00000.jsonl").stat().st_mtime_ns == kept


def test_from_a_dataset_to_a_curriculum_by_the_recipes(run_cli: Cli, films: Path, tmp_path: Path) -> None:
    """Both filters and two steps of training, with the settings of the published files."""
    tiny = f"model={json.dumps(TINY)}"
    for builder, source, output in (
        ("boundary_reflection", films, tmp_path / "checked"), ("difficulty", tmp_path / "checked", tmp_path / "hard"),
    ):  # fmt: skip
        text = (ROOT / f"configs/build/{builder}.yaml").read_text()
        words = [tiny, f"source.path={source}", f"output={output}", "max_new_tokens=6"]
        code, said = run_cli("build", text, *words)
        assert code == 0, said
    assert all(sample.facts["difficulty"] == 1.0 for sample in open_dataset(str(tmp_path / "hard")).samples("train"))
    words = [
        tiny, f"data.path={tmp_path / 'hard'}", f"output={tmp_path / 'run'}", "evaluation=", "trainer.max_steps=2",
        "trainer.per_device_train_batch_size=4", "trainer.num_generations=4", "trainer.gradient_accumulation_steps=1",
        "trainer.max_completion_length=8", "trainer.bf16=false", "trainer.save_steps=2", "rollout.keep_every=1",
    ]  # fmt: skip
    code, said = run_cli("train", (ROOT / "configs/train/videotg_r1_7b.yaml").read_text(), *words)
    assert code == 0, said
    steps = [json.loads((tmp_path / f"run/rollouts/step-{step:06}.json").read_text()) for step in (0, 1)]
    masked = [group["rollouts"][0]["facts"]["masked"] for step in steps for group in step]
    assert masked == pytest.approx([0.8, 0.8 * (1 - 0.5 / 0.7)], abs=1e-5)  # progress 0 and 1/2
    parts = steps[0][0]["rollouts"][0]["score"]["parts"]
    assert set(parts) == {"grounding.iou", "grounding.format"}
