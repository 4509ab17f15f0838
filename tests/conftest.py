import json
from collections.abc import Callable
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
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of H.264 that grow brighter."""
    import av

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=4)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for place in range(12):
            picture = np.full((64, 64, 3), place * 20, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


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
