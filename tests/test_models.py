"""Real architectures at tiny size: built, saved, read back through the Auto classes, asked."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmreflect.models import ModelConfig, extract_decoder, load_model, part_of
from mmreflect.tiny import ADDED_TOKENS, FAMILIES, SPECIAL_TOKENS, TinyConfig, build_llm, build_vlm, train_tokenizer


def test_tokenizer_holds_every_special_token_and_is_deterministic() -> None:
    corpus = ["How many red shapes are there?", "<think>x</think>"]
    one, two = train_tokenizer(corpus), train_tokenizer(corpus)
    assert one.get_vocab() == two.get_vocab()
    for token in (*SPECIAL_TOKENS, *ADDED_TOKENS):
        assert one.convert_ids_to_tokens(one(token)["input_ids"]) == [token]
    text = "naïve 数字 🙂 12.5\n\n<answer>3</answer>"
    assert one.decode(one(text)["input_ids"]) == text


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_loaded_by_the_auto_classes(family: str, tiny_model: Callable[[str], Path]) -> None:
    loaded = load_model(ModelConfig(path=str(tiny_model(family))))
    assert loaded.model.config.model_type == family and loaded.processor is not None
    ids = torch.tensor([loaded.tokenizer("How many red shapes are there?")["input_ids"]])
    types = torch.zeros_like(ids)
    whole = loaded.model(input_ids=ids, mm_token_type_ids=types).logits
    decoder = extract_decoder(loaded.model)
    assert torch.equal(whole, decoder(input_ids=ids).logits), "on text the decoder alone says the same"
    assert {part_of(name) for name, _ in loaded.model.named_parameters()} == {"vision", "projector", "decoder"}


@pytest.mark.parametrize("family", FAMILIES)
def test_size_and_the_matching_text_model(family: str) -> None:
    shape = TinyConfig(family=family)  # type: ignore[arg-type]
    tokenizer = train_tokenizer(["How many red shapes are there?"])
    vlm, llm = build_vlm(shape, tokenizer), build_llm(shape, tokenizer)
    assert 0.5e6 < sum(parameter.numel() for parameter in vlm.parameters()) < 1.5e6
    decoder = {name: tuple(value.shape) for name, value in extract_decoder(vlm).state_dict().items()}
    assert decoder == {name: tuple(value.shape) for name, value in llm.state_dict().items()}


def test_weights_depend_on_the_seed_alone() -> None:
    tokenizer = train_tokenizer(["red"])
    torch.manual_seed(7)
    first = build_vlm(TinyConfig(), tokenizer, seed=1).state_dict()
    state = torch.random.get_rng_state()
    second = build_vlm(TinyConfig(), tokenizer, seed=1).state_dict()
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(build_vlm(TinyConfig(), tokenizer, seed=2).lm_head.weight, first["lm_head.weight"])


def test_old_and_new_weight_names_both_load(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    loaded = load_model(ModelConfig(path=str(tiny_model("qwen2_5_vl"))))
    loaded.save(tmp_path / "new")
    loaded.model.save_pretrained(tmp_path / "new", save_original_format=False)
    again = load_model(ModelConfig(path=str(tmp_path / "new")))
    pairs = zip(loaded.model.state_dict().items(), again.model.state_dict().items(), strict=True)
    assert all(one[0] == two[0] and torch.equal(one[1], two[1]) for one, two in pairs)


def test_config_on_disk_is_the_familys(tiny_model: Callable[[str], Path]) -> None:
    stored = json.loads((tiny_model("qwen3_vl") / "config.json").read_text())
    assert stored["model_type"] == "qwen3_vl" and stored["architectures"] == ["Qwen3VLForConditionalGeneration"]
