"""`runner: ray`: what is refused and divided; and on a Ray of this machine, where it is installed, the same bytes."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders.test_parts import digest, grid
from builders.test_parts import merge as merge_cli
from teaching.schooling import School, schooling, scripted, speaker
from teaching.test_srpo_reflection import teach

from mmreflect.building.inspecting import write_asked
from mmreflect.building.runners import ray as runner
from mmreflect.building.workers import setup_of
from mmreflect.config import load_yaml, to_tree
from mmreflect.files import read_json
from mmreflect.launch import prepare

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]

on_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: mmreflect[ray]")


@pytest.fixture
def has_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray counts as installed: what is checked beside that is checked without it."""
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: object())


def asking(folder: Path, at: Any = None, **server: Any) -> dict[str, Any]:
    asked = {
        part: speaker(at, part, folder / "cache", temperature=1.0, server=server) for part in ("policy", "teacher")
    }
    return {"builder": "srpo_reflection", "source": {"path": str(folder / "sums")}, "shard_rows": 5, **asked}


class Nowhere:
    url = "http://localhost:1/v1"


# ---- without Ray ---------------------------------------------------------------------------------------------------


def test_a_missing_ray_is_said(run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: None)
    code, text = run_cli("build", grid(output=str(tmp_path / "out"), runner="ray"))
    assert code == 2 and "runner ray needs the package ray" in text and "pip install 'mmreflect[ray]'" in text
    assert not (tmp_path / "out").exists()


def test_options_of_runners(run_cli: Cli, tmp_path: Path, has_ray: None) -> None:
    def said(*words: str) -> tuple[int, str]:
        return run_cli("build", grid(output=str(tmp_path / "out")), *words, "--plan")

    assert "did you mean 'ray'?" in said("runner=rya")[1]
    assert "unknown key 'task'; did you mean 'tasks'?" in said("runner={name: ray, task: 3}")[1]
    assert "unknown key 'tasks'" in said("runner=local", "runner.tasks=3")[1]
    code, text = said("runner=ray", "runner.tasks=3")
    assert code == 0 and "ray on this machine, at most 3 tasks at once" in text and "divided" not in text
    assert "ray at auto" in said("runner={name: ray, address: auto}")[1]
    assert "ray" not in said()[1]


