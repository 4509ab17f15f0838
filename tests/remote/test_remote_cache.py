"""No finished request is paid twice: over clients, processes, kills, and a damaged file."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel
from remote.loopback import Act, Body, Server, completion, echo, serving, shown

from mmreflect.errors import UserError
from mmreflect.records import FrameSampling, Media, Turn
from mmreflect.remote.asks import Ask, StopError
from mmreflect.remote.cache import AnswerCache, Paid
from mmreflect.remote.client import Client
from mmreflect.remote.pictures import Pictures
from mmreflect.remote.requests import Requests
from mmreflect.remote.settings import PictureConfig, ServerConfig


def config(server: Server, folder: Path, **more: Any) -> ServerConfig:
    return ServerConfig(**{"base_url": server.url, "model": "teacher", "cache": str(folder), **more})


def asking(*texts: str) -> list[Ask]:
    return [Ask([Turn("user", [text])], seed=1) for text in texts]


def test_the_second_client_pays_nothing(tmp_path: Path) -> None:
    with serving() as server:
        with Client(config(server, tmp_path)) as client:
            paid = client.ask(asking("a", "b"))
        with Client(config(server, tmp_path)) as client:
            kept = client.ask(asking("a", "b", "c"))
            assert client.spent.text() == "1 answer for 10 + 4 tokens, 2 from the cache"
    assert [answer.text for answer in kept] == ["you said a", "you said b", "you said c"] and len(server.bodies) == 3
    assert kept[:2] == [replace(answer, cached=True) for answer in paid] and not kept[2].cached


def test_one_request_asked_many_times_at_once_is_paid_once(tmp_path: Path) -> None:
    with serving(lambda body, number: Act(completion(str(number)), delay=0.02)) as server:
        with Client(config(server, tmp_path)) as client:
            answers = client.ask(asking("a", "b") * 20)
        assert len(server.bodies) == 2 and client.spent.answered == 2 and client.spent.cached == 38
    assert len({answer.text for answer in answers[::2]}) == 1 == len({answer.text for answer in answers[1::2]})


def test_the_key_holds_everything_that_an_answer_depends_on(tmp_path: Path) -> None:
    class Reply(BaseModel):
        answer: int

    class Other(BaseModel):
        answer: str

    file, copy, other = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"
    Image.new("RGB", (4, 4), "red").save(file)
    copy.write_bytes(file.read_bytes())
    Image.new("RGB", (4, 4), "blue").save(other)
    picture = Media("image", str(file))

    def key(ask: Ask, **settings: Any) -> str:
        server = ServerConfig(**{"base_url": "http://x/v1", "model": "m", **settings})
        return Requests(server, Pictures(server.pictures)).key(ask)

    plain = Ask([Turn("user", ["How many?", picture])], 10, 0.5, 0.9, 5, 3)
    turn = Turn("user", ["How many?", replace(picture, path=str(copy))])
    same = [key(plain), key(replace(plain, turns=[turn])), key(plain, base_url="http://other:9/v1", concurrency=3)]
    assert len(set(same)) == 1
    varied = [
        plain,
        replace(plain, turns=[Turn("user", ["How many!", picture])]),
        replace(plain, turns=[Turn("user", [picture, "How many?"])]),
        replace(plain, turns=[Turn("system", ["How many?", picture])]),
        *(
            replace(plain, turns=[Turn("user", ["How many?", shown])])
            for shown in (
                Media("image", str(other)), replace(picture, crop=(0, 0, 2, 2)), replace(picture, at=1.0), replace(picture, scale=0.5),
                Media("video", str(file)), Media("video", str(file), (0, 0, 1, 1), (0.0, 2.0)), Media("video", str(file), frames=FrameSampling(nframes=4)),
            )
        ),
        replace(plain, max_tokens=11), replace(plain, temperature=0.6), replace(plain, top_p=0.8), replace(plain, top_k=6),
        replace(plain, seed=4), replace(plain, seed=None), replace(plain, schema=Reply), replace(plain, schema=Other),
    ]  # fmt: skip
    keys = [key(ask) for ask in varied]
    keys += [key(plain, model="n"), key(plain, extra={"min_p": 0.1}), key(plain, pictures=PictureConfig(max_pixels=9))]
    keys.append(key(plain, version="2"))
    assert len(set(keys)) == len(keys) == 23
    Image.new("RGB", (4, 4), "green").save(file)
    assert key(plain) != keys[0], "the file's content has changed"


def test_answers_of_another_address_are_shared_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as first, serving() as second:
        with Client(config(first, tmp_path)) as client:
            client.ask(asking("a", "b"))
            client.ask(asking("a"))
            assert client.spent.elsewhere.total() == 0
        with Client(config(second, tmp_path)) as client:
            client.ask(asking("a", "b", "c"))
        assert client.spent.elsewhere == {first.url: 2} and len(second.bodies) == 1
        assert f"2 from the cache, 2 of them by {first.url}" in client.spent.text()
        assert capsys.readouterr().out.count(f"answers in the cache are from {first.url}") == 1
        with Client(config(second, tmp_path, version="step 200")) as client:
            client.ask(asking("a"))
        assert len(second.bodies) == 2, "another version is another model"


def test_answers_that_were_kept_without_an_address_are_read(tmp_path: Path) -> None:
    with serving() as server:
        ask = asking("a")[0]
        key = Requests(config(server, tmp_path), Pictures(PictureConfig())).key(ask)
        cache = AnswerCache(tmp_path)
        cache.put([(key, json.dumps(["before", "stop", 1, 2, ""]))])
        cache.close()
        with Client(config(server, tmp_path)) as client:
            assert client.ask([ask])[0].text == "before" and not client.spent.elsewhere
    assert server.bodies == []


def test_failures_are_not_kept(tmp_path: Path) -> None:
    with serving(lambda body, number: Act({"error": "no"}, status=400)) as server:
        with Client(config(server, tmp_path)) as client:
            assert client.ask(asking("a"))[0].error is not None
        server.behave = echo
        with Client(config(server, tmp_path)) as client:
            assert client.ask(asking("a"))[0].text == "you said a"


CHILD = """
import sys
from mmreflect.records import Turn
from mmreflect.remote.asks import Ask
from mmreflect.remote.client import Client
from mmreflect.remote.settings import ServerConfig
url, cache, rows = sys.argv[1:]
with open(rows, "w") as file, Client(ServerConfig(base_url=url, model="teacher", cache=cache, concurrency=8)) as client:
    def note(place, answer):
        assert answer.error is None, answer.error
        print(place, answer.text, file=file, flush=True)
    client.ask([Ask([Turn("user", [f"question {place}"])], seed=place) for place in range(200)], note)
