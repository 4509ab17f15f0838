"""A sweep whose files went with the machine, or that meets a limit of the system: healed, gone on with, or ended."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from merge.test_sweep import LINEAR, tree

from mmreflect.cli import main
from mmreflect.errors import UserError
from mmreflect.evaluation import speaking
from mmreflect.files import read_json
from mmreflect.merge import executor, outputs
from mmreflect.sweeps.running import drop_weights

Cli = Callable[..., tuple[int, str]]
WEIGHTS = "merge/model/model.safetensors"
SETTINGS = [{**LINEAR, "label": "one"}, {"label": "two", "method": "linear", "vlm_weight": 0.5, "reason_weight": 0.5}]


@pytest.fixture(scope="module")
def finished(triple: Path, grid: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a sweep that keeps all weights, finished and set aside, and its configuration."""
    root = tmp_path_factory.mktemp("crash")
    given = tree(triple, grid, root / "out", settings=SETTINGS, keep="all")
    (root / "sweep.yaml").write_text(json.dumps(given))
    assert main(["merge", "--sweep", str(root / "sweep.yaml")]) == 0
    shutil.copytree(root / "out", root / "aside")
    return root, given


@pytest.fixture
def out(finished: tuple[Path, dict[str, Any]]) -> Path:
    """The sweep as it was when it was finished, times of its files and all."""
    root, _ = finished
    shutil.rmtree(root / "out")
    shutil.copytree(root / "aside", root / "out")
    return root / "out"


@pytest.fixture
def sweep(finished: tuple[Path, dict[str, Any]], run_cli: Cli) -> Callable[..., tuple[int, str]]:
    def run(*words: str, **given: Any) -> tuple[int, str]:
        _, tree = finished
        code, text = run_cli("merge", {**tree, "sweep": {**tree["sweep"], **given}}, "--sweep", *words)
        return code, " ".join(text.split())

    return run


def unfinish(out: Path, label: str) -> None:
    """Take a sweep back to when a setting was being evaluated, and two answers were there."""
    setting = out / "settings" / label
    for file in (out / "result.json", setting / "setting.json", setting / "eval-dataset/result.json"):
        file.unlink()
    answers = setting / "eval-dataset/samples.jsonl"
    answers.write_text("".join(answers.read_text().splitlines(keepends=True)[:2]))


def another_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "boot_id", lambda: "another start of the machine")


def lose_a_page(file: Path) -> bytes:
    whole = file.read_bytes()
    file.write_bytes(whole[:-4096] + bytes(4096))
    return whole


