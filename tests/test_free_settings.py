"""What decides nothing of a result may change while a run is half done: it is taken over, and said."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Act, Body, completion, says, serving
from teaching.schooling import School, schooling, speaker, text_of_body, truth, write_sums

from mmreflect.building import Workers
from mmreflect.config import FREE, config, free_keys, load_yaml, to_tree, without
from mmreflect.data.store import open_dataset
from mmreflect.launch import prepare
from mmreflect.records import Turn
from mmreflect.remote.asks import Ask
from mmreflect.remote.pictures import PictureConfig, Pictures
from mmreflect.remote.requests import Requests
from mmreflect.remote.settings import ServerConfig

Cli = Callable[..., tuple[int, str]]
SAID = "goes on with other settings, which nothing that is there depends on (there -> now):"


# ---- which keys are free -------------------------------------------------------------------------------------------


@config
class Both:
    servers: list[ServerConfig]
    workers: Workers = 1
    seed: int = 0


def test_where_free_keys_stand() -> None:
    server = ServerConfig(base_url="http://x/v1", model="m")
    found = free_keys(Both(servers=[server, server]))
    assert ("workers",) in found and ("servers", 0, "max_cost") in found and ("servers", 1, "concurrency") in found
    assert not {("seed",), ("servers", 0, "model"), ("servers", 0, "tries"), ("servers", 1, "extra")} & set(found)


def test_a_tree_without_some_places() -> None:
    tree = {"a": 1, "b": [{"c": 2, "d": 3}, "short"], "e": None}
    places = [("a",), ("b", 0, "c"), ("b", 1, "c"), ("b", 7, "c"), ("e", "f"), ("not", "there")]
    assert without(tree, places) == {"b": [{"d": 3}, "short"], "e": None}


OTHER: dict[str, Any] = {
    "base_url": "http://y/v1", "api_key_env": "KEY", "concurrency": 3, "requests_per_minute": 9.0, "timeout_s": 9.0, "retries": 1,
    "patience_s": 9.0, "max_tokens_total": 9, "max_cost": 9.0, "cache": "off", "limit_field": "max_completion_tokens",
    "model": "n", "version": "2", "tries": 1, "price_in": 9.0, "price_out": 9.0, "pictures": PictureConfig(max_pixels=9), "extra": {"min_p": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in fields(ServerConfig)])
def test_a_free_key_of_a_server_is_in_no_requests_key(name: str, tmp_path: Path) -> None:
    """The others are, but for `tries`, which decides which rows there are, and prices, which stand in the account."""
    from PIL import Image

    from mmreflect.records import Media

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    ask = Ask([Turn("user", ["How many?", Media("image", str(tmp_path / "a.png"))])])
    first = ServerConfig(base_url="http://x/v1", model="m", price_in=1.0)
    second = replace(first, **{name: OTHER[name]})
    keys = {Requests(server, Pictures(server.pictures)).key(ask) for server in (first, second)}
    free = (name,) in free_keys(first)
    assert free == (len(keys) == 1 and name not in ("tries", "price_in", "price_out"))
    assert any(mark is FREE for mark in ServerConfig.__pydantic_fields__[name].metadata) == free  # type: ignore[attr-defined]


# ---- a build -------------------------------------------------------------------------------------------------------


def say(text: str, body: Body) -> str:
    if body["model"] == "policy":
        return f"<think>I look at them. I add them. That is it.</think><answer>{truth(text)}</answer>"
    return json.dumps({"reflection": "I go through it again. It holds."})


def teaching(at: Any, folder: Path, source: Path, output: str, **server: Any) -> dict[str, Any]:
    plain = {"second_think": "none", "correct_share": None, "min_score": None, "shard_rows": 2}
    parts = {
        part: speaker(at, part, folder / f"cache-{output}", server=limits, max_new_tokens=500)
        for part, limits in (("policy", {}), ("teacher", dict(server)))
    }
    return (
        {"builder": "srpo_reflection", "output": str(folder / output), "source": {"path": str(source)}} | parts | plain
    )


def test_a_half_built_dataset_goes_on_with_a_higher_limit(run_cli: Cli, tmp_path: Path) -> None:
    rows = write_sums(tmp_path / "in", 12)
    source = tmp_path / "sums"
    assert run_cli("build", {"builder": "rows", "source": str(rows), "output": str(source), "validation": 0.0})[0] == 0
    low = {"max_tokens_total": 100, "cache": str(tmp_path / "fresh")}
    with schooling(School(say)) as server:
        for name in ("a", "b"):
            assert run_cli("build", teaching(server, tmp_path, source, name))[0] == 0
        for name in ("result.json", "manifest.json", "train/00005.jsonl"):
            (tmp_path / "a" / name).unlink()
        code, text = run_cli("build", teaching(server, tmp_path, source, "a", **low))
        assert code == 2 and "max_tokens_total is 100" in text and "raise max_tokens_total and start the same" in text
        code, text = run_cli("build", teaching(server, tmp_path, source, "a", **low, tries=1))
        assert code == 2 and "holds a run of another configuration" in text and "tries: 3 -> 1" in text
        assert "max_tokens_total" not in text
        code, text = run_cli("build", teaching(server, tmp_path, source, "a", **low | {"max_tokens_total": 90000}))
        assert code == 0 and f"'{tmp_path / 'a'}' {SAID}" in text, text
        assert "teacher.engine.server.max_tokens_total: 100 -> 90000" in text and "server.cache" not in text
        assert load_yaml(tmp_path / "a/config.yaml")["teacher"]["engine"]["server"]["max_tokens_total"] == 90000
        code, text = run_cli("build", teaching(server, tmp_path, source, "a", concurrency=3))
        assert code == 0 and "finished already" in text and SAID not in text
    one, other = (open_dataset(str(tmp_path / name)).manifest for name in ("a", "b"))
    assert one == other and "max_tokens_total" not in json.dumps(one)


def test_workers_may_change(run_cli: Cli, tmp_path: Path) -> None:
    leaf = tmp_path / "mine.py"
    leaf.write_text(
        "from mmreflect.building import Example, Workers\n"
        "from mmreflect.config import config\n\n\n"
        "@config\nclass Config:\n    output: str\n    seed: int = 0\n    shard_rows: int = 1\n    workers: Workers = 1\n\n\n"
        "def splits(config):\n    return {'train': 3}\n\n\n"
        "def make(config, split, index):\n    return Example(str(index), [{'role': 'user', 'content': str(index)}])\n"
    )
    tree = {"builder": str(leaf), "output": str(tmp_path / "out")}
    assert run_cli("build", tree)[0] == 0
    code, text = run_cli("build", tree | {"workers": "auto"})
    assert code == 0 and "finished already" in text
    for name in ("result.json", "manifest.json", "train/00002.jsonl"):
        (tmp_path / "out" / name).unlink()
    code, text = run_cli("build", tree | {"workers": 2})
    assert code == 0 and f"{SAID}\n    workers: 1 -> 2" in text, text


# ---- an evaluation -------------------------------------------------------------------------------------------------


def asking(url: str, grid: Path, folder: Path, **server: Any) -> dict[str, Any]:
    engine = {"name": "openai", "server": {"base_url": url, "model": "m", "cache": str(folder / "asked"), **server}}
    data = {"path": str(grid), "split": "validation", "limit": 4}
    return {"benchmark": "dataset", "output": str(folder / "out"), "data": data, "engine": engine, "batch_size": 2}


@pytest.mark.parametrize("several", [False, True])
def test_a_half_done_evaluation_goes_on(several: bool, grid: Path, run_cli: Cli, tmp_path: Path) -> None:
    """So does one of several benchmarks, whose folder holds the configuration as it was written."""

    def tree(url: str, **server: Any) -> dict[str, Any]:
        plain = asking(url, grid, tmp_path, **server)
        return plain | {"benchmark": [{"name": "dataset", "label": "one"}]} if several else plain

    def dying(body: Body, number: int) -> Act:
        return says("It is 2.") if number < 2 else Act({"error": {"message": "no more"}}, status=401)

    with serving(dying) as server:
        code, text = run_cli("eval", tree(server.url, concurrency=1))
        assert code == 2 and "no more" in text, text
        server.behave = lambda body, number: Act(completion(f"It is {len(text_of_body(body)) % 3}."))
        code, text = run_cli("eval", tree(server.url, concurrency=2, max_tokens_total=100_000))
    assert code == 0 and SAID in text, text
    assert "engine.server.concurrency: 1 -> 2" in text and "engine.server.max_tokens_total: None -> 100000" in text
    assert len(server.bodies) == 5, "two answers, the refusal, and the two that were missing"


def test_jobs_name_their_free_keys(grid: Path, tmp_path: Path) -> None:
    job = prepare("eval", asking("http://x/v1", grid, tmp_path))
    assert ("engine", "server", "concurrency") in job.free and ("output",) not in job.free
    assert to_tree(job.config)["engine"]["server"]["concurrency"] == 16
