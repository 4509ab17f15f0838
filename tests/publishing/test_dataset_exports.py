"""Datasets in the layouts of other trainers, entered by `mmreflect export`."""

import errno
import fcntl
import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from publishing.conftest import Make, asked, example, pair, picture, replied

from mmreflect.building.examples import Example
from mmreflect.cli import main
from mmreflect.publishing import exporting

Cli = Callable[..., int]


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(folder: Path, *words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["export", str(folder), *words])
        captured = capsys.readouterr()
        return code, " ".join((captured.out + captured.err).split())

    return run


Export = Callable[..., tuple[int, str]]


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_llama_factory(dataset: Make, tmp_path: Path, export: Export) -> None:
    """Flat text with a mark for each picture where it is shown; the columns are named for its loader."""
    two = Example(
        "two",
        [{"role": "system", "content": "Look."}, {"role": "user", "content": [
            {"type": "text", "text": "Is "}, {"type": "image"}, {"type": "text", "text": " like "}, {"type": "image"}]},
         replied("No.")],
        images=[picture(1), picture(2)],
    )  # fmt: skip
    folder = dataset({"train": [example(1), two, Example("text", [asked("Why?"), replied("So.")])], "rl": [example(4, None)], "test": [example(5)]})  # fmt: skip
    code, text = export(folder, "format=llama_factory", f"output={tmp_path / 'out'}", "name=mine")
    assert code == 0 and "exported: train 3 (sft), test 1 (sft)" in text, text
    assert "1 row left out of rl: it has no target to learn" in text
    first, second, third = lines(tmp_path / "out" / "train.jsonl")
    assert first == {
        "id": "row-1",
        "messages": [
            {"role": "user", "content": "<image>Question 1?"},
            {"role": "assistant", "content": "<think>t</think><answer>1</answer>"},
        ],
        "images": ["media/train/00000/000000-0.png"],
    }
    assert second["messages"][:2] == [
        {"role": "system", "content": "Look."},
        {"role": "user", "content": "Is <image> like <image>"},
    ]
    assert third["images"] == [], "the column is in every row of a file, as its loader asks for it"
    for name in [*first["images"], *second["images"]]:
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()
        assert not (tmp_path / "out" / name).is_symlink()
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}  # fmt: skip
    columns = {"messages": "messages", "images": "images"}
    assert info == {
        "mine": {"file_name": "train.jsonl", "formatting": "sharegpt", "columns": columns, "tags": tags},
        "mine_test": {"file_name": "test.jsonl", "formatting": "sharegpt", "columns": columns, "tags": tags},
    }


def test_pairs_for_llama_factory_and_ms_swift(dataset: Make, tmp_path: Path, export: Export) -> None:
    folder = dataset({"train": [pair(1)]})
    assert export(folder, "format=llama_factory", f"output={tmp_path / 'a'}", "media=link")[0] == 0
    (row,) = lines(tmp_path / "a" / "train.jsonl")
    assert row == {
        "id": "row-1",
        "messages": [{"role": "user", "content": "<image>Question 1?"}],
        "chosen": {"role": "assistant", "content": "<answer>right</answer>"},
        "rejected": {"role": "assistant", "content": "<answer>wrong words</answer>"},
        "images": ["media/train/00000/000000-0.png"],
    }
    linked = tmp_path / "a" / row["images"][0]
    assert linked.is_symlink() and Image.open(linked).size == (28, 28)
    entry = json.loads((tmp_path / "a" / "dataset_info.json").read_text())["set"]
    assert entry["ranking"] is True
    assert entry["columns"] == {"messages": "messages", "chosen": "chosen", "rejected": "rejected", "images": "images"}

    assert export(folder, "format=ms_swift", f"output={tmp_path / 'b'}")[0] == 0
    (row,) = lines(tmp_path / "b" / "train.jsonl")
    assert row == {
        "id": "row-1",
        "messages": [
            {"role": "user", "content": "<image>Question 1?"},
            {"role": "assistant", "content": "<answer>right</answer>"},
        ],
        "rejected_response": "<answer>wrong words</answer>",
        "images": ["media/train/00000/000000-0.png"],
    }


def test_ms_swift_has_the_solution_for_grpo(dataset: Make, tmp_path: Path, export: Export) -> None:
    folder = dataset({"train": [example(1)], "rl": [example(2, None)]})
    code, text = export(folder, "format=ms_swift", f"output={tmp_path / 'out'}")
    assert code == 0 and "train 1 (sft), rl 1 (prompts)" in text
    (row,) = lines(tmp_path / "out" / "rl.jsonl")
    assert row["messages"] == [{"role": "user", "content": "<image>Question 2?"}] and row["solution"] == "2"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "swift sft --dataset train.jsonl" in card and "swift rlhf --rlhf_type grpo --dataset rl.jsonl" in card


