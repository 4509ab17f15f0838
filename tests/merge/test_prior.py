"""The prior over the layers, against numbers worked out by hand from the paper's equations, and its configuration."""

import json
import math

import pytest

from mmreflect.config import parse, to_tree
from mmreflect.errors import UserError
from mmreflect.merge.methods.frank import Config
from mmreflect.merge.prior import PriorConfig, decay, fit_decay, normalised, resolve_prior

FOLDERS = {"base": "b", "vlm": "v", "reason": "r", "output": "o"}
EXACT = [0.4 * math.exp(-0.1 * layer) for layer in range(1, 5)]


def test_the_decay_of_an_exact_exponential_is_found():
    assert [round(share, 4) for share in EXACT] == [0.3619, 0.3275, 0.2963, 0.2681]
    assert fit_decay(EXACT) == pytest.approx((0.1, 0.4, 1.0), abs=1e-12)


def test_constant_attention_has_no_decay():
    assert fit_decay([0.25] * 6) == pytest.approx((0.0, 0.25, 1.0), abs=1e-12)


def test_shares_near_zero_are_clipped_before_the_logarithm():
    assert fit_decay([0.1, 0.0]) == fit_decay([0.1, 1e-4])


def test_one_layer_has_no_decay_to_fit():
    with pytest.raises(UserError, match="cannot fit a decay to 1 layer"):
        fit_decay([0.3])


def test_the_papers_prior_sums_to_one():
    weights = normalised(decay(4, 0.1), "sum")
    assert [round(weight, 4) for weight in weights] == [0.2887, 0.2612, 0.2363, 0.2138]
    weights = normalised(decay(28, 0.3), "sum")
    assert math.fsum(weights) == pytest.approx(1.0, abs=1e-9)
    assert weights[0] == pytest.approx((1 - math.exp(-0.3)) / (1 - math.exp(-0.3 * 28)), abs=1e-12)
    assert round(weights[0], 3) == 0.259


def test_the_max_prior_starts_at_one_and_never_falls_below_its_floor():
    weights = normalised(decay(64, 0.05), "max", 0.1)
    assert weights[0] == 1.0
    assert weights[14] == pytest.approx(0.497, abs=1e-3)
    assert weights[46] > 0.1
    assert weights[47:] == [0.1] * 17
    assert decay(3, -800.0)[-1] == 1.0


@pytest.mark.parametrize(
    ("normalise", "expected"),
    [("attention", [0.8, 0.3, 0.1]), ("max", [1.0, 0.375, 0.1]), ("sum", [0.8 / 1.12, 0.3 / 1.12, 0.1])],
)
def test_measured_attention_is_the_prior_as_it_is_or_scaled(normalise, expected):
    prior = resolve_prior(PriorConfig(name="attention", attention=[0.8, 0.3, 0.02], normalise=normalise), 3)
    assert prior.w_v == pytest.approx(expected, abs=1e-12)
    assert prior.attention == (0.8, 0.3, 0.02)
    assert prior.text == f"attention as measured, normalise {normalise}, floor 0.1"


@pytest.mark.parametrize(
    ("normalise", "expected"),
    [("sum", [0.2887, 0.2612, 0.2363, 0.2138]), ("max", [1.0, 0.9048, 0.8187, 0.7408]), ("attention", EXACT)],
)
def test_an_exponential_is_fitted_and_says_how(normalise, expected):
    prior = resolve_prior(PriorConfig(name="exponential", attention=EXACT, normalise=normalise, floor=0.0), 4)
    assert prior.w_v == pytest.approx(expected, abs=5e-5)
    assert prior.text == f"exponential, fitted alpha 0.1, C 0.4, R2 1.000, normalise {normalise}, floor 0.0"
    assert prior.warnings == ()


def test_a_fixed_prior_is_a_decay_or_one_number():
    assert resolve_prior(PriorConfig(name="fixed", alpha=0.1, normalise="sum", floor=0.0), 4).w_v == pytest.approx(
        [0.2887, 0.2612, 0.2363, 0.2138], abs=5e-5
    )
    assert resolve_prior(PriorConfig(name="fixed", w_v=0.3), 3).w_v == (0.3,) * 3
    assert resolve_prior(PriorConfig(), 3).w_v == (0.5,) * 3


