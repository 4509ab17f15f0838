"""Merging real files: the numbers, the bytes, resuming after a kill, and the way through the front door."""

import hashlib
import json
import os

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from mmreflect.cli import main
from mmreflect.merge import pieces, work
from mmreflect.merge.arithmetic_numpy import OnCpu
from mmreflect.merge.rule import mix

LAYERS = 3
TEXT = {
    "num_hidden_layers": LAYERS,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
}
SIDE_FILES = {
    "tokenizer.json": "{}",
    "tokenizer_config.json": '{"eos_token": "<|im_end|>"}',
    "processor_config.json": '{"patch": 14}',
    "preprocessor_config.json": "{}",
    "chat_template.jinja": "{{ messages }}",
    "generation_config.json": '{"do_sample": true}',
    "merges.txt": "a b",
    "modeling_custom.py": "raise SystemExit",
    "README.md": "the VLM's own card",
}


def block_tensors(seed, dtype, offset=0.0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"self_attn.q_proj.weight": (16, 16), "self_attn.q_proj.bias": (16,), "mlp.up_proj.weight": (24, 16)}
    return {
        f"layers.{layer}.{name}": (torch.randn(shape, generator=generator) + offset).to(dtype)
        for layer in range(LAYERS)
        for name, shape in shapes.items()
    }


def save_llm(folder, tensors):
    folder.mkdir()
    named = {f"model.{name}": value for name, value in tensors.items()}
    save_file({**named, "lm_head.weight": torch.zeros(4, 16)}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**TEXT, "model_type": "qwen3"}))
    return folder


