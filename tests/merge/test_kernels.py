"""Compiled arithmetic against numpy, to the last bit: by function on hostile values, and through the front door."""

import itertools
import json
import shutil
import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_methods import CASES, models  # noqa: F401  (a fixture)

from mmreflect.cli import main
from mmreflect.merge import kernels
from mmreflect.merge.arithmetic_compiled import Compiled
from mmreflect.merge.arithmetic_numpy import OnCpu, decode, encode, lanes_of
from mmreflect.merge.checkpoint import ITEM_BYTES
from mmreflect.merge.kernels import find_compiler, load
from mmreflect.merge.pieces import Loaded
from mmreflect.merge.raw import Raw
from mmreflect.merge.rule import blend, mix

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")
CODES = ("BF16", "F16", "F32", "F64")
BITS = {"BF16": (np.uint16, 0x7F80), "F16": (np.uint16, 0x7C00), "F32": (np.uint32, 0x7F800000), "F64": (np.uint64, 0)}
SPECIAL = [0.0, -0.0, 1e-45, -1e-40, 6e-8, 65504.0, 65520.0, -1e5, 3.4e38, -3.4e38, 1.0, -1.0]


@pytest.fixture(scope="module", params=["for this processor", "for any"])
def compiled(request, tmp_path_factory):
    if request.param == "for this processor":
        return Compiled(load())
    folder = tmp_path_factory.mktemp("old")
    old = folder / "cc"
    old.write_text(f'#!/bin/sh\ncase "$*" in *native*) exit 1;; esac\nexec {find_compiler()[0]} "$@"\n')
    old.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC", str(old))
        return Compiled(load())


def values(rng, code, count, shift=0, usual=0.5):
    """Finite values of every size, a share of them of a weight's size, at an address that `shift` makes odd."""
    kind, exponent = BITS[code]
    if code == "F64":
        found = rng.standard_normal(count) * 10.0 ** rng.integers(-44, 38, count)
    else:
        bits = rng.integers(0, np.iinfo(kind).max, count, dtype=kind, endpoint=True)
        bits[(bits & exponent) == exponent] = 1  # a subnormal number for what is no number
        found = bits.view({2: np.float16, 4: np.float32}[kind().itemsize]) if code != "BF16" else bits
    weights = encode((rng.standard_normal(count) * 0.02).astype(np.float32), code).view(found.dtype)
    found = np.where(rng.random(count) < usual, weights, found)
    marked = encode(np.array(SPECIAL, np.float32), code).view(found.dtype)
    if code in ("BF16", "F16"):  # 65520 and 3.4e38 become infinite there
        marked = marked[np.isfinite(decode(marked.view(np.uint8), code))]
    if usual < 1:
        found[: marked.size] = marked[:count]
    raw = np.empty(found.nbytes + shift, np.uint8)[shift:]
    raw[...] = found.view(np.uint8)
    return raw


def piece(rng, codes, count, shift=0, usual=0.5):
    base, vlm, reason = (None if code == "" else Raw.of(values(rng, code, count, shift, usual)) for code in codes)
    return Loaded(base, vlm, reason, *codes)


def same(one, two, code):
    """Equal bytes, but for the kind of what is not a number."""
    numbers = [decode(side, code) for side in (one, two)]
    nan = np.isnan(numbers[0])
    assert (nan == np.isnan(numbers[1])).all()
    item = ITEM_BYTES[code]
    assert (one.reshape(-1, item)[~nan] == two.reshape(-1, item)[~nan]).all()


@pytest.mark.parametrize("codes", [*itertools.product(("BF16", "F16", "F32"), repeat=3), ("", "BF16", "F32"),
                                   ("F64",) * 3, ("", "F64", "F16")])  # fmt: skip
