"""A model that could not be looked at, since the system or what is installed did not let it, is none that fails."""

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmreflect.cli import main
from mmreflect.merge import reload

Cli = Callable[..., tuple[int, str]]
LIMITS: list[tuple[Exception, str]] = [
    (MemoryError("Unable to allocate 9 GiB"), "there is not enough memory: Unable to allocate 9 GiB"),
    (OSError(errno.EMFILE, "Too many open files"), "too many files are open"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "not enough memory"),
    (RuntimeError("can't start new thread"), "no further thread can be started"),
    (ImportError("libtorch_cuda.so: failed to map segment from shared object"), "there is not enough memory: libtorch"),
    (ImportError("No module named 'timm'"), "ImportError: No module named 'timm'"),
]


def recipe(triple: Path, output: Path) -> dict[str, Any]:
    folders = {role: str(triple / role) for role in ("base", "vlm", "reason")}
    return {"method": "centroid", "output": str(output), **folders}


@pytest.mark.parametrize("number", range(len(LIMITS)))
def test_a_limit_leaves_the_reload_out_and_finishes_the_merge(
    number: int, triple: Path, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    error, said = LIMITS[number]

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(reload, "_answered", fail)
    code, text = run_cli("merge", recipe(triple, tmp_path / "out"))
    flat, report = " ".join(text.split()), json.loads((tmp_path / "out/merge_report.json").read_text())
    assert code == 0 and "reload: left out, it could not be checked: " in flat and said in flat, text
    assert report["reload"].startswith("left out, it could not be checked: ") and said in report["reload"]
    assert not any("reload" in warning for warning in report["warnings"])
    assert (tmp_path / "out/result.json").is_file()
    capsys.readouterr()
    assert main(["merge", "--verify", str(tmp_path / "out")]) == 0
    flat = " ".join(capsys.readouterr().out.split())
    assert "left out, it could not be checked: " in flat and flat.endswith("verified, without a reload")


def test_a_reload_that_cannot_import_is_left_out(
    triple: Path, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    code, text = run_cli("merge", recipe(triple, tmp_path / "out"))
    assert code == 0 and (tmp_path / "out/result.json").is_file()
    assert "reload: left out, it could not be checked: ModuleNotFoundError" in " ".join(text.split())
