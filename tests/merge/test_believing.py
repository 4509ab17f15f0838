"""What a finished or half-finished merge believes of its own files, and what it does where they are not so."""

import errno
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from merge.small import edit, models, recipe
from safetensors.torch import load_file, save_file

from mmreflect import cli, launch
from mmreflect.launch import prepare
from mmreflect.merge import outputs, verify
from mmreflect.merge import recipe as recipes

Cli = Callable[..., tuple[int, str]]
FOUR = {"dtype": "bfloat16", "shard_bytes": 250}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return models(tmp_path)


@pytest.fixture
def many(root: Path, run_cli: Cli) -> dict[str, bytes]:
    """The weights of a finished merge of several files in `out`."""
    code, text = run_cli("merge", recipe(root, **FOUR))
    assert code == 0, text
    found = {path.name: path.read_bytes() for path in (root / "out/model").glob("*.safetensors")}
    assert len(found) > 2
    return found


def another_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "boot_id", lambda: "another start of the machine")


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_a_finished_merge_stays_one_where_it_cannot_be_written_again(
    root: Path, run_cli: Cli, many: dict[str, bytes]
) -> None:
    (root / "out/model/merges.txt").unlink()
    (root / "reason").rename(root / "gone")
    code, text = run_cli("merge", recipe(root, **FOUR))
    assert code == 2 and f"no such folder: '{root / 'reason'}'" in text and "written again" not in text
    assert (root / "out/result.json").is_file()
    (root / "gone").rename(root / "reason")
    code, text = run_cli("merge", recipe(root, **FOUR))
    assert code == 0 and "finished, but gone or changed since: merges.txt; written again" in one_line(text)
    assert (root / "out/model/merges.txt").read_text() == "a b"


def test_what_is_written_again_is_compared_although_the_machine_ran_on(
    root: Path, run_cli: Cli, many: dict[str, bytes]
) -> None:
    first, last = sorted(many)[0], sorted(many)[-1]
    (root / "out/model" / first).write_bytes(many[first][:-8] + bytes(8))
    notes = (root / "out/shards.jsonl").read_text().splitlines(keepends=True)
    (root / "out/shards.jsonl").write_text("".join(line for line in notes if last not in line))
    code, text = run_cli("merge", recipe(root, **FOUR))
    assert code == 0 and "has the CRC-32" in text and "written again" in text
    assert {path.name: path.read_bytes() for path in (root / "out/model").glob("*.safetensors")} == many
    assert verify.verify_output(str(root / "out"), ["reload=no"])["checksums"].startswith("all ")


@pytest.mark.parametrize("file", ["layers.jsonl", "shards.jsonl"])
def test_a_number_that_changed_in_a_note_is_not_believed(
    file: str, root: Path, run_cli: Cli, many: dict[str, bytes]
) -> None:
    """Of a layer one file would be written with other weights than the rest of it."""
    (root / "out/result.json").unlink()
    (root / "out/model" / sorted(many)[1]).unlink()
    path = root / "out" / file
    before = path.read_text()
    changed = re.sub(r"\d(?=[,}])", lambda digit: str((int(digit[0]) + 5) % 10), before, count=1)
    assert changed != before and json.loads(changed.splitlines()[0])
    path.write_text(changed)
    code, text = run_cli("merge", recipe(root, **FOUR))
    assert code == 0 and f"damaged: 1 line of '{path}'; what stood there is done again" in text
    assert set(path.read_text().splitlines()) == set(before.splitlines())
    assert {path.name: path.read_bytes() for path in (root / "out/model").glob("*.safetensors")} == many


@pytest.mark.parametrize("lost", [b"", None, 20])
def test_names_of_tensors_that_are_not_finite_go_with_their_files_only(
    lost: bytes | int | None, root: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(root / "vlm", "visual.patch.weight", torch.full((4, 4), float("nan")))
    tree, path = recipe(root, force=["finite"]), root / "out/shards.jsonl"
    assert run_cli("merge", tree)[0] == 0
    told = json.loads((root / "out/merge_report.json").read_text())["warnings"]
    assert any("'visual.patch.weight'" in text for text in told)
    (root / "out/result.json").unlink()
    another_start(monkeypatch)
    if lost is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: len(lost) if isinstance(lost, bytes) else -lost])
    assert run_cli("merge", tree)[0] == 0
    assert json.loads((root / "out/merge_report.json").read_text())["warnings"] == told