def test_sums_and_values_are_numpys(compiled, codes):
    rng = np.random.default_rng(0)
    plain = OnCpu()
    with np.errstate(all="ignore"):
        for count, shift in (
            (1, 0),
            (127, 1),
            (128, 0),
            (129, 3),
            (1024, 0),
            (1025, 0),
            (65536 + 300, 1),
            (150_001, 0),
        ):
            loaded = piece(rng, codes, count, shift)
            sums = plain.measure(loaded)
            assert repr(compiled.measure(loaded)) == repr(sums) and sums[0] >= 0
            for function, pair, code in itertools.product(
                (mix, blend) if codes[0] else (blend,),
                ((0.3, 0.7), (-1.7, 1e-3)) if count > 2000 else ((0.3, 0.7), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)),
                CODES if count < 2000 else ("BF16",),
            ):
                one, two = (np.empty(count * ITEM_BYTES[code] + shift, np.uint8)[shift:] for _ in range(2))
                plain.combine(function, loaded, pair, code, Raw.of(one))
                compiled.combine(function, loaded, pair, code, Raw.of(two))
                same(one, two, code)


@pytest.mark.parametrize("usual", [0.5, 1.0])
@pytest.mark.parametrize("codes", [("BF16",) * 3, ("F32", "BF16", "F16")])
def test_every_lane_is_numpys(compiled, codes, usual):
    """The lanes of one block hold other numbers each, so that equal sums could not hide a wrong one."""
    loaded = piece(np.random.default_rng(5), codes, 3000, usual=usual)
    sides = [decode(raw.array, code) for raw, code in zip((loaded.base, loaded.vlm, loaded.reason), codes, strict=True)]
    with np.errstate(all="ignore"):
        lanes = lanes_of(*sides)
    assert np.unique(lanes[0]).size > 100
    found = compiled._kernels.measure(loaded.base, loaded.vlm, loaded.reason, codes)
    assert np.array(found).tobytes() == lanes.tobytes()


def test_ties_go_to_even_and_zero_keeps_its_sign(compiled):
    """By hand: halfway between two bfloat16, or two float16 (also subnormal ones), the even one; then what is no tie."""
    for code, pairs in {
        "BF16": [(0x3F808000, 0x3F80), (0x3F818000, 0x3F82), (0x3F808001, 0x3F81), (0xBF818000, 0xBF82), (0x80000000, 0x8000),
                 (0x00008000, 0x0000), (0x00018000, 0x0002), (0x7F7FFFFF, 0x7F80)],
        "F16": [(0x3F801000, 0x3C00), (0x3F803000, 0x3C02), (0x3F801001, 0x3C01), (0x33000000, 0x0000), (0x33C00000, 0x0002),
                (0x33000001, 0x0001), (0x387FFFFF, 0x0400), (0x477FEFFF, 0x7BFF), (0x477FF000, 0x7C00), (0x80000000, 0x8000)],
    }.items():  # fmt: skip
        raw = Raw.of(np.array([bits for bits, _ in pairs], np.uint32))
        out = np.empty(2 * len(pairs), np.uint8)
        compiled.combine(blend, Loaded(None, raw, raw, "", "F32", "F32"), (1.0, 0.0), code, Raw.of(out))
        assert out.view(np.uint16).tolist() == [bits for _, bits in pairs]


@pytest.mark.parametrize("bad", [[np.nan], [np.inf], [np.inf, -np.inf], [-np.inf, np.nan]])
def test_what_is_no_finite_number_shows_in_the_sums_and_breaks_nothing(compiled, bad):
    vlm = np.zeros(500, np.float32)
    vlm[3 : 3 + len(bad)] = bad
    other = np.ones(500, np.float32)
    loaded = Loaded(Raw.of(other), Raw.of(vlm), Raw.of(other), "F32", "F32", "F32")
    for arithmetic in (compiled, OnCpu()):
        assert not np.isfinite(arithmetic.measure(loaded)[0])


def test_the_checksum_is_zlibs(compiled):
    data = np.random.default_rng(2).integers(0, 256, 70_000, dtype=np.uint8)
    for first, count in [*itertools.product((0, 1, 7), range(200)), (3, 69_997)]:
        part = data[first : first + count]
        assert compiled.checksum(part.data) == zlib.crc32(part)


def start(models, output, method, *words, code=0, **options):  # noqa: F811
    root, _ = models
    tree = {"method": method, "output": str(output), **{role: str(root / role) for role in ("base", "vlm", "reason")}}
    file = output.parent / f"{output.name}.json"
    file.write_text(json.dumps({key: value for key, value in (tree | options).items() if value is not None}))
    assert main(["merge", str(file), *words]) == code
    return output


