"""A merge as a run: what its folder holds, what may change before it goes on, and what is said of all that."""

import errno
import json
import os
import resource
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from merge.small import SIDE_FILES, edit, models, recipe, write
from safetensors.torch import load_file

from mmreflect.config import load_yaml
from mmreflect.errors import UserError
from mmreflect.files import read_json
from mmreflect.merge import notes, open_checkpoint, outputs, work
from mmreflect.merge.layout import lay_out

Cli = Callable[..., tuple[int, str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return models(tmp_path)


def test_what_a_download_leaves_in_hidden_folders_is_one_line(root: Path, run_cli: Cli) -> None:
    for name in ("a.metadata", "b.metadata"):
        (root / "vlm/.cache/huggingface/download").mkdir(parents=True, exist_ok=True)
        (root / "vlm/.cache/huggingface/download" / name).write_text("x")
    (root / "vlm/modeling_own.py").write_text("")
    code, text = run_cli("merge", recipe(root))
    assert code == 0, text
    assert read_json(root / "out/merge_report.json")["files"]["left_out"] == ["modeling_own.py", ".cache/ (2 files)"]


def test_all_models_that_are_missing_or_damaged_are_told_at_once(root: Path, run_cli: Cli) -> None:
    (root / "reason/model.safetensors").write_bytes(b"\0\0")
    code, text = run_cli("merge", recipe(root, base=str(root / "gone"), vlm=str(root / "away")))
    assert code == 2 and "3 of 3 models cannot be read:" in text
    assert f"- base: no such folder: '{root / 'gone'}'" in text and f"- vlm: no such folder: '{root / 'away'}'" in text
    assert f"- reason: '{root / 'reason/model.safetensors'}' is cut short or damaged" in text
    assert text.count("a local folder with config.json") == 1 and "finish the download or copy" in text
    assert f"--local-dir '{root / 'gone'}'" in text and f"--local-dir '{root / 'away'}'" in text
    assert not (root / "out").exists()


def test_checks_forced_on_the_command_line_come_to_those_of_the_file(root: Path, run_cli: Cli) -> None:
    write(root / "other", 0.05, 1, rope_theta=1e4)
    edit(root / "other", "model.layers.0.self_attn.q_proj.bias", None)
    tree = recipe(root, reason=str(root / "other"))
    both = "to skip a check at your own risk: force: [rope_theta, biases]"
    for forced, words in ((["rope_theta"], ()), ([], ("--force", "rope_theta"))):
        code, text = run_cli("merge", {**tree, "force": forced}, *words)
        assert code == 2 and both in " ".join(text.split()) and "1 problem" in text
    code, text = run_cli("merge", {**tree, "force": ["rope_theta"]}, "--force", "biases", "--force", "rope_theta")
    assert code == 0, text
    assert load_yaml(root / "out/config.yaml")["force"] == ["rope_theta", "biases"]
    code, text = run_cli("merge", {**tree, "force": "rope_theta"}, "--force", "biases")
    assert code == 2 and "force: should be a list (given: 'rope_theta')" in text


def test_a_merge_goes_on_with_another_device_and_less_memory(
    root: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_cli("merge", recipe(root, output=str(root / "whole")))
    assert whole[0] == 0, whole[1]
    finish, done = work.Work._combine, []

    def dies(self: Any, piece: Any, *rest: Any) -> None:
        done.append(piece)
        if len(done) == 3:
            raise KeyboardInterrupt
        finish(self, piece, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(work.Work, "_combine", dies)
        assert run_cli("merge", recipe(root))[0] == 130
    code, text = run_cli("merge", recipe(root), "hold_gb=0", "device=cpu")
    assert code == 0, text
    assert "goes on with other settings" in text and "hold_gb: 4.0 -> 0" in text and "device: 'auto' -> 'cpu'" in text
    one, two = ((root / name / "model/model.safetensors").read_bytes() for name in ("whole", "out"))
    assert one == two
    code, text = run_cli("merge", recipe(root), "hold_gb=1.5")
    assert code == 0 and "is finished already" in text
    code, text = run_cli("merge", recipe(root), "hold_gb=-1")
    assert code == 2 and "hold_gb" in text


def test_a_disk_that_is_full_when_a_finished_file_is_noted(
    root: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was closed by then: closing it again would be an error of its own."""
    add = notes.Notes.add

    def full(self: Any, row: dict[str, Any]) -> None:
        if "crc32" in row:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(notes.Notes, "add", full)
        code, text = run_cli("merge", recipe(root))
    assert code == 2 and "no room for the merged model" in text and "start the same command again" in text
    code, text = run_cli("merge", recipe(root))
    assert code == 0, text


def test_a_disk_too_small_for_what_comes_beside_the_weights_is_refused(
    root: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (root / "vlm/model.safetensors").stat().st_size
    tensors = len(load_file(root / "vlm/model.safetensors"))
    copied = ("config.json", "tokenizer_config.json", "chat_template.jinja", "merges.txt")
    need = size + 4_000_000 + 500 * tensors + sum((root / "vlm" / name).stat().st_size for name in copied)

    def free(number: int) -> None:
        monkeypatch.setattr(outputs.shutil, "disk_usage", lambda path: namedtuple("usage", "free")(number))

    free(need - 10)
    for words in (("--plan",), ()):
        code, text = run_cli("merge", recipe(root), *words)
        told = f"{need / 1e3:,.2f} kB are still to be written, and {(need - 10) / 1e3:,.2f} kB are free"
        assert code == 2 and "no room" in text and told in text
        assert not (root / "out").exists()
    free(need)
    code, text = run_cli("merge", recipe(root))
    assert code == 0, text
    free(0)
    code, text = run_cli("merge", recipe(root), "--plan")
    assert code == 0 and "is finished already" in " ".join(text.split()), "nothing is to be written"


def test_files_that_are_copied_beside_the_weights_need_room_until_they_are_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """7 MB of tokenizer; what is no part of the model is not copied."""
    for name, size in (("tokenizer.json", 7_000_000), ("modeling_own.py", 10**9), (".cache/a.json", 10**9)):
        (root / "vlm" / name).parent.mkdir(exist_ok=True)
        with open(root / "vlm" / name, "wb") as file:
            file.truncate(size)
    layout = lay_out(open_checkpoint("vlm", root / "vlm"), "keep", 1)
    small = sum((root / "vlm" / name).stat().st_size for name in ("config.json", *SIDE_FILES))
    need = layout.size + small + 7_000_000 + 4_000_000 + 500 * len(layout.shards[0].tensors)
    for free, wanted in ((need, need), (need - 1, need), (need - 7_000_000, need - 7_000_000)):
        if wanted < need:
            (root / "out/model").mkdir(parents=True)
            (root / "out/model/tokenizer.json").write_bytes(b"")
        monkeypatch.setattr(outputs.shutil, "disk_usage", lambda path, free=free: namedtuple("usage", "free")(free))
        if free == wanted:
            assert outputs.check_room(layout, root / "out", root / "vlm") == free
        else:
            with pytest.raises(UserError, match=f"{wanted:,} bytes are still to be written, and {free:,} bytes"):
                outputs.check_room(layout, root / "out", root / "vlm")


@pytest.mark.parametrize(
    ("need", "free", "told"),
    [
        (60_000_000_000, 20_500_000_000, "60.00 GB are still to be written, and 20.50 GB are free"),
        (24_258_256, 24_200_000, "24.26 MB are still to be written, and 24.20 MB are free"),
        (20_001_000_000, 20_000_000_000, "20,001.00 MB are still to be written, and 20,000.00 MB are free"),
        (24_258_256, 24_258_255, "24,258,256 bytes are still to be written, and 24,258,255 bytes are free"),
        (5_000_000_000, 3_000, "5.00 GB are still to be written, and 3.00 kB are free"),
        (None, 0, "merged model: 0 bytes are free"),
    ],
)
def test_sizes_that_differ_are_told_so_that_they_do(need: int | None, free: int, told: str) -> None:
    assert told in str(outputs._full(Path("x"), need, free))


def test_a_disk_that_is_full_leaves_no_half_note(tmp_path: Path) -> None:
    kept = notes.Notes(tmp_path / "notes.jsonl", bool)
    kept.add({"layer": 0})
    size = (tmp_path / "notes.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            kept.add({"layer": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    kept.add({"layer": 2})
    assert notes.Notes(tmp_path / "notes.jsonl", bool).rows == kept.rows == [{"layer": 0}, {"layer": 2}]


def test_a_file_longer_than_files_may_be_is_no_full_disk(root: Path, run_cli: Cli) -> None:
    edit(root / "vlm", "visual.patch.weight", torch.ones(100, 100))  # longer than what else a run writes
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        code, text = run_cli("merge", recipe(root))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    size = (root / "vlm/model.safetensors").stat().st_size
    assert code == 2 and f"model.safetensors takes {size:,} bytes, and no file in" in text and "may be so long" in text
    assert "ulimit -f unlimited" in text and "no room" not in text
    code, text = run_cli("merge", recipe(root))
    assert code == 0, text


def changed(folder: Path, name: str) -> None:
    if name.endswith(".safetensors"):
        edit(folder, "model.embed_tokens.weight", torch.zeros(10, 8))
    elif (folder / name).is_file():
        (folder / name).unlink()
    else:
        (folder / name).write_text("new")


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    "file",
    ["vlm/model.safetensors", "reason/model.safetensors", "vlm/tokenizer_config.json", "vlm/generation_config.json"],
)
def test_models_that_changed_are_named_whether_the_merge_is_finished_or_not(
    root: Path, run_cli: Cli, file: str, finished: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_cli("merge", recipe(root))[0] == 0
    if not finished:
        (root / "out/result.json").unlink()
    changed(root / Path(file).parent, Path(file).name)
    code, text = run_cli("merge", recipe(root))
    told = f"the models changed since the merge in '{root / 'out'}' was started ({file.replace('/', ': ')})"
    assert code == 2 and told in text and "to start again, or choose another output" in text


def test_what_counts_for_nothing_may_change(root: Path, run_cli: Cli) -> None:
    assert run_cli("merge", recipe(root))[0] == 0
    for name in ("vlm/README.md", "vlm/modeling_own.py", "reason/generation_config.json"):
        (root / name).write_text("new")
    shutil.rmtree(root / "base")
    code, text = run_cli("merge", recipe(root))
    assert code == 0 and "is finished already" in text, text


@pytest.mark.parametrize("gone", ["", "model.safetensors", "tokenizer_config.json"])
def test_a_finished_merge_whose_files_are_gone_writes_them_again(root: Path, run_cli: Cli, gone: str) -> None:
    assert run_cli("merge", recipe(root))[0] == 0
    model = root / "out/model"
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    shutil.rmtree(model) if not gone else (model / gone).unlink()
    code, text = run_cli("merge", recipe(root))
    assert code == 0 and f"gone or changed since: {gone or 'model.safetensors'}" in text, text
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    code, text = run_cli("merge", recipe(root))
    assert "is finished already" in text


def test_a_plan_says_what_would_become_of_the_output(root: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(**tree: Any) -> tuple[int, str]:
        before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "config.yaml"}
        code, text = run_cli("merge", recipe(root, **tree), "--plan")
        assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != "config.yaml"}
        return code, " ".join(text.split())

    out = root / "out"
    code, text = planned()
    assert code == 0 and text.endswith(f"output {out}"), text
    assert "GB are free" in text and "1,000 MB/s that is assumed of inputs so small" in text
    assert run_cli("merge", recipe(root))[0] == 0
    assert planned()[1].endswith(f"output {out} is finished already; nothing to do")
    (out / "model/tokenizer_config.json").unlink()
    assert planned()[1].endswith(f"output {out} is finished, but files are gone or changed since")
    (out / "result.json").unlink()
    (out / "model/model.safetensors").unlink()
    assert planned()[1].endswith(f"output {out} goes on where it stopped (0 of 1 file written already)")
    code, text = planned(importance="uniform")
    assert code == 2 and "holds a run of another configuration" in text and "importance: 'norm2' -> 'uniform'" in text
    os.utime(root / "vlm/config.json")
    code, text = planned()
    assert code == 2 and "was started (vlm: config.json)" in text
    (root / "mine").mkdir()
    (root / "mine/thesis.tex").write_text("x")
    code, text = planned(output=str(root / "mine"))
    assert code == 2 and "holds no run of mmreflect (found: thesis.tex)" in text
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda path: namedtuple("usage", "free")(1000))
    code, text = planned(output=str(root / "new/deep"))
    assert code == 2 and "no room for the merged model: 4.01 MB are still to be written, and 1.00 kB are free" in text


def test_a_plan_tells_how_fast_a_sample_of_the_models_came(root: Path, run_cli: Cli) -> None:
    for role in ("base", "vlm", "reason"):
        edit(root / role, "extra.weight", torch.zeros(600_000))
    code, text = run_cli("merge", recipe(root), "--plan")
    assert code == 0 and "MB/s at which a sample of the inputs was read just now" in " ".join(text.split())


def test_a_card_says_what_was_forced_and_what_is_doubtful(root: Path, run_cli: Cli) -> None:
    write(root / "other", 0.05, 1, rope_theta=1e4)
    write(root / "unrelated", 2.0, 5)
    tree = recipe(root, reason=str(root / "other"), base=str(root / "unrelated"), force=["rope_theta"])
    code, text = run_cli("merge", tree)
    assert code == 0, text
    card = (root / "out/model/README.md").read_text()
    told = card.split("## Warnings")[1].split("## Recipe")[0].strip().splitlines()
    assert told == [f"- {text}" for text in read_json(root / "out/merge_report.json")["warnings"]]
    assert told[0].startswith("- forced rope_theta: the VLM has 1,000,000, the reasoning model has 10,000: attention")
    assert any("the base is probably not its ancestor" in line for line in told) and str(root) not in card
    assert run_cli("merge", recipe(root, output=str(root / "sound")))[0] == 0
    assert "Warnings" not in (root / "sound/model/README.md").read_text()


def test_a_card_counts_what_lies_in_decoder_blocks_apart_from_embeddings(root: Path, run_cli: Cli) -> None:
    for role in ("base", "vlm", "reason"):
        vocabulary = {"model": {"vocab": {word: number for number, word in enumerate("abcdef")}}}
        (root / role / "tokenizer.json").write_text(json.dumps(vocabulary))
        edit(root / role, "lm_head.weight", torch.ones(10, 8))
    code, text = run_cli("merge", recipe(root, embeddings="matching_tokens"))
    assert code == 0, text
    card = (root / "out/model/README.md").read_text()
    merged = "6 tensors of 2 decoder blocks, and the rows of the embeddings and the head whose token all models know"
    assert f"- {merged} merged, weight of the VLM" in card and f"merged {merged}" in " ".join(text.split())
    assert "- 1 tensor copied from the VLM: vision tower, final norm, all the rest" in card
    assert run_cli("merge", recipe(root, output=str(root / "plain")))[0] == 0
    plain = (root / "plain/model/README.md").read_text()
    assert "- 6 tensors of 2 decoder blocks merged" in plain and "vision tower, embeddings, final norm" in plain
