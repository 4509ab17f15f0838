"""What a user may get wrong, and what happens to the disk: each is told in words that say what to do."""

import errno
import json
import os
import shutil
from collections import namedtuple

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmreflect.cli import main
from mmreflect.merge import outputs
from mmreflect.merge.attention import Attention
from mmreflect.merge.kernels import Kernels, find_compiler

compiler = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")
LAYERS = 2
TEXT = {
    "num_hidden_layers": LAYERS, "hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 12, "rope_theta": 1e6,
}  # fmt: skip
PARTS = {"self_attn.q_proj.weight": (8, 8), "mlp.up_proj.weight": (12, 8)}


def write(folder, seed, amount, prefix="model.", config=TEXT, extra=None, base=None):
    """Write a model in two shards, `amount` away from the base's values."""
    generator = torch.Generator().manual_seed(seed)
    names = {f"{prefix}layers.{layer}.{part}": shape for layer in range(LAYERS) for part, shape in PARTS.items()}
    own = torch.Generator().manual_seed(99)
    tensors = {
        name: torch.randn(shape, generator=own) + amount * torch.randn(shape, generator=generator)
        for name, shape in names.items()
    }
    tensors |= {f"{prefix}embed_tokens.weight": torch.ones(10, 8), **(extra or {})}
    folder.mkdir(parents=True)
    names = list(tensors)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in files.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, part in files.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def tokenizer(folder, words, added):
    """Write the part of tokenizer.json that tells the ids."""
    tokens = [{"id": number, "content": text, "special": True} for text, number in added.items()]
    (folder / "tokenizer.json").write_text(
        json.dumps({"model": {"vocab": {word: number for number, word in enumerate(words)}}, "added_tokens": tokens})
    )


@pytest.fixture
def models(tmp_path):
    write(tmp_path / "base", 0, 0.0)
    write(tmp_path / "reason", 1, 0.05)
    write(tmp_path / "vlm", 2, 0.05, config={"text_config": TEXT, "vision_config": {}})
    return tmp_path


@pytest.fixture
def merge(models, capsys):
    def run(*words, code=2, **tree):
        folders = {role: str(models / role) for role in ("base", "vlm", "reason")}
        tree = {"method": "frank", "output": str(models / "out"), **folders, **tree}
        (models / "merge.json").write_text(json.dumps(tree))
        capsys.readouterr()
        assert main(["merge", str(models / "merge.json"), *words]) == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    return run


def test_a_missing_shard_is_named(models, merge):
    (models / "reason" / "model-00002-of-00002.safetensors").unlink()
    error = merge()
    assert "reason: model.safetensors.index.json in" in error
    assert "names model-00002-of-00002.safetensors, which is missing" in error and "finish the download" in error
    assert not (models / "out").exists()


def test_a_truncated_file_is_named(models, merge):
    file = models / "base" / "model-00001-of-00002.safetensors"
    os.truncate(file, file.stat().st_size - 40)
    assert f"base: '{file}' is cut short or damaged" in merge()


def test_pickled_weights_are_refused(models, merge):
    for path in (models / "vlm").glob("model*"):
        path.unlink()
    (models / "vlm" / "pytorch_model.bin").write_bytes(b"x")
    error = merge()
    assert "vlm:" in error and "holds pickled weights only (pytorch_model.bin), which can run code" in error


def test_an_adapter_is_no_model(models, merge):
    shutil.rmtree(models / "reason")
    (models / "reason").mkdir()
    (models / "reason" / "adapter_config.json").write_text("{}")
    error = merge()
    assert "holds a LoRA adapter (adapter_config.json), not a model" in error and "mmreflect export" in error


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_weights_that_cannot_be_averaged_are_named(models, merge, dtype):
    file = models / "reason" / "model-00001-of-00002.safetensors"
    tensors = load_file(file)
    name = "model.layers.0.self_attn.q_proj.weight"
    save_file({**tensors, name: tensors[name].to(dtype)}, file, metadata={"format": "pt"})
    code = {torch.int8: "I8", torch.float8_e4m3fn: "F8_E4M3"}[dtype]
    assert f"reason: '{name}' is stored as {code}, which cannot be averaged" in merge()


