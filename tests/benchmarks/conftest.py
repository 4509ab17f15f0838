import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import replicas

from mmreflect import recipes
from mmreflect.cli import main
from mmreflect.evaluation.benchmark import Reading, Response, Row
from mmreflect.evaluation.releases import Release, ReleaseConfig, open_release
from mmreflect.evaluation.rescore import response_of
from mmreflect.records import Media

Scored = tuple[list[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def rescore_cli(tmp_path: Path) -> Callable[..., Scored]:
    """Write rows to a file, score them through the command line, and read back the rows and the summary."""

    def run(benchmark: str, rows: list[dict[str, Any]], *words: str) -> Scored:
        source, output = tmp_path / "responses.jsonl", tmp_path / "scored.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert main(["eval", "rescore", benchmark, f"responses={source}", f"output={output}", *words]) == 0
        scored = [json.loads(line) for line in output.read_text().splitlines()]
        return scored, json.loads((tmp_path / "scored.summary.json").read_text())

    return run


@pytest.fixture
def read() -> Callable[..., Reading]:
    """Apply one rule of a benchmark to one row."""

    def apply(benchmark: str, row: dict[str, Any], rule: str = "official") -> Reading:
        leaf = recipes.load("benchmark", benchmark).BENCHMARK
        whole = Row(row)
        response: Response = response_of(leaf, whole)
        return leaf.rules[rule](whole, response)

    return apply


class Shelf:
    """Media by name alone: what a run over a model would load."""

    max_frames = 4

    def __init__(self, total: int = 100, fps: float = 10.0, lines: tuple[Any, ...] = ()) -> None:
        self.total, self.fps, self.lines = total, fps, lines

    def picture(self, value: Any, name: str) -> Media:
        assert value is not None
        return Media("image", f"{name}.png")

    def video(self, name: str) -> Media:
        return Media("video", f"{name}.mp4")

    def length(self, video: Media) -> tuple[int, float]:
        return self.total, self.fps

    def subtitles(self, name: str) -> tuple[Any, ...]:
        return self.lines


@pytest.fixture
def shelf() -> type[Shelf]:
    return Shelf


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Miniature releases of all benchmarks, in folders of their own."""
    folder = tmp_path_factory.mktemp("releases")
    replicas.build(folder)
    return folder


@pytest.fixture(scope="session")
def release_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("release_cache")


@pytest.fixture
def open_replica(releases: Path, release_cache: Path) -> Callable[..., Release]:
    """Open a replica by its folder's name, with four frames a video."""

    def opened(name: str, **settings: Any) -> Release:
        known = recipes.names("benchmark")
        benchmark = name if name in known else name.rpartition("_")[0]
        leaf = recipes.load("benchmark", benchmark).BENCHMARK
        return open_release(
            leaf, ReleaseConfig(**{"source": str(releases / name), **settings}), cache=release_cache, max_frames=4
        )

    return opened