"""


def run(server: Server, folder: Path, name: str) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-c", CHILD, server.url, str(folder / "cache"), str(folder / name)]
    return subprocess.Popen(words, stderr=subprocess.PIPE)


def rows_in(file: Path) -> list[str]:
    return sorted(file.read_text().splitlines(), key=lambda line: int(line.split()[0]))


def test_killed_in_the_middle_of_200_requests_nothing_finished_is_paid_twice(tmp_path: Path) -> None:
    with serving(lambda body, number: Act(echo(body, number).content, delay=0.01)) as server:
        for kills, stop_at in enumerate((60, 140), 1):
            child = run(server, tmp_path, "killed")
            deadline = time.monotonic() + 30
            while len(server.bodies) < stop_at and time.monotonic() < deadline:
                time.sleep(0.002)
            child.send_signal(signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
            time.sleep(0.05)  # what the server had begun it ends
            with sqlite3.connect(tmp_path / "cache" / "answers.sqlite") as opened:
                finished = {json.loads(row[0])[0] for row in opened.execute("SELECT answer FROM answers")}
            told = {
                line.split(maxsplit=1)[1]
                for line in (tmp_path / "killed").read_text().splitlines(True)
                if line.endswith("\n")
            }
            assert {line.strip() for line in told} <= finished, "an answer was told before it was kept"
            assert len(server.bodies) - 16 * kills <= len(finished) < 200, "twice the concurrency may be on its way"
            before = len(server.bodies)
        child = run(server, tmp_path, "rows")
        assert child.wait(30) == 0, child.stderr and child.stderr.read()
    asked = [shown(body) for body in server.bodies]
    assert rows_in(tmp_path / "rows") == [f"{place} you said question {place}" for place in range(200)]
    assert sorted(asked[before:]) == sorted(
        {f"question {place}" for place in range(200)} - {text.removeprefix("you said ") for text in finished}
    )
    assert len(asked) - 200 <= 2 * 16


def test_several_processes_share_a_cache(tmp_path: Path) -> None:
    with serving(lambda body, number: Act(completion(f"{shown(body)} {number}"), delay=0.01)) as server:
        children = [run(server, tmp_path, name) for name in "abc"]
        assert [child.wait(30) for child in children] == [0] * 3
        assert 200 <= len(server.bodies) <= 600
    assert rows_in(tmp_path / "a") == rows_in(tmp_path / "b") == rows_in(tmp_path / "c"), (
        "the first answer counts for all"
    )


@pytest.mark.parametrize("damage", ["no database", "torn pages", "empty"])
def test_a_damaged_file_is_set_aside_and_told(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "answers.sqlite"
    with serving() as server:
        with Client(config(server, tmp_path)) as client:
            client.ask(asking(*(f"{number} {'long ' * 200}" for number in range(60))))
        content = bytearray(file.read_bytes())
        assert not Path(f"{file}-wal").exists()
        if damage == "no database":
            content[:100] = b"x" * 100
        elif damage == "torn pages":
            content[len(content) // 2 :] = os.urandom(len(content) - len(content) // 2)
        else:
            content = bytearray()
        file.write_bytes(content)
        with Client(config(server, tmp_path)) as client:
            answers = client.ask(asking(*(f"{number} {'long ' * 200}" for number in range(60))))
            assert all(answer.error is None for answer in answers)
            paid = client.spent.answered
    out = capsys.readouterr().out
    if damage == "empty":  # SQLite takes an empty file for a new one
        assert paid == 60 and f"the cache {file} is empty" in out
    else:
        assert f"the cache {file} is damaged" in out and (tmp_path / "answers.sqlite.damaged-1").is_file()
        assert f"{60 - paid} answer" in out and (damage == "no database" or paid < 60)


def test_a_changed_answer_is_asked_for_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        with Client(config(server, tmp_path)) as client:
            client.ask(asking("a", "b"))
        with sqlite3.connect(tmp_path / "answers.sqlite") as opened:
            opened.execute("UPDATE answers SET answer = replace(answer, 'you said a', 'you said z')")
        with Client(config(server, tmp_path)) as client:
            assert [answer.text for answer in client.ask(asking("a", "b"))] == ["you said a", "you said b"]
        assert len(server.bodies) == 3 and capsys.readouterr().out.count("is not what had been written") == 1


def test_another_process_that_set_the_file_aside_is_noticed(tmp_path: Path) -> None:
    left, right = AnswerCache(tmp_path), AnswerCache(tmp_path)
    left.put([("a", "1")])
    assert right.get("a") == "1"
    right.close()
    os.replace(tmp_path / "answers.sqlite", tmp_path / "aside")
    right.put([("b", "2")])
    assert left.get("b") == "2" and left.put([("b", "3"), ("c", "4")]) == ["2", "4"]


def test_a_full_disk_ends_the_run_and_the_answer_is_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmreflect.remote import cache

    connect = cache._connect

    def small(file: Path) -> sqlite3.Connection:
        opened = connect(file)
        opened.execute("PRAGMA max_page_count = 8")
        return opened

    monkeypatch.setattr(cache, "_connect", small)
    came: list[str] = []

    def long(body: Body, number: int) -> Act:
        return Act(completion(f"{shown(body)} {'x' * 3000}"))

    with serving(long) as server, Client(config(server, tmp_path, concurrency=1)) as client:
        with pytest.raises(StopError, match=r"answers.sqlite cannot be used: database or disk is full(.|\n)*make room"):
            client.ask(asking(*map(str, range(30))), lambda place, answer: came.append(answer.text))
        assert 3 < len(server.bodies) == len(came) < 12


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with serving() as server:
        with pytest.raises(UserError, match=r"cache '.*file' is a file"):
            Client(config(server, tmp_path / "file"))
        with (
            Client(config(server, tmp_path / "file" / "cache")) as client,
            pytest.raises(StopError, match="cannot be used"),
        ):
            client.ask(asking("a"))
    assert server.bodies == []


def test_accounts_add_up_and_are_carried_over_from_a_damaged_file(tmp_path: Path) -> None:
    left, right = AnswerCache(tmp_path), AnswerCache(tmp_path)
    left.put([("a", "1")], ("run", "m"), Paid(1, 10, 2))
    right.put([], ("run", "m"), Paid(2, 5, 5))
    right.put([("b", "2")], ("other", "m"), Paid(1, 1, 1))
    right.put([("c", "3")])
    assert left.paid(("run", "m")) == Paid(3, 15, 7) and left.paid(("run", "n")) == Paid()
    with sqlite3.connect(tmp_path / "answers.sqlite") as opened:
        opened.executescript("DROP TABLE answers; CREATE TABLE answers (key TEXT)")
    assert right.get("a") is None, "no such column: it is set aside"
    assert (tmp_path / "answers.sqlite.damaged-1").is_file() and right.paid(("run", "m")) == Paid(3, 15, 7)
