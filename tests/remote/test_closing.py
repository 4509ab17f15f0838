"""Ends in the middle: what is under way is waited for and kept, and nothing is left over in the terminal."""

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
from remote.loopback import Act, Body, Server, echo, serving

from mmreflect.records import Turn
from mmreflect.remote import pace
from mmreflect.remote.asks import Ask, StopError
from mmreflect.remote.client import Client, close_all
from mmreflect.remote.settings import ServerConfig


def config(server: Server, folder: Path, **more: Any) -> ServerConfig:
    return ServerConfig(**{"base_url": server.url, "model": "teacher", "cache": str(folder), "concurrency": 4, **more})


def asking(count: int) -> list[Ask]:
    return [Ask([Turn("user", [f"{place}"])], seed=1) for place in range(count)]


def kept(folder: Path) -> int:
    with sqlite3.connect(folder / "answers.sqlite") as opened:
        return int(opened.execute("SELECT count(*) FROM answers").fetchone()[0])


def until(what: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.005)
    assert what()


def held(gate: threading.Event, after: int = 0) -> Callable[[Body, int], Act]:
    """Answer nobody from a request on before the gate opens."""

    def behave(body: Body, number: int) -> Act:
        if number >= after:
            gate.wait(60)
        return echo(body, number)

    return behave


def test_clients_that_are_closed_together_keep_what_is_under_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate, ended = threading.Event(), list[Any]()
    with serving(held(gate)) as server:
        clients = [Client(config(server, tmp_path / name)) for name in "ab"]
        for client in clients:
            client.send(asking(50), ended.append)
        until(lambda: len(server.bodies) == 8)
        threading.Timer(0.1, gate.set).start()
        close_all(clients)
        assert len(server.bodies) == 8 == kept(tmp_path / "a") + kept(tmp_path / "b"), "all stop before one is awaited"
    assert [type(one) for one in ended] == [StopError] * 2 and all(client.closed for client in clients)
    assert "waiting for 8 requests under way, whose answers are kept" in capsys.readouterr().out
    close_all(clients)


def test_what_is_never_answered_is_waited_for_as_long_as_a_request_may_take(tmp_path: Path) -> None:
    gate, ended = threading.Event(), list[Any]()
    with serving(held(gate)) as server:
        client = Client(config(server, tmp_path, timeout_s=1.0))
        client.send(asking(50), ended.append)
        until(lambda: len(server.bodies) == 4)
        client.close()
        gate.set()
        assert len(server.bodies) == 4 and len(ended) == 1


def test_a_close_does_not_wait_for_rests_between_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 1e6)
    monkeypatch.setattr(pace, "LONGEST_WAIT_S", 1e6)
    act, ended = Act({"error": "busy"}, status=503, headers={"Retry-After": "500"}), list[Any]()
    with serving(lambda body, number: act) as server:
        client = Client(config(server, tmp_path, requests_per_minute=6000))
        client.send(asking(50), ended.append)
        until(lambda: client.spent.retried > 0)
        client.close()
    assert len(server.bodies) <= 4 and len(ended) == 1


CHILD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests in the background ignores it
from mmreflect.records import Turn
from mmreflect.remote.asks import Ask
from mmreflect.remote.client import Client
from mmreflect.remote.settings import ServerConfig
url, cache = sys.argv[1:]
client = Client(ServerConfig(base_url=url, model="teacher", cache=cache, concurrency=4))
client.ask([Ask([Turn("user", [f"question {place}"])], seed=place) for place in range(200)])
"""


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_asking(times: int, tmp_path: Path) -> None:
    gate = threading.Event()
    with serving(held(gate, after=20)) as server:
        words = [sys.executable, "-u", "-c", CHILD, server.url, str(tmp_path)]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until(lambda: len(server.bodies) == 24)
        assert child.stdout is not None
        os.kill(child.pid, signal.SIGINT)
        assert "waiting for 4 requests under way" in child.stdout.readline()
        if times == 2:
            os.kill(child.pid, signal.SIGINT)
            _, error = child.communicate(timeout=60)
            gate.set()
        else:
            gate.set()
            _, error = child.communicate(timeout=60)
    assert error.rstrip().endswith("KeyboardInterrupt") and "destroyed" not in error and "shutdown" not in error, error
    assert kept(tmp_path) == (24 if times == 1 else 20) and len(server.bodies) == 24