@pytest.mark.parametrize("name", ["trl", "llama_factory", "ms_swift"])
def test_a_mask_that_is_lost_is_told(name: str, dataset: Make, tmp_path: Path, export: Export) -> None:
    masks: list[dict[str, Any]] = [{"error_prefix": 7}, {"error_prefix": None}, {"error_prefix": 9}, {}]
    rows = [example(number, facts=facts) for number, facts in enumerate(masks)]
    folder = dataset({"train": rows, "rl": [example(9, None, facts=masks[0])]})
    code, text = export(folder, f"format={name}", f"output={tmp_path / name}")
    told = (
        "in 2 rows with a wrong attempt that our trainer puts no loss on (`facts.error_prefix`); "
        "whoever trains on this folder learns it as well"
    )
    assert code == 0 and f"a mask is lost {told}" in " ".join(text.split()), text
    assert f"A mask is lost {told}." in (tmp_path / name / "README.md").read_text()
    code, text = export(dataset({"train": rows[1:2]}, "none"), f"format={name}", f"output={tmp_path / 'b'}")
    assert code == 0 and "mask is lost" not in text + (tmp_path / "b/README.md").read_text()


def test_rows_that_no_layout_holds_are_counted(dataset: Make, tmp_path: Path, clip: Path, export: Export) -> None:
    from mmreflect.records import Media

    marked = example(2, "<answer>the mark <image> is text</answer>")
    twice = example(3, messages=[asked("a", "image"), asked("b"), replied("c")])
    part = Example("part", [asked("q", "video"), replied("r")], videos=[Media("video", str(clip), span=(0.0, 1.0))])
    whole = Example("whole", [asked("q", "video"), replied("r")], videos=[clip])
    folder = dataset({"train": [example(1), marked, twice, part, whole]})
    code, text = export(folder, "format=ms_swift", f"output={tmp_path / 'a'}")
    assert code == 0 and "exported: train 2 (sft)" in text
    for reason in ("its text holds a mark such as <image>", "user and assistant do not take turns", "it shows a part of a video, or sets its frames"):  # fmt: skip
        assert f"1 row left out of train: {reason}" in text, text
    assert [row["id"] for row in lines(tmp_path / "a" / "train.jsonl")] == ["row-1", "whole"]
    code, text = export(folder, "format=trl", f"output={tmp_path / 'b'}")
    assert code == 0 and "exported: train 3 (sft)" in text
    assert "1 row left out of train: it shows a video, which TRL's trainers do not take" in text
    left_out = json.loads((tmp_path / "b" / "export.json").read_text())["left_out"]
    assert (
        sorted(left_out.values()) == [1, 1]
        and "TRL's trainers do not take" in (tmp_path / "b" / "README.md").read_text()
    )


def test_trl_tables_load_with_their_pictures(grid: Path, tmp_path: Path, export: Export) -> None:
    """From the folder alone, by the card's own configurations, as from the Hub."""
    from datasets import load_dataset

    from mmreflect.data.store import open_dataset

    code, text = export(grid, "format=trl", f"output={tmp_path / 'out'}", "license=apache-2.0")
    assert code == 0 and "train 48 (sft)" in text, text
    table = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    samples = list(open_dataset(str(grid)).samples("train"))
    assert len(table) == 48 and table["id"] == [sample.id for sample in samples]
    row, sample = table[0], samples[0]
    assert row["messages"][-1] == {"role": "assistant", "content": [{"type": "text", "text": sample.response}]}
    assert row["images"][0].tobytes() == Image.open(sample.media[0].path).convert(row["images"][0].mode).tobytes()
    assert json.loads(row["facts"]) == sample.facts and row["answer"] == sample.gold


def test_trl_pairs_and_text(dataset: Make, tmp_path: Path, export: Export) -> None:
    import pyarrow.parquet as parquet

    words = Example("w", [asked("Why?"), replied("So.")])
    folder = dataset({"train": [pair(1), pair(2), pair(3)], "words": [words]})
    assert export(folder, "format=trl", f"output={tmp_path / 'out'}")[0] == 0
    files = sorted((tmp_path / "out" / "data").iterdir())
    assert [file.name for file in files] == [
        "train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "words-00000-of-00001.parquet",
    ]  # fmt: skip
    row = parquet.read_table(files[1]).to_pylist()[0]
    assert row["chosen"] == [{"role": "assistant", "content": [{"type": "text", "text": "<answer>right</answer>"}]}]
    assert row["rejected"][0]["content"][0]["text"] == "<answer>wrong words</answer>"
    assert [part["type"] for part in row["prompt"][0]["content"]] == ["image", "text"]
    assert Image.open(io.BytesIO(row["images"][0]["bytes"])).size == (28, 28)
    row = parquet.read_table(files[2]).to_pylist()[0]
    assert "images" not in row and row["messages"][1] == {"role": "assistant", "content": "So."}