def save_vlm(folder, tensors, dtype, sharded=True):
    """Write a VLM with vision tensors and three unknown ones, in two files that cut through a layer."""
    folder.mkdir()
    everything = {
        **{f"model.language_model.{name}": value for name, value in tensors.items()},
        "model.language_model.embed_tokens.weight": torch.randn(10, 16).to(dtype),
        "model.visual.blocks.0.attn.qkv.weight": torch.randn(8, 8).to(dtype),
        "model.visual.table": torch.arange(6, dtype=torch.int64),
        "unknown.scale": torch.tensor(-0.0),
        "unknown.empty": torch.empty(0, 4),
        "unknown.layers.0.weight": torch.randn(5),
    }
    names = sorted(everything)
    if sharded:
        parts = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
        for file, part in parts.items():
            save_file({name: everything[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map = {name: file for file, part in parts.items() for name in part}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    else:
        save_file(everything, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": "qwen3_vl",
        "dtype": "float32",
        "text_config": {**TEXT, "dtype": "float32"},
        "vision_config": {},
    }
    (folder / "config.json").write_text(json.dumps(config))
    for name, text in SIDE_FILES.items():
        (folder / name).write_text(text)
    return folder


class Triple:
    """Three small models in a folder, and merges of them through the command line."""

    def __init__(self, root, dtype=torch.float32, sharded=True):
        self.root = root
        self.base = block_tensors(0, dtype)
        generator = {name: torch.Generator().manual_seed(len(name)) for name in self.base}
        self.vlm = {n: (v + 0.3 * torch.randn(v.shape, generator=generator[n])).to(dtype) for n, v in self.base.items()}
        self.reason = {
            n: (v + 0.1 * torch.randn(v.shape, generator=generator[n])).to(dtype) for n, v in self.base.items()
        }
        save_llm(root / "base", self.base)
        save_llm(root / "reason", self.reason)
        save_vlm(root / "vlm", self.vlm, dtype, sharded)

    def merge(self, output="out", code=0, **settings):
        folders = {role: str(self.root / role) for role in ("base", "vlm", "reason")}
        tree = {"method": "frank", **folders, "output": str(self.root / output), "reload": False, **settings}
        (self.root / "merge.yaml").write_text(yaml.safe_dump(tree))
        assert main(["merge", str(self.root / "merge.yaml")]) == code
        return self.root / output

    def report(self, output="out"):
        return json.loads((self.root / output / "merge_report.json").read_text())


def load(folder):
    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def to_numpy(tensor):
    """The tensor's values in float32, flat."""
    return tensor.float().numpy().reshape(-1)


def bits(tensor):
    return tensor.contiguous().view(-1).view(torch.uint8).tolist()


@pytest.fixture
def triple(tmp_path):
    return Triple(tmp_path)


def test_a_merge_equals_the_same_merge_written_by_hand_to_the_last_bit(triple):
    triple.merge()
    written, rows = load(triple.root / "out" / "model"), triple.report()["layers"]
    for layer in range(LAYERS):
        names = [name for name in triple.base if name.startswith(f"layers.{layer}.")]
        base, vlm, reason = ({n: side[n].numpy() for n in names} for side in (triple.base, triple.vlm, triple.reason))
        norm2_v = sum(float(((vlm[n] - base[n]).astype(np.float64) ** 2).sum()) for n in names)
        norm2_r = sum(float(((reason[n] - base[n]).astype(np.float64) ** 2).sum()) for n in names)
        dot = sum(float(((vlm[n] - base[n]).astype(np.float64) * (reason[n] - base[n])).sum()) for n in names)
        lam_v, lam_r = norm2_v / (norm2_v + norm2_r), norm2_r / (norm2_v + norm2_r)
        row = rows[layer]
        assert row["norm2_v"] == pytest.approx(norm2_v, rel=1e-14)
        assert row["norm2_r"] == pytest.approx(norm2_r, rel=1e-14)
        assert row["cosine"] == pytest.approx(dot / np.sqrt(norm2_v * norm2_r), rel=1e-12)
        assert (row["lam_v"], row["lam_r"]) == pytest.approx((lam_v, lam_r), rel=1e-14)
        assert (row["layer"], row["attention"], row["w_v"]) == (layer, None, 0.5)
        for n in names:
            change = np.float32(lam_v) * (vlm[n] - base[n]) + np.float32(lam_r) * (reason[n] - base[n])
            expected = base[n] + change
            assert written[f"model.language_model.{n}"].numpy().tobytes() == expected.tobytes()


def test_statistics_and_bytes_do_not_depend_on_the_cut_into_pieces(triple, monkeypatch):
    whole = digests(triple.merge("whole", arithmetic="numpy") / "model")
    monkeypatch.setattr(pieces, "PIECE", 50)
    monkeypatch.setattr(OnCpu, "block", 7)
    monkeypatch.setattr(work, "COPY_BYTES", 24)
    assert pieces.cut.__defaults__ == (1 << 21,)
    monkeypatch.setattr(pieces.cut, "__defaults__", (50,))
    assert digests(triple.merge("cut", arithmetic="numpy") / "model") == whole
    for one, two in zip(triple.report("whole")["layers"], triple.report("cut")["layers"], strict=True):
        assert one.keys() == two.keys() and one["norm2_base"] == pytest.approx(two["norm2_base"], rel=1e-5)
        for key in ("norm2_v", "norm2_r", "cosine", "lam_v", "lam_r"):
            assert one[key] == pytest.approx(two[key], rel=1e-12)
    assert triple.report("whole")["crc32"] == triple.report("cut")["crc32"]


def test_everything_but_the_blocks_is_the_vlms_bit_for_bit(triple):
    triple.merge()
    before, after = load(triple.root / "vlm"), load(triple.root / "out" / "model")
    assert before.keys() == after.keys()
    copied = triple.report()["copied_names"]
    assert len(copied) == 6 and {"unknown.scale", "unknown.empty", "unknown.layers.0.weight"} <= set(copied)
    for name in copied:
        assert bits(before[name]) == bits(after[name])
    assert triple.report()["tensors"] == {"merged": 9, "copied": 6}


def test_weight_one_on_the_vlm_writes_the_vlms_files_again(triple):
    measured = {"name": "attention", "attention": [1.0] * LAYERS, "normalise": "attention"}
    triple.merge(importance="uniform", prior=measured)
    assert {row["lam_v"] for row in triple.report()["layers"]} == {1.0}
    before, after = digests(triple.root / "vlm"), digests(triple.root / "out" / "model")
    for name, digest in before.items():
        if name not in ("README.md", "modeling_custom.py"):
            assert after[name] == digest, name


def test_a_vlm_that_equals_its_base_gets_the_reasoning_models_decoder(tmp_path):
    triple = Triple(tmp_path, torch.bfloat16)
    save_llm(tmp_path / "unchanged", triple.vlm)
    triple.merge(base=str(tmp_path / "unchanged"))
    written = load(tmp_path / "out" / "model")
    for name, value in triple.reason.items():
        assert bits(written[f"model.language_model.{name}"]) == bits(value)
    assert {(row["lam_v"], row["lam_r"], row["cosine"]) for row in triple.report()["layers"]} == {(0.0, 1.0, None)}
    assert "one of the two models equals the base in 3 layers (0, 1, 2)" in triple.report()["warnings"]


def test_three_equal_models_give_the_vlm_and_a_warning(triple, capsys):
    save_llm(triple.root / "same", triple.vlm)
    same = str(triple.root / "same")
    triple.merge(base=same, reason=same)
    before, after = load(triple.root / "vlm"), load(triple.root / "out" / "model")
    assert all(bits(before[name]) == bits(after[name]) for name in before)
    assert "all three models are equal in 3 layers (0, 1, 2)" in triple.report()["warnings"][0]
    assert "warning: all three models are equal" in capsys.readouterr().out


def test_swapping_the_two_models_leaves_the_merged_blocks_unchanged(triple):
    triple.merge()
    other = triple.root / "other"
    other.mkdir()
    save_llm(other / "base", triple.base)
    save_llm(other / "reason", triple.vlm)
    save_vlm(other / "vlm", triple.reason, torch.float32)
    triple.merge("swapped", **{role: str(other / role) for role in ("base", "vlm", "reason")})
    one, two = load(triple.root / "out" / "model"), load(triple.root / "swapped" / "model")
    for name in triple.base:
        assert bits(one[f"model.language_model.{name}"]) == bits(two[f"model.language_model.{name}"])
    weights = [[(row["lam_v"], row["lam_r"]) for row in triple.report(out)["layers"]] for out in ("out", "swapped")]
    assert weights[0] == [pair[::-1] for pair in weights[1]]


def test_an_unrelated_base_is_suspected_from_the_cosine(triple):
    save_llm(triple.root / "unrelated", block_tensors(9, torch.float32, offset=5.0))
    triple.merge(base=str(triple.root / "unrelated"))
    warnings = triple.report()["warnings"]
    assert any("point the same way in 3 layers" in text and "not the ancestor" in text for text in warnings)


def test_a_result_that_is_nearly_the_reasoning_model_is_warned_about(triple):
    triple.merge(
        importance="uniform",
        prior={"name": "attention", "attention": [0.01] * LAYERS, "normalise": "attention", "floor": 0.0},
    )
    assert any("the VLM's weight is 0.010 on average" in text for text in triple.report()["warnings"])


def test_a_kill_at_any_point_leads_to_the_same_bytes(triple):
    whole = digests(triple.merge("whole") / "model")
    killed = triple.merge("killed")
    second = killed / "model" / "model-00002-of-00002.safetensors"
    (killed / "result.json").unlink()
    (killed / "merge_report.json").unlink()
    (killed / "model" / "README.md").unlink()
    second.rename(second.with_name(f".{second.name}.partial"))
    os.truncate(second.with_name(f".{second.name}.partial"), 1000)
    first = (killed / "model" / "model-00001-of-00002.safetensors").stat().st_mtime_ns
    stats = (killed / "layers.jsonl").read_bytes()
    (killed / "layers.jsonl").write_bytes(stats[: len(stats) - 20])
    notes = (killed / "shards.jsonl").read_bytes().splitlines(keepends=True)
    (killed / "shards.jsonl").write_bytes(b"".join(line for line in notes if b"model-00001-of" in line))
    triple.merge("killed")
    assert (killed / "model" / "model-00001-of-00002.safetensors").stat().st_mtime_ns == first
    assert triple.report("killed")["layers"] == triple.report("whole")["layers"]
    assert (killed / "layers.jsonl").read_bytes() == stats
    resumed = digests(killed / "model")
    assert resumed == whole
    assert json.loads((killed / "result.json").read_text())["layers"] == LAYERS


def test_an_interrupt_in_the_middle_of_a_shard_is_resumed(triple, monkeypatch, capsys):
    whole = digests(triple.merge("whole") / "model")
    done, real = [], work.Work._combine

    def interrupted(self, piece, loaded, pair):
        done.append(piece)
        if len(done) == 8:
            raise KeyboardInterrupt
        real(self, piece, loaded, pair)

    monkeypatch.setattr(work.Work, "_combine", interrupted)
    output = triple.merge("killed", code=130)
    assert not (output / "result.json").exists()
    assert any(path.name.endswith(".partial") for path in (output / "model").iterdir())
    monkeypatch.setattr(work.Work, "_combine", real)
    triple.merge("killed")
    assert digests(output / "model") == whole


def test_inputs_that_change_between_two_attempts_are_refused(triple, capsys):
    output = triple.merge()
    (output / "result.json").unlink()
    os.utime(triple.root / "reason" / "model.safetensors", ns=(1, 1))
    triple.merge(code=2)
    error = capsys.readouterr().err
    assert f"the models changed since the merge in '{output}' was started (reason: model.safetensors)" in error
    assert "to start again" in error


def test_a_finished_merge_is_not_done_again(triple, capsys):
    output = triple.merge()
    before = digests(output / "model")
    triple.merge()
    assert "is finished already" in capsys.readouterr().out
    assert digests(output / "model") == before


def test_side_files_are_copied_and_what_is_left_out_is_named(triple):
    model = triple.merge() / "model"
    kept = [name for name in SIDE_FILES if name not in ("README.md", "modeling_custom.py")]
    assert all((model / name).read_text() == SIDE_FILES[name] for name in kept)
    assert triple.report()["files"] == {
        "copied": sorted([*kept, "config.json"]),
        "left_out": ["README.md", "modeling_custom.py"],
    }
    assert (model / "config.json").read_bytes() == (triple.root / "vlm" / "config.json").read_bytes()


def test_the_card_holds_the_recipe_without_local_folders(triple):
    card = (triple.merge(force=["rope_theta"]) / "model" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    recipe = yaml.safe_load(card.split("```yaml")[1].split("```")[0])
    assert front["tags"] == ["merge", "mmreflect"]
    assert {key: recipe[key] for key in ("method", "base", "vlm", "reason", "importance", "force")} == {
        "method": "frank",
        "base": "base",
        "vlm": "vlm",
        "reason": "reason",
        "importance": "norm2",
        "force": ["rope_theta"],
    }
    assert str(triple.root) not in card
    assert "9 tensors of 3 decoder blocks merged" in card


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_merged_in_float32(tmp_path, dtype):
    triple = Triple(tmp_path, dtype, sharded=False)
    triple.merge()
    assert not (tmp_path / "out" / "model" / "model.safetensors.index.json").exists()
    written, rows = load(tmp_path / "out" / "model"), triple.report()["layers"]
    for name, base in triple.base.items():
        row = rows[int(name.split(".")[1])]
        sides = (to_numpy(base), to_numpy(triple.vlm[name]), to_numpy(triple.reason[name]))
        expected = torch.from_numpy(mix(*sides, row["lam_v"], row["lam_r"])).to(dtype)
        assert bits(written[f"model.language_model.{name}"]) == bits(expected)


def test_a_new_dtype_changes_floats_only_and_the_configuration_with_them(triple):
    triple.merge("full")
    model = triple.merge("half", dtype="bfloat16", shard_bytes=900) / "model"
    full, half = load(triple.root / "full" / "model"), load(model)
    assert full.keys() == half.keys() and len(list(model.glob("*.safetensors"))) > 2
    for name, value in full.items():
        expected = value.to(torch.bfloat16) if value.is_floating_point() else value
        assert bits(half[name]) == bits(expected)
    config = json.loads((model / "config.json").read_text())
    assert config["dtype"] == config["text_config"]["dtype"] == "bfloat16"


def test_values_too_large_for_the_new_dtype_are_refused(triple, capsys):
    triple.vlm["layers.0.mlp.up_proj.weight"][0, 0] = 1e6
    (triple.root / "large").mkdir()
    save_vlm(triple.root / "large" / "vlm", triple.vlm, torch.float32)
    triple.merge(vlm=str(triple.root / "large" / "vlm"), dtype="float16", code=2)
    error = capsys.readouterr().err
    assert "layers.0.mlp.up_proj.weight' holds values that float16 cannot represent" in error
    assert "choose dtype: bfloat16 or float32" in error


def test_not_a_number_is_found_and_its_model_named(triple, capsys):
    triple.reason["layers.1.self_attn.q_proj.bias"][3] = float("nan")
    save_llm(triple.root / "broken", triple.reason)
    triple.merge(reason=str(triple.root / "broken"), code=2)
    assert "reason: 'model.layers.1.self_attn.q_proj.bias' holds NaN or infinity" in capsys.readouterr().err


def test_the_result_sums_it_up(triple):
    result = json.loads((triple.merge() / "result.json").read_text())
    assert {key: result[key] for key in ("layers", "merged_tensors", "copied_tensors", "warnings")} == {
        "layers": 3,
        "merged_tensors": 9,
        "copied_tensors": 6,
        "warnings": 0,
    }
    assert result["model"] == str(triple.root / "out" / "model")
    assert result["lam_v_mean"] + result["lam_r_mean"] == pytest.approx(1.0)
    assert 0.8 < result["lam_v_mean"] < 0.95
