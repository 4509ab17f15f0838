"""Bytes to float32 and back, on the CPU and by torch as on a GPU; layers that are held in memory or read twice."""

import math

import numpy as np
import pytest
import torch
from test_methods import CASES, merge, models  # noqa: F401  (a fixture)

from mmreflect.cli import main
from mmreflect.merge import recipe, work
from mmreflect.merge.arithmetic import choose
from mmreflect.merge.arithmetic_compiled import Compiled
from mmreflect.merge.arithmetic_numpy import OnCpu, decode, encode, lost
from mmreflect.merge.arithmetic_torch import OnDevice
from mmreflect.merge.kernels import find_compiler
from mmreflect.merge.pieces import Loaded
from mmreflect.merge.raw import Raw

CODES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}


def raw_of(tensor):
    return tensor.view(torch.uint8).numpy()


@pytest.mark.parametrize("code", CODES)
def test_decoding_and_encoding_agree_with_torch(code):
    values = torch.cat([torch.randn(5000), torch.randn(5000) * 1e-30, torch.tensor([0.0, -0.0, 1e-45, 65504.0, -1.0])])
    stored = values.to(CODES[code])
    assert decode(raw_of(stored), code).tobytes() == stored.float().numpy().tobytes()
    assert encode(values.numpy(), code).tobytes() == raw_of(stored).tobytes()


def test_bfloat16_is_rounded_to_nearest_and_ties_to_even():
    ties = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0xBF808000], np.uint32).view(np.float32)
    assert encode(ties, "BF16").view(np.uint16).tolist() == [0x3F80, 0x3F82, 0x3F81, 0x3F80, 0xBF80]


def test_what_a_dtype_cannot_hold_is_found():
    big = np.array([1.0, 1e6], np.float32)
    assert lost(encode(big, "F16"), "F16") and not lost(encode(big, "BF16"), "BF16")
    assert lost(encode(np.array([3.4e38], np.float32), "BF16"), "BF16")


def held(base, vlm, reason):
    """A piece of float32 values."""
    raw = [None if side is None else Raw.of(side) for side in (base, vlm, reason)]
    return Loaded(*raw, "F32" if base is not None else "", "F32", "F32")


def test_sums_are_of_float32_differences_in_float64():
    rng = np.random.default_rng(0)
    base, vlm, reason = (rng.standard_normal(20_000).astype(np.float32) for _ in range(3))
    one, two, wide = (vlm - base).astype(np.float64), (reason - base).astype(np.float64), base.astype(np.float64)
    for arithmetic in (OnCpu(), OnDevice("cpu")):
        found = arithmetic.measure(held(base, vlm, reason))
        assert found == pytest.approx((one @ one, two @ two, one @ two, wide @ wide), rel=1e-13)
        assert arithmetic.measure(held(None, vlm, reason))[3] is None


def test_the_order_of_a_sum_is_the_one_that_is_said(monkeypatch):
    """Blocks of 256 values, lane i modulo 128, each lane from 0 in every block, then the blocks, then the lanes."""
    rng = np.random.default_rng(1)
    base, vlm, reason = (rng.standard_normal(700).astype(np.float32) for _ in range(3))
    one, two = (vlm - base).astype(np.float64).tolist(), (reason - base).astype(np.float64).tolist()
    lanes = [0.0] * 128
    for block in (range(0, 256), range(256, 512), range(512, 700)):
        own = [0.0] * 128
        for place in block:
            own[place % 128] += one[place] * two[place]
        lanes = [total + part for total, part in zip(lanes, own, strict=True)]
    monkeypatch.setattr(OnCpu, "block", 256)
    assert OnCpu().measure(held(base, vlm, reason))[2] == math.fsum(lanes)


@pytest.mark.parametrize("method", [*CASES, "frank", "metagpt"])
def test_torch_writes_what_numpy_writes(models, tmp_path, monkeypatch, method):  # noqa: F811
    options = CASES[method][0] if method in CASES else {}
    merge(models, tmp_path / "numpy", method, arithmetic="numpy", **options)
    monkeypatch.setattr(recipe, "choose", lambda *asked: OnDevice("cpu"))
    merge(models, tmp_path / "torch", method, **options)
    one, two = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("numpy", "torch"))
    assert one == two


def test_the_cpu_is_chosen_where_there_is_no_gpu():
    assert isinstance(choose("cpu"), OnCpu | Compiled)
    if not torch.cuda.is_available():
        assert isinstance(choose("auto"), OnCpu | Compiled)


@pytest.mark.parametrize("arithmetic, how", [("numpy", "load"), ("auto", "view" if find_compiler() else "load")])
def test_a_layer_that_is_read_twice_gives_the_same_bytes(models, tmp_path, monkeypatch, arithmetic, how):  # noqa: F811
    loads, real = [], getattr(work.Reader, how)

    def counted(self, piece):
        loads.append(piece)
        return real(self, piece)

    monkeypatch.setattr(work.Reader, how, counted)
    merge(models, tmp_path / "held", "frank", arithmetic=arithmetic)
    once = len(loads)
    merge(models, tmp_path / "twice", "frank", hold_gb=0.0, arithmetic=arithmetic)
    assert len(loads) - once == 2 * once == 30
    merge(models, tmp_path / "global", "metagpt", arithmetic=arithmetic)
    assert len(loads) == 75
    one, two = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("held", "twice"))
    assert one == two


def test_a_gpu_that_is_not_there_is_refused(models, tmp_path, capsys):  # noqa: F811
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(AssertionError):
        merge(models, tmp_path / "out", "frank", device="cuda")
    assert "device: cuda, but there is no NVIDIA GPU" in capsys.readouterr().err


def test_the_plan_may_be_asked_for_first(models, tmp_path, capsys):  # noqa: F811
    root, _ = models
    words = [f"{role}={root / role}" for role in ("base", "vlm", "reason")]
    code = main(["merge", "--plan", "configs/merge/frank_qwen2_5_vl_32b.yaml", *words, f"output={tmp_path / 'out'}"])
    assert code == 0 and "about" in capsys.readouterr().out and not (tmp_path / "out").exists()
