"""An index that does not fit its files, and JSON that holds something else than it should: told, never a traceback."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_bad_checkpoints import merge, models  # noqa: F401  (fixtures)

FIRST, SECOND = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
INDEX = "model.safetensors.index.json"


def change(file, edit):
    tree = json.loads(file.read_text())
    edit(tree)
    file.write_text(json.dumps(tree))


@pytest.mark.parametrize("role", ["base", "vlm", "reason"])
def test_a_tensor_in_two_shards_is_named_with_both(models, merge, role):  # noqa: F811
    name, value = next(iter(sorted(load_file(models / role / FIRST).items())))
    save_file({**load_file(models / role / SECOND), name: value * 0}, models / role / SECOND, metadata={"format": "pt"})
    error = merge("--plan")
    assert f"{role}: {FIRST} and {SECOND} both hold '{name}' ('{models / role}')" in error
    assert "each tensor in one file" in error and "save it again with save_pretrained" in error


@pytest.mark.parametrize("role", ["vlm", "reason"])
def test_an_index_that_names_the_wrong_file_is_refused(models, merge, role):  # noqa: F811
    name = sorted(load_file(models / role / FIRST))[0]
    change(models / role / INDEX, lambda tree: tree["weight_map"].update({name: SECOND}))
    error = merge("--plan")
    assert f"{role}: {INDEX} says that {SECOND} holds '{name}', but it does not; {FIRST} does" in error


def test_an_index_that_names_a_tensor_of_no_file_is_refused(models, merge):  # noqa: F811
    change(models / "vlm" / INDEX, lambda tree: tree["weight_map"].update({"ghost": SECOND}))
    assert f"vlm: {INDEX} says that {SECOND} holds 'ghost', but it does not ('" in merge("--plan")


@pytest.mark.parametrize("role", ["vlm", "reason"])
def test_an_index_that_lacks_a_tensor_is_refused(models, merge, role):  # noqa: F811
    save_file(
        {**load_file(models / role / FIRST), "new": torch.ones(2)}, models / role / FIRST, metadata={"format": "pt"}
    )
    assert f"{role}: {FIRST} holds 'new', which {INDEX} does not name" in merge("--plan")


@pytest.mark.parametrize("named", ["../x.safetensors", 3, None, "x.bin"])
def test_an_index_that_names_no_file_of_the_folder_is_refused(models, merge, named):  # noqa: F811
    change(models / "vlm" / INDEX, lambda tree: tree["weight_map"].update(dict.fromkeys(tree["weight_map"], named)))
    assert f"vlm: {INDEX} names the file {named!r}" in merge("--plan")


@pytest.mark.parametrize(
    ("role", "key", "value", "told"),
    [
        ("reason", "rope_parameters", "x", "rope_parameters in '{}' is 'x'"),
        ("reason", "rope_scaling", [1], "rope_scaling in '{}' is [1]"),
        ("reason", "num_attention_heads", "x", "num_attention_heads in '{}' is 'x'"),
        ("base", "hidden_size", 8.5, "hidden_size in '{}' is 8.5"),
        ("vlm", "text_config", [1], "text_config in '{}' is [1]"),
        ("vlm", "text_config", {"rope_parameters": 3}, "text_config.rope_parameters in '{}' is 3"),
        ("vlm", "text_config", {"head_dim": True}, "text_config.head_dim in '{}' is True"),
    ],
)
def test_a_config_of_other_types_is_refused(models, merge, role, key, value, told):  # noqa: F811
    file = models / role / "config.json"
    change(file, lambda tree: tree.update({key: value}))
    error = merge("--plan")
    assert f"{role}: {told.format(file)}" in error and "download config.json again" in error


@pytest.mark.parametrize(
    "tree",
    [
        {"model": {"vocab": {"a": 0}}, "added_tokens": [{"x": 1}]},
        {"model": {"vocab": {"a": 0}}, "added_tokens": 3},
        {"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": "x", "content": "y"}]},
        {"model": {"vocab": {"a": "b"}}, "added_tokens": []},
        {"model": {"vocab": [["a", 0.1]]}},
        "{",
    ],
)
def test_a_damaged_tokenizer_is_noted(models, merge, tree):  # noqa: F811
    for role in ("base", "vlm"):
        (models / role / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}, "added_tokens": []}))
    (models / "reason" / "tokenizer.json").write_text(tree if isinstance(tree, str) else json.dumps(tree))
    shown = " ".join(merge("--plan", code=0).split())
    assert "the reasoning model has no readable tokenizer: vocabularies were not compared" in shown