def test_what_cannot_be_built_in_several_processes(
    sums: Sums, run_cli: Cli, tmp_path: Path, has_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    sums(2)
    tree = asking(tmp_path, Nowhere) | {"output": str(tmp_path / "out"), "runner": "ray"}
    code, text = run_cli("build", tree, "--plan")
    assert code == 0 and "concurrency and requests_per_minute are divided among them" in text
    code, text = run_cli("build", tree, "teacher.engine.server.max_tokens_total=9000")
    assert code == 2 and "teacher.engine.server.max_tokens_total=9000 holds in one process" in text
    code, text = run_cli(
        "build", tree, "policy.engine.server={max_cost: 2, price_in: 1, base_url: 'http://x/v1', model: m}"
    )
    assert code == 2 and "policy.engine.server.max_cost=2 holds in one process" in text and "use runner local" in text
    here = scripted(tmp_path / "policy.jsonl", {"*": ["one"]}, temperature=1.0)
    code, text = run_cli("build", tree | {"policy": here})
    assert code == 2 and "who is asked speaks in this very process (policy.engine: scripted)" in text
    assert "use runner local with shard=1/4" in text and not (tmp_path / "out").exists()
    code, text = run_cli(
        "build", {"builder": "chart", "splits": {"train": 1}, "output": "x", "workers": 2, "runner": "ray"}
    )
    assert code == 2 and "workers=2 is set, and runner ray builds in tasks of its own" in text


def test_what_servers_are_asked_is_divided(sums: Sums, tmp_path: Path) -> None:
    sums(2)
    tree = asking(tmp_path, Nowhere, concurrency=7, requests_per_minute=60.0) | {"output": str(tmp_path / "out")}
    config = prepare("build", tree).config
    shared = runner.divided(to_tree(config), runner._servers(config), 3)
    for part in ("policy", "teacher"):
        server = shared[part]["engine"]["server"]
        assert (server["concurrency"], server["requests_per_minute"]) == (2, 20.0)
    assert to_tree(config)["policy"]["engine"]["server"]["concurrency"] == 7


def test_a_runner_decides_nothing_of_the_result(run_cli: Cli, tmp_path: Path, has_ray: None) -> None:
    assert run_cli("build", grid(output=str(tmp_path / "out")))[0] == 0
    assert load_yaml(tmp_path / "out/config.yaml")["runner"] == {"name": "local"}
    code, text = run_cli("build", grid(output=str(tmp_path / "out"), runner="ray"))
    assert code == 0 and "finished already" in text


def test_a_task_builds_what_is_not_there(tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a task does, in this process: with shards of which one is there, on a node without the folder, and a bug."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert run_cli("build", grid(output=str(tmp_path / "whole")))[0] == 0
    job = prepare("build", grid(output=str(tmp_path / "out")))
    assert job.options is not None
    write_asked(tmp_path / "out", job.recipe, job.options.quality)
    setup = {**setup_of(job.recipe, to_tree(job.config), tmp_path / "out"), "path": ["/no/such/place"]}
    shards = [["train", 0, 11], ["train", 2, 11]]

    def reply(changes: dict[str, Any]) -> dict[str, Any]:
        row = runner.work({"group": 5, "shards": json.dumps(shards)}, json.dumps(setup | changes))
        assert row["group"] == 5
        return json.loads(row["reply"])  # type: ignore[no-any-return]

    assert reply({}) == {"spent": {}} and sys.path[-1] == "/no/such/place"
    written = {name: (tmp_path / "out" / name) for name in ("train/00000.jsonl", "train/00002.jsonl")}
    assert all(path.read_bytes() == (tmp_path / "whole" / name).read_bytes() for name, path in written.items())
    times = [path.stat().st_mtime_ns for path in written.values()]
    assert reply({}) == {"spent": {}} and [path.stat().st_mtime_ns for path in written.values()] == times
    for key, message in (("folder", "the output /nowhere is not there"), ("file", "the builder /nowhere is not there")):
        given, expected, do = reply({key: "/nowhere"})["user_error"]
        assert message in given and "all nodes share" in expected and "every node" in do
    written["train/00000.jsonl"].unlink()
    with monkeypatch.context() as patch:
        patch.setattr(runner, "make_shard", lambda *given: 1 / 0)
        assert "ZeroDivisionError" in reply({})["bug"]


def test_a_task_asks_a_server(sums: Sums, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sums(20)
    with schooling(School(teach)) as server:
        tree = asking(tmp_path, server)
        assert run_cli("build", tree | {"output": str(tmp_path / "whole")})[0] == 0
        job = prepare("build", tree | {"output": str(tmp_path / "out")})
        assert job.options is not None
        write_asked(tmp_path / "out", job.recipe, job.options.quality)
        setup = {**setup_of(job.recipe, to_tree(job.config), tmp_path / "out"), "path": []}
        for group in ([0, 2], [1, 3]):
            shards = json.dumps([["train", number, 20] for number in group])
            reply = json.loads(runner.work({"group": 0, "shards": shards}, json.dumps(setup))["reply"])
            assert reply["spent"]["this_start"]["cached"] > 0, reply
    for kind in ("train", "account", "rejects"):
        own, whole = digest(tmp_path / "out" / kind), digest(tmp_path / "whole" / kind)
        assert own == whole and own


# ---- with Ray ------------------------------------------------------------------------------------------------------


@on_ray
@pytest.mark.slow
def test_the_same_bytes_on_ray(run_cli: Cli, tmp_path: Path, sums: Sums, capsys: pytest.CaptureFixture[str]) -> None:
    """Pictures from a leaf that makes each row alone; then on a cluster that the caller has joined before, rows from a
    teacher, and the parts of a dataset."""
    import ray

    sums(30)
    school = School(teach)
    with schooling(school) as server:
        for name, tree in (("grid", grid()), ("asked", asking(tmp_path, server, concurrency=6))):
            for where, words in (("ray", ["runner={name: ray, tasks: 2}"]), ("local", [])):
                code, text = run_cli("build", tree | {"output": str(tmp_path / f"{name}-{where}")}, *words)
                assert code == 0, text
            assert digest(tmp_path / f"{name}-ray") == digest(tmp_path / f"{name}-local")
            if name == "grid":
                assert not ray.is_initialized(), "what was started for the build has ended with it"
                ray.init(address="local", num_cpus=2, include_dashboard=False)
        assert server.most <= 2 * 6, "two models, each asked for three things at once by each of two tasks"
    assert set(school.answered.values()) == {1}
    took = read_json(tmp_path / "asked-ray/result.json")["this_start"]
    assert took["answered"] == sum(school.answered.values()), "all tasks together"
    for number in (1, 2):
        part = {"output": str(tmp_path / f"part{number}"), "runner": "ray"}
        assert run_cli("build", grid(**part), f"shard={number}/2")[0] == 0
    assert ray.is_initialized()
    ray.shutdown()
    assert merge_cli(capsys, tmp_path / "out", tmp_path / "part1", tmp_path / "part2")[0] == 0
    assert digest(tmp_path / "out") == digest(tmp_path / "grid-local")


LEAF = """
import os, signal, time
from pathlib import Path
from mmreflect.building import Example
from mmreflect.config import config
from mmreflect.errors import UserError

@config
class Config:
    output: str
    fault: str = ""
    pause: float = 0.0
    seed: int = 0
    shard_rows: int = 3
    rows: int = 12

def splits(config):
    return {"train": config.rows}

def make(config, split, index):
    time.sleep(config.pause)
    once = Path(config.output).with_suffix(".died")
    if index == 4 and config.fault == "bug":
        raise ZeroDivisionError("a bug in the builder")
    if index == 4 and (config.fault == "killed" or config.fault == "killed once" and not once.exists()):
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Example(str(index), [{"role": "user", "content": f"How much is {index} + 1?"}])
"""


@on_ray
@pytest.mark.slow
def test_tasks_that_fail_or_die(run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(LEAF)
    tree = {"builder": str(tmp_path / "mine.py"), "runner": {"name": "ray", "tasks": 2}}
    assert run_cli("build", tree | {"output": str(tmp_path / "whole"), "runner": "local"})[0] == 0
    with pytest.raises(RuntimeError, match=r"a Ray task of the build failed:[\s\S]*a bug in the builder"):
        run_cli("build", tree | {"output": str(tmp_path / "bug"), "fault": "bug"})
    assert not (tmp_path / "bug/manifest.json").exists()
    code, text = run_cli("build", tree | {"output": str(tmp_path / "once"), "fault": "killed once"})
    assert code == 0 and (tmp_path / "once.died").exists(), text
    for name in ("train", "account", "rejects"):
        assert digest(tmp_path / "once" / name) == digest(tmp_path / "whole" / name)
    code, text = run_cli("build", tree | {"output": str(tmp_path / "dies"), "fault": "killed"})
    assert code == 2 and "a Ray task of the build died 4 times" in text and "start the same command again" in text, text
    code, text = run_cli("build", tree | {"output": str(tmp_path / "x")}, "runner.num_cpus=5000")
    assert code == 2 and "runner.num_cpus=5000, and this machine has" in text
    here = types.ModuleType("only_here")
    exec("def work(row, setup):\n    return row", here.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", here)
    monkeypatch.setattr(runner, "work", here.work)
    code, text = run_cli("build", tree | {"output": str(tmp_path / "y")})
    assert code == 2 and "could not begin: " in text and "No module named 'only_here'" in text, text
    assert "mmreflect on every node" in text


@on_ray
@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:1", "auto"])
def test_no_cluster(address: str, run_cli: Cli, tmp_path: Path) -> None:
    code, text = run_cli("build", grid(output=str(tmp_path / "out"), runner={"name": "ray", "address": address}))
    assert code == 2 and f"runner.address='{address}': " in text and "Traceback" not in text
    assert "the address of a running Ray cluster, or null" in text and "ray start --head" in text


@on_ray
@pytest.mark.slow
def test_killed_on_ray(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LEAF)
    file = tmp_path / "build.json"
    file.write_text(json.dumps({"builder": str(tmp_path / "mine.py"), "output": "x", "rows": 90, "pause": 0.05}))

    def command(output: str, *words: str) -> list[str]:
        return [sys.executable, "-m", "mmreflect", "build", str(file), f"output={tmp_path / output}", *words]

    cut, ray = tmp_path / "cut", "runner={name: ray, tasks: 2}"
    process = subprocess.Popen(command("cut", ray), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(cut.glob("train/*.jsonl")) and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (cut / "manifest.json").exists(), "killed in the middle"
    subprocess.run(command("cut", ray), check=True, capture_output=True)
    subprocess.run(command("whole"), check=True, capture_output=True)
    assert digest(cut) == digest(tmp_path / "whole")
