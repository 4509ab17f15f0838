"""What a rule of whole tensors is given: all matched rows of embeddings together, and experts one by one."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_families import family, merge, turned  # noqa: F401  (a fixture)
from test_methods import bf16, elected, trimmed

from mmreflect.cli import main
from mmreflect.merge import memory
from mmreflect.merge.methods import slerp, wudi

WIDTH, ROWS = 6, 12
VLM, OTHER = "abcdefgh", "abedcfzh"
MATCHED = {"a": 0, "b": 1, "c": 4, "d": 3, "e": 2, "f": 5, "h": 7}
"""The tokens that all models know, and their rows in the reasoning model: runs of one and two rows."""
RULES = {
    "ties": {},
    "dare_linear": {},
    "dare_ties": {},
    "slerp": {"t": 0.3},
    "wudi": {"steps": 20, "learning_rate": 1e-3},
}


@pytest.fixture
def scattered(tmp_path):
    """Models whose embeddings differ, and whose tokens lie elsewhere in the reasoning model."""
    generator = torch.Generator().manual_seed(5)
    shared = torch.randn(ROWS, WIDTH, generator=generator)
    block = torch.randn(4, WIDTH, generator=generator)
    text = {"num_hidden_layers": 1, "hidden_size": WIDTH, "num_attention_heads": 1, "intermediate_size": 4}
    tables = {}
    for role, words in (("base", VLM), ("vlm", VLM), ("reason", OTHER)):
        own = shared if words is VLM else shared[[MATCHED.get(word, 11) for word in words] + [8, 9, 10, 11]]
        tables[role] = (own + 0.1 * torch.randn(own.shape, generator=generator)).to(torch.bfloat16)
        (tmp_path / role).mkdir()
        up = (block + 0.1 * torch.randn(block.shape, generator=generator)).to(torch.bfloat16)
        tensors = {"model.embed_tokens.weight": tables[role], "model.layers.0.mlp.up_proj.weight": up}
        save_file(tensors, tmp_path / role / "model.safetensors", metadata={"format": "pt"})
        config = {"text_config": text, "vision_config": {}} if role == "vlm" else text
        (tmp_path / role / "config.json").write_text(json.dumps(config))
        vocab = {"model": {"vocab": {word: number for number, word in enumerate(words)}}}
        (tmp_path / role / "tokenizer.json").write_text(json.dumps(vocab))
    return tmp_path, {role: table.float().numpy() for role, table in tables.items()}


def by_hand(method, b, v, r):
    if method == "ties":
        return b + elected(trimmed(v - b, 0.2), trimmed(r - b, 0.2), 1.0, 1.0)
    if method == "slerp":
        return slerp.slerp(v.reshape(-1), r.reshape(-1), 0.3).reshape(v.shape)
    changes = [(side - b).astype(np.float64) for side in (v, r)]
    return b + wudi.merged_change(changes, 20, 1e-3).astype(np.float32)


@pytest.mark.parametrize("method", ["ties", "slerp", "wudi"])
def test_matched_rows_are_one_tensor_to_a_rule(scattered, method):
    root, tables = scattered
    assert (
        merge(root, root / "out", method=method, embeddings="matching_tokens", force=["vocabulary"], **RULES[method])
        == 0
    )
    ours, theirs = [VLM.index(word) for word in sorted(MATCHED)], [MATCHED[word] for word in sorted(MATCHED)]
    expected = by_hand(method, tables["base"][ours], tables["vlm"][ours], tables["reason"][theirs])
    written = load_file(root / "out" / "model" / "model.safetensors")["model.embed_tokens.weight"]
    assert written[ours].view(torch.uint16).numpy().reshape(-1).tolist() == bf16(expected).tolist()
    rest = [row for row in range(ROWS) if row not in ours]
    assert np.array_equal(written[rest].float().numpy(), tables["vlm"][rest])


def test_metagpts_weight_is_that_of_the_decoder_alone(scattered):
    root, _ = scattered
    options = {"method": "metagpt", "force": ["vocabulary"]}
    assert merge(root, root / "blocks", **options) == 0
    assert merge(root, root / "all", embeddings="matching_tokens", **options) == 0
    one, two = (json.loads((root / out / "merge_report.json").read_text()) for out in ("blocks", "all"))
    assert one["layers"] == two["layers"] and one["total"] == two["total"]
    assert two["embeddings"][0]["lam_v"] == one["layers"][0]["lam_v"]


def test_the_plan_says_that_they_need_memory_together(scattered, monkeypatch, capsys):
    root, _ = scattered
    machine = root / "meminfo"
    machine.write_text("MemAvailable: 100000 kB\n")
    monkeypatch.setattr(memory, "MACHINE", machine)
    options = {"method": "ties", "embeddings": "matching_tokens", "force": ["vocabulary"]}
    capsys.readouterr()
    assert merge(root, root / "out", "--plan", **options) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "(the 7 matched rows of 'model.embed_tokens.weight' are one tensor to this rule)" in shown
    assert ": more than the 0.10 GB that are free" in shown


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    assert memory.available() is None
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 5 kB\n")
    assert memory.available() == 5120
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("3000\n")
    assert memory.available() == 5120
    (tmp_path / "memory.max").write_text("4000\n")
    (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 500\n")
    assert memory.available() == 1500


def one_by_one(folder, target):
    """Write a model with fused upright experts as one that stores each by itself."""
    target.mkdir()
    tensors = {}
    for name, value in load_file(folder / "model.safetensors").items():
        stem, _, kind = name.rpartition(".")
        if ".experts." not in name:
            tensors[name] = value
            continue
        for number, slab in enumerate(value):
            for part, rows in (
                zip(("gate", "up"), slab.chunk(2), strict=True) if kind.startswith("gate") else [("down", slab)]
            ):
                tensors[f"{stem}.{number}.{part}_proj.weight"] = rows.contiguous()
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    (target / "config.json").write_text((folder / "config.json").read_text())
    return target


@pytest.mark.parametrize("method", RULES)
def test_experts_merge_alike_however_they_are_stored(family, tmp_path, method):  # noqa: F811
    root, _, _ = family("qwen3_vl_moe")
    layouts = {"fused": root / "vlm", "hub": turned(root / "vlm", tmp_path / "turned")}
    layouts["single"] = one_by_one(root / "vlm", tmp_path / "one_by_one")
    written = {}
    for name, folder in layouts.items():
        assert merge(root, tmp_path / name, method=method, vlm=str(folder), **RULES[method]) == 0
        written[name] = load_file(tmp_path / name / "model" / "model.safetensors")
    fused = [name for name in written["fused"] if re.search(r"experts\.(gate_up|down)_proj$", name)]
    assert len(fused) == 4
    for name in fused:
        value, stem = written["fused"][name], name.rpartition(".")[0]
        assert torch.equal(value, written["hub"][name].transpose(1, 2))
        parts = ("gate", "up") if "gate_up" in name else ("down",)
        for number, slab in enumerate(value):
            names = [f"{stem}.{number}.{part}_proj.weight" for part in parts]
            assert torch.equal(slab, torch.cat([written["single"][part] for part in names])), names
    assert main(["merge", "--verify", str(tmp_path / "fused"), "reload=no"]) == 0
