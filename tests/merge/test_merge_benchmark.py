"""The benchmark of merging, at toy size; mergekit is played by a script."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from mmreflect.files import read_json

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("merge_benchmark", FOLDER / "merge.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_races_all_contestants_and_writes_its_ratios(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncp "$3" {tmp_path}/asked.json && mkdir "$4"\n')
    python.chmod(0o755)
    monkeypatch.setitem(benchmark.SHAPES, "1.3gb", benchmark.SMALL)
    words = ["--rounds", "1", "--states", "warm", "--methods", "linear", "--mergekit", str(python)]
    monkeypatch.setattr("sys.argv", ["merge", *words, "--folder", str(tmp_path), "--json", str(tmp_path / "m.json")])
    benchmark.main()
    found = read_json(tmp_path / "m.json")
    rounds = found["rounds"]["warm"]
    assert list(rounds) == ["disk", "ours frank", "ours linear", "mergekit linear"]
    assert found["cp_ratio"] == rounds["ours frank"][0]["seconds"] / rounds["disk"][0]["seconds"]
    ours, theirs = rounds["ours linear"][0], rounds["mergekit linear"][0]
    assert found["mergekit_ratio"] == ours["seconds"] / theirs["seconds"]
    assert found["memory_ratio"] == ours["peak"] / theirs["peak"]
    assert found["peak_bytes"] == max(ours["peak"], rounds["ours frank"][0]["peak"]) > 10_000_000
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert [(item["model"].rpartition("/")[2], item["parameters"]) for item in asked["models"]] == [
        ("vlm_text", {"weight": 0.9}),
        ("reason", {"weight": 0.1}),
    ]
    assert not list(tmp_path.glob("mmreflect-merge-*"))


def test_ratios_are_taken_within_a_round_and_work_is_without_the_fixed_part(benchmark: Any) -> None:
    """Two of four, three of two: 0.5 and 1.5. Without a fixed second: one of three, two of one: 1/3 and 2."""
    ours = [{"seconds": 2.0, "fixed_s": 1.0}, {"seconds": 3.0, "fixed_s": 1.0}]
    theirs = [{"seconds": 4.0, "fixed_s": 1.0}, {"seconds": 2.0, "fixed_s": 1.0}]
    assert benchmark.ratio(ours, theirs) == 1.0
    assert benchmark.ratio(ours, theirs, "work") == pytest.approx((1 / 3 + 2) / 2)


def test_the_3b_shape_has_the_values_of_the_real_model(benchmark: Any) -> None:
    shape = benchmark.SHAPES["3b"]
    text, vision = (sum(math.prod(item) for item in part.values()) for part in (shape.text(), shape.vision()))
    assert text == 3_085_938_688 and text + vision == 3_754_622_976


def test_models_in_several_files_are_what_the_format_asks_for(benchmark: Any, tmp_path: Path) -> None:
    import dataclasses

    shape = dataclasses.replace(benchmark.SMALL, files=2)
    benchmark.write_models(tmp_path, shape)
    index = read_json(tmp_path / "vlm" / "model.safetensors.index.json")["weight_map"]
    shapes = {}
    for path in sorted((tmp_path / "vlm_text").glob("*.safetensors")):
        with safe_open(path, "np") as file:
            shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            assert all(index[name] == path.name for name in file.keys())  # noqa: SIM118
    assert shapes == shape.text() | shape.vision()


def test_too_little_room_is_said_before_anything_is_written(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three models and an output of 7.5 GB, and 1 GB to spare: 31 GB, and none of them free."""
    monkeypatch.setattr(benchmark.shutil, "disk_usage", lambda folder: benchmark.shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(SystemExit, match="31 GB are needed, 0 GB are free; give another --folder"):
        benchmark.check_room(tmp_path, benchmark.SHAPES["3b"])
