"""The prior over the layers, against numbers worked out by hand from the paper's equations, and its configuration."""

import json
import math

import pytest

from mmreflect.config import parse, to_tree
from mmreflect.errors import UserError
from mmreflect.merge.attention import Attention
from mmreflect.merge.methods.frank import Config
from mmreflect.merge.prior import PriorConfig, decay, normalised, resolve_prior

FOLDERS = {"base": "b", "vlm": "v", "reason": "r", "output": "o"}
EXACT = [0.4 * math.exp(-0.1 * layer) for layer in range(1, 5)]


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


def test_measured_attention_comes_from_the_file_that_a_measurement_wrote(tmp_path):
    measured = Attention("vlm", {"measured": 3, "left_out": {}}, {"prompt": "?"}, EXACT, [0.0] * 4, 0.1, 0.4, 1.0, [])
    (tmp_path / "prior.json").write_text(json.dumps(measured.tree()))
    for given in (tmp_path, tmp_path / "prior.json"):
        prior = resolve_prior(PriorConfig(name="attention", measured=str(given), normalise="attention"), 4)
        assert prior.w_v == pytest.approx(EXACT) and prior.warnings == ()
        assert prior.measurement["pictures"]["measured"] == 3
        assert [prior.measurement[key] for key in ("alpha", "C", "r2")] == pytest.approx([0.1, 0.4, 1.0])


def test_what_is_no_measurement_is_refused_with_the_way_to_one(tmp_path):
    (tmp_path / "prior.json").write_text(json.dumps({"attention": EXACT}))
    with pytest.raises(UserError, match="is no measured prior: KeyError: 'model'") as error:
        resolve_prior(PriorConfig(name="attention", measured=str(tmp_path)), 4)
    assert error.value.do.startswith("measure it: prior: {name: attention, pictures: FOLDER}; a merge that wrote it")


def test_attention_given_by_hand_is_fitted_too():
    known = resolve_prior(PriorConfig(name="attention", attention=[0.5, 0.00001]), 2).measurement
    # a line through ln 0.5 at 1 and ln 1e-4 at 2
    assert known["alpha"] == pytest.approx(math.log(0.5 / 1e-4)) and known["clipped"] == [1] and "pictures" not in known
    assert resolve_prior(PriorConfig(name="attention", attention=[0.5]), 1).measurement is None


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"name": "fixed"}, "prior: 'fixed' needs either alpha, the decay per layer, or w_v"),
        ({"name": "fixed", "alpha": 0.1, "w_v": 0.5}, "prior: 'fixed' needs either alpha"),
        ({"name": "none", "alpha": 0.1}, "prior: 'none' takes no alpha"),
        ({"name": "none", "w_v": 0.1}, "prior: 'none' takes no w_v"),
        ({"name": "fixed", "alpha": -0.1}, "prior: alpha must be a finite number of at least 0 (given: -0.1)"),
        ({"name": "attention"}, "prior: 'attention' needs either pictures, a folder to measure on, or measured"),
        (
            {"name": "exponential", "measured": "a", "attention": [0.1]},
            "a number per block (given: measured and attention)",
        ),
        ({"name": "attention", "pictures": "p", "measured": "a"}, "per block (given: pictures and measured)"),
        ({"name": "fixed", "alpha": 0.1, "pictures": "p"}, "prior: 'fixed' takes no pictures"),
        (
            {"name": "attention", "measured": "a", "limit": 3},
            "prior: limit says how pictures are measured, and none are",
        ),
        ({"name": "attention", "pictures": "p", "limit": 0}, "prior.limit: "),
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
