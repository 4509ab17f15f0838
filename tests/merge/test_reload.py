"""What a merge finds when it reads its output again, and what `--verify` finds of what became of it later."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmreflect.cli import main
from mmreflect.merge import memory, reload

CLASS = "Qwen2_5_VLForConditionalGeneration"


@pytest.fixture
def run(triple, tmp_path, capsys):
    """Merge copies of three real tiny models."""
    for role in ("base", "vlm", "reason"):
        shutil.copytree(triple / role, tmp_path / role)

    def merge(*words, code=0, **tree):
        folders = {role: str(tmp_path / role) for role in ("base", "vlm", "reason")}
        tree = {"method": "centroid", "output": str(tmp_path / "out"), **folders, **tree}
        (tmp_path / "merge.json").write_text(json.dumps(tree))
        capsys.readouterr()
        assert main(["merge", str(tmp_path / "merge.json"), *words]) == code
        captured = capsys.readouterr()
        return " ".join((captured.err if code else captured.out).split())

    return merge


def again(folder, capsys, *words, code=0):
    capsys.readouterr()
    assert main(["merge", "--verify", str(folder), *words]) == code
    captured = capsys.readouterr()
    return " ".join((captured.err if code else captured.out).split())


@pytest.fixture
def verify(tmp_path, capsys):
    return lambda *words, code=0: again(tmp_path / "out", capsys, *words, code=code)


@pytest.fixture(scope="module")
def merged(triple, tmp_path_factory):
    """A finished merge, which the tests leave as they find it."""
    root = tmp_path_factory.mktemp("merged")
    folders = {role: str(triple / role) for role in ("base", "vlm", "reason")}
    tree = {"method": "centroid", "output": str(root / "out"), "reload": False, **folders}
    (root / "merge.json").write_text(json.dumps(tree))
    assert main(["merge", str(root / "merge.json")]) == 0
    return root / "out"


def report(folder):
    return json.loads((folder / "merge_report.json").read_text())


def edit(file, change):
    tree = json.loads(file.read_text())
    change(tree)
    file.write_text(json.dumps(tree))


def test_a_merge_reloads_its_model_writes_a_page_and_names_both_at_last(run, tmp_path):
    shown = run()
    told = rf"{CLASS}, one forward, logits \(1, 3, \d+\)"
    out = tmp_path / "out"
    assert re.search(f"reload: {told}", shown) and re.fullmatch(told, report(out)["reload"])
    assert shown.endswith(f"model: {out / 'model'}, page: {out / 'index.html'}")
    assert f"Reload of the merged model: {CLASS}" in (out / "index.html").read_text()
    assert "reload at the end, with transformers: 0.00 GB, one forward" in shown
    (out / "index.html").unlink()
    again = run()
    assert "is finished already" in again and again.endswith(f"page: {out / 'index.html'}")
    assert (out / "index.html").is_file()


def test_what_does_not_load_is_a_warning(run, tmp_path, monkeypatch):
    def refuse(*given):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(reload, "_answered", refuse)
    told = "reload: transformers cannot run it: RuntimeError: shapes differ"
    assert f"warning: {told}" in run() and told in report(tmp_path / "out")["warnings"]


def test_a_reload_is_left_out_where_it_is_not_wanted_or_too_large(run, tmp_path, monkeypatch):
    told = "left out (reload: false); mmreflect merge --verify OUTPUT does it"
    assert f"reload {told}" in run("--plan", "reload=false")
    assert f"reload: {told}" in run("reload=false") and report(tmp_path / "out")["reload"] == told
    size = (tmp_path / "vlm" / "model.safetensors").stat().st_size
    machine = tmp_path / "meminfo"
    machine.write_text(f"MemAvailable: {int(size * 1.5) // 1024} kB\n")
    monkeypatch.setattr(memory, "MACHINE", machine)
    more = f"output={tmp_path / 'other'}"
    told = "left out, the model takes more than half of the memory that is free; mmreflect merge --verify OUTPUT"
    assert f"reload {told}" in run("--plan", more) and f"reload: {told}" in run(more)


def test_a_model_that_transformers_does_not_know_is_merged_and_verified_without_a_reload(run, verify, tmp_path):
    edit(tmp_path / "vlm" / "config.json", lambda tree: tree.update(model_type="internvl_chat"))
    assert "knows no model_type 'internvl_chat'" in run()
    shown = verify()
    assert "knows no model_type 'internvl_chat'" in shown and shown.endswith("verified, without a reload")


def test_a_model_that_no_longer_runs_is_told_without_a_traceback(run, verify, monkeypatch):
    run()

    def refuse(*given):
        raise ValueError("mat1 and mat2\n cannot be multiplied")

    assert verify().endswith("verified")
    monkeypatch.setattr(reload, "_answered", refuse)
    error = verify(code=2)
    assert (
        "is as it was written, but does not work: transformers cannot run it: ValueError: mat1 and mat2 cannot" in error
    )
    assert "whether the VLM itself loads" in error


@pytest.mark.parametrize(
    ("key", "value"), [("rope_theta", 1.0), ("rms_norm_eps", 0.5), ("num_attention_heads", 1), ("hidden_act", "relu")]
)
@pytest.mark.parametrize("words", [[], ["reload=no"]])
def test_a_changed_configuration_is_told(run, verify, tmp_path, key, value, words):
    run(reload=False)
    edit(tmp_path / "out" / "model" / "config.json", lambda tree: tree["text_config"].update({key: value}))
    error = verify(*words, code=2)
    assert "1 problem - config.json is no longer what was written" in error


def test_missing_and_damaged_files_are_told_and_the_card_may_be_edited(run, verify, tmp_path):
    (tmp_path / "vlm" / "generation_config.json").write_text('{"do_sample": true}')
    run(reload=False)
    model = tmp_path / "out" / "model"
    (model / "README.md").write_text("My model")
    assert "other files all" in verify("reload=no")
    (model / "tokenizer.json").unlink(), (model / "tokenizer_config.json").unlink()
    (model / "generation_config.json").write_text('{"do_sample": false}')
    error = verify(code=2)
    assert (
        "3 problems" in error and "tokenizer.json is missing" in error and "tokenizer_config.json is missing" in error
    )
    assert "generation_config.json is no longer what was written" in error


@pytest.mark.parametrize("words", [[], ["reload=no"]])
def test_a_shape_that_changed_is_told_though_the_vlm_is_gone(run, verify, tmp_path, words):
    run(reload=False)
    shutil.rmtree(tmp_path / "vlm")
    file = tmp_path / "out" / "model" / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("layers.0.mlp.up_proj.weight"))
    rows, columns = tensors[name].shape
    save_file({**tensors, name: tensors[name].reshape(-1)}, file, metadata={"format": "pt"})
    error = verify(*words, code=2)
    assert f"'{name}' is F32 [{rows * columns}], written was F32 [{rows}, {columns}]" in error


def test_an_index_that_was_permuted_is_told(run, verify, tmp_path):
    run(reload=False, dtype="bfloat16", shard_bytes=40_000)
    index = tmp_path / "out" / "model" / "model.safetensors.index.json"

    def permute(tree):
        names, files = list(tree["weight_map"]), list(tree["weight_map"].values())
        tree["weight_map"] = dict(zip(names, files[::-1], strict=True))

    edit(index, permute)
    assert "merged: model.safetensors.index.json says that" in verify("reload=no", code=2)


@pytest.mark.parametrize(
    "name",
    [
        "adapter_config.json",
        "adapter_model.safetensors",
        "added_tokens.json",
        "pytorch_model.bin",
        "modeling_x.py",
        "chat_template2.jinja",
        "additional_chat_templates/short.jinja",
    ],
)
def test_a_file_that_the_merge_did_not_write_is_told(merged, capsys, name):
    (merged / "model" / name).parent.mkdir(exist_ok=True)
    (merged / "model" / name).write_text("{}")
    error = again(merged, capsys, "reload=no", code=2)
    assert f"1 problem - {name} is new" in error and "or take out what is new" in error
    (merged / "model" / name).unlink()
    assert "other files all" in again(merged, capsys, "reload=no")


def test_files_for_readers_are_nothing_new(merged, capsys):
    before = sorted((merged / "model").rglob("*"))
    names = [
        "USAGE.md",
        "LICENSE",
        "license.txt",
        "NOTICE.txt",
        ".gitattributes",
        "docs/Loss.PNG",
        "docs/a.jpg",
        "b.svg",
    ]
    for name in [*names, ".cache/huggingface/download.json", "docs/.DS_Store"]:
        (merged / "model" / name).parent.mkdir(exist_ok=True, parents=True)
        (merged / "model" / name).write_text("for readers")
    assert again(merged, capsys).endswith("verified")
    for path in sorted({*(merged / "model").rglob("*")} - {*before}, reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def test_what_an_older_merge_did_not_note_is_said(run, verify, tmp_path):
    run(reload=False)
    edit(tmp_path / "out" / "merge_report.json", lambda tree: tree.pop("written"))
    assert "not compared: the mmreflect that merged did not note them" in verify("reload=no")


def spoil_the_last_norm(file, *gone):
    tensors = {name: value for name, value in load_file(file).items() if name not in gone}
    name = next(
        name for name in tensors if name.endswith("norm.weight") and ".layers." not in name and "visual" not in name
    )
    save_file({**tensors, name: torch.full_like(tensors[name], float("nan"))}, file, metadata={"format": "pt"})


def test_weights_that_answer_with_nan_end_the_merge_which_keeps_them(run, verify, tmp_path):
    spoil_the_last_norm(tmp_path / "vlm" / "model.safetensors")
    out = tmp_path / "out"
    told = f"the merged model is written in '{out / 'model'}', but one forward gives logits that are not finite"
    error = run("force=[finite]", code=2)
    assert (
        f"{told} expected: finite answers to do: choose smaller factors in the method's settings, or reload: false"
        in error
    )
    assert not (out / "result.json").exists()
    assert "reload: one forward on three tokens gives logits that are not finite" in report(out)["warnings"]
    written = (out / "model" / "model.safetensors").stat()
    assert told in run("force=[finite]", code=2), "starting again finds the same"
    assert "left out (reload: false)" in run("force=[finite]", "reload=false")
    assert (out / "model" / "model.safetensors").stat() == written, "nothing was merged again"
    assert "does not work: one forward on three tokens gives logits that are not finite" in verify(code=2)


def test_nan_beside_values_that_transformers_does_not_find_is_a_warning(run, tmp_path):
    spoil_the_last_norm(tmp_path / "vlm" / "model.safetensors", "visual.merger.ln_q.weight")
    shown = run("force=[finite]")
    assert "warning: reload: transformers finds no value for" in shown
    assert "warning: reload: one forward on three tokens gives logits that are not finite" in shown


def test_the_page_of_a_merge_imports_no_evaluation():
    """They would take as long as all else that a merge imports."""
    code = "import sys, mmreflect.report.page; sys.exit('mmreflect.evaluation.scoring' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
