import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmreflect.answers.extract import candidates
from mmreflect.data.loading import DataConfig, load_samples
from mmreflect.data.store import open_dataset
from mmreflect.errors import UserError
from mmreflect.files import read_jsonl
from mmreflect.reflection.tags import follows

Cli = Callable[..., tuple[int, str]]


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("config.yaml", "result.json", "run.lock")
    }


def grid_config(output: Path, **keys: Any) -> dict[str, Any]:
    return {
        "builder": "grid",
        "output": str(output),
        "splits": {"train": 30, "validation": 8},
        "shard_rows": 10,
        **keys,
    }


def test_rows_hold_what_they_say(grid: Path) -> None:
    samples = list(open_dataset(str(grid)).samples("train"))
    assert len(samples) == 48
    for sample in samples:
        stated = candidates(sample.response or "")
        assert follows(sample.response or "", "cold_start")
        assert stated[0].text == sample.facts["first_answer"]
        assert stated[-1].text == (sample.gold if sample.facts["careful"] else sample.facts["first_answer"])
        assert Image.open(sample.media[0].path).size == (84, 84)


def test_answers_are_what_the_picture_shows(grid: Path) -> None:
    colours = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 220)}
    for sample in open_dataset(str(grid)).samples("train"):
        picture = Image.open(sample.media[0].path).convert("RGB")
        centres = [(14 + 28 * column, 14 + 28 * row) for row in range(3) for column in range(3)]
        seen = sum(picture.getpixel(centre) == colours[sample.facts["colour"]] for centre in centres)
        assert str(seen) == sample.gold


def test_same_seed_same_bytes_and_another_seed_another_set(run_cli: Cli, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run_cli("build", grid_config(tmp_path / name, seed=seed))[0] == 0
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_interrupted_build_goes_on_to_the_same_bytes(run_cli: Cli, tmp_path: Path) -> None:
    assert run_cli("build", grid_config(tmp_path / "whole"))[0] == 0
    assert run_cli("build", grid_config(tmp_path / "cut"))[0] == 0
    for name in ("manifest.json", "result.json", "train/00001.jsonl", "media/train/00001/000013-0.png"):
        (tmp_path / "cut" / name).unlink()
    (tmp_path / "cut/train/.00001.jsonl.partial").write_text("half")
    kept = (tmp_path / "cut/train/00000.jsonl").stat().st_mtime_ns
    assert run_cli("build", grid_config(tmp_path / "cut"))[0] == 0
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
    assert (tmp_path / "cut/train/00000.jsonl").stat().st_mtime_ns == kept


def test_finished_build_is_not_built_again(run_cli: Cli, tmp_path: Path) -> None:
    run_cli("build", grid_config(tmp_path / "a"))
    assert "finished already" in run_cli("build", grid_config(tmp_path / "a"))[1]


def test_output_of_another_run_is_refused(run_cli: Cli, tmp_path: Path) -> None:
    run_cli("build", grid_config(tmp_path / "a", seed=1))
    code, text = run_cli("build", grid_config(tmp_path / "a", seed=2))
    assert code == 2 and "seed: 1 -> 2" in text and "choose another output" in text
    (tmp_path / "b").mkdir()
    (tmp_path / "b/letter.txt").write_text("mine")
    code, text = run_cli("build", grid_config(tmp_path / "b"))
    assert code == 2 and "is not empty and holds no run of mmreflect (found: letter.txt)" in text


def test_splits_share_no_grid(grid: Path) -> None:
    """The same colours in the same cells under the same question never stand in two splits."""

    def content(sample: Any) -> str:
        picture = Image.open(sample.media[0].path).convert("RGB")
        cells = [picture.getpixel((14 + 28 * column, 14 + 28 * row)) for row in range(3) for column in range(3)]
        return f"{sample.question}{cells}"

    dataset = open_dataset(str(grid))
    seen = {split: {content(sample) for sample in dataset.samples(split)} for split in dataset.splits()}
    assert (
        not seen["train"] & seen["rl"]
        and not seen["train"] & seen["validation"]
        and not seen["rl"] & seen["validation"]
    )


def test_text_modality_has_no_pictures(run_cli: Cli, tmp_path: Path) -> None:
    assert run_cli("build", grid_config(tmp_path / "text", modality="text"))[0] == 0
    sample = next(open_dataset(str(tmp_path / "text")).samples("train"))
    assert (
        (sample.media == [] and "none" in sample.question) or "square" in sample.question or "circle" in sample.question
    )


def test_loads_in_datasets_as_it_is(grid: Path) -> None:
    import datasets

    loaded = datasets.load_dataset(
        "json", data_files=str(grid / "train" / "*.jsonl"), split="train", cache_dir=str(grid.parent / "cache")
    )
    assert len(loaded) == 48 and {"messages", "images", "answer"} <= set(loaded.column_names)


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), "white").save(folder / "good.png")
    whole = (folder / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("this is no picture")
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


BAD = [
    ({"question": "q", "images": ["cut.png"]}, "the picture cannot be decoded"),
    ({"question": "q", "images": ["text.png"]}, "not a picture"),
    ({"question": "q", "images": ["gone.png"]}, "no such picture"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "image"}]}], "images": ["good.png"]}, "has 2 image placeholder(s) in messages and 1 image(s)"),
    ({"images": ["good.png"]}, "has neither 'messages' nor a 'question'"),
    ({"question": "q", "videos": ["text.png"]}, "not a video, or broken from the start"),
    ({"messages": [1]}, "a turn is no mapping with role and content (1)"),
    ({"messages": [{"role": "user", "content": None}]}, "the content of a turn is neither text nor a list of parts (None)"),
    ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "a part of a turn is no text, image or video ({'type': 'audio'})"),
    ({"question": "q", "response": 5}, "a part of a turn is no text, image or video ({'type': 'text', 'text': 5})"),
]  # fmt: skip


