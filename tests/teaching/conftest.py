from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from teaching.schooling import write_sums


@pytest.fixture
def sums(tmp_path: Path, run_cli: Callable[..., tuple[int, str]]) -> Callable[..., Path]:
    """A dataset of so many sums, or of what else is written."""

    def make(count: int, write: Callable[..., Path] = write_sums, **more: Any) -> Path:
        source = write(tmp_path / "in", count, **more)
        tree = {"builder": "rows", "source": str(source), "output": str(tmp_path / "sums"), "validation": 0.0}
        code, text = run_cli("build", tree)
        assert code == 0, text
        return tmp_path / "sums"

    return make