@pytest.mark.parametrize("method", [*CASES, "frank", "metagpt"])
def test_every_method_writes_the_same_with_both(models, tmp_path, method):  # noqa: F811
    options = CASES[method][0] if method in CASES else {}
    outputs = [start(models, tmp_path / name, method, arithmetic=name, **options) for name in ("compiled", "numpy")]
    reports = [json.loads((output / "merge_report.json").read_text()) for output in outputs]
    assert [report.pop("arithmetic") for report in reports] == ["compiled C", "numpy"]
    assert reports[0] == reports[1]
    one, two = ((output / "model" / "model.safetensors").read_bytes() for output in outputs)
    assert one == two
    assert (outputs[0] / "layers.jsonl").read_bytes() == (outputs[1] / "layers.jsonl").read_bytes()


@pytest.mark.parametrize("arithmetic", ["compiled", "numpy"])
def test_not_a_number_is_named_by_both(models, tmp_path, capsys, arithmetic):  # noqa: F811
    root, _ = models
    (tmp_path / "bad").mkdir()
    tensors = load_file(root / "reason" / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name].view(-1)[[5, 700]] = torch.tensor([float("inf"), float("-inf")], dtype=torch.bfloat16)
    save_file(tensors, tmp_path / "bad" / "model.safetensors")
    (tmp_path / "bad" / "config.json").write_text((root / "reason" / "config.json").read_text())
    start(models, tmp_path / "out", "frank", code=2, arithmetic=arithmetic, reason=str(tmp_path / "bad"))
    assert f"reason: {name!r} holds NaN or infinity" in capsys.readouterr().err


def test_how_it_computes_decides_nothing_of_the_run(models, tmp_path, capsys):  # noqa: F811
    start(models, tmp_path / "out", "frank", arithmetic="compiled")
    start(models, tmp_path / "out", "frank", arithmetic="numpy")
    assert "is finished already" in capsys.readouterr().out


def test_without_a_compiler_numpy_works_and_both_plan_and_report_say_so(models, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setenv("CC", "")
    start(models, tmp_path / "plan", "frank", "--plan")
    said = " ".join(capsys.readouterr().out.split())
    assert "numpy; with a C compiler (cc, gcc or clang) on the PATH" in said
    out = start(models, tmp_path / "out", "frank")
    report = json.loads((out / "merge_report.json").read_text())
    assert report["arithmetic"].startswith("numpy, since no C compiler was found")
    start(models, tmp_path / "refused", "frank", code=2, arithmetic="compiled")
    assert "arithmetic: compiled, but no C compiler was found" in capsys.readouterr().err


def test_a_compiler_that_fails_is_named(models, tmp_path, capsys, monkeypatch):  # noqa: F811
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'cc: no such header' >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    start(models, tmp_path / "plan", "frank", "--plan")
    assert "built once with" in capsys.readouterr().out
    start(models, tmp_path / "out", "frank", code=2, arithmetic="compiled")
    error = " ".join(capsys.readouterr().err.split())
    assert "cannot build them: cc: no such header" in error and "choose arithmetic: auto" in error


@pytest.mark.parametrize("left", [0, 100, 10_000])
def test_a_damaged_library_is_built_anew(models, tmp_path, capsys, monkeypatch, left):  # noqa: F811
    load()
    good = kernels._library(find_compiler())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library = kernels._library(find_compiler())
    library.parent.mkdir(parents=True)
    library.write_bytes(good.read_bytes()[:left])
    shutil.copy(good.with_suffix(".sha256"), library.parent)
    start(models, tmp_path / "plan", "frank", "--plan")
    assert "compiled C, built once with" in capsys.readouterr().out
    start(models, tmp_path / "out", "frank", arithmetic="compiled")
    assert library.stat().st_size > 10_000
    start(models, tmp_path / "plan", "frank", "--plan")
    assert "compiled C (" in capsys.readouterr().out


def test_a_place_that_cannot_be_written_to_is_named(models, tmp_path, capsys, monkeypatch):  # noqa: F811
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    start(models, tmp_path / "out", "frank", code=2, arithmetic="compiled")
    assert "Not a directory" in capsys.readouterr().err