def test_bad_rows_are_quarantined_with_their_reason_and_counted(run_cli: Cli, tmp_path: Path) -> None:
    good = [{"id": f"good-{place}", "question": "q?", "images": ["good.png"], "answer": place} for place in range(5)]
    source = write_rows(
        tmp_path / "in", [*good, *({"id": f"bad-{place}", **row} for place, (row, _) in enumerate(BAD))]
    )
    source.write_text(source.read_text() + "{broken\n")
    code, text = run_cli(
        "build", {"builder": "rows", "output": str(tmp_path / "out"), "source": str(source), "validation": 0.0}
    )
    assert code == 0 and f"rejected {len(BAD) + 1} rows" in text, text
    dataset = open_dataset(str(tmp_path / "out"))
    assert sorted(sample.id for sample in dataset.samples("train")) == [f"good-{place}" for place in range(5)]
    rejects = list(read_jsonl(tmp_path / "out/rejects/train-00000.jsonl"))
    for row, (_, reason) in zip(rejects, [*BAD, ({}, "not JSON")], strict=True):
        assert reason in row.get("detail", row["reason"]), row
    assert [row.get("id") for row in rejects] == [*(f"bad-{place}" for place in range(len(BAD))), None]


def test_rows_that_ask_the_same_stay_in_one_split(run_cli: Cli, tmp_path: Path) -> None:
    asked = ["same?", "same?", "same?", "other?", "third?", "third?"]
    rows = [
        {"id": f"r{place}", "question": text, "images": ["good.png"], "answer": "1"} for place, text in enumerate(asked)
    ]
    source = write_rows(tmp_path / "in", rows)
    code, text = run_cli(
        "build", {"builder": "rows", "output": str(tmp_path / "out"), "source": str(source), "validation": 0.5}
    )
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    questions = {split: {sample.question for sample in dataset.samples(split)} for split in dataset.splits()}
    assert not questions["train"] & questions["validation"] and set().union(*questions.values()) == set(asked)


