"""Builds that end in the middle and go on: refused and unanswered requests, limits, signals, a full disk."""

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Act, Body, completion, serving
from teaching.schooling import speaker, text_of_body, truth
from teaching.test_asking import config, say

from mmreflect import console
from mmreflect.building import examples, shards
from mmreflect.data.store import open_dataset
from mmreflect.remote import pace

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


def through(at: Any, source: Path, folder: Path, server: dict[str, Any], **more: Any) -> dict[str, Any]:
    plain = {key: more.pop(key) for key in ("shard_rows", "second_think", "correct_share") if key in more}
    policy, teacher = (
        speaker(at, part, folder / "cache", server=dict(server), **more) for part in ("policy", "teacher")
    )
    return config(source, folder / "out", policy, teacher, **plain)


def spoken(body: Body) -> Act:
    text = text_of_body(body)
    return Act(completion(say(text, body) if "How much" in text else "yes"))


def test_a_build_goes_on_where_nothing_is_left_to_ask_but_what_is_refused(
    sums: Sums, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first start asks for everything and cannot write it; refusals are not kept, so that they come again."""

    def behave(body: Body, number: int) -> Act:
        if "How much is 1 +" in text_of_body(body):  # the first ten of twenty
            return Act({"error": {"message": "picture too large"}}, status=413)
        return spoken(body)

    def full(path: Path, rows: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = sums(20)
    with serving(behave) as server:
        tree = through(server, source, tmp_path, {})
        with monkeypatch.context() as patch:
            patch.setattr(shards, "write_jsonl", full)
            assert run_cli("build", tree)[0] == 2
        asked = len(server.bodies)
        code, text = run_cli("build", tree)
        assert code == 0 and len(server.bodies) == asked + 10, text
    rejects = open_dataset(str(tmp_path / "out")).manifest["rejects"]
    assert rejects == {"attempt: the server refused the request": 10}


@pytest.mark.parametrize("bad", [Act({"choices": []}), Act({"error": {"message": "CUDA error"}}, status=500)])
def test_five_questions_that_are_never_answered_are_left_out(
    bad: Act, sums: Sums, tmp_path: Path, run_cli: Cli
) -> None:
    """The first start stops; on the second nothing else is left to ask about."""

    def behave(body: Body, number: int) -> Act:
        poisoned = "How much" in text_of_body(body) and truth(text_of_body(body)) > 5
        return bad if poisoned else spoken(body)

    source = sums(10)  # sums of 1 to 10
    with serving(behave) as server:
        code, text = run_cli("build", through(server, source, tmp_path, {"retries": 1}))
        assert code == 2 and "policy.unanswered=reject leaves such rows out" in text
        more = {"unanswered": "reject"}
        tree = through(server, source, tmp_path, {"retries": 1}, **more) | {"output": str(tmp_path / "second")}
        code, text = run_cli("build", tree)
        assert code == 0, text
    assert open_dataset(str(tmp_path / "second")).manifest["rejects"] == {"attempt: the server did not answer": 5}


def test_a_server_that_hangs_leaves_no_row_out(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """It answers whether it lives, and nothing else; two shards are there when it begins to hang."""
    hangs, asked = False, list[str]()

    def behave(body: Body, number: int) -> Act:
        text = text_of_body(body)
        if "How much" in text:
            asked.append(text)
            return Act({"choices": []}) if hangs else spoken(body)
        return spoken(body)

    def build(*words: str) -> tuple[int, str]:
        tree = through(server, source, tmp_path, {"retries": 0}, shard_rows=4, unanswered="reject")
        return run_cli("build", tree, *words)

    source = sums(20, pictures=False)
    with serving(behave) as server:
        hangs = True
        code, text = build(f"output={tmp_path / 'dead'}", "shard_rows=20")
        assert code == 2 and "did not answer in 1 attempt" in text, text
        assert not list((tmp_path / "dead/train").glob("*")), "an empty shard would never be asked for again"
        hangs = False
        assert build("teacher.engine.server.max_tokens_total=200")[0] == 2
        hangs = True
        code, text = build()
        assert code == 2 and "did not answer in 1 attempt" in text, text
        for file in (tmp_path / "out/train").glob("*"):  # one that was answered whole before may be written now
            assert len(file.read_text().splitlines()) == 4
        hangs = False
        assert build()[0] == 0
    dataset = open_dataset(str(tmp_path / "out"))
    assert "attempt: the server did not answer" not in dataset.manifest["rejects"]
    assert dataset.manifest["splits"]["train"]["rows"] == 20


def test_a_limit_holds_when_a_build_is_started_again_and_again(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """By hand: of 8 rows, two in a shard, each takes 1,040 tokens of the teacher: 4 fit into 4,500, and no fifth.

    They are the first four, and what ends the fifth takes none of them away: two shards are there from the start.
    """
    paid: list[int] = []

    def behave(body: Body, number: int) -> Act:
        act = spoken(body)
        act.content["usage"] = {"prompt_tokens": 1000, "completion_tokens": 40}
        paid.append(1040 if body["model"] == "teacher" else 0)
        return act

    source = sums(8, pictures=False)
    with serving(behave) as server:
        tree = through(server, source, tmp_path, {"concurrency": 1}, shard_rows=2)
        tree["teacher"]["max_new_tokens"] = 400
        tree["teacher"]["engine"]["server"]["max_tokens_total"] = 4500
        for _ in range(3):
            code, text = run_cli("build", tree)
            assert code == 2 and "max_tokens_total is 4,500: 4,160 tokens" in text, text
            assert sum(paid) == 4160 and len(list((tmp_path / "out/train").glob("*.jsonl"))) == 2
        assert "4,160 tokens in all starts spent" in text
        assert run_cli("build", tree, "teacher.engine.server.max_tokens_total=9000")[0] == 0
    assert sum(paid) == 8 * 1040 and len(list((tmp_path / "out/train").glob("*.jsonl"))) == 4


def test_two_blocks_of_one_model_have_one_limit_in_every_start(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """By hand: a request takes 120 tokens and is reckoned below 300, so that 1,000 let 6 to 8 of them go out.

    Whether the build is started once or four times, and although one of the blocks has other settings of its own.
    """
    paid: list[int] = []

    def behave(body: Body, number: int) -> Act:
        teaching = "the one field" in text_of_body(body)
        act = Act(completion(say(text_of_body(body), body | {"model": "teacher" if teaching else "policy"})))
        act.content["usage"] = {"prompt_tokens": 100, "completion_tokens": 20}
        paid.append(120)
        return act

    source = sums(8, pictures=False)
    with serving(behave) as server:
        limit = {"model": "same", "max_tokens_total": 1000}
        tree = through(server, source, tmp_path, limit, shard_rows=2, max_new_tokens=60)
        tree["teacher"]["engine"]["server"]["concurrency"] = 3
        for start in range(4):
            code, text = run_cli("build", tree)
            assert code == 2 and "max_tokens_total is 1,000: " in text, text
            if not start:
                first = sum(paid)
                assert 600 < first <= 1000, first
        assert sum(paid) == first and f"{first:,} tokens in all starts spent" in text


def test_a_full_disk_leaves_no_media_and_keeps_what_was_under_way(
    sums: Sums, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = examples.write_media

    def full(path: Path, content: bytes) -> None:
        write(path, content)
        if path.parent.name == "00001":
            raise OSError(errno.ENOSPC, "No space left on device")

    source = sums(8)
    answered: list[str] = []

    def behave(body: Body, number: int) -> Act:
        answered.append(text_of_body(body))
        return spoken(body)

    with serving(behave) as server:
        tree = through(server, source, tmp_path, {}, shard_rows=2)
        with monkeypatch.context() as patch:
            patch.setattr(examples, "write_media", full)
            code, text = run_cli("build", tree)
        assert code == 2 and "is full" in text and "Traceback" not in text and "destroyed" not in text
        assert [path.name for path in sorted((tmp_path / "out/media/train").iterdir())] == ["00000"]
        assert not list((tmp_path / "out").rglob("*.partial"))
        with sqlite3.connect(tmp_path / "cache/answers.sqlite") as opened:
            assert opened.execute("SELECT count(*) FROM answers").fetchone()[0] == len(answered)
        assert run_cli("build", tree)[0] == 0
    assert len(answered) == len(set(answered)) == 16


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_build_and_nothing_is_asked_again(
    number: signal.Signals, code: int, sums: Sums, tmp_path: Path, run_cli: Cli
) -> None:
    gate, answered, begun = threading.Event(), list[str](), list[str]()

    def behave(body: Body, place: int) -> Act:
        begun.append(text_of_body(body))
        if place >= 6:
            gate.wait(60)
        answered.append(text_of_body(body))
        return spoken(body)

    source = sums(20, pictures=False)
    with serving(behave) as server:
        tree = through(server, source, tmp_path, {"concurrency": 4})
        (tmp_path / "build.json").write_text(json.dumps(tree))
        words = [sys.executable, "-u", "-m", "mmreflect", "build", str(tmp_path / "build.json")]
        child = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # who runs this in the background ignores it
        )  # fmt: skip
        end = time.monotonic() + 60
        while len(begun) < 10 and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(child.pid, number)
        assert child.stdout is not None
        assert any("under way, whose answers are kept" in line for line in child.stdout)
        gate.set()
        _, error = child.communicate(timeout=60)
        assert child.returncode == code and "start the same command again to go on" in error, error
        assert not {word for word in ("Traceback", "destroyed", "shutdown") if word in error}, error
        assert run_cli("build", tree)[0] == 0
    assert len(answered) == len(set(answered)) == 40


def test_the_bar_moves_while_rows_wait_for_their_shard(
    sums: Sums, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[float] = []
    monkeypatch.setattr(console.ProgressBar, "_show", lambda bar, completed: shown.append(completed))
    source = sums(10, pictures=False)
    with serving(lambda body, number: spoken(body)) as server:
        code, text = run_cli("build", through(server, source, tmp_path, {}, correct_share=0.5))
    assert code in (0, 2), text
    before = shown[: shown.index(5.0) + 1]
    assert len(set(before)) > 3 and before == sorted(before), "ten rows that wait count for half before one is done"


def test_a_bar_never_goes_back() -> None:
    moved: list[float] = []

    class Progress:
        def update(self, task: int, completed: float) -> None:
            moved.append(completed)

    bar = console.ProgressBar(Progress(), 0, done=2)  # type: ignore[arg-type]
    bar.ahead(1.5)
    bar.advance()
    bar.ahead(0.5)
    bar.ahead(2)
    bar.advance(3)
    assert moved == [3.5, 5, 6]
