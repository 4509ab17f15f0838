"""The benchmark of video reading, at toy size."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from mmreflect.files import read_json

SCRIPT = Path(__file__).parents[2] / "benchmarks/video_decode.py"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("video_decode", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in {"SECONDS": 2, "SIZE": (84, 140), "SHOWN": (84, 140), "COUNTS": (2, 4), "WARM_UP": 2}.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_it_runs_and_writes_its_ratios(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "speed.json"
    monkeypatch.setattr("sys.argv", ["video_decode", "--rounds", "1", "--clips", "3", "--json", str(file)])
    benchmark.main()
    found = read_json(file)
    rows = found["rows"]
    assert [(row["clip"], row["frames"]) for row in rows] == [(name, n) for name in benchmark.GROUPS for n in (2, 4)]
    assert found["worst"]["cold"] == max(row["cold"] for row in rows) > 0
    assert found["worst"]["second"] == max(row["second"] for row in rows) > 0
    assert found["memory"]["clips"] == 3 and not any(row["wrong"] for row in rows)


def test_ratios_are_taken_within_a_round(benchmark: Any) -> None:
    """Against the better one of each round: 1 of 2 and 1, then 2 of 4 and 8."""
    seconds = {"sequential": [2.0, 4.0], "seeking": [1.0, 8.0], "pyav": [1.0, 2.0], "pyav again": [0.1, 0.1]}
    assert benchmark.summary(seconds) == pytest.approx(
        {"sequential": 3.0, "seeking": 4.5, "pyav": 1.5, "pyav again": 0.1, "cold": 0.75, "second": 0.075}
    )


def test_copies_are_other_files_to_the_cache(benchmark: Any, tmp_path: Path) -> None:
    from mmreflect.media.cache import file_mark
    from mmreflect.media.decoders import open_video

    benchmark.make_clip(tmp_path / "a.mp4", benchmark.GROUPS["GOP 15"], 1, (84, 140))
    for number in (1, 2):
        benchmark.copy_clip(tmp_path / "a.mp4", tmp_path / f"{number}.mp4", number)
    assert len({file_mark(str(path)) for path in tmp_path.iterdir()}) == 3
    assert open_video(str(tmp_path / "2.mp4"), "pyav", 1).info.frames == 30
