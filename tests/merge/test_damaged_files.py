"""An index that does not fit its files, and JSON that holds something else than it should: told, never a traceback."""

import json

import pytest
import torch
from merge.small import edit
from safetensors.torch import load_file, save_file
from test_bad_checkpoints import TEXT, merge, models  # noqa: F401  (fixtures)

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


UP = "model.layers.1.mlp.up_proj.weight"


def rewrite(folder, change):
    """Change what the header says that holds the tensor UP, and return the file."""
    for file in folder.glob("*.safetensors"):
        data = file.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        if UP in header:
            change(header)
            text = json.dumps(header).encode()
            file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
            return file
    raise AssertionError


@pytest.mark.parametrize("role", ["vlm", "reason"])
@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("data_offsets", lambda found: [float(at) for at in found], "the data_offsets ["),
        ("data_offsets", lambda found: [*found, 5], "the data_offsets ["),
        ("data_offsets", lambda _: None, "the data_offsets None"),
        ("shape", lambda _: [12.0, 8.0], "the shape [12.0, 8.0]"),
        ("shape", lambda _: [-12, -8], "the shape [-12, -8]"),
        ("shape", lambda _: [96, True], "the shape [96, True]"),
        ("shape", lambda _: 96, "the shape 96"),
        ("dtype", lambda _: ["F32"], "the dtype ['F32']"),
        ("dtype", lambda _: 5, "the dtype 5"),
    ],
)
def test_a_header_of_other_types_names_file_and_tensor(models, merge, role, key, value, told):  # noqa: F811
    file = rewrite(models / role, lambda header: header[UP].update({key: value(header[UP][key])}))
    error = merge()
    assert f"{role}: the header of '{file}' is damaged: '{UP}' has {told}" in error and "download it again" in error


def test_a_header_that_says_nothing_of_a_tensor_names_it(models, merge):  # noqa: F811
    file = rewrite(models / "base", lambda header: header.update({UP: [1]}))
    assert f"base: the header of '{file}' is damaged: '{UP}' is [1]" in merge()


@pytest.mark.parametrize("file", [FIRST, INDEX, "config.json"])
def test_json_that_is_nested_too_deep_is_damaged(models, merge, file):  # noqa: F811
    text = b"[" * 100_000
    (models / "reason" / file).write_bytes((len(text).to_bytes(8, "little") if file == FIRST else b"") + text)
    assert f"'{models / 'reason' / file}' is " in merge() and "recursion" in merge()


def test_a_block_that_no_model_can_have_is_damaged(models, merge):  # noqa: F811
    far = UP.replace("layers.1.", f"layers.{'9' * 22}.")
    for role in ("base", "vlm", "reason"):
        file = rewrite(models / role, lambda header: header.update({far: header.pop(UP)}))
    assert f"the header of '{file.parent.parent / 'base' / file.name}' is damaged: '{far}' is of a block" in merge()


def blocks(models, stated, *numbers):  # noqa: F811
    """Write three models of some blocks, whose configuration states a number of them."""
    for role in ("base", "vlm", "reason"):
        tensors = {f"model.layers.{number}.mlp.up_proj.weight": torch.ones(12, 8) for number in numbers}
        for file in (models / role).glob("model*"):
            file.unlink()
        beside = {"mtp.layers.7.mlp.up_proj.weight": torch.ones(12, 8), "visual.layers.9.weight": torch.ones(3)}
        save_file(tensors | beside, models / role / "model.safetensors", metadata={"format": "pt"})
        text = {key: value for key, value in {**TEXT, **stated}.items() if value is not None}
        tree = {"text_config": text, "vision_config": {}} if role == "vlm" else text
        (models / role / "config.json").write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("stated", "numbers", "told"),
    [
        ({}, (0, 1, 5), "is 2, and the weights hold 3 decoder blocks, up to number 5 (beyond: 5)"),
        ({}, (1,), "is 2, and the weights hold 1 decoder block, up to number 1 (missing: 0)"),
        ({"num_hidden_layers": 9}, (0, 2, 3, 9), "up to number 9 (missing: 1, 4 to 8; beyond: 9)"),
        (
            {"num_hidden_layers": None},
            (0, 3),
            "is not stated, and the weights hold 2 decoder blocks, up to number 3 (m",
        ),
        ({"num_nextn_predict_layers": 1}, (0, 1, 2, 3), "up to number 3 (beyond: 2, 3)"),
    ],
)
def test_blocks_that_are_not_those_of_the_configuration_are_refused(models, merge, stated, numbers, told):  # noqa: F811
    blocks(models, stated, *numbers)
    error = merge("--plan", force=["num_hidden_layers", "block_tensors"])
    assert f"base: num_hidden_layers in '{models / 'base' / 'config.json'}' is " in error and told in error
    assert "tensors of every block that the configuration states" in error


@pytest.mark.parametrize(
    "stated", [{}, {"num_hidden_layers": None}, {"num_hidden_layers": 1, "num_nextn_predict_layers": 1}]
)
def test_blocks_of_the_configuration_and_those_that_predict_further_tokens_pass(models, merge, stated):  # noqa: F811
    blocks(models, stated, 0, 1)
    assert "2 tensors of 2 decoder blocks" in merge("--plan", code=0)


def test_a_number_of_blocks_that_is_none_is_refused(models, merge):  # noqa: F811
    blocks(models, {"num_hidden_layers": 2.0}, 0, 1)
    assert "num_hidden_layers in" in (error := merge("--plan")) and "a whole number" in error


@pytest.mark.parametrize("method", ["frank", "linear", "ties", "dare_linear", "dare_ties", "slerp", "wudi"])
def test_an_empty_tensor_in_a_block_stays_empty(models, merge, method):  # noqa: F811
    blocks(models, {}, 0, 1)
    for role in ("base", "vlm", "reason"):
        edit(models / role, "model.layers.0.extra.weight", torch.zeros(0))
        edit(models / role, "model.layers.1.mlp.experts.down_proj", torch.zeros(0, 8, 4))
    options = {"slerp": {"t": 0.5}, "wudi": {"steps": 2}}.get(method, {})
    assert "2 tensors of 2 decoder blocks" in merge("--plan", code=0, method=method, **options)
    merge(code=0, method=method, **options)
    written = load_file(models / "out" / "model" / "model.safetensors")
    assert written["model.layers.0.extra.weight"].shape == (0,)
    assert written["model.layers.1.mlp.experts.down_proj"].shape == (0, 8, 4)
    assert torch.equal(written["model.layers.0.mlp.up_proj.weight"], torch.ones(12, 8))