def test_weights_that_a_finished_sweep_has_lost_are_written_again(
    out: Path, sweep: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lose_a_page(out / "settings/one" / WEIGHTS)
    (out / "settings/two" / WEIGHTS).unlink()
    another_start(monkeypatch)
    monkeypatch.setattr(speaking, "_loaded", lambda *rest: pytest.fail("a model was asked again"))
    before = (out / "result.json").read_bytes()
    code, text = sweep("--plan")
    told = "finished already; its merge is finished, but files are gone or changed since"
    assert code == 0 and f"one {told}" in text and f"two {told}" in text
    code, text = sweep()
    assert code == 0 and text.count("finished, but gone or changed since") == 2, text
    assert text.endswith(f"{out} is finished already; written again: one, two")
    assert (out / "settings/one" / WEIGHTS).read_bytes() == whole and (out / "settings/two" / WEIGHTS).is_file()
    assert (out / "result.json").read_bytes() == before
    assert main(["merge", "--verify", str(out / "settings/two/merge"), "reload=no"]) == 0
    code, text = sweep()
    assert code == 0 and text == f"{out} is finished already; nothing to do"


def test_weights_that_were_being_written_again_are_still_missed(
    out: Path, sweep: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "settings/one" / WEIGHTS).unlink()

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(executor, "execute", dies)
        assert sweep()[0] == 130
    assert not (out / "settings/one/merge/result.json").exists()
    code, text = sweep()
    assert code == 0 and text.endswith("written again: one") and (out / "settings/one" / WEIGHTS).is_file()


def test_a_sweep_that_goes_on_looks_at_the_merges_of_finished_settings(
    out: Path, sweep: Callable[..., tuple[int, str]]
) -> None:
    (out / "settings/one" / WEIGHTS).unlink()
    (out / "result.json").unlink()
    code, text = sweep()
    assert code == 0 and "finished, but gone or changed since" in text
    assert (out / "settings/one" / WEIGHTS).is_file() and read_json(out / "result.json")["settings"]["one"]["kept"]


def test_weights_that_were_not_kept_are_not_missed(out: Path, sweep: Callable[..., tuple[int, str]]) -> None:
    code, text = sweep(keep="none")
    assert code == 0 and text.endswith("nothing to do")
    code, text = sweep(keep="all")
    assert code == 0 and text.endswith("nothing to do") and not (out / "settings/one/merge/model").exists()
    assert not any(item["kept"] for item in read_json(out / "result.json")["settings"].values())


def test_an_evaluation_goes_on_with_a_model_that_was_healed(
    out: Path, sweep: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_json(out / "settings/two/setting.json")
    unfinish(out, "two")
    answers = out / "settings/two/eval-dataset/samples.jsonl"
    there, file = answers.read_text(), out / "settings/two" / WEIGHTS
    whole = lose_a_page(file)
    os.utime(file, ns=(1, 1))
    another_start(monkeypatch)
    code, text = sweep()
    assert code == 0 and file.read_bytes() == whole, text
    assert answers.read_text().startswith(there) and answers.read_text().count("\n") == 6
    assert read_json(out / "settings/two/setting.json")["evaluations"] == before["evaluations"]


def test_an_evaluation_does_not_go_on_with_a_model_that_was_changed(
    out: Path, sweep: Callable[..., tuple[int, str]]
) -> None:
    unfinish(out, "two")
    lose_a_page(out / "settings/two" / WEIGHTS)  # of the same size, while the machine was on
    code, text = sweep()
    folder = out / "settings/two/eval-dataset"
    assert code == 2 and f"output folder '{folder}' holds a run on another merged model: it has changed since" in text
    assert "to do: choose another output, or delete the folder" in text


@pytest.mark.parametrize("content", [b"", bytes(50), b"[]", b"\xff\xfe", b'{"config": {}}', b'{"evaluations": {}}'])
def test_what_was_found_of_a_setting_is_gathered_again_where_it_is_damaged(
    content: bytes, out: Path, sweep: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = out / "settings/one/setting.json"
    before = read_json(file)
    file.write_bytes(content)
    monkeypatch.setattr(speaking, "_loaded", lambda *rest: pytest.fail("a model was asked again"))
    monkeypatch.setattr(executor, "execute", lambda *rest: pytest.fail("it was merged again"))
    code, text = sweep("--plan")
    assert code == 0 and "one: damaged setting.json; the setting is gone through again" in text
    code, text = sweep()
    assert code == 0 and f"damaged: '{file}'; the setting is gone through again" in text, text
    assert read_json(file) == before


def test_a_damaged_setting_without_weights_is_merged_and_not_asked_again(
    out: Path, sweep: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (out / "settings/one" / WEIGHTS).read_bytes()
    drop_weights(out / "settings/one/merge")
    (out / "settings/one/setting.json").write_bytes(bytes(9))
    (out / "settings/one/contents.json").write_bytes(bytes(9))
    monkeypatch.setattr(speaking, "_loaded", lambda *rest: pytest.fail("a model was asked again"))
    code, text = sweep()
    assert code == 0 and (out / "settings/one" / WEIGHTS).read_bytes() == whole, text


def _of(cause: OSError) -> UserError:
    try:
        raise cause
    except OSError:
        try:
            raise UserError("'x' cannot be loaded", "a model", "check the path")
        except UserError as error:
            return error


LIMITS: list[tuple[Exception, str, str]] = [
    (OSError(errno.EMFILE, "x", "a.bin"), "too many files are open to open a.bin", "ulimit -n 4096"),
    (MemoryError("Unable to allocate 2 GiB"), "there is not enough memory: Unable to allocate 2 GiB", "ulimit -v"),
    (RuntimeError("can't start new thread"), "no further thread can be started", "ulimit -u"),
    (_of(OSError(errno.ENOSPC, "x", "a.bin")), "'x' cannot be loaded", "make room and start the same again"),
]


@pytest.mark.parametrize(
    ("place", "number"), [*(("merge", number) for number in range(len(LIMITS))), ("evaluation", 0), ("evaluation", 3)]
)
def test_a_limit_of_the_system_ends_a_sweep_and_is_no_fault_of_a_setting(
    place: str, number: int, out: Path, sweep: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    error, said, advice = LIMITS[number]
    unfinish(out, "one")
    shutil.rmtree(out / "settings/two")
    if place == "merge":
        shutil.rmtree(out / "settings/one/merge")

    def fail(*_: Any) -> None:
        asked.append(1)
        raise error

    asked: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(executor if place == "merge" else speaking, "execute" if place == "merge" else "_loaded", fail)
        code, text = sweep()
    assert code == 2 and f"error: {said}" in text and advice in text and len(asked) == 1, text
    assert "could not be finished" not in text and not list(out.rglob("error.json"))
    if number == 0:
        code, text = sweep()
        assert code == 0 and (out / "result.json").is_file(), text


def test_a_merge_that_cannot_be_written_again_is_named_and_its_numbers_stay(
    out: Path, sweep: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "settings/one" / WEIGHTS).unlink()
    (out / "result.json").unlink()

    def fail(*_: Any) -> None:
        raise UserError("the weights hold NaN", "finite weights", "mend the model")

    with monkeypatch.context() as patch:
        patch.setattr(executor, "execute", fail)
        code, text = sweep()
    assert code == 2 and "one: the weights hold NaN to do: mend the model" in text and "has no numbers" not in text
    assert not (out / "result.json").exists() and (out / "settings/one/setting.json").is_file()
    code, text = sweep()
    assert code == 0 and (out / "settings/one" / WEIGHTS).is_file() and not list(out.rglob("error.json"))


def test_a_finished_sweep_is_planned_though_a_model_is_gone(
    out: Path, triple: Path, sweep: Callable[..., tuple[int, str]]
) -> None:
    """Its settings need no models any more; only the one that is not finished does."""
    (triple / "base").rename(triple / "away")
    try:
        code, text = sweep("--plan")
        assert code == 0 and text.count("finished already") == 2, text
        (out / "settings/two/setting.json").unlink()
        code, text = sweep("--plan")
        assert code == 0 and "one finished already" in text and f"no such folder: '{triple / 'base'}'" in text
    finally:
        (triple / "away").rename(triple / "base")
