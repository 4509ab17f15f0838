"""Asking for rows: how rows wait for each other, and what is said when it cannot go on."""

import errno
import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Act, Body, completion, serving, shown
from teaching.schooling import School, schooling, scripted, speaker, text_of_body, truth

from mmreflect.building import Example
from mmreflect.building import shards as building
from mmreflect.data.store import open_dataset
from mmreflect.files import read_json, read_jsonl
from mmreflect.records import Turn
from mmreflect.reflection.tags import follows
from mmreflect.remote import pace
from mmreflect.teaching.running import Runner
from mmreflect.teaching.speakers import SpeakerConfig, open_voices
from mmreflect.teaching.steps import Gather, Gathered, Question, Steps, Task, ask

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


# ---- running -------------------------------------------------------------------------------------------------------


def row_of(name: str, text: str) -> Example:
    return Example(name, [{"role": "user", "content": text}])


def run(tree: dict[str, Any], tasks: list[Task]) -> list[Any]:
    from mmreflect.config import parse

    voices = open_voices({"teacher": parse(SpeakerConfig, tree, "the test")}, [], 0)
    try:
        return [made.row for made in Runner(voices, tasks, seed=0).run()]
    finally:
        for voice in voices.values():
            if voice.client is not None:
                voice.client.close()


def twice(name: str) -> Callable[[Counter[str]], Steps]:
    def steps(counted: Counter[str]) -> Steps:
        first = yield from ask(Question("teacher", "first", [Turn("user", [f"{name} first"])]))
        gathered: Gathered = yield Gather(first.text)
        second = yield from ask(Question("teacher", "second", [Turn("user", [f"{name} second"])]))
        return row_of(name, f"{second.text} of {gathered.own} in {len(gathered.values)}")

    return steps


