"""Control tokens of two tokenizers: the same text under another id, and an id that is another token, added or not."""

import pytest
from test_bad_checkpoints import merge, models, tokenizer  # noqa: F401  (fixtures)

from mmreflect.merge.vocabulary import Vocabulary, clashing_ids, moved_added

CHAT = {"<|im_start|>": 4, "<|im_end|>": 5}


@pytest.mark.parametrize(
    ("words", "added", "told"),
    [
        (
            "abcd",
            {"<|im_start|>": 8, "<|im_end|>": 9},
            [
                "the added token '<|im_start|>' has the id 4 in the VLM and 8 in the reasoning model, and 1 more added tokens"
            ],
        ),
        (
            "abcdef",
            {"<|im_start|>": 6, "<|im_end|>": 7},
            [
                "the added token '<|im_start|>' has the id 4 in the VLM and 6 in the reasoning model",
                "id 4 is '<|im_start|>' in the VLM and 'e' in the reasoning model, and 1 more ids clash",
            ],
        ),
        ("abcdef", {}, ["id 4 is '<|im_start|>' in the VLM and 'e' in the reasoning model, and 1 more ids clash"]),
    ],
)
def test_control_tokens_that_lie_elsewhere_are_refused(models, merge, words, added, told):  # noqa: F811
    for role in ("base", "vlm"):
        tokenizer(models / role, "abcd", CHAT)
    tokenizer(models / "reason", words, added)
    error = merge("--plan")
    assert all(f"special_tokens: {text}" in error for text in told)
    assert error.count("special_tokens: ") == len(told) and "force: [special_tokens]" in error
    assert "forced special_tokens" in merge("--plan", "--force", "special_tokens", code=0)


def test_a_word_of_the_vlm_that_is_a_control_token_elsewhere_is_refused(models, merge):  # noqa: F811
    tokenizer(models / "vlm", "abcd", {})
    tokenizer(models / "base", "abcd", {})
    tokenizer(models / "reason", "abc", {"<think>": 3})
    error = merge("--plan")
    assert "id 3 is 'd' in the VLM and '<think>' in the reasoning model" in error


def test_tokens_that_only_one_model_knows_clash_with_nothing(models, merge):  # noqa: F811
    tokenizer(models / "base", "abcd", {"<|end|>": 4})
    tokenizer(models / "vlm", "abcd", {"<|end|>": 4, "<|image_pad|>": 5})
    tokenizer(models / "reason", "abcd", {"<|end|>": 4, "<think>": 6})
    assert "passed" in merge("--plan", code=0)


def test_moved_and_clashing_ids_by_hand():
    ours = Vocabulary({"a": 0, "b": 1, "<x>": 2, "<y>": 3}, {2: "<x>", 3: "<y>"})
    theirs = Vocabulary({"a": 0, "c": 2, "<x>": 3, "<y>": 1}, {3: "<x>", 1: "<y>"})
    assert moved_added(ours, theirs) == [("<x>", 2, 3), ("<y>", 3, 1)]
    assert clashing_ids(ours, theirs) == [(1, "b", "<y>"), (2, "<x>", "c"), (3, "<y>", "<x>")]
    assert moved_added(ours, ours) == [] and clashing_ids(ours, ours) == []
