"""The method's arithmetic, against numbers worked out by hand from the paper's equations, and its configuration."""

import numpy as np
import pytest

from mmreflect.config import parse, to_tree
from mmreflect.errors import UserError
from mmreflect.launch import prepare
from mmreflect.merge.methods.frank import Config, layer_weights, read_curvature
from mmreflect.merge.prior import PriorConfig, decay, normalised
from mmreflect.merge.rule import mix

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


def test_curvature_weighs_as_it_is_given():
    assert layer_weights(9.0, 1.0, 0.5, "curvature", (3.0, 1.0)) == (0.75, 0.25)
    assert layer_weights(9.0, 1.0, 0.25, "curvature", (3.0, 1.0)) == (0.5, 0.5)
    assert layer_weights(0.0, 0.0, 0.5, "curvature", (3.0, 1.0)) == (1.0, 0.0)


def test_curvatures_are_read_from_a_file_and_checked(tmp_path):
    file = tmp_path / "curvature.json"
    file.write_text('{"vlm": [3, 1], "reason": [1, 2]}')
    assert read_curvature(str(file), 2) == [(3.0, 1.0), (1.0, 2.0)]
    with pytest.raises(UserError, match="holds 2 blocks, or a number that is negative"):
        read_curvature(str(file), 3)
    for text in ('{"vlm": [3]}', "[", '{"vlm": [3, 1], "reason": [1]}'):
        file.write_text(text)
        with pytest.raises(UserError, match="cannot be used"):
            read_curvature(str(file), 2)
    with pytest.raises(UserError, match="curvature: no such file"):
        read_curvature(str(tmp_path / "none.json"), 2)


def test_curvature_and_its_importance_need_each_other():
    with pytest.raises(UserError, match="importance 'curvature' needs curvature, a JSON file"):
        parse(Config, {**FOLDERS, "importance": "curvature"}, "merge.yaml")
    with pytest.raises(UserError, match="importance 'norm2' takes no curvature"):
        parse(Config, {**FOLDERS, "curvature": "c.json"}, "merge.yaml")


def test_a_base_is_needed():
    with pytest.raises(UserError, match="missing key 'base'"):
        parse(Config, {key: value for key, value in FOLDERS.items() if key != "base"}, "merge.yaml")


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


# first, middle (15th) and last of 28 layers at alpha 0.1, by norm ratio: why 'sum' hands the decoder to the reasoner
@pytest.mark.parametrize(
    ("ratio", "lam_v"), [(1, (0.101, 0.025, 0.007)), (10, (0.53, 0.20, 0.06)), (100, (0.92, 0.72, 0.41))]
)
def test_the_papers_prior_gives_the_vlm_little_unless_its_norms_are_large(ratio, lam_v):
    weights = normalised(decay(28, 0.1), "sum")
    found = [layer_weights(ratio, 1, weights[layer])[0] for layer in (0, 14, 27)]
    assert found == pytest.approx(lam_v, abs=0.006)


def test_an_unknown_check_in_force_names_the_nearest():
    with pytest.raises(UserError, match="unknown check in force 'rope_teta'") as error:
        parse(Config, {**FOLDERS, "force": ["rope_teta"]}, "merge.yaml")
    assert error.value.do == "did you mean 'rope_theta'?"


def test_shard_bytes_without_a_new_dtype_is_refused():
    with pytest.raises(UserError, match="shard_bytes=1,000 has no effect with dtype: keep"):
        parse(Config, {**FOLDERS, "shard_bytes": 1000}, "merge.yaml")


def test_a_config_survives_the_trip_through_its_tree():
    settings = parse(Config, {**FOLDERS, "prior": {"name": "attention", "attention": [0.5, 0.25]}}, "merge.yaml")
    assert parse(Config, to_tree(settings), "again") == settings


def test_the_shipped_recipe_is_read_and_asks_for_its_models():
    job = prepare("merge", "configs/merge/frank_qwen2_5_vl_32b.yaml")
    assert job.config.prior == PriorConfig(name="fixed", alpha=0.05, normalise="max", floor=0.1)
    with pytest.raises(UserError, match="no such folder") as error:
        job.recipe.plan(parse(Config, {**to_tree(job.config), "base": "/nonexistent/base"}, "test"))
    assert "hf download" in error.value.do


def test_mixing_is_exact_at_the_ends_where_plain_arithmetic_is_not():
    base, vlm, reason = (np.array([value], np.float32) for value in (1e8, 1.2345678, -0.0))
    assert base + (vlm - base) != vlm
    assert mix(base, vlm, reason, 1.0, 0.0) == vlm
    assert np.signbit(mix(base, vlm, reason, 0.0, 1.0)).all()
