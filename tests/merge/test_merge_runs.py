"""A merge as a run: what its folder holds, what may change before it goes on, and what is said of all that."""

from collections.abc import Callable
from pathlib import Path

import pytest
from merge.small import models, recipe

from mmreflect.files import read_json

Cli = Callable[..., tuple[int, str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return models(tmp_path)


def test_what_a_download_leaves_in_hidden_folders_is_one_line(root: Path, run_cli: Cli) -> None:
    for name in ("a.metadata", "b.metadata"):
        (root / "vlm/.cache/huggingface/download").mkdir(parents=True, exist_ok=True)
        (root / "vlm/.cache/huggingface/download" / name).write_text("x")
    (root / "vlm/modeling_own.py").write_text("")
    code, text = run_cli("merge", recipe(root))
    assert code == 0, text
    assert read_json(root / "out/merge_report.json")["files"]["left_out"] == ["modeling_own.py", ".cache/ (2 files)"]
