"""Adapters merged into their base: the arithmetic by hand, then against peft, then what does not fit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exporting.trained import moved
from safetensors.torch import load_file, save_file

from mmreflect.cli import main
from mmreflect.errors import UserError
from mmreflect.exporting.adapters import _Update, merge_adapter, merged_weight, open_adapter
from mmreflect.exporting.weights import Held, Loose
from mmreflect.models import ModelConfig, load_model

Models = Callable[[str], Path]
UP = "model.language_model.layers.0.mlp.up_proj"


def adapted(base: Path, seed: int = 0, **options: Any) -> Any:
    """A model with an adapter whose every value was moved."""
    from peft import LoraConfig, get_peft_model

    model = load_model(ModelConfig(path=str(base), dtype="float32")).model
    defaults = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "exclude_modules": r".*visual\..*"}
    adapter = get_peft_model(model, LoraConfig(**defaults | options))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return adapter


def logits(model: Any) -> torch.Tensor:
    ids = torch.tensor([[5, 6, 7, 8, 9, 10, 11]])
    with torch.inference_mode():
        return model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()


def test_lora_by_hand() -> None:
    weight = torch.tensor([[1.0, 0], [0, 1]])
    update = _Update(a=torch.tensor([[1.0, 2]]), b=torch.tensor([[3.0], [4]]))
    assert merged_weight(weight, update, 0.5).tolist() == [[2.5, 3], [2, 5]]
    assert merged_weight(weight, update, 0.5, fan_in_fan_out=True).tolist() == [[2.5, 2], [3, 5]]
    # as an embedding: of two tokens by two values, A holds the tokens
    assert merged_weight(weight, _Update(update.a, update.b, embedding=True), 0.5).tolist() == [[2.5, 2], [3, 5]]


def test_dora_by_hand() -> None:
    # W + B A = [[3, 4], [0, 2]], of norms 5 and 2; the trained norms are 10 and 1
    update = _Update(torch.tensor([[1.0, 2]]), torch.tensor([[2.0], [0]]), magnitude=torch.tensor([10.0, 1]))
    found = merged_weight(torch.tensor([[1.0, 0], [0, 2]]), update, 1.0)
    assert torch.allclose(found, torch.tensor([[6.0, 8], [0, 1]]))


def test_scales(tmp_path: Path) -> None:
    for number, (more, expected) in enumerate(
        (({}, 1.5), ({"use_rslora": True}, 3.0), ({"alpha_pattern": {"up_proj": 8}}, 2.0))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        config = {"peft_type": "LORA", "r": 4, "lora_alpha": 6, **more}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        save_file({f"base_model.model.{UP}.lora_A.weight": torch.ones(4, 2), f"base_model.model.{UP}.lora_B.weight": torch.ones(2, 4)},
                  folder / "adapter_model.safetensors")  # fmt: skip
        adapter = open_adapter(folder)
        assert adapter.scale("layers.0.mlp.up_proj", 4) == expected, more
        assert adapter.scale("layers.0.mlp.down_proj", 4) == (3.0 if "use_rslora" in more else 1.5)


def test_a_small_update_of_a_bfloat16_weight_is_not_lost_in_the_sum(tmp_path: Path) -> None:
    """W = 1, s B A = 0.003 + 0.003 over two ranks: half a step of bfloat16 at 1 is 0.0039, so 1.006 becomes 1.0078."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2}))
    a, b = torch.tensor([[0.003], [0.003]]), torch.ones(1, 2)
    save_file({"m.lora_A.weight": a, "m.lora_B.weight": b}, folder / "adapter_model.safetensors")
    base = Loose({"m.weight": Held((1, 1), torch.bfloat16)}, lambda name: torch.ones(1, 1, dtype=torch.bfloat16))
    merged, _ = merge_adapter(base, open_adapter(folder), False, "keep")
    assert merged.read("m.weight").item() == 1.0078125
    wide, _ = merge_adapter(base, open_adapter(folder), False, "float32")
    assert wide.read("m.weight").item() == pytest.approx(1.006)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("qwen2_5_vl", {}),
        ("qwen3_vl", {"use_dora": True, "use_rslora": True}),
        ("qwen2_vl", {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"up_proj": 16}, "bias": "lora_only"}),
        ("qwen3_5", {"exclude_modules": None, "target_modules": r".*(q_proj|in_proj_qkv|attn\.qkv|attn\.proj)"}),
        ("qwen2_5_vl", {"target_modules": ["q_proj"], "lora_bias": True}),
        ("qwen2_5_vl", {"target_modules": ["q_proj"], "modules_to_save": ["norm", "merger"]}),
        ("qwen2_5_vl", {"target_modules": ["q_proj", "embed_tokens"]}),
        ("qwen2_5_vl", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    ],
)
def test_a_merge_says_what_base_and_adapter_say_in_peft(
    family: str, options: dict[str, Any], tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny_model(family)
    model = adapted(base, **options)
    model.save_pretrained(tmp_path / "adapter")
    assert main(["export", str(tmp_path / "adapter"), f"output={tmp_path / 'hub'}"]) == 0, capsys.readouterr().err
    merged = load_model(ModelConfig(path=str(tmp_path / "hub"), dtype="float32")).model
    assert torch.allclose(logits(merged), logits(model), atol=1e-5)
    untouched = load_model(ModelConfig(path=str(base), dtype="float32")).model
    assert (logits(merged) - logits(untouched)).abs().max() > 1e-3, "the adapter says something"
    card = (tmp_path / "hub/README.md").read_text()
    kind = "DoRA" if options.get("use_dora") else "LoRA"
    assert f"An adapter ({kind}, rank 4)" in card and "differs from base and adapter in peft by" in card
    changes_the_head = bool(
        {"embed_tokens", "lm_head"} & {*options.get("target_modules", ()), *options.get("modules_to_save", ())}
    )
    written = load_file(tmp_path / "hub/model.safetensors")
    assert ("lm_head.weight" in written) == changes_the_head
    assert json.loads((tmp_path / "hub/config.json").read_text())["tie_word_embeddings"] is not changes_the_head


def test_bfloat16_is_cast_last(tiny_model: Models, tmp_path: Path) -> None:
    base = tiny_model("qwen2_5_vl")
    adapted(base).save_pretrained(tmp_path / "adapter")
    for dtype in ("float32", "bfloat16"):
        words = [f"output={tmp_path / dtype}", f"dtype={dtype}", "max_shard_size=100KB"]
        assert main(["export", str(tmp_path / "adapter"), *words]) == 0
    read = [
        {k: v for file in (tmp_path / dtype).glob("*.safetensors") for k, v in load_file(file).items()}
        for dtype in ("float32", "bfloat16")
    ]
    assert read[0].keys() == read[1].keys()
    assert all(torch.equal(value.bfloat16(), read[1][name]) for name, value in read[0].items())


def test_names_of_older_versions_are_found(tiny_model: Models, tmp_path: Path) -> None:
    """Before the language model had a place of its own, adapters of Qwen2.5-VL said model.layers."""
    base = tiny_model("qwen2_5_vl")
    adapted(base).save_pretrained(tmp_path / "new")
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    tensors = load_file(tmp_path / "new/adapter_model.safetensors")
    old = {name.replace("model.language_model.", "model."): value for name, value in tensors.items()}
    assert old.keys() != tensors.keys()
    save_file(old, tmp_path / "old/adapter_model.safetensors")
    for name in ("new", "old"):
        assert main(["export", str(tmp_path / name), f"output={tmp_path / name}-hub"]) == 0
    files = [(tmp_path / f"{name}-hub/model.safetensors").read_bytes() for name in ("new", "old")]
    assert files[0] == files[1]


def test_several_adapters_are_named_or_refused(
    tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft import LoraConfig

    model = adapted(tiny_model("qwen2_5_vl"), target_modules=["q_proj"])
    model.add_adapter("careful", LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False))
    model.save_pretrained(tmp_path / "both")
    words = ["export", str(tmp_path / "both"), f"output={tmp_path / 'hub'}"]
    assert main(words) == 2
    assert "holds several adapters\n  expected: one of: default, careful" in capsys.readouterr().err
    assert main([*words, "adapter=carefull"]) == 2
    assert "did you mean 'careful'?" in capsys.readouterr().err
    assert main([*words, "adapter=careful", "verify=headers"]) == 0
    model.set_adapter("careful")
    merged = load_model(ModelConfig(path=str(tmp_path / "hub"), dtype="float32")).model
    assert torch.allclose(logits(merged), logits(model), atol=1e-5)


def refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["export", str(folder), f"output={tmp_path / 'hub'}", *words]) == 2
    assert not (tmp_path / "hub").exists() and list(tmp_path.glob(".hub*")) == []
    return capsys.readouterr().err