def test_extra_tensors_of_the_vlm_are_kept_and_those_of_others_are_named(models, merge):
    shutil.rmtree(models / "vlm"), shutil.rmtree(models / "reason")
    config = {"text_config": TEXT, "vision_config": {}}
    write(models / "vlm", 2, 0.05, config=config, extra={f"extra.{n}": torch.full((3,), float(n)) for n in range(3)})
    write(models / "reason", 1, 0.05, extra={"value_head.weight": torch.ones(2)})
    merge(code=0)
    written = {}
    for file in (models / "out" / "model").glob("*.safetensors"):
        written |= load_file(file)
    assert [written[f"extra.{n}"].tolist() for n in range(3)] == [[float(n)] * 3 for n in range(3)]
    report = json.loads((models / "out" / "merge_report.json").read_text())
    assert report["skipped_names"] == {
        "base": ["model.embed_tokens.weight"],
        "reason": ["model.embed_tokens.weight", "value_head.weight"],
    }


def test_a_dtype_that_nobody_here_knows_is_copied_byte_by_byte(models, merge):
    file = models / "vlm" / "model-00001-of-00002.safetensors"
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, values = json.loads(data[8 : 8 + length]), data[8 + length :]
    header["packed"] = {"dtype": "F6_E3M2", "shape": [8], "data_offsets": [len(values), len(values) + 6]}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + values + b"packed")
    index = models / "vlm" / "model.safetensors.index.json"
    tree = json.loads(index.read_text())
    tree["weight_map"]["packed"] = file.name
    index.write_text(json.dumps(tree))
    merge(code=0)
    assert (models / "out" / "model" / file.name).read_bytes().endswith(b"packed")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("role", "method"), [("base", "frank"), ("vlm", "linear"), ("reason", "ties")])
def test_not_a_number_is_named_with_its_model(models, merge, role, method, value):
    name = "model.layers.1.mlp.up_proj.weight"
    for file in (models / role).glob("*.safetensors"):
        tensors = load_file(file)
        if name in tensors:
            tensors[name][3, 3] = value
            save_file(tensors, file, metadata={"format": "pt"})
    error = merge(method=method)
    assert (
        f"{role}: '{name}' holds NaN or infinity ('{models / role}')" in error and "download this model again" in error
    )
    assert not (models / "out" / "result.json").exists()


def test_a_full_disk_is_told_before_anything_is_written(models, merge, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda path: usage(10, 9, 1))
    error = merge()
    assert (
        "no room for the merged model: 4.00 MB are still to be written, and 1 byte" in error
        and "choose another output" in error
    )
    assert not list((models / "out" / "model").glob("*.safetensors"))


@pytest.mark.parametrize("arithmetic", ["numpy", pytest.param("compiled", marks=compiler)])
def test_a_disk_that_fills_up_on_the_way_is_told_and_resumed(models, merge, monkeypatch, arithmetic):
    whole = merge(code=0, output=str(models / "whole"))
    assert "weights per layer" in whole
    owner, name = (outputs, "_write_all") if arithmetic == "numpy" else (Kernels, "finish")
    calls, real = [], getattr(owner, name)

    def full(*words):
        calls.append(words)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*words)

    monkeypatch.setattr(owner, name, full)
    error = merge(arithmetic=arithmetic)
    assert "no room for the merged model" in error and "finished shards are kept" in error
    monkeypatch.setattr(owner, name, real)
    merge(code=0, arithmetic=arithmetic)
    for file in (models / "whole" / "model").glob("*.safetensors"):
        assert file.read_bytes() == (models / "out" / "model" / file.name).read_bytes()


