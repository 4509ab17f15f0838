"""What a machine that went down, a strange home and a system's limits may do to a merge: healed, or named."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from merge.small import edit, models, recipe
from safetensors.torch import load_file, save_file

from mmreflect import cli
from mmreflect.launch import prepare
from mmreflect.merge import inputs, outputs, verify, work
from mmreflect.merge.kernels import find_compiler

Cli = Callable[..., tuple[int, str]]
WEIGHTS = "model/model.safetensors"
compiled = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return models(tmp_path)


@pytest.fixture
def merged(root: Path, run_cli: Cli) -> bytes:
    """The weights of a finished merge in `out`."""
    code, text = run_cli("merge", recipe(root))
    assert code == 0, text
    return (root / "out" / WEIGHTS).read_bytes()


def header_of_zeros(content: bytes) -> bytes:
    return bytes(64) + content[64:]


def another_dtype(content: bytes) -> bytes:
    return content.replace(b'"F32"', b'"I32"', 1)


def another_name(content: bytes) -> bytes:
    return content.replace(b"up_proj", b"up_prok", 1)


def values_of_zeros(content: bytes) -> bytes:
    return content[:-64] + bytes(64)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("damage", [header_of_zeros, another_name, another_dtype, values_of_zeros])
def test_a_file_that_was_lost_with_the_machine_is_written_again(
    damage: Callable[[bytes], bytes], finished: bool, root: Path, run_cli: Cli, merged: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    (root / "out" / WEIGHTS).write_bytes(damage(merged))
    if not finished:
        (root / "out/result.json").unlink()
    monkeypatch.setattr(outputs, "boot_id", lambda: "another start of the machine")
    code, text = run_cli("merge", recipe(root))
    assert code == 0, text
    assert ("finished, but gone or changed since" in text) == finished
    assert (root / "out" / WEIGHTS).read_bytes() == merged
    code, text = run_cli("merge", recipe(root))
    assert code == 0 and "is finished already" in text


def test_a_finished_merge_stands_after_a_restart_though_its_models_are_gone(
    root: Path, run_cli: Cli, merged: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "boot_id", lambda: "another start of the machine")
    (root / "reason/model.safetensors").unlink()
    (root / "reason/config.json").unlink()
    (root / "reason").rmdir()
    code, text = run_cli("merge", recipe(root))
    assert code == 0 and "is finished already" in text


@pytest.mark.parametrize("notes", [b"", bytes(80) + b"\n", b"{}\n"])
def test_a_finished_merge_whose_notes_went_too_is_compared_with_its_report(
    notes: bytes, root: Path, run_cli: Cli, merged: bytes
) -> None:
    for damaged in (True, False):
        (root / "out" / WEIGHTS).write_bytes(values_of_zeros(merged) if damaged else merged)
        (root / "out/shards.jsonl").write_bytes(notes)
        code, text = run_cli("merge", recipe(root), "--plan")
        assert code == 0 and ("is finished, but files are gone or changed since" in " ".join(text.split())) == damaged
        code, text = run_cli("merge", recipe(root))
        assert code == 0 and ("is finished already" in text) != damaged, text
        assert (root / "out" / WEIGHTS).read_bytes() == merged


def test_a_comparison_after_a_restart_is_made_once(
    root: Path, run_cli: Cli, merged: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "boot_id", lambda: "another start of the machine")
    (root / "out/model/README.md").write_text("my own words")
    real, read = verify.file_checksums, []
    monkeypatch.setattr(verify, "file_checksums", lambda path, tensors: read.append(path) or real(path, tensors))
    for _ in range(2):
        code, text = run_cli("merge", recipe(root))
        assert code == 0 and "is finished already" in text
        assert len(read) == 1 and (root / "out/model/README.md").read_text() == "my own words"
    (root / "out/shards.jsonl").write_bytes(b"")
    (root / "out/model/merges.txt").write_bytes(b"")
    code, text = run_cli("merge", recipe(root))
    assert code == 0 and "finished, but gone or changed since: merges.txt is empty or gone" in " ".join(text.split())
    assert (root / "out/model/merges.txt").read_text() == "a b"


@pytest.mark.parametrize("content", [b"", b"{}", b"[]"])
def test_a_damaged_report_of_a_finished_merge_is_named(content: bytes, root: Path, run_cli: Cli, merged: bytes) -> None:
    (root / "out/merge_report.json").write_bytes(content)
    code, text = run_cli("merge", recipe(root))
    assert code == 2 and f"{root / 'out/merge_report.json'} cannot be read as a file of a run" in text


LINES = [b"{}", b"[]", b"3", b"null", b"garbage", b"\xff\xfe", bytes(40), b'{"layer": 0, "norm2_v": NaN}', b"[" * 3000]


@pytest.mark.parametrize("file", ["layers.jsonl", "shards.jsonl"])
def test_damaged_lines_of_notes_are_told_and_what_they_noted_is_done_again(
    file: str, root: Path, run_cli: Cli, merged: bytes
) -> None:
    (root / "out/result.json").unlink()
    path = root / "out" / file
    rest = path.read_bytes() if path.is_file() else b""
    path.write_bytes(b"".join(line + b"\n" for line in LINES) + rest[rest.find(b"\n") + 1 :])
    code, text = run_cli("merge", recipe(root))
    assert code == 0 and f"damaged: {len(LINES)} lines of '{path}'; what stood there is done again" in text, text
    assert (root / "out" / WEIGHTS).read_bytes() == merged
    assert all(isinstance(json.loads(row), dict) for row in path.read_text().splitlines())


@pytest.mark.parametrize("content", [b"", b"[]", b"garbage", b"\xff\xfe", b'{"vlm": 3}', b'{"vlm": {"x": ["a"]}}'])
def test_damaged_notes_of_the_models_are_named(content: bytes, root: Path, run_cli: Cli, merged: bytes) -> None:
    (root / "out" / inputs.INPUTS).write_bytes(content)
    (root / "out/result.json").unlink()
    code, text = run_cli("merge", recipe(root))
    assert code == 2 and f"{root / 'out/inputs.json'} cannot be read as a file of a run" in text
    assert "make the run again in another folder" in text


def test_models_that_change_between_plan_and_start_are_read_as_they_are_then(root: Path, run_cli: Cli) -> None:
    job = prepare("merge", recipe(root, output=str(root / "late")))
    job.plan()
    tensors = load_file(root / "base/model.safetensors")
    save_file(  # the same tensors in other places; such a file has the same size
        {name: tensors[name.replace("layers.0", "layers.x").replace("layers.1", "layers.0").replace("layers.x", "layers.1")]
         for name in tensors}, root / "base/model.safetensors", metadata={"format": "pt"},
    )  # fmt: skip
    os.utime(root / "base/model.safetensors", ns=(1, 1))
    assert job.run().path == root / "late"
    assert run_cli("merge", recipe(root))[0] == 0
    assert (root / "late" / WEIGHTS).read_bytes() == (root / "out" / WEIGHTS).read_bytes()


def test_a_model_that_changes_once_its_header_is_read_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = prepare("merge", recipe(root))
    real = job.recipe.open

    def late(settings: Any) -> Any:
        found = real(settings)
        os.utime(root / "base/model.safetensors", ns=(1, 1))
        return found

    monkeypatch.setattr(job.recipe, "open", late)
    with pytest.raises(cli.UserError, match=r"the models changed since .* \(base: model.safetensors\)"):
        job.recipe.run(job.config, type("Run", (), {"path": root})())


@pytest.mark.parametrize("arithmetic", ["numpy", pytest.param("compiled", marks=compiled)])
def test_a_number_that_only_float64_holds_is_no_infinity(arithmetic: str, root: Path, run_cli: Cli) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    for role in ("base", "vlm", "reason"):
        edit(root / role, name, load_file(root / role / "model.safetensors")[name].double() * 1e300)
    code, text = run_cli("merge", recipe(root, arithmetic=arithmetic))
    assert code == 2 and f"{name!r} holds values larger than float32 can hold" in " ".join(text.split()), text


STRANGE = {
    "no such user": {"XDG_CACHE_HOME": "~nobody-of-that-name/x"},
    "a name too long": {"XDG_CACHE_HOME": "/tmp/" + 300 * "x"},
    "a quote that is open": {"CC": 'gcc "x'},
}


@pytest.mark.parametrize("name", list(STRANGE))
def test_a_strange_environment_costs_time_and_no_merge(
    name: str, root: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in STRANGE[name].items():
        monkeypatch.setenv(variable, value)
    code, text = run_cli("merge", recipe(root))
    assert code == 0, text
    assert "numpy, since" in json.loads((root / "out/merge_report.json").read_text())["arithmetic"]
    assert (root / "out/index.html").is_file()
    code, text = run_cli("merge", recipe(root, output=str(root / "other"), arithmetic="compiled"))
    assert code == 2 and "arithmetic: compiled, but" in text and "XDG_CACHE_HOME" in text


@compiled
def test_a_damaged_mark_has_the_library_built_anew(
    root: Path, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert run_cli("merge", recipe(root))[0] == 0
    (mark,) = (tmp_path / "xdg/mmreflect/kernels").glob("*.sha256")
    good = mark.read_bytes()
    mark.write_bytes(b"\xff" * 64)
    code, text = run_cli("merge", recipe(root, output=str(root / "other")))
    assert code == 0 and mark.read_bytes() == good, text


LIMITS = [
    (OSError(errno.EMFILE, "x", "a.bin"), "too many files are open to open a.bin", "ulimit -n"),
    (OSError(errno.EFBIG, "x"), "a file is longer than files may be", "ulimit -f unlimited"),
    (OSError(errno.ENOSPC, "x", "a.bin"), "the disk of a.bin is full", "make room"),
    (MemoryError("Unable to allocate 2 GiB"), "there is not enough memory: Unable to allocate 2 GiB", "ulimit -v"),
]


@pytest.mark.parametrize("number", range(len(LIMITS)))
def test_limits_of_the_system_are_named(number: int, root: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    error, said, advice = LIMITS[number]

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(work.Work, "measure", fail)
    code, text = run_cli("merge", recipe(root))
    assert code == 2 and said in " ".join(text.split()) and advice in text


def test_other_errors_of_the_system_keep_their_traceback(
    root: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(work.Work, "measure", fail)
    with pytest.raises(OSError, match="Input/output error"):
        run_cli("merge", recipe(root))
