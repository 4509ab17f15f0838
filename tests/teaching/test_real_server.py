"""Every builder asks a real server: a tiny model that has a scripted teacher's replies by heart, behind transformers.

A script teaches, and what it is asked and says is noted; a model is trained on that, served by `transformers serve`, and
asked for the same set. It is drawn from at a temperature, errs as its teacher did and by itself, and what it gets wrong
must be rejected. It is far too small to read a prompt of a page: its chat template shows it the question, and how the
request begins and ends.
"""

import importlib.util
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Act, Body, Server
from rollouts.test_openai_engine import transformers_serve
from teaching.schooling import School, schooling, write_sums
from teaching.staff import POSTS, Post, right_of
from teaching.test_staff import reply_of, topic_of

from mmreflect.data.store import open_dataset
from mmreflect.files import read_json
from mmreflect.records import text_of
from mmreflect.tiny import TinyConfig, build_processor, build_vlm, train_tokenizer

Cli = Callable[..., tuple[int, str]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("uvicorn") is None, reason="transformers[serving] is not installed"),
]
SHOWN = """\
{%- set all = namespace(text='') -%}
{%- for message in messages -%}{%- if message['role'] != 'assistant' -%}
{%- if message['content'] is string -%}{%- set all.text = all.text + message['content'] -%}
{%- else -%}{%- for part in message['content'] -%}{%- set all.text = all.text + (part['text'] or '') -%}{%- endfor -%}
{%- endif -%}{%- endif -%}{%- endfor -%}
{{- '<|im_start|>user\\n' + all.text[:40] + ' ... ' + all.text[-40:] + '\\n' -}}
{%- for mark in ['How much is ', 'hurt kitten ', 'Room '] -%}
{%- if mark in all.text -%}{{- mark + all.text.split(mark)[-1].split('?')[0].split(':')[0] -}}{%- endif -%}
{%- endfor -%}
{{- '<|im_end|>\\n<|im_start|>assistant\\n' -}}
{%- if not add_generation_prompt -%}
{%- if messages[-1]['content'] is string -%}{{- messages[-1]['content'] -}}
{%- else -%}{{- messages[-1]['content'][0]['text'] -}}{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}"""
TOPIC = re.compile(r"(?:How much is \d+ \+ \d+|hurt kitten \d+|Room \d+)(?=[?:])")
SHAPE = TinyConfig(hidden_size=64, layers=2, heads=2, vision_hidden_size=32, vocabulary=700)
TRAINER = {"max_steps": 120, "per_device_train_batch_size": 24, "learning_rate": 5e-3, "lr_scheduler_type": "linear", "warmup_steps": 10}  # fmt: skip
QUESTIONS = {"lemma": 8, "cold_start": 12, "first_try": 24, "re_rest": 24}
"""Where it is not `OTHERS`: few where a question gives many rows."""
OTHERS = 40


def questions(post: Post, folder: Path, run_cli: Cli) -> Path:
    """A dataset of questions without pictures."""
    more = {"pictures": False} if post.write is write_sums else {}
    file = post.write(folder / "in", QUESTIONS.get(post.builder, OTHERS), **more)
    tree = {"builder": "rows", "source": str(file), "output": str(folder / "source"), "validation": 0.0}
    code, text = run_cli("build", tree)
    assert code == 0, text
    return folder / "source"


def tree_of(post: Post, server: Server, source: Path, output: Path, model: str | None = None) -> dict[str, Any]:
    """The configuration, with all speakers one model where there is one."""
    tree = post.tree(server, source, output, output.with_name("cache"), shard_rows=100)
    for part in post.parts if model is not None else ():
        tree[part]["engine"]["server"] |= {"model": model, "cache": str(output.with_name("cache-served"))}
        tree[part] |= {"temperature": 0.7, "max_new_tokens": 200}
    return tree


def noted(post: Post, source: Path, folder: Path, run_cli: Cli) -> list[list[dict[str, Any]]]:
    """Build by the scripted teacher; return all conversations."""
    lessons = []

    def say(text: str, body: Body) -> str:
        said = post.say(text, body)
        lessons.append([*body["messages"], {"role": "assistant", "content": said}])
        return said

    with schooling(School(say)) as server:
        code, text = run_cli("build", tree_of(post, server, source, folder / "scripted"))
    assert code == 0, text
    return sorted(lessons, key=json.dumps)


def learnt(lessons: list[list[dict[str, Any]]], folder: Path, run_cli: Cli) -> Path:
    """Train a tiny model on conversations; return its folder."""
    rows = [{"id": f"lesson-{place}", "messages": turns} for place, turns in enumerate(lessons)]
    random.Random(0).shuffle(rows)
    (folder / "lessons.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    off = {
        "answer": "off",
        "final_answer": "off",
        "repeats": "off",
        "near_repeats": "off",
        "repetition": None,
        "leaks": [],
    }
    tree = {
        "builder": "rows",
        "source": str(folder / "lessons.jsonl"),
        "output": str(folder / "lessons"),
        "validation": 0.0,
    }
    code, text = run_cli("build", tree | {"quality": off})
    assert code == 0, text
    tokenizer = train_tokenizer((text_of(turn["content"]) for turns in lessons for turn in turns), SHAPE.vocabulary)
    topics = {topic for turns in lessons for turn in turns for topic in TOPIC.findall(text_of(turn["content"]))}
    tokenizer.add_tokens(sorted(topics))  # each question is one token, as two thousand steps are not to be spent here
    tokenizer.chat_template = SHOWN
    build_vlm(SHAPE, tokenizer).save_pretrained(folder / "untaught")
    build_processor(SHAPE, tokenizer).save_pretrained(folder / "untaught")
    sft = {
        "method": "sft", "output": str(folder / "sft"), "model": {"path": str(folder / "untaught")},
        "data": {"path": str(folder / "lessons")}, "trainer": TRAINER,
    }  # fmt: skip
    code, text = run_cli("train", sft)
    assert code == 0, text
    return folder / "sft/model"


SHORT = {"srpo_reflection", "cold_start", "lemma", "super_correct_pairs", "trr_safety"}
"""Posts that fail with so small a model: too few rows, or a guard that lets unsafe ones pass; docs/evidence/builders.md."""
_TOO_SMALL = pytest.mark.xfail(reason="the model is too small to learn these replies", strict=False)


@pytest.mark.parametrize("name", [pytest.param(name, marks=_TOO_SMALL if name in SHORT else ()) for name in POSTS])
def test_a_served_model_teaches(name: str, tmp_path: Path, run_cli: Cli) -> None:
    post = POSTS[name]
    source = questions(post, tmp_path, run_cli)
    lessons = noted(post, source, tmp_path, run_cli)
    model = learnt(lessons, tmp_path, run_cli)
    with transformers_serve(model) as url:
        server = Server(lambda body, number: Act(b""))
        server.url = url
        code, text = run_cli("build", tree_of(post, server, source, tmp_path / "taught", str(model)))
        assert code == 0, text
    asked = read_json(tmp_path / "taught/result.json")["this_start"]
    assert asked["answered"] > 0 and asked["failed"] == 0
    dataset = open_dataset(str(tmp_path / "taught"))
    rows = list(dataset.rows("train"))
    print(f"{name}: {len(rows)} rows kept; {asked['answered']} requests; rejects {dataset.manifest['rejects']}")
    for row in rows:
        ends = post.ends.replace("RIGHT", re.escape(str(right_of(topic_of(row)))))
        assert re.search(f"{ends}$", reply_of(row)), reply_of(row)
    assert len(rows) >= 20, dataset.manifest["rejects"]
