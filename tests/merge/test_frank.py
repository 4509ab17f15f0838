"""The method's arithmetic, against numbers worked out by hand from the paper's equations, and its configuration."""

import math

import pytest
import torch
import yaml

from mmreflect.cli import main
from mmreflect.config import parse, to_tree
from mmreflect.errors import UserError
from mmreflect.launch import prepare
from mmreflect.merge.executor import mix
from mmreflect.merge.methods.frank import (
    Config,
    Prior,
    fit_decay,
    layer_weights,
    plan,
    prior_weights,
    resolve_prior,
)

FOLDERS = {"base": "b", "vlm": "v", "reason": "r", "output": "o"}


def test_norms_9_and_1_give_nine_tenths_as_equation_13_says():
    assert layer_weights(9.0, 1.0, 0.5) == (0.9, 0.1)


@pytest.mark.parametrize(("w_v", "lam_v"), [(0.2, 0.6923), (0.5, 0.9), (0.9, 0.9878)])
def test_equation_15_weighs_the_norms_with_the_prior(w_v, lam_v):
    found_v, found_r = layer_weights(9.0, 1.0, w_v)
    assert round(found_v, 4) == lam_v
    assert found_v + found_r == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("w_v", [0.5, 0.2, 0.9])
def test_uniform_importance_is_the_prior_alone(w_v):
    assert layer_weights(9.0, 1.0, w_v, "uniform") == (w_v, 1 - w_v)


def test_inverse_importance_turns_the_weights_around():
    assert layer_weights(9.0, 1.0, 0.5, "inv_norm2") == (0.1, 0.9)


def test_swapping_the_models_swaps_the_weights():
    for importance in ("norm2", "uniform", "inv_norm2"):
        assert layer_weights(4.95, 0.67, 0.5, importance) == layer_weights(0.67, 4.95, 0.5, importance)[::-1]


@pytest.mark.parametrize("importance", ["norm2", "uniform", "inv_norm2"])
def test_a_layer_that_nobody_changed_keeps_the_vlm(importance):
    assert layer_weights(0.0, 0.0, 0.3, importance) == (1.0, 0.0)


def test_a_vlm_that_equals_the_base_leaves_the_layer_to_the_reasoning_model():
    assert layer_weights(0.0, 2.0, 0.5) == (0.0, 1.0)


def test_a_prior_wholly_on_an_unchanged_vlm_keeps_it():
    assert layer_weights(0.0, 2.0, 1.0) == (1.0, 0.0)


# the paper scales the losses by the squared norms; as stated, without that factor, 1/2 and 1/2 is the minimum
@pytest.mark.parametrize("cosine", [0.0, 0.3, 0.8])
def test_equation_13_minimises_the_loss_with_the_extra_factor_and_not_the_stated_one(cosine):
    dot = cosine * 3.0

    def loss(lam, factor):
        drift_v = (1 - lam[0]) ** 2 * 9 + lam[1] ** 2 * 1 - 2 * (1 - lam[0]) * lam[1] * dot
        drift_r = (1 - lam[1]) ** 2 * 1 + lam[0] ** 2 * 9 - 2 * (1 - lam[1]) * lam[0] * dot
        return factor[0] * drift_v + factor[1] * drift_r

    grid = [(v / 100, r / 100) for v in range(101) for r in range(101)]
    assert min(grid, key=lambda lam: loss(lam, (9, 1))) == (0.9, 0.1)
    assert min(grid, key=lambda lam: loss(lam, (1, 1))) == (0.5, 0.5)
    if cosine == 0:
        assert loss((0.5, 0.5), (0.25, 0.25)) == pytest.approx(1.25)
        assert loss((0.9, 0.1), (0.25, 0.25)) == pytest.approx(2.05)


def test_the_decay_of_an_exact_exponential_is_found():
    attention = [0.3619, 0.3275, 0.2963, 0.2681]
    assert attention == [round(0.4 * math.exp(-0.1 * layer), 4) for layer in range(1, 5)]
    alpha, c, r2 = fit_decay([0.4 * math.exp(-0.1 * layer) for layer in range(1, 5)])
    assert (alpha, c, r2) == pytest.approx((0.1, 0.4, 1.0), abs=1e-12)


def test_constant_attention_has_no_decay():
    alpha, c, r2 = fit_decay([0.25] * 6)
    assert (alpha, c, r2) == pytest.approx((0.0, 0.25, 1.0), abs=1e-12)


def test_shares_near_zero_are_clipped_before_the_logarithm():
    assert fit_decay([0.1, 0.0]) == fit_decay([0.1, 1e-4])