def test_a_model_that_changes_while_it_is_opened_is_named(
    root: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tensors in another order: with the headers of before, each would be read where another lies."""
    real = recipes.plan_merge

    def late(*words: Any) -> Any:
        path = root / "base/model.safetensors"
        save_file(dict(reversed(load_file(path).items())), path, metadata={"format": "pt2"})
        return real(*words)

    monkeypatch.setattr(recipes, "plan_merge", late)
    code, text = run_cli("merge", recipe(root))
    assert code == 2 and "models changed while they were opened (base: model.safetensors)" in text
    assert not (root / "out").exists()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_finished_merge_in_a_folder_that_takes_no_note_is_finished(
    number: int, root: Path, run_cli: Cli, many: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: Any) -> None:
        raise OSError(number, "refused")

    another_start(monkeypatch)
    monkeypatch.setattr(outputs, "write_notes", refuse)
    code, text = run_cli("merge", recipe(root, **FOUR))
    assert code == 0 and "is finished already" in text
    assert "compared, and not noted (refused): the next start compares again" in text


def test_a_report_that_is_gone_is_written_again(root: Path, run_cli: Cli, many: dict[str, bytes]) -> None:
    report = (root / "out/merge_report.json").read_bytes()
    (root / "out/merge_report.json").unlink()
    code, text = run_cli("merge", recipe(root, **FOUR))
    assert code == 0 and "gone or changed since: merge_report.json; written again" in one_line(text)
    assert (root / "out/merge_report.json").read_bytes() == report


@pytest.mark.parametrize("name", ["tokenizer_config.json", "merges.txt", "chat_template.jinja"])
def test_zeros_in_a_file_beside_the_weights_are_no_edit(
    name: str, root: Path, run_cli: Cli, many: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    another_start(monkeypatch)
    path = root / "out/model" / name
    whole = path.read_bytes()
    path.write_bytes(bytes(len(whole)))
    code, text = run_cli("merge", recipe(root, **FOUR))
    assert code == 0 and f"gone or changed since: {name} holds zeros; written again" in one_line(text)
    assert path.read_bytes() == whole


def test_an_index_of_one_file_counts_and_strange_weights_cost_no_comparison(
    root: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, index = "model-00001-of-00001.safetensors", "model.safetensors.index.json"
    (root / "vlm/model.safetensors").rename(root / "vlm" / file)
    names = load_file(root / "vlm" / file)
    (root / "vlm" / index).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, file)}))
    assert run_cli("merge", recipe(root))[0] == 0
    (root / "out/model" / index).unlink()
    code, text = run_cli("merge", recipe(root))
    assert code == 0 and f"gone or changed since: {index}; written again" in one_line(text)
    shutil.copy(root / "base/model.safetensors", root / "out/model/extra.safetensors")
    monkeypatch.setattr(verify, "changes", None)
    code, text = run_cli("merge", recipe(root))
    assert code == 0 and "is finished already" in text


def test_where_the_system_does_not_tell_its_starts_nothing_is_believed_unseen(
    root: Path, run_cli: Cli, many: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "boot_id", lambda: "")
    for _ in range(2):
        first = sorted(many)[0]
        (root / "out/model" / first).write_bytes(many[first][:-8] + bytes(8))
        code, text = run_cli("merge", recipe(root, **FOUR))
        assert code == 0 and "written again" in text
        assert (root / "out/model" / first).read_bytes() == many[first]


def test_a_file_that_broke_while_the_machine_ran_on_is_not_to_be_downloaded(
    root: Path, run_cli: Cli, many: dict[str, bytes]
) -> None:
    first = sorted(many)[0]
    (root / "out/result.json").unlink()
    (root / "out/model" / first).write_bytes(bytes(64) + many[first][64:])
    code, text = run_cli("merge", recipe(root, **FOUR))
    assert code == 2 and f"delete '{root / 'out/model'}' and start the same again" in text
    assert "download" not in text
    shutil.rmtree(root / "out/model")
    assert run_cli("merge", recipe(root, **FOUR))[0] == 0
    assert (root / "out/model" / first).read_bytes() == many[first]


def test_two_starts_that_find_the_same_file_gone_do_not_meet(
    root: Path, run_cli: Cli, many: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one has the folder when the first is done, and still knows what was gone before."""
    (root / "out/model/merges.txt").unlink()
    second = prepare("merge", recipe(root, **FOUR))
    real = launch.open_run

    def late(*words: Any) -> Any:
        monkeypatch.setattr(launch, "open_run", real)
        assert cli.main(["merge", str(root / "config.yaml")]) == 0
        (root / "out/result.json").unlink()
        return real(*words)

    monkeypatch.setattr(launch, "open_run", late)
    assert second.run().result is not None
    assert (root / "out/model/merges.txt").read_text() == "a b"


def test_a_page_longer_than_files_may_be_is_named(root: Path) -> None:
    (root / "merge.json").write_text(json.dumps(recipe(root)))
    words = f"ulimit -f 24; exec {sys.executable} -m mmreflect merge {root / 'merge.json'}"
    ended = subprocess.run(["bash", "-c", words], capture_output=True, text=True)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert f"a file is longer than files may be ({root / 'out/index.html'})" in ended.stderr
    assert "ulimit -f unlimited" in ended.stderr and (root / "out/result.json").is_file()


def test_names_of_tensors_that_are_not_finite_outlast_damaged_notes_of_a_finished_merge(
    root: Path, run_cli: Cli
) -> None:
    edit(root / "vlm", "visual.patch.weight", torch.full((4, 4), float("nan")))
    tree, path = recipe(root, force=["finite"]), root / "out/shards.jsonl"
    assert run_cli("merge", tree)[0] == 0
    told = json.loads((root / "out/merge_report.json").read_text())["warnings"]
    path.write_bytes(bytes(len(path.read_bytes()) - 1) + b"\n")
    code, text = run_cli("merge", tree)
    assert code == 0 and "is finished already" in text
    (root / "out/model/merges.txt").unlink()
    assert run_cli("merge", tree)[0] == 0
    assert json.loads((root / "out/merge_report.json").read_text())["warnings"] == told


def test_a_text_that_has_always_held_zeros_is_as_it_was_written(
    root: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "vlm/NOTICE.txt").write_text("whose it is", encoding="utf-16")
    assert run_cli("merge", recipe(root))[0] == 0
    another_start(monkeypatch)
    code, text = run_cli("merge", recipe(root))
    assert code == 0 and "is finished already" in text
