"""The page of a merge, entered by `mmreflect view`: rules with weights per layer, rules of whole tensors, old reports."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from mmreflect.cli import main

NASTY = "<script>alert(1)</script>"
ATTENTION = {
    "a": [0.4, 0.2], "alpha": 0.6931, "C": 0.8, "r2": 1.0, "clipped": [],
    "pictures": {"folder": "data/coco", "measured": 998, "left_out": {f"x{NASTY}.jpg": "not a picture"}},
    "settings": {"max_tokens": 256, "prompt": "Describe this image."},
}  # fmt: skip


def row(layer: int, **given: Any) -> dict[str, Any]:
    known = {"norm2_v": 9.0, "norm2_r": 1.0, "norm2_base": 900.0, "cosine": 0.02, "attention": None, "w_v": None}
    return {"layer": layer, **known, "lam_v": None, "lam_r": None, **given}


def write_merge(folder: Path, method: str, layers: list[dict[str, Any]], **more: Any) -> Path:
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"verb": "merge", "name": method, "mmreflect": "0.1.0"}))
    (folder / "config.yaml").write_text("base: models/base\nvlm: models/vlm\nreason: models/r1\nforce: [rope_theta]\n")
    (folder / "result.json").write_text('{"seconds": 3}')
    report = {
        "layers": layers, "embeddings": [], "measured_from": "base", "rule": "a rule", "prior": "", "attention": None,
        "rope_theta": {"base": 1e6, "vlm": 1e6, "reason": 1e4}, "tensors": {"merged": 4, "copied": 2},
        "merged_names": [f"model.layers.{layer}.mlp.{name}.weight" for layer in (0, 1) for name in ("up", "down")],
        "copied_names": ["visual.blocks.0.x", f"odd{NASTY}"], "skipped_names": {"base": ["lm_head.weight"], "reason": []},
        "files": {"copied": ["tokenizer.json"], "left_out": ["code.py"]}, "notes": ["the base has no tokenizer"],
        "warnings": [f"forced rope_theta {NASTY}"], **more,
    }  # fmt: skip
    (folder / "merge_report.json").write_text(json.dumps(report))
    return folder


def words(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["view", str(folder)]) == 0, capsys.readouterr().err
    page = (folder / "index.html").read_text()
    assert "<script" not in page
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<(?!/?script)[^>]*>", " ", page)))


def test_frank_shows_weights_norms_prior_and_origins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = [
        row(0, attention=0.4, w_v=1.0, lam_v=1.0, lam_r=0.0),
        row(1, attention=0.2, w_v=0.5, lam_v=0.9, lam_r=0.1),
    ]
    text = words(write_merge(tmp_path / "m", "frank", layers, prior="exponential", attention=ATTENTION), capsys)
    assert "weight of the vision-language model 95.0 % mean over layers" in text
    assert "Weight of each task vector vision-language 90.0 % reasoning 10.0 %" in text
    assert "Norm of the task vectors vision-language 3 reasoning 1" in text, "norms, not their squares"
    assert "Norm as a share of the base's vision-language 0.1 reasoning 0.0333" in text
    assert "Cosine between the task vectors cosine 0.02" in text
    assert "The fitted decay is 0.8 exp(\u22120.693 l), l from 1, R\u00b2 1" in text
    assert "Measured on 998 pictures of data/coco, 1 picture left out, at most 256 visual tokens each" in text
    assert "Attention of text to pictures measured 0.2 fitted 0.2" in text and "not a picture" in text
    assert "Prior of the vision-language model prior 50.0 %" in text
    assert "reasoning model (r) models/r1 10,000 0" in text and "base models/base 1,000,000 1" in text
    assert "Merged tensors: 4" in text and "model.layers.N.mlp.up.weight 2" in text and f"odd{NASTY}" in text
    assert "Unused tensors of the base: 1" in text and "Unused tensors of the reasoning model" not in text
    assert "Taken over from the vision-language model: tokenizer.json." in text and "Left behind: code.py." in text
    assert f"Warning forced rope_theta {NASTY}" in text and "The base has no tokenizer." in text
    assert "Checks that were forced: rope_theta." in text


def test_a_rule_of_whole_tensors_has_no_weights_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = words(write_merge(tmp_path / "m", "ties", [row(0), row(1)]), capsys)
    assert "This rule decides value by value, over whole tensors: there are no weights per layer." in text
    assert "Weight of each task vector" not in text and "weight of the vision-language model" not in text
    assert "Norm of the task vectors" in text and "The prior" not in text and "weight of v" not in text


def test_a_merge_without_a_base_measures_the_models_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = [row(0, norm2_base=None), row(1, norm2_base=None)]
    text = words(write_merge(tmp_path / "m", "slerp", layers, measured_from="zero"), capsys)
    assert "Norm of the two models" in text and "Cosine between the two models" in text
    assert "norms are of the weights themselves, as no base was named" in text and "share of the base's" not in text


def test_the_embeddings_that_were_merged_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = words(write_merge(tmp_path / "m", "linear", [row(0)], embeddings=[{"layer": -1}, {"layer": 2}]), capsys)
    assert "Rows whose token all models know were merged in the embeddings, the head." in text


def test_attention_that_was_given_is_not_said_to_be_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"a": [0.4, 0.00001], "alpha": 1.0, "C": 0.8, "r2": 1.0, "clipped": [1]}
    layers = [row(0, w_v=1.0, lam_v=1.0, lam_r=0.0)]
    text = words(write_merge(tmp_path / "m", "frank", layers, prior="attention", attention=given), capsys)
    assert "These numbers were given; nothing was measured in this run. Below 0.0001 in layers 1." in text


@pytest.mark.parametrize("cosines", [(1.0, 0.9999999999999998), (-0.5, -0.5000000000000001), (0.0, 0.0)])
def test_numbers_that_differ_in_their_last_bit_are_drawn_as_equal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cosines: tuple[float, float]
) -> None:
    """A model merged with itself has them."""
    layers = [row(layer, cosine=cosine, lam_v=0.5, lam_r=0.5) for layer, cosine in enumerate(cosines)]
    assert "Cosine between the task vectors" in words(write_merge(tmp_path / "m", "frank", layers), capsys)