def test_one_layer_has_no_decay_to_fit():
    with pytest.raises(UserError, match="cannot fit a decay to 1 layer"):
        fit_decay([0.3])


def test_the_papers_prior_sums_to_one():
    weights = prior_weights(4, 0.1, "sum")
    assert [round(weight, 4) for weight in weights] == [0.2887, 0.2612, 0.2363, 0.2138]
    weights = prior_weights(28, 0.3, "sum")
    assert math.fsum(weights) == pytest.approx(1.0, abs=1e-9)
    assert weights[0] == pytest.approx((1 - math.exp(-0.3)) / (1 - math.exp(-0.3 * 28)), abs=1e-12)
    assert round(weights[0], 3) == 0.259


# first, middle (15th) and last of 28 layers at alpha 0.1, by norm ratio: why 'sum' hands the decoder to the reasoner
@pytest.mark.parametrize(
    ("ratio", "lam_v"), [(1, (0.101, 0.025, 0.007)), (10, (0.53, 0.20, 0.06)), (100, (0.92, 0.72, 0.41))]
)
def test_the_papers_prior_gives_the_vlm_little_unless_its_norms_are_large(ratio, lam_v):
    weights = prior_weights(28, 0.1, "sum")
    found = [layer_weights(ratio, 1, weights[layer])[0] for layer in (0, 14, 27)]
    assert found == pytest.approx(lam_v, abs=0.006)


def test_the_max_prior_starts_at_one_and_never_falls_below_its_floor():
    weights = prior_weights(64, 0.05, "max", 0.1)
    assert weights[0] == 1.0
    assert weights[14] == pytest.approx(0.497, abs=1e-3)
    assert weights[46] > 0.1
    assert weights[47:] == [0.1] * 17
    assert prior_weights(3, -800.0, "max")[-1] == 1.0


def test_the_attention_prior_is_the_attention_itself():
    assert prior_weights(3, None, "attention", 0.1, [0.8, 0.3, 0.02]) == [0.8, 0.3, 0.1]
    with pytest.raises(ValueError, match="one share per layer"):
        prior_weights(3, None, "attention", 0.0, [0.8])
    with pytest.raises(ValueError, match="needs alpha"):
        prior_weights(3, None, "sum")


def test_a_measured_prior_is_fitted_and_says_how():
    attention = [0.4 * math.exp(-0.1 * layer) for layer in range(1, 5)]
    weights, (text, *warnings) = resolve_prior(
        Prior(kind="measured", attention=attention, normalise="sum", floor=0.0), 4
    )
    assert weights == pytest.approx(prior_weights(4, 0.1, "sum"), abs=1e-12)
    assert text == "measured, fitted alpha 0.1, C 0.4, R2 1.000, normalise sum, floor 0.0"
    assert warnings == []


def test_attention_that_does_not_fall_is_warned_about():
    _, (_, *warnings) = resolve_prior(Prior(kind="measured", attention=[0.1, 0.2, 0.1, 0.3]), 4)
    assert "attention to the image does not fall with depth" in warnings[0]
    assert "fits the measured attention badly" in warnings[1]


def test_attention_of_another_depth_is_refused():
    with pytest.raises(UserError, match=r"prior.attention has 2 numbers, the VLM has 4 decoder blocks"):
        resolve_prior(Prior(kind="measured", attention=[0.2, 0.1]), 4)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"kind": "exponential"}, "prior: kind 'exponential' needs alpha"),
        ({"kind": "none", "alpha": 0.1}, "prior: kind 'none' takes no alpha"),
        ({"kind": "exponential", "alpha": -0.1}, "prior: alpha must be a finite number of at least 0 (given: -0.1)"),
        ({"kind": "measured"}, "prior: kind 'measured' needs attention"),
        ({"kind": "exponential", "alpha": 0.1, "attention": [0.1]}, "prior: kind 'exponential' takes no attention"),
        ({"kind": "measured", "attention": [0.4, 1.2]}, "shares from 0 to 1 (given: 0.4 to 1.2)"),
        ({"kind": "exponential", "alpha": 0.1, "normalise": "attention"}, "normalise 'attention' needs kind: measured"),
        ({"kind": "measured", "atention": [0.1]}, "did you mean 'attention'?"),
        ({"floor": 1.5}, "prior.floor: "),
    ],
)
def test_a_prior_that_does_not_fit_together_is_refused(prior, message):
    with pytest.raises(UserError) as error:
        parse(Config, {**FOLDERS, "prior": prior}, "merge.yaml")
    assert message in str(error.value)


