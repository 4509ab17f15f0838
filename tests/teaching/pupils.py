"""Tiny models that have what a scripted speaker says by heart, each behind a chat template that shows it what counts."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmreflect.records import text_of
from mmreflect.tiny import TinyConfig, build_processor, build_vlm, train_tokenizer

Cli = Callable[..., tuple[int, str]]
Turns = list[dict[str, Any]]
KINDS = (
    "so far, the last because", "Score it from", "the one field", "Solve the question anew",
    "Go through it critically", "improved solution",
    "Find every line", "your thoughts end here",
    "only the conclusion is missing", "Repair it",
    "find the place where it goes wrong first", "You play a student", "Go on in their words",
    "turn the solution of a question into a lesson", "Walk through the steps", "An inspector did not accept it", "Write between <Cause>", "You check whether",
    "look back on your own response", "You judge a response",
)  # fmt: skip
"""What tells one kind of request from another: those without are first attempts."""
SHOWN = (("as it is put right:\n", "\n"), ("\n\nResponse:\n", "\n"), ("he right answer is ", "."))
"""What else a reply depends on, with what ends it: what is to be judged, and the reference.

Where the reference is told it is shown in the place of the question, so that a teacher can copy it for questions that
it was not asked about while lessons were noted.
"""
TOPIC = re.compile(r"(?:How much is \d+ \+ \d+|hurt kitten \d+|Room \d+)(?=[?:])")
TEMPLATE = """\
{%- set all = namespace(text='') -%}
{%- for message in messages -%}{%- if message['role'] != 'assistant' -%}
{%- if message['content'] is string -%}{%- set all.text = all.text + message['content'] -%}
{%- else -%}{%- for part in message['content'] -%}{%- set all.text = all.text + (part['text'] or '') -%}{%- endfor -%}
{%- endif -%}{%- endif -%}{%- endfor -%}
{{- '<|im_start|>user\\n' -}}
{%- for mark in KINDS -%}{%- if mark in all.text -%}{{- mark -}}{%- endif -%}{%- endfor -%}
{%- for mark, end in SHOWN -%}
{%- if mark in all.text -%}{{- all.text.split(mark)[1].split(end)[0] -}}{%- endif -%}
{%- endfor -%}
{%- if 'he right answer is ' not in all.text -%}
{%- for mark in ['How much is ', 'hurt kitten ', 'Room '] -%}
{%- if mark in all.text -%}{{- mark + all.text.split(mark)[-1].split('?')[0].split(':')[0] -}}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n<|im_start|>assistant\\n' -}}
{%- if not add_generation_prompt -%}
{%- if messages[-1]['content'] is string -%}{{- messages[-1]['content'] -}}
{%- else -%}{{- messages[-1]['content'][0]['text'] -}}{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}""".replace("KINDS", str(list(KINDS))).replace("SHOWN", str([list(pair) for pair in SHOWN]))
SHAPE = TinyConfig(hidden_size=64, layers=2, heads=2, vision_hidden_size=32, vocabulary=800, text_init=0.12)
BATCH = 8
TRAINER = {"per_device_train_batch_size": BATCH, "learning_rate": 5e-3, "lr_scheduler_type": "linear", "warmup_steps": 20, "save_steps": 1000}  # fmt: skip
OFF = {"answer": "off", "final_answer": "off", "repeats": "off", "near_repeats": "off", "repetition": None, "leaks": []}


def untaught(lessons: list[Turns], folder: Path) -> Path:
    """A model whose tokenizer has read the lessons; each question and kind of request is one token of it."""
    words = [text_of(turn["content"]) for turns in lessons for turn in turns]
    tokenizer = train_tokenizer((text_of(turns[-1]["content"]) for turns in lessons), SHAPE.vocabulary)
    topics = {topic for text in words for topic in TOPIC.findall(text)}
    tokenizer.add_tokens([*KINDS, *map(str, range(10, 20)), *sorted(topics)])
    tokenizer.chat_template = TEMPLATE
    model = build_vlm(SHAPE, tokenizer)
    model.generation_config.do_sample = True  # or `transformers serve` takes the likeliest word at every temperature
    model.save_pretrained(folder)
    build_processor(SHAPE, tokenizer).save_pretrained(folder)
    return folder


def learnt(lessons: list[Turns], folder: Path, visits: int, run_cli: Cli) -> Path:
    """Train a tiny model on conversations, each so many times; return its folder."""
    folder.mkdir(parents=True)
    rows = [{"id": f"lesson-{place}", "messages": turns} for place, turns in enumerate(lessons)]
    random.Random(0).shuffle(rows)
    (folder / "lessons.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tree = {"builder": "rows", "source": str(folder / "lessons.jsonl"), "output": str(folder / "lessons")}
    code, text = run_cli("build", tree | {"validation": 0.0, "quality": OFF})
    assert code == 0, text
    sft = {
        "method": "sft", "output": str(folder / "sft"), "model": {"path": str(untaught(lessons, folder / "untaught"))},
        "data": {"path": str(folder / "lessons")}, "trainer": TRAINER | {"max_steps": max(160, visits * len(lessons) // BATCH)},
    }  # fmt: skip
    code, text = run_cli("train", sft)
    assert code == 0, text
    return folder / "sft/model"