def test_a_changed_shard_is_named(dataset: Make, tmp_path: Path, export: Export) -> None:
    folder = dataset({"train": [example(1), example(2), example(3)]})
    shard = folder / "train" / "00001.jsonl"
    shard.write_text(shard.read_text().replace("Question 3", "Question 4"))
    for form in ("trl", "card"):
        code, text = export(folder, f"format={form}", f"output={tmp_path / 'out'}")
        assert code == 2 and "is not what its manifest says: train/00001.jsonl was changed" in text
        assert "build the dataset again in a new folder" in text
    shard.unlink()
    assert "train/00001.jsonl is missing" in export(folder, "format=trl", f"output={tmp_path / 'out'}")[1]
    assert not (tmp_path / "out").exists()


def test_an_export_that_finds_the_disk_full_leaves_nothing(
    dataset: Make, tmp_path: Path, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    folder, out = dataset({"train": [example(1)]}), tmp_path / "out"
    monkeypatch.setattr(exporting, "card_of", full)
    code, text = export(folder, "format=ms_swift", f"output={out}")
    assert code == 2 and f"output={out} cannot be written: No space left on device" in text
    assert not out.exists() and not (tmp_path / ".out.partial").exists()


def test_a_killed_export_leaves_nothing_and_begins_anew(
    dataset: Make, tmp_path: Path, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = dataset({"train": [example(1), example(2), example(3)]}), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "card_of", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert export(folder, "format=ms_swift", f"output={out}")[0] == 130
    assert not out.exists() and (tmp_path / ".out.partial" / "train.jsonl").is_file()
    (tmp_path / ".out.partial" / "stale").write_text("left behind")
    assert export(folder, "format=ms_swift", f"output={out}")[0] == 0
    assert not (tmp_path / ".out.partial").exists() and not (out / "stale").exists()
    assert not (out / ".export-begun").exists() and len(lines(out / "train.jsonl")) == 3
    before = (out / "export.json").stat().st_mtime_ns
    code, text = export(folder, "format=ms_swift", f"output={out}")
    assert code == 0 and "exported before" in text and (out / "export.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_kill_9_and_again(dataset: Make, tmp_path: Path, export: Export) -> None:
    """Killed while it writes rows and media, twice; then the same bytes as of an uninterrupted one."""
    rows = [example(number, images=[picture(number, 400)]) for number in range(1500)]
    folder, out = dataset({"train": rows}), tmp_path / "out"
    begun, killed = tmp_path / ".out.partial" / "train.jsonl", 0
    words = [sys.executable, "-m", "mmreflect", "export", str(folder), "format=ms_swift", f"output={out}"]
    for _ in range(2):
        begun.unlink(missing_ok=True)
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not begun.is_file():
            time.sleep(0.002)
        process.kill()
        killed += process.wait() == -9
        assert not out.exists()
    assert killed == 2
    assert export(folder, "format=ms_swift", f"output={out}")[0] == 0
    assert export(folder, "format=ms_swift", f"output={tmp_path / 'whole'}")[0] == 0
    found, whole = (
        {str(file.relative_to(top)): file.read_bytes() for file in top.rglob("*") if file.is_file()}
        for top in (out, tmp_path / "whole")
    )
    assert found == whole and len(found) == 1503


def test_two_exports_at_once_and_a_full_disk(
    dataset: Make, tmp_path: Path, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, partial = dataset({"train": [example(1)]}), tmp_path / ".out.partial"
    partial.mkdir()
    with open(partial / ".export-begun", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code, text = export(folder, "format=ms_swift", f"output={tmp_path / 'out'}")
    assert code == 2 and "another process is writing to" in text and not (tmp_path / "out").exists()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        code, text = export(folder, "format=ms_swift", f"output={tmp_path / 'out'}")
    assert code == 2 and "cannot be written: No space left on device" in text and "start the same again" in text
    assert not (tmp_path / "out").exists()
    assert export(folder, "format=ms_swift", f"output={tmp_path / 'out'}")[0] == 0


def test_what_is_in_the_way_stays(dataset: Make, tmp_path: Path, export: Export) -> None:
    folder = dataset({"train": [example(1)]})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    code, text = export(folder, "format=trl", f"output={tmp_path / 'mine'}")
    assert code == 2 and "holds other files (thesis.tex)" in text
    assert export(folder, "format=ms_swift", f"output={tmp_path / 'out'}")[0] == 0
    code, text = export(folder, "format=llama_factory", f"output={tmp_path / 'out'}")
    assert code == 2 and "holds another export" in text
    (tmp_path / ".new.partial").mkdir()
    (tmp_path / ".new.partial" / "x").write_text("not ours")
    code, text = export(folder, "format=trl", f"output={tmp_path / 'new'}")
    assert code == 2 and ".new.partial is in the way" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "missing: format=VALUE"),
        (["format=tlr"], "unknown format 'tlr'"),
        (["format=trl"], "missing: output=VALUE"),
        (["format=trl", "output=x", "media=link"], "media= is of no use for format=trl"),
        (["format=ms_swift", "output=x", "name=y"], "name= is of no use for format=ms_swift"),
        (["format=ms_swift", "output=x", "media=move"], "unknown media 'move'"),
        (["format=ms_swift", "output=SET/x"], "lies inside the dataset"),
        (["format=ms_swift", "output=SET/manifest.json"], "is a file"),
        (["format=card", "output=SET"], "is a folder"),
        (["format=trl", "outptu=x"], "unknown setting 'outptu'"),
    ],
)
def test_bad_settings(words: list[str], said: str, dataset: Make, export: Export) -> None:
    folder = dataset({"train": [example(1)]})
    code, text = export(folder, *(word.replace("SET", str(folder)) for word in words))
    assert code == 2 and said in text, text


def test_bad_datasets(dataset: Make, tmp_path: Path, clip: Path, export: Export) -> None:
    out = f"output={tmp_path / 'out'}"
    folder = dataset({"train": [example(1), pair(2)]})
    code, text = export(folder, "format=trl", out)
    assert code == 2 and "split 'train' holds pairs and other rows (pairs, sft)" in text
    folder = dataset({"train": [example(1)]}, "gone")
    (folder / "media" / "train" / "00000" / "000000-0.png").unlink()
    for form in ("trl", "ms_swift"):
        code, text = export(folder, f"format={form}", out)
        assert code == 2 and "row 'row-1' shows media/train/00000/000000-0.png, which is missing" in text
    folder = dataset({"rl": [example(1, None)]}, "questions")
    code, text = export(folder, "format=llama_factory", out)
    assert code == 2 and "no row of" in text and "rl: it has no target to learn (1)" in text
    folder = dataset({"train": [Example("v", [asked("q", "video"), replied("r")], videos=[clip])]}, "film")
    code, text = export(folder, "format=trl", out)
    assert code == 2 and "which take videos" in text
    (folder / "manifest.json").unlink()
    (folder / "run.json").write_text('{"verb": "build", "name": "made"}')
    code, text = export(folder, "format=trl", out)
    assert code == 2 and "its build did not finish" in text
    assert not (tmp_path / "out").exists()


def test_a_path_that_leads_out_of_the_dataset_is_refused(dataset: Make, tmp_path: Path, export: Export) -> None:
    from mmreflect.data.checksums import sha256_of

    folder = dataset({"train": [example(1)]})
    shard, manifest = folder / "train" / "00000.jsonl", folder / "manifest.json"
    for path in ("../secret.png", "/etc/passwd"):
        row = json.loads(shard.read_text())
        shard.write_text(json.dumps(row | {"images": [path]}) + "\n")
        tree = json.loads(manifest.read_text())
        tree["splits"]["train"]["shards"][0]["sha256"] = sha256_of(shard)
        manifest.write_text(json.dumps(tree))
        code, text = export(folder, "format=ms_swift", f"output={tmp_path / 'out'}")
        assert code == 2 and f"row 'row-1' names the image '{path}', which is not inside the dataset's folder" in text


@pytest.mark.parametrize("name", ["llama_factory", "ms_swift"])
def test_what_is_exported_is_read_again(name: str, dataset: Make, tmp_path: Path, export: Export) -> None:
    """Another tool's layout is a source of `mmreflect build`: the same turns and pictures come back."""
    folder = dataset({"train": [example(number) for number in range(3)]})
    assert export(folder, f"format={name}", f"output={tmp_path / 'out'}")[0] == 0
    (tmp_path / "again.json").write_text(
        json.dumps({"builder": "rows", "source": str(tmp_path / "out/train.jsonl"), "validation": 0.0})
    )
    assert main(["build", str(tmp_path / "again.json"), f"output={tmp_path / 'again'}"]) == 0
    before, after = lines(folder / "train/00000.jsonl"), lines(tmp_path / "again/train/00000.jsonl")
    assert len(after) == 3
    for one, two in zip(before, after, strict=False):
        assert two["messages"][0] == one["messages"][0]
        assert two["messages"][1]["content"] == one["messages"][1]["content"][0]["text"]
        assert (folder / one["images"][0]).read_bytes() == (tmp_path / "again" / two["images"][0]).read_bytes()