def test_rows_of_the_next_shards_go_on_while_one_waits(tmp_path: Path) -> None:
    """The first row of the first shard hangs until a row of the last shard was asked about: nobody waits in vain."""
    later = threading.Event()

    def behave(body: Body, number: int) -> Act:
        if shown(body) == "row 0 first":
            assert later.wait(10)
        if shown(body).startswith("row 8"):
            later.set()
        return Act(completion("said"))

    tasks = [Task(f"row {place}", place // 3, twice(f"row {place}")) for place in range(9)]
    with serving(behave) as server:
        rows = run(speaker(server, "m", tmp_path / "cache"), tasks)
    assert [row.messages[0]["content"] for row in rows] == [f"said of {place % 3} in 3" for place in range(9)]


def test_an_engine_here_answers_whole_shards(tmp_path: Path) -> None:
    tree = scripted(tmp_path / "replies.jsonl", {"*": ["one", "two"]})
    tasks = [Task(f"row {place}", place // 2, twice(f"row {place}")) for place in range(5)]
    rows = run(tree, tasks)
    assert [row.messages[0]["content"] for row in rows] == [f"two of {own} in {size}" for own, size in [(0, 2), (1, 2), (0, 2), (1, 2), (0, 1)]]  # fmt: skip


# ---- what goes wrong -----------------------------------------------------------------------------------------------

GOOD = "<think>I look at them. I add them. That is it.</think><answer>{}</answer>"


def config(source: Path, output: Path, policy: Any, teacher: Any, **more: Any) -> dict[str, Any]:
    plain = {"second_think": "none", "correct_share": None, "min_score": None}
    tree = {"builder": "srpo_reflection", "output": str(output), "source": {"path": str(source)}}
    return {**tree, "policy": policy, "teacher": teacher, **plain, **more}


def say(text: str, body: Body) -> str:
    if body["model"] == "policy":
        return GOOD.format(truth(text))
    return json.dumps({"reflection": "I go through it again. It holds."})


def through(at: Any, source: Path, output: Path, cache: Path, **more: Any) -> dict[str, Any]:
    policy, teacher = (speaker(at, part, cache, **more) for part in ("policy", "teacher"))
    return config(source, output, policy, teacher)


def test_a_limit_ends_the_build_and_nothing_is_paid_twice(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    source, school = sums(20), School(say)
    with schooling(school) as server:
        limits = {"max_tokens_total": 3000, "concurrency": 2}
        tree = through(server, source, tmp_path / "a", tmp_path / "cache", server=limits, max_new_tokens=500)
        code, text = run_cli("build", tree)
        assert code == 2 and "max_tokens_total is 3,000" in text and "Traceback" not in text
        before = len(school.answered)
        assert 0 < before < 40 and not (tmp_path / "a/manifest.json").exists()
        tree = through(server, source, tmp_path / "b", tmp_path / "cache", max_new_tokens=500)
        code, text = run_cli("build", tree)
        assert code == 0, text
    assert len(school.answered) == 40 and set(school.answered.values()) == {1}
    result = read_json(tmp_path / "b/result.json")["this_start"]
    assert (result["cached"], result["answered"]) == (before, 40 - before)


def test_what_a_server_does_not_answer(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    source = sums(6)

    def behave(body: Body, number: int) -> Act:
        if "How much" not in text_of_body(body):
            return Act(completion("yes"))
        if truth(text_of_body(body)) == 3:  # 1 + 2
            return Act({"error": {"message": "oops"}}, status=500)
        return Act(completion(say(text_of_body(body), body)))

    with serving(behave) as server:
        more = {"server": {"retries": 1}}
        code, text = run_cli("build", through(server, source, tmp_path / "a", tmp_path / "cache", **more))
        assert code == 2 and "did not answer in 2 attempts" in text and "start the same again" in text
        assert "policy.unanswered=reject leaves such rows out" in text
        tree = through(server, source, tmp_path / "b", tmp_path / "cache", unanswered="reject", **more)
        code, text = run_cli("build", tree)
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "b"))
    assert dataset.manifest["rejects"] == {"attempt: the server did not answer": 1}
    assert len(list(dataset.rows("train"))) == 5


def test_what_a_server_refuses_withholds_or_cuts(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    source = sums(6)
    acts = {
        1: Act({"error": {"message": "the picture is too large"}}, status=400),
        2: Act(completion("", "content_filter")),
        3: Act(completion("<think>and on and", "length")),
        4: Act(completion("")),
    }

    def behave(body: Body, number: int) -> Act:
        text = text_of_body(body)
        if truth(text) == 5 and body["model"] == "teacher":
            return Act(completion("I would rather not."))
        return acts.get(truth(text)) or Act(completion(say(text, body)))

    with serving(behave) as server:
        code, text = run_cli("build", through(server, source, tmp_path / "out", tmp_path / "cache"))
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    assert dataset.manifest["rejects"] == {
        "attempt: the reply was cut off at its limit of tokens": 1,
        "attempt: the reply was withheld": 1,
        "attempt: the server refused the request": 1,
        "attempt: the tags are not as asked for": 1,
        "reflect: no reply was JSON that fits": 1,
    }
    rejected = {row["id"]: row["detail"] for row in read_jsonl(tmp_path / "out/rejects/train-00000.jsonl") if "detail" in row}  # fmt: skip
    assert "the picture is too large" in rejected["sum-0000"] and "no JSON object" in rejected["sum-0004"]
    assert [row["id"] for row in dataset.rows("train")] == ["sum-0005"]
    assert dataset.manifest["asked"]["teacher"]["refused_replies"] == 3


def test_a_script_is_read_and_refused_as_a_server_is(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    policy = scripted(tmp_path / "policy.jsonl", {"sum-0000": [GOOD.format(2)], "*": [GOOD.format(2)]})
    good = json.dumps({"reflection": "I see."})
    replies = {"sum-0000": ["no JSON", '{"reflection": "<answer>1"}', good], "*": ['{"reflection": ""}']}
    teacher = scripted(tmp_path / "teacher.jsonl", replies)
    code, text = run_cli("build", config(sums(2), tmp_path / "out", policy, teacher))
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    (sample,) = dataset.samples("train")
    assert (
        sample.response
        == GOOD.format(2).replace("><a", ">\n<a") + "\n<reflection>I see.</reflection>\n<answer>1</answer>"
    )
    assert sample.facts["regime"] == "revise" and not sample.facts["first_correct"]
    assert (
        sample.messages[0]["role"] == "system"
        and sample.question == "Question:<question>How much is 1 + 0?</question>\n"
    )
    assert dataset.manifest["rejects"] == {"reflect: no reply was JSON that fits": 1}
    assert dataset.manifest["asked"]["teacher"] | {"tokens_in": 0, "tokens_out": 0, "sampler": 0} == {
        "model": "scripted", "sampler": 0, "requests": 6, "refused_replies": 5, "repaired_replies": 0, "tokens_in": 0, "tokens_out": 0, "cost": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"answer": None}, "the reference is neither a letter from A to D nor a number"),
        ({"answer": "a red cup"}, "the reference is neither a letter from A to D nor a number"),
        ({"answer": "b"}, ""),
        ({"answer": "-3.5"}, ""),
    ],
)
def test_references(row: dict[str, Any], reason: str, tmp_path: Path, run_cli: Cli) -> None:
    """Gold b, attempt B: a right attempt, to be refined."""
    (tmp_path / "in.jsonl").write_text(json.dumps({"id": "q", "question": "What?", **row}) + "\n")
    tree = {"builder": "rows", "source": str(tmp_path / "in.jsonl"), "output": str(tmp_path / "in"), "validation": 0.0}
    assert run_cli("build", tree)[0] == 0
    policy = scripted(tmp_path / "policy.jsonl", {"*": [GOOD.format("B")]})
    teacher = scripted(tmp_path / "teacher.jsonl", {"*": ['{"reflection": "It holds."}']})
    code, text = run_cli("build", config(tmp_path / "in", tmp_path / "out", policy, teacher, second_think="short"))
    assert code == (2 if reason else 0) and reason in text, text
    if not reason:
        (sample,) = open_dataset(str(tmp_path / "out")).samples("train")
        assert sample.facts["regime"] == ("refine" if row["answer"] == "b" else "revise")
        assert sample.response is not None and sample.response.count("<think>") == 2


def test_a_wrong_attempt_may_be_marked(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """Of 1 + 0 and 1 + 1 one attempt is wrong: SFT finds where it ends."""
    policy = scripted(tmp_path / "policy.jsonl", {"*": [GOOD.format("1")]})
    teacher = scripted(tmp_path / "teacher.jsonl", {"*": ['{"reflection": "I see."}']})
    code, text = run_cli("build", config(sums(2), tmp_path / "out", policy, teacher, mask_wrong_attempt=True))
    assert code == 0, text
    right, wrong = open_dataset(str(tmp_path / "out")).samples("train")
    assert right.facts["error_prefix"] is None
    attempt = GOOD.format("1").replace("><a", ">\n<a")
    assert (wrong.response or "")[: wrong.facts["error_prefix"]] == attempt


BAD = [
    ({"leaks": ["["]}, "leaks holds '[', which is no regular expression"),
    ({"judge": {"model": "tiny"}}, "judge is set and min_score=null asks none"),
    ({"policy": {}}, "no model is named, and engine 'transformers' speaks with one"),
    ({"policy": {"model": "nowhere"}}, "no such model: nowhere"),
    ({"policy": {"engine": "opnai"}}, "did you mean 'openai'"),
    ({"teacher": {"model": "tiny", "temperatur": 1}}, "did you mean 'temperature'"),
    ({"teacher": {"engine": {"name": "scripted", "replies": "x"}, "model": "tiny"}}, "engine 'scripted' does not obey model"),
    ({"teacher": {"engine": {"name": "scripted", "replies": "x"}, "frames": {"fps": 1.0}}}, "engine 'scripted' does not obey frames"),
    ({"prompts": "nowhere"}, "no such folder of prompts: nowhere"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "message"), BAD)
def test_bad_options(more: dict[str, Any], message: str, grid: Path, tmp_path: Path, run_cli: Cli) -> None:
    code, text = run_cli("build", config(grid, tmp_path / "out", {"model": "tiny"}, {"model": "tiny"}) | more)
    assert code == 2 and message in text and "Traceback" not in text, text


def test_an_edited_prompt_is_another_run(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    own = tmp_path / "own"
    own.mkdir()
    policy = scripted(tmp_path / "policy.jsonl", {"*": [GOOD.format("1")]})
    teacher = scripted(tmp_path / "teacher.jsonl", {"*": ['{"reflection": "It holds."}']})
    tree = config(sums(1), tmp_path / "out", policy, teacher, prompts=str(own))
    assert run_cli("build", tree)[0] == 0
    (own / "system.jinja").write_text("Answer twice.")
    code, text = run_cli("build", tree)
    assert code == 2 and "holds a run on another prompts: it has changed since" in text


def test_a_full_disk_leaves_no_half_shard(
    sums: Sums, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = scripted(tmp_path / "policy.jsonl", {"*": [GOOD.format("1")]})
    teacher = scripted(tmp_path / "teacher.jsonl", {"*": ['{"reflection": "It holds."}']})
    tree = config(sums(4), tmp_path / "out", policy, teacher, shard_rows=2)
    write = building.write_jsonl

    def full(path: Path, rows: Any) -> None:
        if path.name == "00001.jsonl":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, rows)

    with monkeypatch.context() as patch:
        patch.setattr(building, "write_jsonl", full)
        code, text = run_cli("build", tree)
    assert code == 2 and f"the disk of {tmp_path / 'out'} is full" in text and "Traceback" not in text
    assert [path.name for path in (tmp_path / "out/train").iterdir()] == ["00000.jsonl"]
    assert run_cli("build", tree)[0] == 0
    assert len(list(open_dataset(str(tmp_path / "out")).rows("train"))) == 4


def test_a_tiny_model_teaches_and_a_tiny_model_learns(grid: Path, tmp_path: Path, run_cli: Cli) -> None:
    """The whole way without a server; what an untrained teacher says is noise, which is no matter here."""
    shape = {"hidden_size": 32, "layers": 2, "heads": 2, "vision_hidden_size": 32}
    tiny = {"path": "tiny", "tiny": shape}
    policy = scripted(tmp_path / "policy.jsonl", {"*": [GOOD.format("2")]})
    teacher = {"model": tiny, "max_new_tokens": 96, "temperature": 1.0}
    tree = config(grid, tmp_path / "out", policy, teacher, reply="text", leaks=[])
    code, text = run_cli("build", tree, "source.split=train")
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    samples = list(dataset.samples("train"))
    assert "reflect: the reply was cut off at its limit of tokens" in dataset.manifest["rejects"]
    assert all(follows(sample.response or "", "cold_start") and len(sample.media) == 1 for sample in samples)
    assert dataset.manifest["asked"]["teacher"]["requests"] == 48
    trainer = {"max_steps": 2, "per_device_train_batch_size": 2, "learning_rate": 1e-3}
    sft = {"method": "sft", "output": str(tmp_path / "sft"), "model": tiny, "data": {"path": str(tmp_path / "out")}}
    code, text = run_cli("train", sft | {"trainer": trainer})
    assert code == 0 and (tmp_path / "sft/model/model.safetensors").is_file(), text
