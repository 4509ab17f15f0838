"""Every builder asks a real server: tiny models that have a scripted teacher's replies by heart, behind transformers."""

import importlib.util
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Act, Body, Server
from rollouts.test_openai_engine import transformers_serve
from teaching.pupils import Turns, learnt
from teaching.schooling import School, schooling, write_sums
from teaching.staff import POSTS, Post, right_of
from teaching.test_staff import reply_of, topic_of

from mmreflect.data.store import open_dataset
from mmreflect.files import read_json, read_jsonl

Cli = Callable[..., tuple[int, str]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("uvicorn") is None, reason="transformers[serving] is not installed"),
]
QUESTIONS = {"lemma": 8, "cold_start": 16, "first_try": 24, "re_rest": 24, "trr_safety": 32, "super_correct": 32, "super_correct_pairs": 60}
"""Where it is not `OTHERS`: few where a question gives many rows."""
OTHERS = 40
TAUGHT: dict[str, dict[str, Any]] = {"srpo_reflection": {"correct_share": None}}
"""Options while lessons are noted: all attempts are discussed, as others than then may be drawn later."""
ASKED: dict[str, dict[str, Any]] = {"super_correct_pairs": {"attempts": 1}}
"""Options of both builds: further attempts of so small a student make the same pairs."""
DRAWN = ("policy", "student", "agent", "reflector", "writer")
"""Who is asked at a temperature; others teach or judge, and are asked at 0 unless several replies are wanted."""


def questions(name: str, folder: Path, run_cli: Cli) -> Path:
    """A dataset of questions without pictures."""
    post = POSTS[name]
    more = {"pictures": False} if post.write is write_sums else {}
    file = post.write(folder / "in", QUESTIONS.get(name, OTHERS), **more)
    tree = {"builder": "rows", "source": str(file), "output": str(folder / "source"), "validation": 0.0}
    code, text = run_cli("build", tree)
    assert code == 0, text
    return folder / "source"


def noted(name: str, source: Path, folder: Path, run_cli: Cli) -> dict[str, list[Turns]]:
    """Build by the scripted speakers; return the conversations of each."""
    lessons, post = defaultdict(list), POSTS[name]

    def say(text: str, body: Body) -> str:
        said = post.say(text, body)
        lessons[body["model"]].append([*body["messages"], {"role": "assistant", "content": said}])
        return said

    with schooling(School(say)) as server:
        tree = post.tree(server, source, folder / "scripted", folder / "cache", shard_rows=100)
        code, text = run_cli("build", tree | ASKED.get(name, {}) | TAUGHT.get(name, {}))
    assert code == 0, text
    return {part: sorted(turns, key=json.dumps) for part, turns in lessons.items()}


def asked_of(name: str, models: dict[str, Path], server: Server, source: Path, output: Path) -> dict[str, Any]:
    """The configuration, with a model of its own for each speaker."""
    post = POSTS[name]
    tree = post.tree(server, source, output, output.with_name("cache-served"), shard_rows=100)
    for part in post.parts:
        tree[part]["engine"]["server"]["model"] = str(models[part])
        warm = part in DRAWN or tree.get("samples", 1) > 1
        tree[part] |= {"temperature": 0.7 if warm else 0.0, "max_new_tokens": 200}
    return tree | ASKED.get(name, {})


@pytest.mark.parametrize("name", POSTS)
def test_a_served_model_teaches(name: str, tmp_path: Path, run_cli: Cli) -> None:
    t = [time.time()]
    post = POSTS[name]
    source = questions(name, tmp_path, run_cli)
    lessons = noted(name, source, tmp_path, run_cli)
    t.append(time.time())
    models = {part: learnt(turns, tmp_path / part, run_cli) for part, turns in lessons.items()}
    t.append(time.time())
    print({p: len(l) for p, l in lessons.items()})
    with transformers_serve() as url:
        server = Server(lambda body, number: Act(b""))
        server.url = url
        code, text = run_cli("build", asked_of(name, models, server, source, tmp_path / "taught"))
        assert code == 0, text
    t.append(time.time())
    print([round(b - a) for a, b in zip(t, t[1:])])
    asked = read_json(tmp_path / "taught/result.json")["this_start"]
    assert asked["answered"] > 0 and asked["failed"] == 0
    dataset = open_dataset(str(tmp_path / "taught"))
    rows = list(dataset.rows("train"))
    print(f"{name}: {len(rows)} rows kept; {asked['answered']} requests; rejects {dataset.manifest['rejects']}")
    for file in (tmp_path / "taught/rejects").iterdir():
        for reject in list(read_jsonl(file))[:40]:
            print("  R", str(reject)[:400])
    for row in rows[:8]:
        print("  K", reply_of(row))
    for row in rows:
        ends = post.ends.replace("RIGHT", re.escape(str(right_of(topic_of(row)))))
        assert re.search(f"{ends}$", reply_of(row)), reply_of(row)
    assert len(rows) >= 20, dataset.manifest["rejects"]
