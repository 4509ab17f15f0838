"""NaN and infinity: those of a model are named, in what is copied as well, and none are ever made by merging."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_bad_checkpoints import merge, models  # noqa: F401  (fixtures)

from mmreflect.merge import outputs
from mmreflect.merge.arithmetic_numpy import lost

NAN, INF = float("nan"), float("inf")
VISION, TABLE = "visual.blocks.0.attn.qkv.weight", "model.embed_tokens.weight"
FILE = "model-00001-of-00002.safetensors"


def spoil(folder, name, value, bits=None):
    """Put a value into a tensor of the first file, which may be new there."""
    tensors = load_file(folder / FILE)
    if name not in tensors:
        tensors[name] = torch.ones(6)
        index = folder / "model.safetensors.index.json"
        tree = json.loads(index.read_text())
        tree["weight_map"][name] = FILE
        index.write_text(json.dumps(tree))
    if bits is not None:
        tensors[name].view(torch.int32).view(-1)[3] = bits
    else:
        tensors[name].view(-1)[3] = value
    save_file(tensors, folder / FILE, metadata={"format": "pt"})


@pytest.mark.parametrize("code", ["F64", "F32", "F16", "BF16", "F8_E5M2", "F8_E4M3"])
def test_what_is_not_finite_is_seen_in_the_bits(code):
    kind = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
            "F8_E5M2": torch.float8_e5m2, "F8_E4M3": torch.float8_e4m3fn}[code]  # fmt: skip
    info = torch.finfo(kind)
    values = [0.0, -0.0, info.max, info.min, info.tiny, -info.tiny, 1.0]
    sound = torch.tensor(values, dtype=torch.float64).to(kind)
    assert not lost(sound.view(torch.uint8).numpy(), code)
    for value in (NAN, -NAN) if code == "F8_E4M3" else (NAN, -NAN, INF, -INF):
        raw = torch.tensor([*values, value], dtype=torch.float64).to(kind)
        assert lost(raw.view(torch.uint8).numpy(), code), value
    assert not lost(np.empty(0, np.uint8), code) and not lost(np.full(8, 255, np.uint8), "I64")


@pytest.mark.parametrize("options", [{}, {"dtype": "bfloat16"}])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("name", [VISION, TABLE])
def test_one_in_a_copied_tensor_is_named(models, merge, name, value, options):  # noqa: F811
    spoil(models / "vlm", name, value)
    error = merge(**options)
    assert f"vlm: '{name}', which is copied, holds NaN or infinity ('{models / 'vlm'}')" in error
    assert "download this model again" in error and "to copy it as it is: force: [finite]" in error
    assert not (models / "out" / "result.json").exists()


def test_it_is_copied_where_that_is_forced_and_the_report_names_it(models, merge):  # noqa: F811
    spoil(models / "vlm", VISION, NAN)
    shown = merge("--force", "finite", code=0)
    told = f"forced finite: 1 tensor of the VLM with NaN or infinity copied: '{VISION}'"
    assert told in " ".join(shown.split())
    assert told in json.loads((models / "out" / "merge_report.json").read_text())["warnings"]
    before, after = (load_file(models / folder / FILE)[VISION].view(torch.int32) for folder in ("vlm", "out/model"))
    assert torch.equal(before, after)


def test_what_was_forced_is_known_after_a_kill(models, merge, monkeypatch):  # noqa: F811
    spoil(models / "vlm", VISION, NAN)
    merge("force=[finite]", code=0)
    (models / "out" / "result.json").unlink()
    monkeypatch.setattr(outputs.Outputs, "write", None)  # every shard is whole: nothing is written again
    merge("force=[finite]", code=0)
    warnings = json.loads((models / "out" / "merge_report.json").read_text())["warnings"]
    assert [text for text in warnings if text.startswith("forced finite: 1 tensor")]


@pytest.mark.parametrize("bits", [0x7FFFFFFF, 0xFFFFFFFF - (1 << 32), 0x7F800001])
def test_a_forced_nan_stays_one_in_another_dtype(models, merge, bits):  # noqa: F811
    """Its bits would otherwise be rounded to -0, 0 or infinity."""
    spoil(models / "vlm", VISION, None, bits)
    merge("force=[finite]", code=0, dtype="bfloat16")
    written = load_file(models / "out" / "model" / "model-00001-of-00001.safetensors")[VISION]
    assert written.isnan().tolist() == [False, False, False, True, False, False]


@pytest.mark.parametrize(("dtype", "value"), [("bfloat16", 3.4e38), ("float16", -7e4)])
@pytest.mark.parametrize("forced", [[], ["finite"]])
def test_a_copied_value_that_the_dtype_cannot_hold_is_refused(models, merge, dtype, value, forced):  # noqa: F811
    spoil(models / "vlm", VISION, value)
    error = merge(dtype=dtype, force=forced)
    assert f"'{VISION}' holds values that {dtype} cannot represent (up to {abs(value):.3g})" in error
    assert ("choose dtype: float32" in error) == (dtype == "bfloat16")


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("dare_linear", {"scale": 1e39}),
        ("ties", {"scale": 1e39}),
        ("task_arithmetic", {"scale": 1e39}),
        ("wudi", {"learning_rate": 1e300, "steps": 2}),
        ("linear", {"vlm_weight": 1e38, "reason_weight": 3e38, "normalise": False}),
    ],
)
@pytest.mark.parametrize("arithmetic", ["numpy", "auto"])
@pytest.mark.filterwarnings("error")
def test_a_merge_whose_values_are_not_finite_is_refused(models, merge, method, options, arithmetic):  # noqa: F811
    error = merge(method=method, arithmetic=arithmetic, **options)
    assert "merging turns values of 'model.layers.0." in error and "though they are finite in all models" in error
    assert "choose smaller factors" in error and not (models / "out" / "result.json").exists()


def test_a_merged_value_beyond_the_output_is_refused(models, merge):  # noqa: F811
    error = merge(method="task_arithmetic", scale=1e7, dtype="float16")
    assert "holds values that float16 cannot represent" in error and "choose dtype: bfloat16 or float32" in error


@pytest.mark.parametrize("key", ["scale", "hold_gb"])
@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_a_setting_that_is_no_number_is_refused(models, merge, key, value):  # noqa: F811
    error = merge(f"{key}={value}", method="task_arithmetic")
    assert key in error and not (models / "out").exists()
    if key == "scale":
        assert f"scale={float(value.replace('.', ''))}" in error and "expected: a finite number" in error
