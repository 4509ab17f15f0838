"""`--plan` looks at the output folder as the run does, and says what the run would say."""

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmreflect.launch import Job, prepare, prepare_call
from mmreflect.runs import Run, open_run
from mmreflect.suites import Suite

Cli = Callable[..., tuple[int, str]]
TINY = {"path": "tiny", "tiny": {"hidden_size": 32, "layers": 2, "heads": 2, "vision_hidden_size": 32}}


def tree_of(verb: str, data: Path, output: Path) -> dict[str, Any]:
    trees: dict[str, dict[str, Any]] = {
        "build": {"builder": "grid", "splits": {"train": 4}},
        "train": {"method": "sft", "model": TINY, "data": {"path": str(data), "split": "train"}},
        "eval": {"benchmark": "dataset", "model": TINY, "data": {"path": str(data), "split": "validation"}},
    }
    return trees[verb] | {"output": str(output), "seed": 1}


def begun(tree: dict[str, Any], verb: str) -> Run:
    """A run that has done some work."""
    job = prepare(verb, tree)
    assert isinstance(job, Job)
    inputs = job.recipe.inputs(job.config) if hasattr(job.recipe, "inputs") else None
    run = open_run(job.config.output, verb, job.name, job.tree, inputs, job.free)
    (run.path / "log.jsonl").write_text("")
    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("verb", ["build", "train", "eval"])
def test_the_plan_says_what_the_run_would_say_of_its_folder(
    verb: str, grid: Path, tmp_path: Path, run_cli: Cli
) -> None:
    output = tmp_path / "out"
    tree = tree_of(verb, grid, output)
    code, text = run_cli(verb, tree, "--plan")
    assert code == 0 and "goes on" not in text and not output.exists(), text
    run = begun(tree, verb)
    before = contents(output)
    code, text = run_cli(verb, tree, "--plan")
    assert code == 0 and "goes on where it stopped" in flat(text), text
    for words, message in (
        (["seed=2"], "holds a run of another configuration; they differ (there -> now) in: seed: 1 -> 2"),
        ([f"output={tmp_path / 'config.yaml'}"], "config.yaml' is a file"),
        ([f"output={tmp_path}"], "is not empty and holds no run of mmreflect"),
    ):
        code, text = run_cli(verb, tree, "--plan", *words)
        assert code == 2 and message in flat(text), text
    assert contents(output) == before, "a plan leaves the folder as it is"
    run.finish({})
    code, text = run_cli(verb, tree, "--plan")
    assert code == 0 and "is finished already; nothing to do" in flat(text), text


def test_free_settings_and_other_processes(grid: Path, tmp_path: Path, run_cli: Cli) -> None:
    server = {"base_url": "http://localhost:1/v1", "model": "m", "concurrency": 2}
    tree = tree_of("eval", grid, tmp_path / "out") | {"engine": {"name": "openai", "server": server}}
    del tree["model"]
    begun(tree, "eval")
    code, text = run_cli("eval", tree, "--plan", "engine.server.concurrency=3")
    told = "goes on where it stopped, with other settings (there -> now): engine.server.concurrency: 2 -> 3"
    assert code == 0 and told in flat(text), text
    other = tmp_path / "other"
    other.mkdir()
    for name in ("run.json", "config.yaml", "log.jsonl"):
        (other / name).write_bytes((tmp_path / "out" / name).read_bytes())
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace(str(tmp_path / "out"), str(other)))
    with open(other / "run.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code, text = run_cli("eval", tree, "--plan", f"output={other}")
        assert code == 2 and f"another process is writing to '{other}'" in flat(text), text
    code, text = run_cli("eval", tree, "--plan", f"output={other}")
    assert code == 0 and "goes on where it stopped" in flat(text), text


def test_a_launcher_is_refused(grid: Path, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, text = run_cli("build", tree_of("build", grid, tmp_path / "out"), "--plan")
    assert code == 2 and "started as 2 processes (WORLD_SIZE)" in text


def test_several_benchmarks(grid: Path, tmp_path: Path, run_cli: Cli) -> None:
    """A suite's folder holds one of each benchmark's own."""
    tree = tree_of("eval", grid, tmp_path / "out") | {"benchmark": [{"name": "dataset", "label": "one"}]}
    code, text = run_cli("eval", tree, "--plan")
    assert code == 0 and "one: output" in text and "finished" not in text, text
    suite = prepare_call("eval", tree)
    assert isinstance(suite, Suite)
    open_run(suite.output, "eval", suite.name, suite.tree, {}, suite.free)
    begun(tree_of("eval", grid, tmp_path / "out/one"), "eval")
    code, text = run_cli("eval", tree, "--plan")
    assert code == 0 and flat(text).count("goes on where it stopped") == 2, text
    code, text = run_cli("eval", tree, "--plan", "seed=2")
    assert code == 2 and "holds a run of another configuration" in text, text
