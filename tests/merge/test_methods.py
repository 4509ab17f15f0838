"""Every method: its vectors by hand, and a merge through the command line equal to one written out in numpy, to the bit."""

import hashlib
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmreflect.cli import main
from mmreflect.components import names
from mmreflect.config import parse
from mmreflect.errors import UserError
from mmreflect.merge.attention import Attention
from mmreflect.merge.methods import dare_linear, layer_swap, linear, metagpt, slerp, task_arithmetic, ties, wudi
from mmreflect.merge.methods._dare import drop

LAYERS, WIDTH, INNER = 3, 24, 40
SHAPES = {
    "self_attn.q_proj.weight": (WIDTH, WIDTH),
    "self_attn.q_proj.bias": (WIDTH,),
    "input_layernorm.weight": (WIDTH,),
    "mlp.up_proj.weight": (INNER, WIDTH),
    "mlp.down_proj.weight": (WIDTH, INNER),
}
TEXT = {"num_hidden_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": 2, "intermediate_size": INNER}


def f32(values):
    return np.array(values, np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of a base, a VLM and a reasoning model in bfloat16; and their values in float32 by block tensor."""
    root, rng = tmp_path_factory.mktemp("models"), torch.Generator().manual_seed(0)
    names_ = [f"layers.{layer}.{name}" for layer in range(LAYERS) for name in SHAPES]
    base = {name: torch.randn(SHAPES[name.split(".", 2)[2]], generator=rng) * 0.1 for name in names_}
    sides = {"base": base}
    for role, size in (("vlm", 0.02), ("reason", 0.01)):
        sides[role] = {name: value + size * torch.randn(value.shape, generator=rng) for name, value in base.items()}
    for role, tensors in sides.items():
        sides[role] = {name: value.to(torch.bfloat16) for name, value in tensors.items()}
        folder = root / role
        folder.mkdir()
        prefix = "model.language_model." if role == "vlm" else "model."
        extra = {"model.embed_tokens.weight" if role != "vlm" else f"{prefix}embed_tokens.weight": torch.ones(7, WIDTH)}
        save_file(
            {**{prefix + name: value for name, value in sides[role].items()}, **extra}, folder / "model.safetensors"
        )
        config = {"model_type": "qwen3_vl", "text_config": TEXT} if role == "vlm" else {"model_type": "qwen3", **TEXT}
        (folder / "config.json").write_text(json.dumps(config))
    values = {role: {n: v.float().numpy() for n, v in tensors.items()} for role, tensors in sides.items()}
    return root, values


def merge(models, output, method, **options):
    root, _ = models
    tree = {"method": method, "output": str(output), "reload": False}
    tree |= {role: str(root / role) for role in ("base", "vlm", "reason")}
    tree |= options
    file = output.parent / f"{output.name}.json"
    file.write_text(json.dumps({key: value for key, value in tree.items() if value is not None}))
    assert main(["merge", str(file)]) == 0
    return load_file(output / "model" / "model.safetensors")


def bf16(values):
    """Round float32 to bfloat16 by hand: to nearest, ties to even; returns the 16 bits."""
    bits = values.astype(np.float32).reshape(-1).view(np.uint32).astype(np.uint64)
    upper, lower = bits >> 16, bits & 0xFFFF
    up = (lower > 0x8000) | ((lower == 0x8000) & (upper % 2 == 1))
    return (upper + up).astype(np.uint16)


def norms(models, layers=range(LAYERS)):
    _, values = models
    found = []
    for role in ("vlm", "reason"):
        change = [
            values[role][f"layers.{layer}.{n}"] - values["base"][f"layers.{layer}.{n}"]
            for layer in layers
            for n in SHAPES
        ]
        found.append(sum(float((item.astype(np.float64) ** 2).sum()) for item in change))
    return found


def weighted(lam_v, lam_r):
    def by_hand(name, layer, b, v, r):
        return b + (f32(lam_v(layer)) * (v - b) + f32(lam_r(layer)) * (r - b))

    return by_hand


def philox(seed, role, name, size):
    digest = hashlib.sha256("\x1f".join([str(seed), "dare", role, f"{name}@0"]).encode()).digest()
    rng = np.random.Generator(np.random.Philox(int.from_bytes(digest[:8], "big")))
    return rng.random(size, dtype=np.float32)


def elected(dv, dr, wv, wr):
    out = np.zeros_like(dv)
    for place in np.ndindex(dv.shape):
        one, two = dv[place], dr[place]
        sign = 1.0 if f32(wv) * one + f32(wr) * two >= 0 else -1.0
        total, weight = f32(0), f32(0)
        for change, w in ((one, wv), (two, wr)):
            if change * sign > 0:
                total, weight = total + change * f32(w), weight + f32(w)
        out[place] = total / weight if weight else 0.0
    return out


def trimmed(change, density):
    flat = np.sort(np.abs(change).reshape(-1))[::-1]
    limit = flat[max(1, int(density * flat.size)) - 1]
    return np.where(np.abs(change) >= limit, change, f32(0))


def ties_by_hand(name, layer, b, v, r):
    return b + elected(trimmed(v - b, 0.2), trimmed(r - b, 0.2), 1.6, 0.2) * f32(0.7)


def dare_linear_by_hand(name, layer, b, v, r):
    kept = [
        np.where(philox(4, role, name, b.size).reshape(b.shape) < f32(0.3), side - b, f32(0)) / f32(0.3)
        for role, side in (("vlm", v), ("reason", r))
    ]
    return b + (kept[0] * f32(0.6) + kept[1] * f32(0.4))


def dare_ties_by_hand(name, layer, b, v, r):
    kept = [
        np.where(philox(0, role, name, b.size).reshape(b.shape) < f32(0.5), side - b, f32(0)) / f32(0.5)
        for role, side in (("vlm", v), ("reason", r))
    ]
    return b + elected(*kept, 1.0, 1.0)


def slerp_by_hand(name, layer, b, v, r):
    x, y = v.reshape(-1).astype(np.float64), r.reshape(-1).astype(np.float64)
    cosine = (x @ y) / math.sqrt((x @ x) * (y @ y))
    if abs(cosine) > 0.9995:
        return f32(0.75) * v + f32(0.25) * r
    angle = math.acos(cosine)
    return v * f32(math.sin(0.75 * angle) / math.sin(angle)) + r * f32(math.sin(0.25 * angle) / math.sin(angle))


def wudi_by_hand(name, layer, b, v, r):
    """In float64, from the loss by its definition: the gradient of the squared inner products, term by term."""
    if b.ndim != 2:
        return b + ((v - b) + (r - b)) / f32(2)
    changes = [(side - b).astype(np.float64) for side in (v, r)]
    tau, first, second = changes[0] + changes[1], 0.0, 0.0
    for step in range(1, 6):
        gradient = sum(2 * ((tau - own) @ own.T) @ own / (own**2).sum() for own in changes)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        tau = tau - 1e-3 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return b + tau.astype(np.float32)


CASES = {
    "centroid": ({"prior": {"name": "fixed", "w_v": 0.7}}, weighted(lambda _: 0.7, lambda _: 1 - 0.7)),
    "linear": ({"base": None, "vlm_weight": 3.0, "reason_weight": 1.0}, lambda name, layer, b, v, r: f32(0.75) * v + f32(0.25) * r),
    "layer_swap": (
        {"base": None, "last_kept": 0},
        lambda name, layer, b, v, r: v if layer == 0 else f32(0.9) * v + f32(1 - 0.9) * r,
    ),
    "task_arithmetic": ({"scale": 0.5, "reason_weight": 0.4}, weighted(lambda _: 0.5, lambda _: 0.5 * 0.4)),
    "ties": ({"density": 0.2, "vlm_weight": 1.6, "reason_weight": 0.2, "scale": 0.7}, ties_by_hand),
    "dare_linear": ({"density": 0.3, "seed": 4, "vlm_weight": 0.6, "reason_weight": 0.4}, dare_linear_by_hand),
    "dare_ties": ({"density": 0.5}, dare_ties_by_hand),
    "slerp": ({"base": None, "t": 0.25}, slerp_by_hand),
    "wudi": ({"steps": 5, "learning_rate": 1e-3}, wudi_by_hand),
}  # fmt: skip


@pytest.mark.parametrize("method", sorted([*CASES, "frank", "metagpt"]))
def test_a_merge_equals_one_written_by_hand_to_the_last_bit(models, tmp_path, method):
    if method == "frank":
        options = {"prior": {"name": "fixed", "alpha": 0.4, "normalise": "max", "floor": 0.0}}
        lam = []
        for layer in range(LAYERS):
            w_v, (v, r) = math.exp(-0.4 * layer), norms(models, [layer])
            lam.append((w_v * v / (w_v * v + (1 - w_v) * r), (1 - w_v) * r / (w_v * v + (1 - w_v) * r)))
        by_hand = weighted(lambda layer: lam[layer][0], lambda layer: lam[layer][1])
    elif method == "metagpt":
        options, (v, r) = {}, norms(models)
        by_hand = weighted(lambda _: v / (v + r), lambda _: r / (v + r))
    else:
        options, by_hand = CASES[method]
    check(models, merge(models, tmp_path / "out", method, **options), by_hand)


def check(models, written, by_hand):
    _, values = models
    for name in values["base"]:
        expected = by_hand(name, int(name.split(".")[1]), *(values[role][name] for role in ("base", "vlm", "reason")))
        found = written[f"model.language_model.{name}"]
        assert found.dtype == torch.bfloat16
        assert found.view(torch.int16).numpy().view(np.uint16).reshape(-1).tolist() == bf16(expected).tolist(), name


def test_every_method_has_its_case_above():
    assert set(names("merge")) == {*CASES, "frank", "metagpt"}


@pytest.mark.parametrize("importance", ["norm2", "uniform", "inv_norm2", "curvature"])
@pytest.mark.parametrize("prior", ["none", "attention", "exponential", "fixed"])
def test_every_importance_with_every_prior_equals_one_written_by_hand(models, tmp_path, importance, prior):
    measured = Attention("v", {}, {}, [0.6, 0.3, 0.15], [0.0] * 3, math.log(2), 1.2, 1.0, [])
    (tmp_path / "a.json").write_text(json.dumps(measured.tree()))
    (tmp_path / "c.json").write_text(json.dumps({"vlm": [3, 2, 1], "reason": [1, 1, 1]}))
    tree = {"name": prior, "floor": 0.0}
    tree |= {"measured": str(tmp_path / "a.json")} if prior in ("attention", "exponential") else {}
    tree |= {"alpha": math.log(2)} if prior == "fixed" else {}
    options = {"curvature": str(tmp_path / "c.json")} if importance == "curvature" else {}
    written = merge(models, tmp_path / "out", "frank", importance=importance, prior=tree, **options)
    lam = []
    for layer in range(LAYERS):
        w_v = 0.5 if prior == "none" else 0.5**layer  # 0.6, 0.3, 0.15 halves with each layer, and so does e^(-ln 2 l)
        v, r = norms(models, [layer])
        a = {"norm2": (v, r), "uniform": (1, 1), "inv_norm2": (1 / v, 1 / r), "curvature": (3 - layer, 1)}[importance]
        lam.append(w_v * a[0] / (w_v * a[0] + (1 - w_v) * a[1]))
    rows = json.loads((tmp_path / "out" / "merge_report.json").read_text())["layers"]
    assert [row["lam_v"] for row in rows] == pytest.approx(lam, rel=1e-9)
    assert [row["lam_v"] + row["lam_r"] for row in rows] == pytest.approx([1.0] * LAYERS)
    mixed = weighted(lambda layer: lam[layer], lambda layer: 1 - lam[layer])
    check(models, written, lambda name, layer, b, v, r: v if lam[layer] == 1 else mixed(name, layer, b, v, r))


def test_ties_trims_elects_and_averages():
    one, two = f32([0.4, -0.1, 0.3, 0.02]), f32([0.2, 0.3, -0.5, 0.01])
    kept = ties.trim(one, 0.5), ties.trim(two, 0.5)
    assert kept[0].tolist() == f32([0.4, 0, 0.3, 0]).tolist()
    assert kept[1].tolist() == f32([0, 0.3, -0.5, 0]).tolist()
    assert ties.elect(*kept, 1.0, 1.0).tolist() == f32([0.4, 0.3, -0.5, 0]).tolist()


def test_ties_keeps_equal_magnitudes_and_everything_at_density_one():
    change = f32([1, -1, 1, 0.5])
    assert ties.trim(change, 0.3).tolist() == [1, -1, 1, 0]
    assert ties.trim(change, 1.0).tolist() == change.tolist()


def test_ties_weighs_election_and_mean():
    assert ties.elect(f32([0.2, 1.0]), f32([-0.3, 4.0]), 2.0, 1.0).tolist() == f32([0.2, (2 * 1.0 + 4.0) / 3]).tolist()


def test_slerp_goes_along_the_circle_and_lerps_where_there_is_none():
    x, y = f32([1, 0]), f32([0, 2])
    assert [round(float(value), 4) for value in slerp.slerp(x, y, 0.25)] == [0.9239, 0.7654]
    assert slerp.slerp(x, x, 0.25).tolist() == x.tolist()
    assert slerp.slerp(x, x * 0, 0.25).tolist() == [0.75, 0.0]
    same = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    for t in (0.3, 0.7):
        assert ((1 - t) * same + t * same != same).any()  # or the next line could not fail
        assert np.array_equal(slerp.slerp(same, same.copy(), t), same)
        assert torch.equal(
            slerp.slerp(torch.from_numpy(same), torch.from_numpy(same).clone(), t), torch.from_numpy(same)
        )
    assert slerp.slerp(x, y, 0.0).tolist() == [1, 0] and slerp.slerp(x, y, 1.0).tolist() == [0, 2]


@pytest.mark.parametrize(("rescale", "mean"), [("density", 1.0), ("l1", 1.0), ("none", 0.2)])
def test_dare_drops_four_in_five_and_makes_up_for_it(rescale, mean):
    kept = drop(np.ones(1_000_000, np.float32), 0.2, rescale, 0, "vlm", "a")
    assert float((kept == 0).mean()) == pytest.approx(0.8, abs=0.002)
    assert float(kept.mean()) == pytest.approx(mean, abs=0.01)


def test_dare_draws_for_each_tensor_and_model_on_its_own():
    ones = np.ones(64, np.float32)
    draws = [
        drop(ones, 0.5, "none", *key) for key in ((0, "vlm", "a"), (0, "vlm", "b"), (0, "reason", "a"), (1, "vlm", "a"))
    ]
    assert len({draw.tobytes() for draw in draws}) == 4
    assert np.array_equal(draws[0], drop(ones, 0.5, "none", 0, "vlm", "a"))


def test_small_rules_give_the_weights_that_their_formulas_say():
    assert linear.linear_weights(0.9, 0.1) == (0.9, 0.1)
    assert linear.linear_weights(3, 1, normalise=False) == (3, 1)
    assert task_arithmetic.arithmetic_weights(0.3, 1, 2) == (0.3, 0.6)
    assert [layer_swap.swap_weights(layer, 5, 0.9)[0] for layer in (0, 5, 6)] == [1.0, 1.0, 0.9]
    assert metagpt.global_weights(9, 1) == (0.9, 0.1) and metagpt.global_weights(0, 0) == (1, 0)


def test_wudi_leaves_a_single_change_alone_and_parts_two_that_share_an_input():
    change = f32([[1, 0], [0, 0]])
    assert wudi.merged_change([change, change * 0], 300, 1e-2) == pytest.approx(change)
    one, two = f32([[1.0, 0.0]]), f32([[0.5, 0.0]])  # one input, wished for 1 and 0.5: the mean, 0.75, interferes least
    assert wudi.merged_change([one, two], 2000, 1e-2)[0, 0] == pytest.approx(0.75, abs=1e-3)


def test_options_that_leave_nothing_or_make_no_sense_are_refused():
    folders = {"vlm": "v", "reason": "r", "output": "o"}
    with pytest.raises(UserError, match="vlm_weight and reason_weight are both 0"):
        parse(linear.Config, {**folders, "vlm_weight": 0.0, "reason_weight": 0.0}, "merge.yaml")
    with pytest.raises(UserError, match="density: should be greater than 0"):
        parse(dare_linear.Config, {**folders, "base": "b", "density": 0.0}, "merge.yaml")
    with pytest.raises(UserError, match="missing key 't'"):
        parse(slerp.Config, folders, "merge.yaml")
    with pytest.raises(UserError, match="missing key 'base'"):
        parse(ties.Config, folders, "merge.yaml")


def test_a_method_without_a_base_measures_from_it_where_it_is_given(models, tmp_path):
    merge(models, tmp_path / "with", "linear")
    merge(models, tmp_path / "without", "linear", base=None)
    reports = {name: json.loads((tmp_path / name / "merge_report.json").read_text()) for name in ("with", "without")}
    assert reports["with"]["layers"][1]["norm2_v"] == pytest.approx(norms(models, [1])[0], rel=1e-12)
    assert reports["without"]["layers"][1]["norm2_v"] > 10 * reports["with"]["layers"][1]["norm2_v"]
    assert [reports[name]["measured_from"] for name in reports] == ["base", "zero"]
    files = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in reports]
    assert files[0] == files[1]


@pytest.mark.parametrize("scope", ["attention", "mlp"])
def test_a_scope_merges_one_half_of_each_block(models, tmp_path, scope):
    merge(models, tmp_path / "out", "centroid", scope=scope)
    report = json.loads((tmp_path / "out" / "merge_report.json").read_text())
    part = {"attention": "self_attn", "mlp": "mlp"}[scope]
    assert len(report["merged_names"]) == 2 * LAYERS and all(f".{part}." in name for name in report["merged_names"])
    assert any("input_layernorm" in name for name in report["copied_names"])
