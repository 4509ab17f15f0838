"""Every builder asks a real server: tiny models that have a scripted speaker's replies by heart, behind transformers.

A script teaches, and what it is asked and says is noted. A model for each speaker is trained on that, all are served by
`transformers serve`, and the builder asks them for a set: it names the speaker's model in each request. Who attempts
something is drawn from at a temperature; all err as their teacher did and by themselves, and what they get wrong must
be rejected. They are far too small to read a prompt of a page: their chat template shows them the kind of the request,
the question, and what is to be judged.
"""

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
from teaching.staff import POSTS, right_of
from teaching.test_staff import reply_of, topic_of

from mmreflect.data.store import open_dataset
from mmreflect.files import read_json

Cli = Callable[..., tuple[int, str]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("uvicorn") is None, reason="transformers[serving] is not installed"),
]
QUESTIONS = {
    "srpo_reflection": 48, "cold_start": 16, "first_try": 24, "lemma": 10, "re_rest": 24,
    "super_correct": 32, "super_correct_pairs": 48, "trr_safety": 32,
}  # fmt: skip
VISITS = {"cold_start": 36, "super_correct_pairs": 12}
"""How often a lesson is learnt, where it is not `OTHERS`: more where only the last word of long replies is hard, fewer where many are alike."""
OTHERS = 24
NOTED: dict[str, dict[str, Any]] = {"srpo_reflection": {"correct_share": None}, "super_correct_pairs": {"attempts": 3}}
"""Options while lessons are noted, so that they are about all that may be asked for when models attempt what they like."""
ASKED: dict[str, dict[str, Any]] = {"super_correct_pairs": {"attempts": 1}}
"""Options always: a question's attempts have the same right steps before the wrong one, and so make the same pair."""
DRAWN = ("policy", "student", "agent", "reflector", "writer")
"""Who is asked at a temperature; others teach or judge, and are asked at 0 unless several replies are wanted."""


def questions(name: str, folder: Path, run_cli: Cli) -> Path:
    """A dataset of questions without pictures."""
    write = POSTS[name].write
    file = write(folder / "in", QUESTIONS[name], **({"pictures": False} if write is write_sums else {}))
    tree = {"builder": "rows", "source": str(file), "output": str(folder / "source"), "validation": 0.0}
    code, text = run_cli("build", tree)
    assert code == 0, text
    return folder / "source"


def tree_of(name: str, server: Server, source: Path, output: Path) -> dict[str, Any]:
    cache = output.with_name(f"cache-{output.name}")
    return POSTS[name].tree(server, source, output, cache, shard_rows=100) | ASKED.get(name, {})


def noted(name: str, source: Path, folder: Path, run_cli: Cli) -> dict[str, list[Turns]]:
    """Build by the scripted speakers; return the conversations of each."""
    lessons = defaultdict[str, list[Turns]](list)

    def say(text: str, body: Body) -> str:
        said = POSTS[name].say(text, body)
        lessons[body["model"]].append([*body["messages"], {"role": "assistant", "content": said}])
        return said

    with schooling(School(say)) as server:
        tree = tree_of(name, server, source, folder / "scripted") | NOTED.get(name, {})
        code, text = run_cli("build", tree)
    assert code == 0, text
    return {part: sorted(turns, key=json.dumps) for part, turns in lessons.items()}


def served(name: str, models: dict[str, Path], tree: dict[str, Any]) -> dict[str, Any]:
    """A configuration with a model of its own for each speaker."""
    for part in POSTS[name].parts:
        warm = part in DRAWN or tree.get("samples", 1) > 1
        tree[part]["engine"]["server"]["model"] = str(models[part])
        tree[part] |= {"temperature": 0.7 if warm else 0.0, "max_new_tokens": 200}
    return tree


@pytest.mark.parametrize("name", POSTS)
def test_served_models_teach(name: str, tmp_path: Path, run_cli: Cli) -> None:
    post, began = POSTS[name], time.monotonic()
    source = questions(name, tmp_path, run_cli)
    lessons = noted(name, source, tmp_path, run_cli)
    visits = VISITS.get(name, OTHERS)
    models = {part: learnt(turns, tmp_path / part, visits, run_cli) for part, turns in lessons.items()}
    assert set(models) == set(post.parts)
    taught = time.monotonic()
    with transformers_serve() as url:
        server = Server(lambda body, number: Act(b""))
        server.url = url
        tree = served(name, models, tree_of(name, server, source, tmp_path / "taught"))
        code, text = run_cli("build", tree)
        assert code == 0, text
    asked = read_json(tmp_path / "taught/result.json")["this_start"]
    assert asked["answered"] > 0 and asked["failed"] == 0
    dataset = open_dataset(str(tmp_path / "taught"))
    rows = list(dataset.rows("train"))
    print(
        f"{name}: {QUESTIONS[name]} questions, {sum(map(len, lessons.values()))} lessons; {len(rows)} rows kept; "
        f"{asked['answered']} requests; rejects {dataset.manifest['rejects']}; "
        f"{taught - began:.0f} s to teach, {time.monotonic() - taught:.0f} s to build"
    )
    for row in rows:
        ends = post.ends.replace("RIGHT", re.escape(str(right_of(topic_of(row)))))
        assert re.search(f"{ends}$", reply_of(row)), reply_of(row)
    assert len(rows) >= 20, dataset.manifest["rejects"]