def test_a_question_in_two_splits_is_refused(monkeypatch: pytest.MonkeyPatch, run_cli: Cli, tmp_path: Path) -> None:
    from mmreflect import recipes

    grid = recipes.load("builder", "grid")
    make = grid.make
    monkeypatch.setattr(
        grid, "make", lambda config, split, index: replace(make(config, "train", 0), id=f"{split}-{index}")
    )
    code, text = run_cli("build", grid_config(tmp_path / "out", splits={"train": 1, "validation": 1}))
    assert code == 2 and "stand in two splits with the same pictures" in text


def test_ids_name_no_files_and_stand_once(run_cli: Cli, tmp_path: Path) -> None:
    rows = [
        {"id": name, "question": f"q{place}?", "images": ["good.png"]}
        for place, name in enumerate(["../../evil", "/tmp/x" * 80, "same", "same"])
    ]
    source = write_rows(tmp_path / "in", rows)
    code, text = run_cli(
        "build", {"builder": "rows", "output": str(tmp_path / "out"), "source": str(source), "validation": 0.0}
    )
    assert code == 0 and "an id stands more than once (1)" in text
    assert sorted(path.name for path in (tmp_path / "out/media/train/00000").iterdir()) == [
        "000000-0.png",
        "000001-0.png",
        "000002-0.png",
    ]
    assert not list(tmp_path.glob("*evil*"))


def test_a_changed_source_is_another_dataset(run_cli: Cli, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in", [{"question": f"q{place}?"} for place in range(4)])
    config = {"builder": "rows", "output": str(tmp_path / "out"), "source": str(source)}
    assert run_cli("build", config)[0] == 0
    source.write_text(source.read_text() + '{"question": "new?"}\n')
    code, text = run_cli("build", config)
    assert code == 2 and "holds a run on another source: it has changed since" in text


def test_a_source_that_is_missing_empty_or_broken(run_cli: Cli, tmp_path: Path) -> None:
    for content, reason in ((None, "no such file"), ("", "holds no rows"), ("[1]\n{broken\n", "not JSON (1)")):
        source = tmp_path / "rows.jsonl"
        source.unlink(missing_ok=True)
        if content is not None:
            source.write_text(content)
        code, text = run_cli("build", {"builder": "rows", "output": str(tmp_path / "out"), "source": str(source)})
        assert code == 2 and reason in text and "Traceback" not in text


def damaged(grid: Path, folder: Path, bad: int) -> Path:
    import shutil

    shutil.copytree(grid, folder)
    for path in sorted((folder / "media/train/00000").iterdir())[:bad]:
        path.write_bytes(path.read_bytes()[:100])
    return folder


def test_loading_leaves_out_bad_samples_within_the_tolerance(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = damaged(grid, tmp_path / "data", 2)
    samples = load_samples(DataConfig(path=str(folder), tolerate=0.1), tmp_path / "quarantine.jsonl")
    assert len(samples) == 46 and "left out 2 bad samples of 48" in capsys.readouterr().out
    assert len((tmp_path / "quarantine.jsonl").read_text().splitlines()) == 2
    with pytest.raises(UserError, match=r"2 of 48 samples .* are bad \(4.2%\)[\s\S]*raise data.tolerate"):
        load_samples(DataConfig(path=str(folder)))


def test_loading_refuses_missing_empty_and_unfinished_sets(grid: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such dataset"):
        load_samples(DataConfig(path=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match=r"has no manifest\.json"):
        load_samples(DataConfig(path=str(tmp_path)))
    with pytest.raises(UserError, match=r"unknown split 'trian'[\s\S]*did you mean 'train'"):
        load_samples(DataConfig(path=str(grid), split="trian"))
    (tmp_path / "manifest.json").write_text('{"splits": {"train": {"rows": 0, "shards": []}}}')
    with pytest.raises(UserError, match=r"split 'train' of .* is empty"):
        load_samples(DataConfig(path=str(tmp_path)))
