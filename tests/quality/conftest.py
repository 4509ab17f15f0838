"""Rows that are built for the tests of quality."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quality.planted import Rows, scene

from mmreflect.data.store import open_dataset

Cli = Callable[..., tuple[int, str]]


@pytest.fixture
def source(tmp_path: Path) -> Callable[[Rows], Path]:
    """A folder with rows and six pictures: scenes 0 to 3, scene 0 as a JPEG, and halved."""
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(4):
        scene(seed).save(folder / f"{seed}.png")
    scene(0).save(folder / "jpeg.jpg", quality=60)
    scene(0).resize((80, 60)).save(folder / "half.png")

    def write(rows: Rows) -> Path:
        file = folder / "rows.jsonl"
        file.write_text("".join(json.dumps(one) + "\n" for one in rows))
        return file

    return write


@pytest.fixture
def build(run_cli: Cli, tmp_path: Path, source: Callable[[Rows], Path]) -> Callable[..., dict[str, Any]]:
    """Build rows and return the manifest."""

    def make(rows: Rows, *words: str, output: str = "out", **quality: Any) -> dict[str, Any]:
        tree = {"builder": "rows", "source": str(source(rows)), "validation": 0.0, "shard_rows": 3, "quality": quality}
        code, text = run_cli("build", {**tree, "output": str(tmp_path / output)}, *words)
        assert code == 0, text
        manifest: dict[str, Any] = open_dataset(str(tmp_path / output)).manifest
        return manifest

    return make