def test_embeddings_and_head_take_the_prior_of_the_nearest_block():
    prior = resolve_prior(PriorConfig(name="attention", attention=[0.8, 0.3], normalise="attention"), 2)
    assert [prior.at(layer) for layer in (-1, 0, 1, 2)] == [0.8, 0.8, 0.3, 0.3]


def test_attention_that_does_not_fall_is_warned_about():
    warnings = resolve_prior(PriorConfig(name="exponential", attention=[0.1, 0.2, 0.1, 0.3]), 4).warnings
    assert "attention to the image does not fall with depth" in warnings[0]
    assert "fits the measured attention badly" in warnings[1]


def test_attention_of_another_depth_is_refused():
    with pytest.raises(UserError, match=r"the measured attention has 2 numbers, the VLM has 4 decoder blocks"):
        resolve_prior(PriorConfig(name="attention", attention=[0.2, 0.1]), 4)


def test_measured_attention_comes_from_a_file(tmp_path):
    file = tmp_path / "attention.json"
    file.write_text(json.dumps({"attention": EXACT, "images": 3}))
    prior = resolve_prior(PriorConfig(name="attention", measured=str(file), normalise="attention"), 4)
    assert prior.w_v == pytest.approx(EXACT)


@pytest.mark.parametrize("text", ["{", "[]", '{"attention": []}', '{"attention": ["a"]}', '{"attention": [2.0]}', "{}"])
def test_a_file_that_holds_no_shares_is_refused(tmp_path, text):
    file = tmp_path / "attention.json"
    file.write_text(text)
    with pytest.raises(UserError, match="cannot be used") as error:
        resolve_prior(PriorConfig(name="attention", measured=str(file)), 4)
    assert error.value.do == "measure it again"


def test_a_file_that_is_missing_is_named():
    with pytest.raises(UserError, match=r"prior.measured: no such file: 'none.json'"):
        resolve_prior(PriorConfig(name="attention", measured="none.json"), 4)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"name": "fixed"}, "prior: 'fixed' needs either alpha, the decay per layer, or w_v"),
        ({"name": "fixed", "alpha": 0.1, "w_v": 0.5}, "prior: 'fixed' needs either alpha"),
        ({"name": "none", "alpha": 0.1}, "prior: 'none' takes no alpha"),
        ({"name": "none", "w_v": 0.1}, "prior: 'none' takes no w_v"),
        ({"name": "fixed", "alpha": -0.1}, "prior: alpha must be a finite number of at least 0 (given: -0.1)"),
        ({"name": "attention"}, "prior: 'attention' needs either measured, a JSON file, or attention"),
        ({"name": "exponential", "measured": "a", "attention": [0.1]}, "prior: 'exponential' needs either measured"),
        ({"name": "fixed", "alpha": 0.1, "attention": [0.1]}, "prior: 'fixed' takes no attention"),
        ({"name": "fixed", "alpha": 0.1, "measured": "a.json"}, "prior: 'fixed' takes no measured"),
        ({"name": "attention", "attention": [0.4, 1.2]}, "shares from 0 to 1 (given: 0.4 to 1.2)"),
        ({"name": "fixed", "alpha": 0.1, "normalise": "attention"}, "normalise 'attention' needs measured attention"),
        ({"name": "attention", "atention": [0.1]}, "did you mean 'attention'?"),
        ({"floor": 1.5}, "prior.floor: "),
    ],
)
def test_a_prior_that_does_not_fit_together_is_refused(prior, message):
    with pytest.raises(UserError) as error:
        parse(Config, {**FOLDERS, "prior": prior}, "merge.yaml")
    assert message in str(error.value)


def test_a_bare_name_is_a_prior():
    settings = parse(Config, {**FOLDERS, "prior": "none"}, "merge.yaml")
    assert settings.prior == PriorConfig() and parse(Config, to_tree(settings), "again") == settings