def test_an_output_that_exists_is_not_touched(models, merge):
    (models / "out").mkdir()
    (models / "out" / "mine.txt").write_text("keep")
    error = merge()
    assert "is not empty and holds no run of mmreflect (found: mine.txt)" in error and "choose another output" in error
    assert [path.name for path in (models / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("place", ["vlm", "base/merged"])
def test_an_output_inside_an_input_is_refused(models, merge, place):
    error = merge(output=str(models / place))
    assert f"is, or lies in, the folder of {place.split('/')[0]}" in error and "never written to" in error


def test_another_setting_does_not_go_on_in_the_same_folder(models, merge):
    merge(code=0)
    assert "importance: 'norm2' -> 'uniform'" in merge("importance=uniform")


def test_a_base_that_is_no_ancestor_is_warned_about_with_numbers(models, merge):
    shutil.rmtree(models / "base")
    write(models / "base", 5, 2.0)
    merge(code=0)
    warnings = json.loads((models / "out" / "merge_report.json").read_text())["warnings"]
    assert any("the task vectors point the same way in 2 layers (cosine up to 1.00: 0, 1)" in text for text in warnings)
    far = next(text for text in warnings if text.startswith("the VLM lies 0."))
    assert "of the base's norm away from it" in far and "the base is probably not its ancestor" in far


def test_a_base_that_is_one_is_not_warned_about(models, merge):
    merge(code=0)
    assert json.loads((models / "out" / "merge_report.json").read_text())["warnings"] == []


def test_a_token_with_another_id_is_refused(models, merge):
    for role, words in (("base", "abcd"), ("vlm", "abcd"), ("reason", "abdc")):
        tokenizer(models / role, words, {})
    error = merge()
    assert "vocabulary: the VLM gives the token 'c' the id 2, the reasoning model 3, and 1 more tokens differ" in error
    assert "force: [vocabulary]" in error
    assert "warning: forced vocabulary: the VLM gives" in merge("force=[vocabulary]", code=0)


def test_a_control_token_under_another_name_is_refused_and_forced_by_itself(models, merge):
    for role, clash in (("base", "<|box_start|>"), ("vlm", "<|box_start|>"), ("reason", "<think>")):
        tokenizer(models / role, "abcd", {"<|end|>": 4, clash: 5})
    error = merge()
    assert "special_tokens: id 5 is '<|box_start|>' in the VLM and '<think>' in the reasoning model" in error
    assert "where the reasoning model learnt to say '<think>' the merged model would say '<|box_start|>'" in error
    assert "the id stays the VLM's token, so write '<think>' as plain text in prompts" in error
    assert "special_tokens" in merge("--force", "rope_theta", "--plan")
    shown = merge("--plan", "--force", "special_tokens", "--force", "rope_theta", code=0)
    assert "passed, except forced: special_tokens, rope_theta" in shown
    assert "warning 1" in shown and not (models / "out").exists()


def test_another_number_of_rows_is_noted_and_changes_nothing(models, merge):
    shutil.rmtree(models / "base")
    write(models / "base", 0, 0.0, extra={"model.embed_tokens.weight": torch.ones(12, 8)})
    shown = merge("--plan", code=0)
    assert "the embeddings have 10 rows in the VLM and 12 in the base (padding); rows are" in shown


def test_a_measured_prior_that_changes_is_another_run(models, merge):
    file, measured = models / "prior.json", Attention("m", {}, {}, [0.5, 0.25], [0.0, 0.0], 0.7, 1.0, 1.0, [])
    file.write_text(json.dumps(measured.tree()))
    prior = {"name": "attention", "measured": str(file)}
    merge(code=0, prior=prior)
    (models / "out" / "result.json").unlink()
    file.write_text(json.dumps(measured.tree() | {"a": [0.5, 0.3]}))
    assert "holds a run on another measured attention: it has changed since" in merge(prior=prior)


def test_a_plan_tells_bytes_memory_and_time_and_touches_nothing(models, merge):
    before = {path: path.stat().st_mtime_ns for path in models.rglob("*")}
    shown = merge("--plan", code=0)
    labels = {line.split("  ")[0].strip() for line in shown.splitlines()}
    assert {"checks", "rule", "merged", "copied", "skipped", "reads", "writes", "memory", "time"} <= labels
    assert "4 tensors of 2 decoder blocks" in shown and "note 1" in shown
    after = {path: path.stat().st_mtime_ns for path in models.rglob("*") if path.name != "merge.json"}
    assert after == {path: time for path, time in before.items() if path.name != "merge.json"}


def test_the_checks_of_a_shard_written_before_the_machine_went_down(models, merge, monkeypatch):
    """A shard noted under another boot is believed only when its bytes are still those that were written."""
    merge(code=0)
    model = models / "out" / "model"
    files = sorted(model.glob("*.safetensors"))
    whole = {file: file.read_bytes() for file in files}
    (models / "out" / "result.json").unlink()
    files[0].write_bytes(whole[files[0]][:-8] + b"\0" * 8)  # pages that never reached the disk
    kept = files[1].stat().st_mtime_ns
    monkeypatch.setattr(outputs, "boot_id", lambda: "another")
    merge(code=0)
    assert {file: file.read_bytes() for file in files} == whole and files[1].stat().st_mtime_ns == kept
