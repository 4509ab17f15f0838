"""Opening checkpoints, pairing tensors, refusing models that do not fit, and cutting the output into files."""

import json
import os
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import mmreflect
from mmreflect.cli import main
from mmreflect.errors import UserError
from mmreflect.merge import canonical_name, open_checkpoint, plan_merge
from mmreflect.merge.gate import rope_theta
from mmreflect.merge.layout import lay_out

TEXT = {
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 12,
    "rope_theta": 1000000.0,
}


def model(folder, prefix="model.", config=TEXT, extra=(), layers=2, width=8):
    tensors = {f"{prefix}embed_tokens.weight": torch.ones(10, width)}
    for layer in range(layers):
        tensors[f"{prefix}layers.{layer}.self_attn.q_proj.weight"] = torch.full((width, width), float(layer))
        tensors[f"{prefix}layers.{layer}.mlp.up_proj.weight"] = torch.full((12, width), 2.0)
    tensors |= {name: torch.zeros(3) for name in extra}
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def planned(base, vlm, reason, force=()):
    opened = (open_checkpoint(role, path) for role, path in (("base", base), ("vlm", vlm), ("reason", reason)))
    return plan_merge(*opened, force)


def shard(folder):
    """Split a single-file model into two files with an index."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, part in parts.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "model.safetensors").unlink()
    return folder


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("model.layers.0.mlp.up_proj.weight", "layers.0.mlp.up_proj.weight"),
        ("model.language_model.layers.0.mlp.up_proj.weight", "layers.0.mlp.up_proj.weight"),
        ("language_model.model.layers.0.mlp.up_proj.weight", "layers.0.mlp.up_proj.weight"),
        ("visual.blocks.0.attn.qkv.bias", "visual.blocks.0.attn.qkv.bias"),
        ("model.visual.blocks.0.attn.qkv.bias", "visual.blocks.0.attn.qkv.bias"),
        ("lm_head.weight", "lm_head.weight"),
    ],
)
def test_names_lose_the_prefixes_in_which_families_differ(name, canonical):
    assert canonical_name(name) == canonical


def test_headers_tell_names_shapes_and_dtypes(tmp_path):
    folder = shard(model(tmp_path / "vlm"))
    opened = open_checkpoint("vlm", folder)
    assert opened.indexed
    assert opened.tensors["model.embed_tokens.weight"].shape == (10, 8)
    assert opened.tensors["model.embed_tokens.weight"].dtype == "F32"
    name = "model.layers.1.self_attn.q_proj.weight"
    four = bytearray(16)
    opened.fill(name, 3, memoryview(four))
    assert np.frombuffer(four, np.float32).tolist() == [1.0] * 4


@pytest.mark.parametrize("prefix", ["model.", "model.language_model."])
def test_blocks_are_merged_and_everything_else_is_copied(tmp_path, prefix):
    extra = ("visual.patch_embed.weight", "model.visual.layers.0.weight", "something.else", "mtp.layers.0.weight")
    plan = planned(
        model(tmp_path / "base"),
        model(tmp_path / "vlm", prefix, {"text_config": TEXT, "vision_config": {}}, extra),
        model(tmp_path / "reason", extra=["lm_head.weight"]),
    )
    blocks = [f"layers.{layer}.{part}.weight" for layer in (0, 1) for part in ("mlp.up_proj", "self_attn.q_proj")]
    assert sorted(plan.merged) == [prefix + block for block in blocks]
    assert sorted(plan.copied) == sorted([*extra, f"{prefix}embed_tokens.weight"])
    assert {tensor.layer for tensor in plan.tensors if tensor.name.endswith("1.mlp.up_proj.weight")} == {1}
    assert plan.depth == 2 and plan.warnings == ()
    assert plan.rope_theta == {"base": 1e6, "vlm": 1e6, "reason": 1e6}


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (
            {"num_hidden_layers": 3},
            [
                "num_hidden_layers: the VLM has 2, the base has 3: the blocks cannot be paired",
                "block_tensors: the base has 'layers.2.mlp.up_proj.weight' and 1 more, which the VLM lacks",
            ],
        ),
        (
            {"hidden_size": 16},
            ["hidden_size: the VLM has 8, the base has 16", "head_dim: the VLM has 4, the base has 8"],
        ),
        (
            {"num_attention_heads": 4},
            ["num_attention_heads: the VLM has 2, the base has 4: the same rows belong to", "head_dim: the VLM has 4"],
        ),
        ({"num_key_value_heads": 2}, ["num_key_value_heads: the VLM has 1, the base has 2"]),
        ({"head_dim": 16}, ["head_dim: the VLM has 4, the base has 16"]),
        ({"intermediate_size": 24}, ["intermediate_size: the VLM has 12, the base has 24"]),
        ({"rope_theta": 10000}, ["rope_theta: the VLM has 1,000,000, the base has 10,000: attention was trained"]),
        ({"rope_theta": None}, ["rope_theta: the VLM has 1,000,000, the base has nothing stated"]),
    ],
)
def test_each_difference_of_the_decoders_is_refused_with_both_values(tmp_path, change, lines):
    config = {**TEXT, **change}
    vlm, base = model(tmp_path / "vlm"), model(tmp_path / "base", config=config, layers=config["num_hidden_layers"])
    with pytest.raises(UserError) as error:
        planned(base, vlm, vlm)
    for line in lines:
        assert line in error.value.given
    assert error.value.do.startswith("replace the checkpoint that differs; to skip a check at your own risk: force: [")
    forced = planned(base, vlm, vlm, [line.split(":")[0] for line in lines])
    assert len(forced.warnings) == len(lines)
    assert forced.warnings[0].startswith(f"forced {lines[0]}")


def test_all_problems_are_told_at_once_and_force_skips_only_what_it_names(tmp_path):
    vlm = model(tmp_path / "vlm", extra=["model.layers.0.self_attn.q_proj.bias"])
    base = model(tmp_path / "base", config={**TEXT, "rope_theta": 10000.0})
    with pytest.raises(UserError) as error:
        planned(base, vlm, base, ["rope_theta"])
    missing = "biases: the VLM has 'layers.0.self_attn.q_proj.bias', {} has no such bias: one was trained with the bias"
    assert error.value.given.startswith("these checkpoints cannot be merged: 2 problems\n  - biases")
    assert missing.format("the base") in error.value.given
    assert missing.format("the reasoning model") in error.value.given
    assert "rope_theta" not in error.value.given
    assert "force: [rope_theta, biases]" in error.value.do, "what is forced already stays in the advice"
    plan = planned(base, vlm, base, ["rope_theta", "biases"])
    assert "model.layers.0.self_attn.q_proj.bias" in plan.copied
    assert len(plan.warnings) == 4


def test_a_bias_that_only_the_base_has_is_refused_too(tmp_path):
    vlm, base = model(tmp_path / "vlm"), model(tmp_path / "base", extra=["model.layers.1.self_attn.q_proj.bias"])
    with pytest.raises(UserError, match=r"the base has 'layers.1.self_attn.q_proj.bias', the VLM has no such bias"):
        planned(base, vlm, vlm)


def test_unequal_shapes_are_refused_and_copied_when_forced(tmp_path):
    vlm, base = model(tmp_path / "vlm"), model(tmp_path / "base", width=4)
    with pytest.raises(UserError) as error:
        planned(base, vlm, vlm)
    assert "'layers.0.mlp.up_proj.weight' and 3 more differ ((12, 8) in the VLM, (12, 4) in the base)" in str(
        error.value
    )
    with pytest.raises(UserError, match="have no decoder block in common"):
        planned(base, vlm, vlm, ["shapes"])


def test_an_unknown_check_is_refused(tmp_path):
    folder = model(tmp_path / "vlm")
    with pytest.raises(UserError, match="unknown check in force 'shape'"):
        planned(folder, folder, folder, ["shape"])


def test_rope_theta_is_found_in_old_and_new_configurations():
    assert rope_theta({"rope_theta": 1e4}) == 1e4
    assert rope_theta({"rope_parameters": {"rope_type": "default", "rope_theta": 5e6}}) == 5e6
    nested = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    assert rope_theta({"rope_parameters": nested}) == {"full_attention": 1e6, "sliding_attention": 1e4}
    assert rope_theta({}) is None


def refused(folder):
    with pytest.raises(UserError) as error:
        open_checkpoint("reason", folder)
    assert error.value.given.startswith("reason: ") and error.value.expected and error.value.do
    return str(error.value)


def test_a_missing_folder_says_how_to_get_it(tmp_path):
    message = refused(tmp_path / "none")
    assert "no such folder" in message and "hf download" in message


def test_a_folder_without_a_configuration_is_refused(tmp_path):
    folder = model(tmp_path / "m")
    (folder / "config.json").unlink()
    assert "holds no config.json" in refused(folder)


def test_a_folder_without_weights_is_refused(tmp_path):
    folder = model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refused(folder)


def test_pickled_weights_are_never_read(tmp_path):
    folder = model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "holds pickled weights only (pytorch_model.bin), which can run code" in refused(folder)


def test_an_adapter_is_not_a_model(tmp_path):
    folder = model(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    message = refused(folder)
    assert "holds a LoRA adapter" in message and "mmreflect export" in message


def test_a_file_cut_short_is_refused(tmp_path):
    folder = model(tmp_path / "m")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    message = refused(folder)
    assert f"is cut short or damaged ({len(whole) - 100:,} bytes; its header promises {len(whole):,})" in message
    (folder / "model.safetensors").write_bytes(whole[:5])
    assert "is cut short or damaged" in refused(folder)


def test_a_damaged_header_is_refused(tmp_path):
    folder = model(tmp_path / "m")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:8] + b"#" + whole[9:])
    assert "the header of" in refused(folder)
    (folder / "model.safetensors").write_bytes(whole.replace(b"[12,8]", b"[12,9]"))
    assert "is not where it should be" in refused(folder)


def test_a_git_lfs_pointer_is_recognised(tmp_path):
    folder = model(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in refused(folder)


def test_a_missing_shard_is_named(tmp_path):
    folder = shard(model(tmp_path / "m"))
    (folder / "model-00002-of-00002.safetensors").unlink()
    message = refused(folder)
    assert "names model-00002-of-00002.safetensors, which is missing" in message
    assert "all 2 files that the index names" in message


def test_an_index_that_does_not_fit_its_files_is_refused(tmp_path):
    folder = shard(model(tmp_path / "m"))
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("embed_tokens", "embedding"))
    assert "holds 'model.embedding.weight', but it does not" in refused(folder)
    index.write_text("{")
    assert "is not valid JSON" in refused(folder)
    index.write_text("{}")
    assert "has no weight_map" in refused(folder)


def test_quantised_weights_are_refused(tmp_path):
    assert "are quantised" in refused(model(tmp_path / "m", config={**TEXT, "quantization_config": {"bits": 4}}))


def test_blocks_of_integers_are_refused(tmp_path):
    folder = model(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(12, 8, dtype=torch.uint8)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match="is stored as U8, which cannot be averaged"):
        planned(folder, folder, folder)


def test_one_tensor_under_two_names_is_refused(tmp_path):
    folder = model(tmp_path / "m", extra=["model.language_model.embed_tokens.weight"])
    with pytest.raises(UserError, match="are the same tensor twice"):
        planned(folder, folder, folder)


def test_keeping_the_dtype_keeps_every_byte_of_headers_and_index(tmp_path):
    vlm = open_checkpoint("vlm", shard(model(tmp_path / "m")))
    layout = lay_out(vlm, "keep", 10)
    assert [item.file for item in layout.shards] == list(vlm.headers)
    assert [item.header for item in layout.shards] == list(vlm.headers.values())
    assert layout.index == (vlm.folder / "model.safetensors.index.json").read_bytes()
    assert layout.size == sum(path.stat().st_size for path in vlm.folder.glob("*.safetensors"))


def test_a_new_dtype_cuts_the_files_anew(tmp_path):
    vlm = open_checkpoint("vlm", model(tmp_path / "m", extra=["visual.weight"]))
    single = lay_out(vlm, "bfloat16", 10_000)
    assert [item.file for item in single.shards] == ["model.safetensors"] and single.index is None
    cut = lay_out(vlm, "bfloat16", 400)
    assert cut.shards[0].file == f"model-00001-of-{len(cut.shards):05}.safetensors"
    assert all(item.size - len(item.header) <= 400 for item in cut.shards)
    index = json.loads(cut.index)
    assert index["weight_map"].keys() == vlm.tensors.keys()
    assert index["metadata"]["total_size"] == sum(entry.count * 2 for entry in vlm.tensors.values())


def test_a_file_that_shrinks_while_it_is_read_is_told(tmp_path):
    opened = open_checkpoint("vlm", model(tmp_path / "m"))
    name = "model.layers.1.self_attn.q_proj.weight"
    os.truncate(tmp_path / "m" / "model.safetensors", opened.tensors[name].start + 4)
    with pytest.raises(UserError, match="is cut short or damaged"):
        opened.fill(name, 0, memoryview(bytearray(64)))


def at_the_door(root, *words):
    tree = {
        "method": "frank",
        "output": str(root / "out"),
        **{role: str(root / role) for role in ("base", "vlm", "reason")},
    }
    (root / "merge.yaml").write_text(yaml.safe_dump(tree))
    return main(["merge", str(root / "merge.yaml"), *words])


def test_the_plan_is_shown_and_nothing_written(tmp_path, capsys):
    for role in ("base", "vlm", "reason"):
        shard(model(tmp_path / role))
    assert at_the_door(tmp_path, "--plan") == 0
    shown = capsys.readouterr().out
    assert "4 tensors of 2 decoder blocks" in shown and "1 tensor from the VLM" in shown and "in 2 files" in shown
    assert not (tmp_path / "out").exists()


def test_a_difference_is_refused_at_the_front_door(tmp_path, capsys):
    for role in ("base", "vlm", "reason"):
        model(tmp_path / role, config={**TEXT, "rope_theta": 10000.0} if role == "reason" else TEXT)
    assert at_the_door(tmp_path, "--plan") == 2
    assert "rope_theta: the VLM has 1,000,000, the reasoning model has 10,000" in capsys.readouterr().err
    assert at_the_door(tmp_path, "force=[rope_theta]") == 0
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert report["rope_theta"]["reason"] == 10000.0
    assert report["warnings"][0].startswith("forced rope_theta: the VLM has")


def test_the_recipe_that_is_an_example_of_a_refusal_is_refused(tmp_path, capsys):
    """Configurations as they are published: Qwen2.5-Math and its distillation rotate with 10,000."""
    published = {
        "num_hidden_layers": 28, "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4,
        "intermediate_size": 18944, "hidden_act": "silu",
    }  # fmt: skip
    model(tmp_path / "vlm", config={**published, "rope_theta": 1000000.0, "vision_config": {}})
    for role in ("base", "reason"):
        model(tmp_path / role, config={**published, "rope_theta": 10000 if role == "base" else 10000.0})
    words = [f"{role}={tmp_path / role}" for role in ("base", "vlm", "reason")]
    assert main(["merge", "configs/merge/refused_r1_distill_qwen_7b.yaml", *words, f"output={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert "these checkpoints cannot be merged: 2 problems" in error
    for title in ("the base", "the reasoning model"):
        assert (
            f"rope_theta: the VLM has 1,000,000, {title} has 10,000: attention was trained for other rotations" in error
        )
    assert "1.5B and 7B from Qwen2.5-Math" in error and not (tmp_path / "out").exists()


def test_the_example_script_merges(tmp_path, monkeypatch, capsys):
    for role in ("base", "vlm", "reason"):
        model(tmp_path / role)
    monkeypatch.setattr("sys.argv", ["merge.py", *(str(tmp_path / name) for name in ("base", "vlm", "reason", "out"))])
    runpy.run_path(str(Path(__file__).parents[2] / "examples/merge.py"), run_name="__main__")
    again = mmreflect.merge(
        {"method": "linear", **{role: str(tmp_path / role) for role in ("vlm", "reason")}}, f"output={tmp_path / 'b'}"
    )
    assert again.result["merged_tensors"] == 4
    assert "[1.0, 1.0]" in capsys.readouterr().out  # all three are equal, so the VLM is kept


@pytest.mark.parametrize(
    ("key", "values", "text"),
    [
        ("hidden_act", ("silu", "gelu"), "hidden_act: the VLM has silu, the base has gelu: the MLPs compute"),
        ("layer_types", (["full_attention"], ["linear_attention"]), "the same block is full attention here and linear there"),
        ("num_experts", (4, 8), "num_experts: the VLM has 4, the base has 8: the experts cannot be paired"),
        ("num_experts_per_tok", (2, 8), "num_experts_per_tok: the VLM has 2, the base has 8"),
        ("moe_intermediate_size", (8, 16), "moe_intermediate_size: the VLM has 8, the base has 16"),
        ("partial_rotary_factor", (0.25, 0.5), "partial_rotary_factor: the VLM has 0.25, the base has 0.5"),
    ],
)  # fmt: skip
def test_what_only_some_families_state_must_agree_where_both_state_it(tmp_path, key, values, text):
    vlm, base = (
        model(tmp_path / name, config={**TEXT, key: value}) for name, value in zip(("v", "b"), values, strict=True)
    )
    with pytest.raises(UserError) as error:
        planned(base, vlm, vlm)
    assert text in error.value.given and f"force: [{key}]" in error.value.do
    assert planned(model(tmp_path / "silent"), vlm, vlm).warnings == ()