def test_an_unknown_check_in_force_names_the_nearest():
    with pytest.raises(UserError, match="unknown check in force 'rope_teta'") as error:
        parse(Config, {**FOLDERS, "force": ["rope_teta"]}, "merge.yaml")
    assert error.value.do == "did you mean 'rope_theta'?"


def test_shard_bytes_without_a_new_dtype_is_refused():
    with pytest.raises(UserError, match="shard_bytes=1,000 has no effect with dtype: keep"):
        parse(Config, {**FOLDERS, "shard_bytes": 1000}, "merge.yaml")


def test_a_config_survives_the_trip_through_its_tree():
    settings = parse(Config, {**FOLDERS, "prior": {"kind": "measured", "attention": [0.5, 0.25]}}, "merge.yaml")
    assert parse(Config, to_tree(settings), "again") == settings


def test_the_shipped_recipe_is_read_and_asks_for_its_models():
    job = prepare("merge", "configs/merge/frank_qwen2_5_vl_32b.yaml")
    assert job.config.prior == Prior(kind="exponential", alpha=0.05, normalise="max", floor=0.1)
    with pytest.raises(UserError, match="no such folder") as error:
        plan(parse(Config, {**to_tree(job.config), "base": "/nonexistent/base"}, "test"))
    assert "hf download" in error.value.do


def test_mixing_is_exact_at_the_ends_where_plain_arithmetic_is_not():
    base, vlm, reason = torch.tensor([1e8]), torch.tensor([1.2345678]), torch.tensor([-0.0])
    assert base + (vlm - base) != vlm
    assert torch.equal(mix(base, vlm, reason, 1.0, 0.0), vlm)
    assert mix(base, vlm, reason, 0.0, 1.0).signbit().all()


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_merged_model_of_a_real_architecture_loads_and_answers(tmp_path, family):
    vlm, llm = _architectures(family)
    models = {"base": llm(), "reason": llm(), "vlm": vlm()}
    with torch.no_grad():
        for own, base in zip(models["vlm"].model.language_model.layers, models["base"].model.layers, strict=True):
            for target, source in zip(own.parameters(), base.parameters(), strict=True):
                target.copy_(source + 0.01 * torch.randn_like(source))
    for role, model in models.items():
        model.save_pretrained(tmp_path / role)
    folders = {role: str(tmp_path / role) for role in models}
    (tmp_path / "merge.yaml").write_text(
        yaml.safe_dump({"method": "frank", **folders, "output": str(tmp_path / "out")})
    )
    assert main(["merge", str(tmp_path / "merge.yaml"), "importance=uniform"]) == 0
    merged, notes = type(models["vlm"]).from_pretrained(tmp_path / "out" / "model", output_loading_info=True)
    assert not notes["missing_keys"] and not notes["unexpected_keys"]
    expected = (models["vlm"].model.language_model.layers[1], models["reason"].model.layers[1])
    for mine, theirs, other in zip(
        merged.model.language_model.layers[1].parameters(), *(m.parameters() for m in expected), strict=True
    ):
        assert torch.allclose(mine, (theirs + other) / 2, atol=1e-6)
    assert torch.isfinite(merged(input_ids=torch.tensor([[1, 2, 3]])).logits).all()


def _architectures(family):
    """Return makers of a tiny VLM and of the text model with the same decoder; imported late, transformers is slow."""
    import transformers as hf

    rope = {"rope_type": "default", "rope_theta": 1000000.0}
    text = {
        "vocab_size": 32,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    text |= {
        "num_key_value_heads": 1,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "num_heads": 2,
        "patch_size": 14,
        "intermediate_size": 16,
        "out_hidden_size": 16,
    }
    ids = {"image_token_id": 28, "video_token_id": 29, "vision_start_token_id": 30, "vision_end_token_id": 31}
    if family == "qwen2_5_vl":
        llm, llm_config = hf.Qwen2ForCausalLM, hf.Qwen2Config
        vlm, vlm_config = hf.Qwen2_5_VLForConditionalGeneration, hf.Qwen2_5_VLConfig
        vision |= {"window_size": 112, "fullatt_block_indexes": [0]}
    else:
        llm, llm_config = hf.Qwen3ForCausalLM, hf.Qwen3Config
        vlm, vlm_config = hf.Qwen3VLForConditionalGeneration, hf.Qwen3VLConfig
        text["head_dim"] = 8
        vision |= {"num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    rope_vlm = {**rope, "mrope_section": [2, 1, 1]}
    config = vlm_config(
        text_config={**text, "rope_parameters": rope_vlm}, vision_config=vision, tie_word_embeddings=False, **ids
    )
    return (lambda: vlm(config)), (lambda: llm(llm_config(**text, rope_parameters=rope)))
