"""Real architectures of transformers, tiny: their names on disk pair up, and the merged model loads and answers."""

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from mmreflect.cli import main
from mmreflect.merge import open_checkpoint, plan_merge
from mmreflect.merge.names import block_of, in_scope
from mmreflect.merge.sources import find_source, is_transposed

ROPE = {"rope_type": "default", "rope_theta": 1e6}
BASE = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
MOE = {
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8,
    "decoder_sparse_step": 1,
}  # fmt: skip
LINEAR = {
    "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 2,
    "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
VISION = {
    "depth": 1,
    "hidden_size": 16,
    "num_heads": 2,
    "patch_size": 14,
    "intermediate_size": 16,
    "out_hidden_size": 16,
}
VISION_2 = {"depth": 1, "num_heads": 2, "patch_size": 14, "embed_dim": 16, "hidden_size": 16, "mlp_ratio": 2}
VISION_3 = {**VISION, "num_position_embeddings": 16}
IDS = {"image_token_id": 28, "video_token_id": 29, "vision_start_token_id": 30, "vision_end_token_id": 31}
PARTIAL = {"partial_rotary_factor": 0.5}
FAMILIES = {  # VLM class, its vision config, extra text options; LLM class, its config class; block tensors that merge
    "qwen2_vl": ("Qwen2VL", VISION_2, {}, "Qwen2", "Qwen2Config", 24),
    "qwen2_5_vl": ("Qwen2_5_VL", {**VISION, "window_size": 112, "fullatt_block_indexes": [0]}, {}, "Qwen2", "Qwen2Config", 24),
    "qwen3_vl": ("Qwen3VL", {**VISION_3, "deepstack_visual_indexes": [0]}, {}, "Qwen3", "Qwen3Config", 22),
    "qwen3_vl_moe": ("Qwen3VLMoe", {**VISION_3, "deepstack_visual_indexes": [0]}, MOE, "Qwen3Moe", "Qwen3MoeConfig", 22),
    "qwen3_5": ("Qwen3_5", VISION_3, LINEAR, "Qwen3_5", "Qwen3_5TextConfig", 25),
    "qwen3_5_moe": ("Qwen3_5Moe", VISION_3, {**LINEAR, **MOE}, "Qwen3_5Moe", "Qwen3_5MoeTextConfig", 53),
}  # fmt: skip


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """Folders of a tiny VLM, its base and a reasoning model by family, the decoders of all three near one another."""
    made = {}

    def make(name, tied=False):
        if (name, tied) not in made:
            made[name, tied] = _save(tmp_path_factory.mktemp(name), name, tied)
        return made[name, tied]

    return make


def _save(root, name, tied):
    import transformers as hf

    vlm_name, vision, extra, llm_name, llm_config, _ = FAMILIES[name]
    rope = {**ROPE, **(PARTIAL if name.startswith("qwen3_5") else {})}
    sections = {"mrope_section": [1, 1, 0], "mrope_interleaved": True} if PARTIAL.keys() <= rope.keys() else {}
    mrope = {**rope, "mrope_section": [2, 1, 1], **sections}
    text = {**BASE, **extra, "tie_word_embeddings": tied}
    torch.manual_seed(0)
    config = getattr(hf, f"{vlm_name}Config")(
        text_config={**text, "rope_parameters": mrope}, vision_config=vision, tie_word_embeddings=tied, **IDS
    )
    vlm = getattr(hf, f"{vlm_name}ForConditionalGeneration")(config)
    llms = [
        getattr(hf, f"{llm_name}ForCausalLM")(getattr(hf, llm_config)(**text, rope_parameters=rope)) for _ in range(2)
    ]
    with torch.no_grad():
        for llm in llms:
            for mine, theirs in zip(llm.model.parameters(), vlm.model.language_model.parameters(), strict=True):
                mine.copy_(theirs + 0.01 * torch.randn_like(theirs))
    for role, model in zip(("base", "reason", "vlm"), (*llms, vlm), strict=True):
        model.save_pretrained(root / role)
    return root, vlm, llms


def merge(root, output, *words, **tree):
    tree = {
        "method": "centroid",
        "output": str(output),
        **{role: str(root / role) for role in ("base", "vlm", "reason")},
        **tree,
    }
    file = output.parent / f"{output.name}.yaml"
    file.write_text(yaml.safe_dump(tree))
    return main(["merge", str(file), *words])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_centroid_of_real_architectures_loads_and_is_the_mean_of_both_decoders(family, tmp_path, name, capsys):
    root, vlm, llms = family(name)
    assert merge(root, tmp_path / "out") == 0, capsys.readouterr().err
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    assert report["tensors"]["merged"] == FAMILIES[name][5]
    assert report["skipped_names"]["reason"] == ["lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"]
    merged, notes = type(vlm).from_pretrained(tmp_path / "out" / "model", output_loading_info=True)
    assert not notes["missing_keys"] and not notes["unexpected_keys"]
    sides = zip(
        merged.model.language_model.layers.named_parameters(),
        vlm.model.language_model.layers.parameters(),
        llms[1].model.layers.parameters(),
        strict=True,
    )
    for (parameter, mine), ours, theirs in sides:
        assert torch.allclose(mine, (ours + theirs) / 2, atol=1e-6), parameter
    for (parameter, mine), ours in zip(
        merged.model.visual.named_parameters(), vlm.model.visual.parameters(), strict=True
    ):
        assert torch.equal(mine, ours), parameter
    assert torch.isfinite(merged(input_ids=torch.tensor([[1, 2, 3]])).logits).all()
    capsys.readouterr()
    assert main(["merge", "--verify", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "verified" in shown and f"{type(vlm).__name__}, one forward, logits (1, 3, 32)" in shown


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_a_tied_head_is_on_no_disk_before_and_after(family, tmp_path, name):
    root, vlm, _ = family(name, tied=True)
    assert merge(root, tmp_path / "out") == 0
    written = load_file(tmp_path / "out" / "model" / "model.safetensors")
    assert "lm_head.weight" not in written
    merged = type(vlm).from_pretrained(tmp_path / "out" / "model")
    assert merged.lm_head.weight is merged.model.language_model.embed_tokens.weight
    assert main(["merge", "--verify", str(tmp_path / "out")]) == 0


def test_the_old_and_the_new_layout_of_qwen2_5_vl_merge_alike(family, tmp_path):
    root, vlm, _ = family("qwen2_5_vl")
    new = tmp_path / "new"
    vlm.save_pretrained(new, save_original_format=False)
    assert any(name.startswith("model.language_model.layers.") for name in load_file(new / "model.safetensors"))
    assert merge(root, tmp_path / "a") == 0 and merge(root, tmp_path / "b", vlm=str(new)) == 0
    old, other = (load_file(tmp_path / out / "model" / "model.safetensors") for out in ("a", "b"))
    canonical = {name.replace("model.language_model.", "model."): value for name, value in other.items()}
    names = [name for name in old if ".layers." in name]
    assert len(names) == 24 and all(torch.equal(old[name], canonical[name]) for name in names)


def turned(folder, target):
    """Write the experts of Qwen3-VL-MoE as on the Hub: input by output."""
    target.mkdir()
    tensors = load_file(folder / "model.safetensors")
    tensors = {n: v.transpose(1, 2).contiguous() if ".experts." in n else v for n, v in tensors.items()}
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    (target / "config.json").write_text((folder / "config.json").read_text())
    return target


# gate_up is square here, 16 by 2 * 8, so that only down tells which way round the experts are stored
def test_transposed_experts_merge_with_single_ones(family, tmp_path):
    root, _, _ = family("qwen3_vl_moe")
    hub = turned(root / "vlm", tmp_path / "hub")
    assert merge(root, tmp_path / "a") == 0 and merge(root, tmp_path / "b", vlm=str(hub)) == 0
    one, two = (load_file(tmp_path / out / "model" / "model.safetensors") for out in ("a", "b"))
    experts = [name for name in one if ".experts." in name]
    assert len(experts) == 4 and all(torch.equal(one[name].transpose(1, 2), two[name]) for name in experts)
    vlm = open_checkpoint("vlm", hub)
    assert is_transposed(vlm, "layers.0.mlp.experts.gate_up_proj")
    assert not is_transposed(open_checkpoint("vlm", root / "vlm"), "layers.0.mlp.experts.gate_up_proj")
    upright = find_source(vlm, "layers.0.mlp.experts.down_proj", open_checkpoint("reason", root / "vlm"))
    assert upright is not None and upright.matrix == (16, 8)


def test_single_experts_are_cut_out_of_fused_ones(family, tmp_path):
    root, _, _ = family("qwen3_vl_moe")
    single, fused = open_checkpoint("vlm", root / "reason"), open_checkpoint("reason", root / "vlm")
    values = load_file(root / "vlm" / "model.safetensors")["model.language_model.layers.1.mlp.experts.gate_up_proj"]
    for part, rows in (("gate", slice(0, 8)), ("up", slice(8, 16))):
        source = find_source(single, f"layers.1.mlp.experts.2.{part}_proj.weight", fused)
        (segment,) = source.cut(0, source.count)
        data = bytearray(segment.count * 4)
        fused.fill(segment.name, segment.first, memoryview(data))
        assert np.array_equal(np.frombuffer(data, np.float32).reshape(8, 16), values[2, rows].numpy())
    plan = plan_merge(
        open_checkpoint("base", root / "reason"),
        open_checkpoint("vlm", root / "vlm"),
        open_checkpoint("reason", root / "base"),
    )
    assert len(plan.merged) == 22


@pytest.mark.parametrize(
    ("name", "block", "attention", "mlp"),
    [
        ("layers.3.self_attn.q_norm.weight", 3, True, False),
        ("layers.3.linear_attn.A_log", 3, True, False),
        ("layers.10.mlp.experts.3.up_proj.weight", 10, False, True),
        ("layers.10.input_layernorm.weight", 10, False, False),
        ("visual.blocks.0.attn.qkv.weight", None, False, False),
        ("mtp.layers.0.mlp.up_proj.weight", None, False, False),
        ("embed_tokens.weight", None, False, False),
    ],
)
def test_names_tell_block_and_scope(name, block, attention, mlp):
    assert (block_of(name) or (None,))[0] == block
    assert (in_scope(name, "attention"), in_scope(name, "mlp")) == (attention, mlp)
    assert in_scope(name, "decoder_blocks") == (block is not None)
