"""Keys that every build has, beside those of its leaf."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmreflect import recipes
from mmreflect.building import BuildOptions
from mmreflect.config import load_yaml
from mmreflect.launch import prepare

Cli = Callable[..., tuple[int, str]]


@pytest.mark.parametrize("name", recipes.names("builder"))
def test_no_leaf_has_a_key_of_every_build(name: str) -> None:
    own = {field.name for field in dataclasses.fields(recipes.load("builder", name).Config)}
    assert not own & {field.name for field in dataclasses.fields(BuildOptions)}


def grid(output: Path, **keys: Any) -> dict[str, Any]:
    return {"builder": "grid", "output": str(output), "splits": {"train": 6}, "shard_rows": 2, **keys}


def test_keys_of_both_are_told_apart(tmp_path: Path) -> None:
    job = prepare("build", grid(tmp_path, seed=3), ["shard=2/3"])
    assert job.options == BuildOptions(shard="2/3") and job.config.seed == 3
    assert job.tree["shard"] == "2/3" and job.tree["seed"] == 3
    assert "shard" not in {field.name for field in dataclasses.fields(job.config)}
    again = prepare("build", job.tree)
    assert (again.tree, again.config, again.options) == (job.tree, job.config, job.options)


def test_all_mistakes_in_both_are_told_at_once(run_cli: Cli, tmp_path: Path) -> None:
    code, text = run_cli("build", grid(tmp_path / "out", seed="x", sharrd="1/2", shard="3/2", shard_row=1))
    assert code == 2 and "4 problems" in text
    assert "unknown key 'sharrd'; did you mean 'shard'?" in text
    assert "unknown key 'shard_row'; did you mean 'shard_rows'?" in text
    assert "shard: shard='3/2' is no part of a whole; write 1/4 for the first of four" in text
    assert "seed: should be a valid integer (given: 'x')" in text


def test_options_are_no_keys_of_other_verbs(run_cli: Cli, tmp_path: Path) -> None:
    code, text = run_cli("eval", {"benchmark": "dataset", "output": str(tmp_path), "shard": "1/2"})
    assert code == 2 and "unknown key 'shard'" in text


def test_the_resolved_configuration_holds_them(run_cli: Cli, tmp_path: Path) -> None:
    assert run_cli("build", grid(tmp_path / "out"))[0] == 0
    assert load_yaml(tmp_path / "out/config.yaml")["shard"] is None


def test_a_leaf_of_the_users_keeps_a_key_of_its_own(run_cli: Cli, tmp_path: Path) -> None:
    leaf = tmp_path / "mine.py"
    leaf.write_text(
        "from mmreflect.building import Example\n"
        "from mmreflect.config import config\n\n\n"
        "@config\nclass Config:\n    output: str\n    shard: int = 7\n    seed: int = 0\n    shard_rows: int = 5\n\n\n"
        "def splits(config):\n    return {'train': 2}\n\n\n"
        "def make(config, split, index):\n"
        "    return Example(str(index), [{'role': 'user', 'content': f'{config.shard}?'}])\n"
    )
    job = prepare("build", {"builder": str(leaf), "output": str(tmp_path / "out"), "shard": 8})
    assert job.config.shard == 8 and job.options == BuildOptions() and job.tree["shard"] == 8
