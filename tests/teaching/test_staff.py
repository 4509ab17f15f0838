"""Every builder, from speakers that err at set rates: what they get wrong is rejected for that, and what is kept is right.

Killed at any moment, a builder ends at the same bytes, and what was answered is not asked again.
"""

import contextlib
import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from teaching.schooling import School, schooling
from teaching.staff import POSTS, Erring, Topic, right_of
from teaching.test_srpo_reflection import bytes_of

from mmreflect.data.store import Row, open_dataset
from mmreflect.files import read_json, read_jsonl
from mmreflect.remote import pace

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]
SLIPS = 0.1
SLOTS, KILLS = 8, 2


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


def topic_of(row: Row) -> str:
    turns = row.get("prompt") or row["messages"]
    return str(Topic.findall(json.dumps([turn for turn in turns if turn["role"] == "user"]))[-1])


def reply_of(row: Row) -> str:
    turn = row["chosen"][0] if "chosen" in row else row["messages"][-1]
    return "".join(part.get("text", "") for part in turn["content"])


SIZES = [(name, "few") for name in POSTS] + [pytest.param(name, "many", marks=pytest.mark.slow) for name in POSTS]


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_what_goes_wrong_is_rejected_and_what_is_kept_is_right(
    name: str, size: str, sums: Sums, tmp_path: Path, run_cli: Cli
) -> None:
    post = POSTS[name]
    erring = Erring(post, SLIPS)
    source, school = sums(getattr(post, size), post.write), School(erring, faults=0.2)
    with schooling(school) as server:
        tree = post.tree(server, source, tmp_path / "out", tmp_path / "cache", shard_rows=100)
        code, text = run_cli("build", tree)
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    rows = list(dataset.rows("train"))
    assert len(rows) >= (100 if size == "many" else 5), (len(rows), dataset.manifest["rejects"])
    for row in rows:
        ends = post.ends.replace("RIGHT", re.escape(str(right_of(topic_of(row)))))
        assert re.search(f"{ends}$", reply_of(row)), reply_of(row)
        assert "answer key" not in str(row) and "earlier attempt" not in reply_of(row) and "policy" not in reply_of(row)
    reasons: dict[str, set[str]] = {}
    for file in (tmp_path / "out/rejects").iterdir():
        for reject in read_jsonl(file):
            reasons.setdefault(reject["id"], set()).add(reject["reason"])
    names = {topic_of(row): row["id"] for row in open_dataset(str(source)).rows("train")}
    for topic, kinds in erring.spoiled.items():
        for kind in kinds:
            found = reasons.get(names[topic], set())
            assert any(re.search(post.slips[kind].reason, reason) for reason in found), (topic, kind, found)
    made = {kind for kinds in erring.spoiled.values() for kind in kinds}
    assert size == "few" or made == set(post.slips)
    asked = dataset.manifest["asked"].values()
    assert "broken" not in made or sum(part["refused_replies"] for part in asked) > 0 or "JSON" not in post.slips["broken"].reason  # fmt: skip
    assert set(school.answered.values()) == {1}, "no request was answered twice"
    assert read_json(tmp_path / "out/result.json")["this_start"]["answered"] == len(school.answered)


def finished(cache: Path) -> int:
    """How many answers a cache holds."""
    with contextlib.closing(sqlite3.connect(cache / "answers.sqlite")) as opened:
        return int(opened.execute("SELECT count(*) FROM answers").fetchone()[0])


CHART = {"builder": "chart", "splits": {"train": 36}, "shard_rows": 9, "solutions": ["train"]}


def killed_when(process: "subprocess.Popen[bytes]", far: Callable[[], bool], later: float) -> None:
    """Kill a build a moment after it has come as far."""
    while process.poll() is None and not far():
        time.sleep(0.005)
    time.sleep(later)
    assert process.poll() is None, "it ended before it was killed"
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("name", POSTS)
def test_killed_it_ends_at_the_same_bytes(name: str, sums: Sums, tmp_path: Path) -> None:
    post, rng = POSTS[name], random.Random(name)
    count = post.many // 2
    school, source = School(Erring(post, SLIPS), faults=0.2, delay=0.03), sums(count, post.write)

    def command(server: Any, label: str) -> list[str]:
        file = tmp_path / f"{label}.json"
        tree = post.tree(server, source, tmp_path / label, tmp_path / f"cache-{label}", shard_rows=24)
        file.write_text(json.dumps(tree))
        return [sys.executable, "-m", "mmreflect", "build", str(file)]

    lost = kept = 0
    with schooling(school) as server:
        for _ in range(KILLS):
            process = subprocess.Popen(command(server, "cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before = sum(school.came.values())
            answered = sum(school.answered.values())
            killed_when(process, lambda before=before: sum(school.came.values()) >= before + 40, rng.random() * 0.2)
            assert not (tmp_path / "cut/manifest.json").exists()
            time.sleep(0.2)  # what was on its way to the server arrives
            before, kept = kept, finished(tmp_path / "cache-cut")
            lost += sum(school.answered.values()) - answered - (kept - before)
        subprocess.run(command(server, "cut"), check=True, capture_output=True)
        fresh = School(Erring(post, SLIPS))
        server.behave = fresh.behave
        subprocess.run(command(server, "whole"), check=True, capture_output=True)
    again = sum(count - 1 for count in school.answered.values())
    assert again == lost, "just what was under way at a kill is asked again"
    # in a slot, or answered a few milliseconds before, and on its way to the disk together with others
    assert lost <= KILLS * 2 * SLOTS * len(post.parts)
    assert set(school.answered) == set(fresh.answered) and set(fresh.answered.values()) == {1}
    cut, whole = bytes_of(tmp_path / "cut"), bytes_of(tmp_path / "whole")
    for found, label in ((cut, b"cache-cut"), (whole, b"cache-whole")):
        for file in ("manifest.json", "run.json"):
            found[file] = found[file].replace(label, b"cache")
    assert cut == whole and len(list((tmp_path / "cut/train").iterdir())) >= 2


@pytest.mark.slow
def test_killed_charts_end_at_the_same_bytes(tmp_path: Path) -> None:
    """Where nobody is asked a build goes on from its first missing shard."""
    file = tmp_path / "build.json"
    file.write_text(json.dumps(CHART | {"output": "x"}))

    def command(label: str) -> list[str]:
        return [sys.executable, "-m", "mmreflect", "build", str(file), f"output={tmp_path / label}"]

    shards = 0
    for _ in range(KILLS):
        process = subprocess.Popen(command("cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        known = shards
        killed_when(process, lambda known=known: len(list(tmp_path.glob("cut/train/*.jsonl"))) > known, 0.05)
        assert not (tmp_path / "cut/manifest.json").exists()
        shards = len(list(tmp_path.glob("cut/train/*.jsonl")))
    for label in ("cut", "whole"):
        subprocess.run(command(label), check=True, capture_output=True)
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")
