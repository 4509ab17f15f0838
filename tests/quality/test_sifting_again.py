"""Passes over whole datasets that broke off, were split, or meet other workers end at the same bytes."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quality.planted import PLANTED, SAME, digest, evaluation, kept, rejects

from mmreflect.building import sifting
from mmreflect.cli import main
from mmreflect.data.store import open_dataset

Cli = Callable[..., tuple[int, str]]


class Full:
    """A disk that is full at the nth call."""

    def __init__(self, function: Callable[..., Any], at: int) -> None:
        self._function, self._left = function, at

    def __call__(self, *given: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._function(*given)


@pytest.mark.parametrize(
    ("name", "at"), [("write_jsonl", 1), ("write_atomic", 1), ("write_atomic", 2), ("_sweep", 1), ("_sweep", 2)]
)
def test_a_pass_that_broke_off_goes_on_to_the_same_bytes(
    name: str, at: int, build: Callable[..., Any], run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(PLANTED, near_repeats="drop")
    tree = json.loads((tmp_path / "config.yaml").read_text()) | {"output": str(tmp_path / "cut")}
    with monkeypatch.context() as patch:
        patch.setattr(sifting, name, Full(getattr(sifting, name), at))
        code, text = run_cli("build", tree)
    assert code == 2 and "is full" in text and not (tmp_path / "cut/manifest.json").exists()
    assert run_cli("build", tree)[0] == 0
    assert digest(tmp_path / "cut") == digest(tmp_path / "out")


def test_a_pass_that_was_killed_goes_on_to_the_same_bytes(
    build: Callable[..., Any], run_cli: Cli, tmp_path: Path
) -> None:
    build(PLANTED, near_repeats="drop")
    tree = json.loads((tmp_path / "config.yaml").read_text()) | {"output": str(tmp_path / "cut")}
    (tmp_path / "cut.json").write_text(json.dumps(tree))
    script = (
        "import os, sys; from mmreflect.building import sifting; from mmreflect.cli import main\n"
        "sifting._sweep = lambda *given: os.kill(os.getpid(), 9)\n"
        f"main(['build', {str(tmp_path / 'cut.json')!r}])"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, env=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL and not (tmp_path / "cut/manifest.json").exists()
    assert len((tmp_path / "cut/train/00000.jsonl").read_text().splitlines()) == 2, "one of three rows is gone already"
    assert run_cli("build", tree)[0] == 0
    assert digest(tmp_path / "cut") == digest(tmp_path / "out")


def test_parts_are_compared_when_they_are_put_together(
    build: Callable[..., Any], run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(PLANTED, near_repeats="drop")
    tree = (tmp_path / "config.yaml").read_text()
    parts = [str(tmp_path / name) for name in ("first", "second")]
    for number, part in enumerate(parts, 1):
        code, text = run_cli("build", tree, f"output={part}", f"shard={number}/2")
        assert code == 0 and "an earlier row" not in text, text
    merge = ["build", "merge", str(tmp_path / "merged"), *parts]
    with monkeypatch.context() as patch:
        patch.setattr(sifting, "_sweep", Full(sifting._sweep, 2))
        assert main(merge) == 2
    before = [digest(Path(part)) for part in parts]
    assert main(merge) == 0
    assert digest(tmp_path / "merged") == digest(tmp_path / "out")
    assert [digest(Path(part)) for part in parts] == before, "media of a part are linked, and stay"


def test_a_build_whose_manifest_was_lost_ends_at_the_same_bytes(
    build: Callable[..., Any], run_cli: Cli, tmp_path: Path
) -> None:
    build(PLANTED)
    before = digest(tmp_path / "out")
    (tmp_path / "out/manifest.json").unlink()
    (tmp_path / "out/result.json").unlink()
    (tmp_path / "out/train/00000.jsonl").unlink()
    build(PLANTED)
    assert digest(tmp_path / "out") == before


def test_an_evaluation_set_that_changes_in_the_middle_is_refused(
    build: Callable[..., Any], run_cli: Cli, tmp_path: Path
) -> None:
    held_out = evaluation(tmp_path / "eval")
    build(PLANTED, against=[str(held_out)])
    (tmp_path / "out/result.json").unlink()
    held_out.write_text(held_out.read_text() + '{"question": "new?"}\n')
    code, text = run_cli("build", (tmp_path / "config.yaml").read_text())
    assert code == 2 and "has changed since this dataset was compared with it" in text


def test_shards_and_marks_that_do_not_fit_are_named(build: Callable[..., Any], run_cli: Cli, tmp_path: Path) -> None:
    build(PLANTED)
    (tmp_path / "out/result.json").unlink()
    shard = tmp_path / "out/train/00000.jsonl"
    shard.write_text(shard.read_text().splitlines(keepends=True)[0])
    code, text = run_cli("build", (tmp_path / "config.yaml").read_text())
    assert code == 2 and "does not hold the rows of its marks" in text and "it is built again" in text
    (tmp_path / "out/marks/train-00000.jsonl").unlink()
    code, text = run_cli("build", (tmp_path / "config.yaml").read_text())
    assert code == 2 and "has no" in text and "marks/train-00000.jsonl" in text
    shard.unlink()
    assert run_cli("build", (tmp_path / "config.yaml").read_text())[0] == 0


def test_workers_find_the_same(run_cli: Cli, tmp_path: Path) -> None:
    """Every row of this leaf stands twice, but for its id; one of its kinds may."""
    leaf = tmp_path / "pairs_of_rows.py"
    leaf.write_text(
        "from mmreflect.building import Example, Workers\n"
        "from mmreflect.config import config\n\n"
        "EXEMPT = {'free': ('repeats',)}\n\n"
        "@config\nclass Config:\n    output: str\n    seed: int = 0\n    shard_rows: int = 3\n    workers: Workers = 1\n\n"
        "def splits(config):\n    return {'train': 12}\n\n"
        "def make(config, split, index):\n"
        "    question = {'role': 'user', 'content': f'What is {index % 6}?'}\n"
        "    facts = {'kind': 'free' if index % 6 == 0 else 'bound'}\n"
        "    return Example(str(index), [question], answer=str(index % 6), facts=facts)\n"
    )
    for workers in (1, 2):
        tree = {"builder": str(leaf), "output": str(tmp_path / str(workers)), "workers": workers}
        assert run_cli("build", tree)[0] == 0
        assert kept(tmp_path / str(workers)) == ["0", "1", "2", "3", "4", "5", "6"]
    assert digest(tmp_path / "1") == digest(tmp_path / "2")
    assert open_dataset(str(tmp_path / "1")).manifest["quality"]["compared"]["exempt"] == 2
    (tmp_path / "wrong.py").write_text(leaf.read_text().replace("'repeats'", "'repeat'"))
    code, text = run_cli("build", {"builder": str(tmp_path / "wrong.py"), "output": str(tmp_path / "x")})
    assert code == 2 and "unknown check in EXEMPT 'repeat'" in text and "did you mean 'repeats'?" in text, text


PAIRS = """
from mmreflect.building import Example
from mmreflect.config import config

