import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmreflect.cli import main

GRID = """
builder: grid
seed: 1
splits: {{train: 48, rl: 12, validation: 6}}
output: {output}
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--parity-fixtures", help="folder of recorded responses with the verdicts of official scripts")


@pytest.fixture(scope="session")
def parity_fixtures(request: pytest.FixtureRequest) -> Path:
    """The folder of recorded responses; they are not ours to hand on, so that the project holds none."""
    given = request.config.getoption("--parity-fixtures") or os.environ.get("MMREFLECT_PARITY_FIXTURES")
    if not given:
        pytest.skip("no recorded responses: --parity-fixtures and MMREFLECT_PARITY_FIXTURES are not set")
    assert Path(given).is_dir(), f"{given} is no folder"
    return Path(given)


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small grid dataset, built through the front door."""
    folder = tmp_path_factory.mktemp("grid")
    config = folder / "build.yaml"
    config.write_text(GRID.format(output=folder / "data"))
    assert main(["build", str(config)]) == 0
    return folder / "data"


@pytest.fixture(scope="session")
def tiny_model(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of tiny models by family, saved and read back as any checkpoint."""
    from mmreflect.data.store import open_dataset
    from mmreflect.models import ModelConfig, load_model
    from mmreflect.tiny import TinyConfig

    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            texts = [f"{sample.question} {sample.response}" for sample in open_dataset(str(grid)).samples("train")]
            shape = TinyConfig(family=family, hidden_size=32, layers=2, heads=2, vision_hidden_size=32)  # type: ignore[arg-type]
            made[family] = tmp_path_factory.mktemp(family) / "model"
            load_model(ModelConfig(path="tiny", tiny=shape), texts, seed=1).save(made[family])
        return made[family]

    return make


@pytest.fixture(scope="session")
def trained(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model after a short cold start, so that some answers are right and some are not."""
    from mmreflect.cli import main

    folder = tmp_path_factory.mktemp("trained")
    shape = {"hidden_size": 32, "layers": 2, "heads": 2, "vision_hidden_size": 32}
    settings = {"max_steps": 60, "per_device_train_batch_size": 8, "learning_rate": 5e-3, "save_steps": 60}
    file = folder / "sft.json"
    tree = {
        "method": "sft",
        "output": str(folder / "run"),
        "model": {"path": "tiny", "tiny": shape},
        "data": {"path": str(grid)},
        "trainer": settings,
    }
    file.write_text(json.dumps(tree))
    assert main(["train", str(file)]) == 0
    return folder / "run/model"


@pytest.fixture(scope="session", autouse=True)
def frame_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Frames that are kept between runs do not go to the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


Film = Callable[..., Path]


@pytest.fixture(scope="session")
def make_film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Write H.264 whose frames grow brighter from one to the next."""
    import av

    def write(frames: int, fps: int, width: int = 64, height: int = 64, step: int = 5) -> Path:
        path = tmp_path_factory.mktemp("film") / "film.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=fps)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for place in range(frames):
                picture = np.full((height, width, 3), place * step, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def clip(make_film: Film) -> Path:
    """Three seconds of H.264 that grow brighter."""
    return make_film(12, 4, step=20)


@pytest.fixture
def run_cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Write a YAML file, run a verb on it, and return the exit code and what was printed."""

    def run(verb: str, config: dict[str, Any] | str, *words: str) -> tuple[int, str]:
        file = tmp_path / "config.yaml"
        file.write_text(config if isinstance(config, str) else json.dumps(config))
        capsys.readouterr()
        code = main([verb, str(file), *words])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run