def test_an_adapter_of_another_base_names_both_shapes(
    tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny_model("qwen2_5_vl")
    adapted(base).save_pretrained(tmp_path / "adapter")
    text = refused(tmp_path / "adapter", tmp_path, capsys, f"base={tiny_model('qwen3_5')}")
    assert "was trained on another base: it adapts 'layers.0." in text and "which the base does not have" in text
    file = tmp_path / "adapter/adapter_model.safetensors"
    tensors = load_file(file)
    tensors[f"base_model.model.{UP}.lora_B.weight"] = torch.zeros(200, 4)
    save_file(tensors, file)
    text = refused(tmp_path / "adapter", tmp_path, capsys)
    assert "for 'layers.0.mlp.up_proj' it holds matrices of [200, 4] and [4, 32]" in text
    assert "their product in the base's shape [96, 32]" in text and f"(it says {base})" in text


def test_a_base_of_another_family_is_refused_though_all_shapes_fit(
    tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny_model("qwen2_5_vl")
    adapted(base, target_modules=["up_proj"]).save_pretrained(tmp_path / "adapter")
    load_model(ModelConfig(path=str(base), part="decoder")).save(tmp_path / "text")
    for other, name in (
        (tiny_model("qwen3_vl"), "Qwen3VLForConditionalGeneration"),
        (tmp_path / "text", "ForCausalLM"),
    ):
        text = refused(tmp_path / "adapter", tmp_path, capsys, f"base={other}")
        assert f"was trained on a Qwen2_5_VLForConditionalGeneration, and {other} is a " in text and name in text
        assert f"name its base: base=FOLDER (it says {base})" in text


def test_a_base_whose_modules_peft_does_not_find_is_not_compared_with_it(
    tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Older adapters name no class: then what the base is called is all that can be told."""
    base = tiny_model("qwen2_5_vl")
    adapted(base, target_modules=r"model\.language_model\..*up_proj").save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter/adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_mapping": None}))
    load_model(ModelConfig(path=str(base), part="decoder")).save(tmp_path / "text")
    assert main(["export", str(tmp_path / "adapter"), f"output={tmp_path / 'hub'}", f"base={tmp_path / 'text'}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "peft does not find all of the adapter's modules in this base and was not compared" in said
    assert f"the adapter names {base} as its base, and not what kind of model that is" in said


def test_a_base_that_is_missing(tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapted(tiny_model("qwen2_5_vl")).save_pretrained(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    for base, said in (
        (str(tmp_path / "gone"), "is no folder here, and cannot be fetched"),
        ("owner/name-that-is-not-here", "the base owner/name-that-is-not-here is no folder here"),
        (None, "does not say which base it was trained on"),
    ):
        changed = config | {"base_model_name_or_path": base}
        (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(changed))
        text = refused(tmp_path / "adapter", tmp_path, capsys)
        assert said in text and "base=FOLDER" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "an adapter of type IA3"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa', which changes the base's weights"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "sets target_parameters"),
    ],
)
def test_other_adapters_are_refused(
    change: dict[str, Any], said: str, tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapted(tiny_model("qwen2_5_vl")).save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter/adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert said in refused(tmp_path / "adapter", tmp_path, capsys)


def test_an_adapted_convolution_is_refused(
    tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapted(tiny_model("qwen2_5_vl"), exclude_modules=None, target_modules=["proj"]).save_pretrained(
        tmp_path / "adapter"
    )
    assert "'visual.patch_embed.proj' is no linear layer or embedding" in refused(
        tmp_path / "adapter", tmp_path, capsys
    )


def test_damaged_adapters(tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapted(tiny_model("qwen2_5_vl"), target_modules=["q_proj"]).save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter/adapter_model.safetensors"
    tensors, whole = load_file(file), file.read_bytes()
    file.write_bytes(whole[:-100])
    assert "adapter_model.safetensors is cut short or damaged" in refused(tmp_path / "adapter", tmp_path, capsys)
    file.unlink()
    assert "holds adapter_config.json and no weights" in refused(tmp_path / "adapter", tmp_path, capsys)
    save_file({name: value for name, value in tensors.items() if "layers.0.self_attn.q_proj.lora_A" not in name}, file)
    assert "the adapter of 'layers.0.self_attn.q_proj' is half missing" in refused(
        tmp_path / "adapter", tmp_path, capsys
    )
    name = next(iter(tensors))
    save_file(tensors | {name: torch.full_like(tensors[name], float("nan"))}, file)
    assert "is not finite after the merge" in refused(tmp_path / "adapter", tmp_path, capsys)


def test_a_wrong_merge_would_be_noticed(
    tiny_model: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted(tiny_model("qwen2_5_vl")).save_pretrained(tmp_path / "adapter")
    monkeypatch.setattr("mmreflect.exporting.adapters.Adapter.scale", lambda self, module, rank: 1.0)
    text = refused(tmp_path / "adapter", tmp_path, capsys)
    assert "the merge gives other logits: they differ by" in text


def test_pickled_adapters_are_read_without_running_them(tiny_model: Models, tmp_path: Path) -> None:
    adapted(tiny_model("qwen2_5_vl")).save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter/adapter_model.safetensors"
    torch.save(load_file(file), file.with_name("adapter_model.bin"))
    safe = open_adapter(tmp_path / "adapter")
    file.unlink()
    pickled = open_adapter(tmp_path / "adapter")
    assert all(torch.equal(safe.updates[name].a, update.a) for name, update in pickled.updates.items())  # type: ignore[arg-type]
    torch.save({"a": moved}, file.with_name("adapter_model.bin"))
    with pytest.raises(UserError, match="holds more than weights"):
        open_adapter(tmp_path / "adapter")