SIDES = [("4", "5"), ("4", "5"), ("4", "4"), ("5", "4"), ("4", "x = 4")]


@config
class Config:
    output: str
    offset: int = 10
    seed: int = 0
    shard_rows: int = 3


def splits(config):
    return {"train": 5, "validation": 1}


def make(config, split, index):
    chosen, rejected = (f"So it is \\\\boxed{{{side}}}." for side in SIDES[index])
    number = index // 2 + (config.offset if split == "validation" else 0)
    asked = {"role": "user", "content": f"Question {number}?"}
    return Example(f"{split}-{index}", [asked, {"role": "assistant", "content": chosen}], answer="4", rejected=rejected)
"""


def test_pairs_are_checked_on_both_sides_and_compared(run_cli: Cli, tmp_path: Path) -> None:
    leaf = tmp_path / "some_pairs.py"
    leaf.write_text(PAIRS)
    code, text = run_cli("build", {"builder": str(leaf), "output": str(tmp_path / "out")})
    assert code == 0, text
    assert kept(tmp_path / "out") == ["train-0"]
    found = {name: line["reason"] for name, line in rejects(tmp_path / "out").items()}
    assert found == {
        "train-1": SAME,
        "train-2": "both sides of the pair are the same",
        "train-3": "the final answer is wrong",
        "train-4": "the rejected side is right",
    }
    code, text = run_cli("build", {"builder": str(leaf), "output": str(tmp_path / "x"), "offset": 0})
    assert code == 2 and "1 questions stand in two splits" in text, (
        "pairs have no messages, and are compared all the same"
    )
