import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmreflect import files
from mmreflect.cli import main

Cli = Callable[..., tuple[int, str]]


def test_help_and_rejections_do_not_import_torch(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("method: grpo\noutputt: x\ntrainer: {lerning_rate: 1}\n")
    code = f"""
import sys
from mmreflect.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
assert main(["train", {str(bad)!r}]) == 2
assert not {{"torch", "transformers", "trl", "numpy"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_unknown_verb_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "unknown verb 'trian'" in (text := capsys.readouterr().err) and "did you mean 'train'?" in text


def test_missing_recipe_key(run_cli: Cli) -> None:
    code, text = run_cli("train", {"methd": "grpo", "output": "x"})
    assert code == 2 and "key 'method' is missing" in text and "did you mean 'method' where it says 'methd'?" in text
    code, text = run_cli("train", {"builder": "grid", "output": "x"})
    assert code == 2 and "this looks like a configuration for: mmreflect build" in text


def test_unknown_recipe_and_component_name_the_nearest(run_cli: Cli) -> None:
    code, text = run_cli("train", {"method": "gpro", "output": "x"})
    assert code == 2 and "unknown trainer 'gpro'" in text and "did you mean 'grpo'?" in text
    config = {"method": "grpo", "output": "x", "model": "tiny", "data": {"path": "d"}, "rewards": ["acuracy"]}
    code, text = run_cli("train", config)
    assert code == 2 and "unknown reward 'acuracy'" in text and "did you mean 'accuracy'?" in text


def test_trainer_block_is_checked_by_name_and_type(run_cli: Cli) -> None:
    trainer = {"lerning_rate": 1e-3, "max_steps": "many", "scale_rewards": "none", "logging_steps": True}
    config = {
        "method": "grpo",
        "output": "x",
        "model": "tiny",
        "data": {"path": "d"},
        "rewards": ["accuracy"],
        "trainer": trainer,
    }
    code, text = run_cli("train", config)
    assert code == 2
    assert "unknown key 'lerning_rate' of GRPOConfig; did you mean 'learning_rate'?" in text
    assert "'max_steps' is 'many', but GRPOConfig declares it as int" in text
    assert "'scale_rewards' is not set here: use the block 'advantage'" in text
    assert "Traceback" not in text


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    text = capsys.readouterr().out
    for name in (
        "grid",
        "rows",
        "sft",
        "grpo",
        "dataset",
        "single_turn",
        "accuracy",
        "forced_rethinking",
        "ssr",
        "frank",
    ):
        assert name in text


def test_plan_starts_nothing(run_cli: Cli, grid: Path, tmp_path: Path) -> None:
    config = {"method": "sft", "output": str(tmp_path / "run"), "model": "tiny", "data": {"path": str(grid)}}
    code, text = run_cli("train", config, "--plan", "trainer.max_steps=7")
    assert code == 0 and "7 of 8 rows per device" in text
    assert not (tmp_path / "run").exists()


def test_doctor_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    words = " ".join(text.split())
    assert "torch" in words and "video decoders" in words and "pip install 'mmreflect[vllm]'" in words


def test_a_full_disk_is_no_bug(
    tmp_path: Path, run_cli: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first file of a run, and at a page; the system names no file where a flush fails."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    tree = {"builder": "grid", "splits": {"train": 2}, "output": str(tmp_path / "out")}
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        code, text = run_cli("build", tree)
    assert code == 2 and f"the disk of {tmp_path / 'out'}" in text and "is full" in text and "Traceback" not in text
    assert "make room and start the same again" in text and not list((tmp_path / "out").glob(".*.partial"))
    code, text = run_cli("build", tree)
    assert code == 0, text
    page = tmp_path / "page.html"
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        assert main(["view", str(tmp_path / "out"), f"output={page}"]) == 2
    assert not page.exists() and not list(tmp_path.glob(".*.partial"))
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
        with pytest.raises(OSError, match="broken"):
            main(["view", str(tmp_path / "out"), f"output={page}"])


def test_an_export_of_what_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name, message in (
        ("nowhere", "nowhere does not exist"),
        ("file", "file is a file"),
        ("empty", "holds neither a dataset (manifest.json), an evaluation (run.json) nor a checkpoint (weights)"),
    ):
        assert main(["export", str(tmp_path / name), "format=trl", "output=x"]) == 2
        text = " ".join(capsys.readouterr().err.split())
        assert message in text and "unknown format" not in text, text
