"""The benchmark of how busy a server is kept: its reckoning by hand, and a run on a few rows for what it asks."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks/teacher_throughput.py"
Spans = list[tuple[float, float]]


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("teacher_throughput", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("spans", "slots", "share"),
    [
        ([(0.0, 4.0)], 1, 1.0),
        ([(10.0, 14.0)], 2, 0.5),
        ([(0.0, 2.0), (1.0, 3.0)], 2, 2 / 3),  # 4 seconds of 2 slots in 3
        ([(0.0, 1.0), (3.0, 4.0)], 1, 0.5),  # idle in the middle
        ([(5.0, 6.0), (2.0, 4.0), (2.0, 10.0)], 4, 11 / 32),  # in any order
    ],
)
def test_the_share_of_busy_slots(script: ModuleType, spans: Spans, slots: int, share: float) -> None:
    assert script.busy(spans, slots) == pytest.approx(share)


@pytest.mark.parametrize(
    ("idle", "share", "code", "said"),
    [
        (0.0, 1.0, 0, "goal 95%: reached"),
        (0.5, 0.95, 0, "goal 95%: reached"),  # 19 of 20 seconds
        (0.6, 0.94, 1, "goal 95%: missed"),
    ],
)
def test_what_it_writes_and_how_it_ends(
    script: ModuleType, idle: float, share: float, code: int, said: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Two slots for ten seconds: one is idle at the end of the builder's run, and all through the other."""
    measured = iter([[(0.0, 10.0), (0.0, 10.0 - 2 * idle)], [(0.0, 10.0)]])
    asked = []

    @contextmanager
    def serving(mean_s: float) -> Iterator[tuple[str, Spans]]:
        yield f"http://{mean_s}", next(measured)

    def build(url: str, folder: Path, *sizes: int) -> int:
        asked.append(("builder", url, *sizes))
        return 7

    monkeypatch.setattr(script, "serving", serving)
    monkeypatch.setattr(script, "build", build)
    monkeypatch.setattr(script, "in_rounds", lambda url, folder, *sizes: asked.append(("rounds", url, *sizes)))
    sizes = ["--rows", "24", "--shard-rows", "8", "--slots", "2", "--mean-seconds", "0.2"]
    assert script.main([*sizes, "--json", str(tmp_path / "found.json")]) == code
    assert said in capsys.readouterr().out
    assert asked == [("builder", "http://0.2", 24, 8, 2), ("rounds", "http://0.2", 6, 8, 2)]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found.pop("machine")
    assert found == {"slots": 2, "mean_seconds": 0.2, "rows": 7, "busy_share": share, "busy_share_in_rounds": 0.5}


@pytest.mark.slow
def test_a_run_on_a_few_rows(tmp_path: Path) -> None:
    """The shares depend on the machine; what is asked does not."""
    found = tmp_path / "found.json"
    sizes = ["--rows", "24", "--shard-rows", "8", "--slots", "4", "--mean-seconds", "0.2"]
    command = [sys.executable, str(SCRIPT), *sizes, "--json", str(found)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "rounds: 24 requests" in done.stdout, done.stderr  # four rounds of a quarter of the rows
    numbers = json.loads(found.read_text())
    assert set(numbers) == {"slots", "mean_seconds", "rows", "busy_share", "busy_share_in_rounds", "machine"}
    assert done.returncode == (0 if numbers["busy_share"] >= 0.95 else 1)
    assert max(numbers["busy_share"], numbers["busy_share_in_rounds"]) <= 1, "no more is asked at once than allowed"
    # All are asked for an attempt and the judge's score; right attempts are drawn down to three of ten.
    requests = int(done.stdout.split("builder: ")[1].split(" requests")[0])
    assert 24 * 2 <= requests <= 24 * 4 and 2 * (24 - numbers["rows"]) + 4 * numbers["rows"] >= requests
