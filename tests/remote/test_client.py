"""The client against a real server on loopback that is slow, refuses, breaks off, lies and hangs."""

import email.utils
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Act, Body, Server, completion, echo, serving, shown

from mmreflect.records import Turn
from mmreflect.remote import pace
from mmreflect.remote.asks import Answer, Ask, RefusedError, StopError, UnansweredError
from mmreflect.remote.client import Client
from mmreflect.remote.exchange import retry_after
from mmreflect.remote.sending import WRONG_AFTER
from mmreflect.remote.settings import ServerConfig


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.02)


def config(server: Server, **more: Any) -> ServerConfig:
    return ServerConfig(**{"base_url": server.url, "model": "teacher", "cache": "off", **more})


def asking(*texts: str, **more: Any) -> list[Ask]:
    return [Ask([Turn("user", [text])], **more) for text in texts]


def first(times: int, act: Callable[[], Act]) -> Callable[[Body, int], Act]:
    """Misbehave on the first requests, then echo."""
    return lambda body, number: act() if number < times else echo(body, number)


def echo_after(seconds: float) -> Callable[[Body, int], Act]:
    return lambda body, number: Act(echo(body, number).content, delay=seconds)


def test_answers_come_back_in_order_and_are_handed_over_as_they_finish() -> None:
    def behave(body: Body, number: int) -> Act:
        return Act(completion(f"re {shown(body)}"), delay=0.15 if shown(body) == "0" else 0.0)

    came: list[tuple[int, str]] = []
    with serving(behave) as server, Client(config(server, concurrency=4)) as client:
        answers = client.ask(asking(*map(str, range(8))), lambda place, answer: came.append((place, answer.text)))
    assert [answer.text for answer in answers] == [f"re {number}" for number in range(8)]
    assert sorted(came) == [(number, f"re {number}") for number in range(8)] and came[-1] == (0, "re 0")
    assert {answer.finish for answer in answers} == {"stop"} and not any(answer.cached for answer in answers)


def test_what_is_sent() -> None:
    turns = [
        Turn("system", ["Be brief."]),
        Turn("user", ["How ", "many?"]),
        Turn("assistant", ["Two."]),
        Turn("user", ["Sure?"]),
    ]
    with serving() as server, Client(config(server, extra={"min_p": 0.1, "temperature": None})) as client:
        client.ask([Ask(turns, 77, 0.7, 0.9, 20, seed=2**40 + 5)])
        client.ask([Ask(turns[:2])])
    assert server.paths == ["/v1/chat/completions"] * 2 and "Authorization" not in server.headers[0]
    assert server.bodies[0] == {
        "model": "teacher", "max_tokens": 77, "top_p": 0.9, "top_k": 20, "seed": 5, "min_p": 0.1,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many?"},
                     {"role": "assistant", "content": "Two."}, {"role": "user", "content": "Sure?"}],
    }  # fmt: skip
    assert set(server.bodies[1]) == {"model", "max_tokens", "min_p", "messages"}


def test_concurrency_is_used_and_never_exceeded() -> None:
    with serving(lambda body, number: Act(completion("x"), delay=0.03)) as server:
        with Client(config(server, concurrency=7)) as client:
            threads = [
                threading.Thread(target=client.ask, args=(asking(*(f"{name}{place}" for place in range(15))),))
                for name in "abc"
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(server.bodies) == 45 and server.most == 7


def test_requests_per_minute_are_spaced() -> None:
    with serving() as server, Client(config(server, requests_per_minute=1200, concurrency=8)) as client:
        client.ask(asking(*map(str, range(12))))
    gaps = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    assert server.times[-1] - server.times[0] > 11 * 0.05 - 0.03 and min(gaps) > 0.02


@pytest.mark.parametrize(
    "act",
    [
        lambda: Act({"error": {"message": "boom"}}, status=500),
        lambda: Act(b"<html>bad gateway</html>", status=502, kind="text/html"),
        lambda: Act(completion("whole"), cut=20),
        lambda: Act(b"", cut=0),
        lambda: Act(b'{"choices": [{"mess'),
        lambda: Act(b"<html>please log in</html>", kind="text/html"),
        lambda: Act({"choices": []}),
        lambda: Act([1, 2]),
        lambda: Act({"error": {"message": "upstream overloaded", "code": 503}}),
        lambda: Act(completion("late"), delay=0.4),
        lambda: Act(completion("slow bytes"), trickle=0.02),
    ],
    ids=["500", "502 html", "cut", "cut at once", "half JSON", "html", "no choice", "list", "error in 200", "hangs", "trickles"],
)  # fmt: skip
def test_failures_that_pass_are_tried_again(act: Callable[[], Act]) -> None:
    with serving(first(2, act)) as server, Client(config(server, timeout_s=0.25)) as client:
        answers = client.ask(asking("hello"))
    assert answers[0].error is None and answers[0].text == "you said hello"
    assert len(server.bodies) == 3 and client.spent.retried == 2


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda: Act({"error": {"message": "out of memory"}}, status=500), "status 500: out of memory"),
        (lambda: Act(completion("whole"), cut=20), "the connection broke"),
        (
            lambda: Act(b"<html>please log in</html>", kind="text/html"),
            "no JSON came back but text/html: '<html>please",
        ),
        (lambda: Act({"choices": []}), "no completion came back but '{\"choices\": []}'"),
        (lambda: Act(completion("late"), delay=0.4), "no answer within 0.15 s"),
    ],
)
def test_a_request_that_is_given_up_says_why_and_leaves_the_others_alone(act: Callable[[], Act], reason: str) -> None:
    def behave(body: Body, number: int) -> Act:
        return act() if shown(body) == "bad" else echo(body, number)

    with serving(behave) as server, Client(config(server, timeout_s=0.15, retries=1)) as client:
        answers = client.ask(asking("good", "bad", "fine"))
    assert [answer.error is None for answer in answers] == [True, False, True]
    error = answers[1].error
    assert (
        isinstance(error, UnansweredError) and reason in error.given and "did not answer in 2 attempts" in error.given
    )
    assert client.spent.failed == 1 and client.spent.health <= 1, "asked whether it lives where nothing else was heard"
    assert len(server.bodies) == 4 + client.spent.health


def test_retry_after_is_honoured_by_all_requests() -> None:
    act = Act({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0.5"})
    with serving(first(1, lambda: act)) as server, Client(config(server, concurrency=1)) as client:
        assert [answer.error for answer in client.ask(asking("a", "b", "c"))] == [None] * 3
    assert server.times[1] - server.times[0] > 0.45 and client.spent.slowed == 1


def test_what_a_retry_after_may_hold() -> None:
    later = email.utils.formatdate(time.time() + 90, usegmt=True)
    assert [retry_after(text) for text in ("7", "1.5", "-3", "soon", None)] == [7.0, 1.5, 0.0, None, None]
    assert 85 < (retry_after(later) or 0) <= 90 and retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


def test_a_server_that_wants_to_be_left_alone_for_long_ends_the_run() -> None:
    act = Act({"error": {"message": "come back tomorrow"}}, status=429, headers={"Retry-After": "86400"})
    text = r"left alone for 86,400 s .*come back tomorrow(.|\n)*patience_s=60"
    with (
        serving(lambda body, number: act) as server,
        Client(config(server, patience_s=60)) as client,
        pytest.raises(StopError, match=text),
    ):
        client.ask(asking("a"))


def test_overload_halves_what_goes_out_at_once_and_success_raises_it_slowly() -> None:
    busy: list[int] = []

    def behave(body: Body, number: int) -> Act:
        busy.append(server.now)
        if number < 16:
            return Act({"error": {"message": "busy"}}, status=503, delay=0.05)
        return Act(completion("x"), delay=0.01)

    with serving(behave) as server, Client(config(server, concurrency=16)) as client:
        answers = client.ask(asking(*map(str, range(60))))
    assert all(answer.error is None for answer in answers) and client.spent.slowed == 1
    assert max(busy[:16]) > 8 and max(busy[17:24]) <= 8 and max(busy[24:]) < 16


def test_a_pace_grows_by_one_in_a_round_of_successes() -> None:
    found = pace.Pace(16, None)
    found.overloaded(time.monotonic())
    assert found.limit == 8
    for _ in range(9):
        found.succeeded()
    assert 9 <= found.limit < 9.1
    for _ in range(51):
        found.succeeded()
    assert 13 < found.limit < 14  # the root of 8 * 8 + 2 * 60


def test_a_pace_never_falls_below_one_and_never_exceeds_its_bound() -> None:
    found = pace.Pace(4, None)
    for _ in range(5):
        found.overloaded(time.monotonic())
    assert found.limit == 1 and found.slowed == 5
    found.overloaded(time.monotonic() - 60)
    assert found.slowed == 5, "a request from before the last halving"
    for _ in range(200):
        found.succeeded()
    assert found.limit == 4


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (
            400,
            {"error": {"message": "image too large", "type": "invalid_request_error"}},
            "status 400: image too large",
        ),
        (422, {"detail": "Unexpected fields in the request: {'top_k'}"}, "status 422: Unexpected fields"),
        (400, {"object": "error", "message": "maximum context length is 4096"}, "status 400: maximum context length"),
        (413, {}, "status 413"),
    ],
)
def test_a_refused_request_is_not_sent_again(status: int, content: Any, message: str) -> None:
    def behave(body: Body, number: int) -> Act:
        return Act(content, status=status) if shown(body) == "bad" else echo(body, number)

    with serving(behave) as server, Client(config(server)) as client:
        answers = client.ask(asking("bad", "good"))
    assert isinstance(answers[0].error, RefusedError) and message in answers[0].error.given and answers[1].error is None
    assert len(server.bodies) == 2


def test_a_server_that_refuses_everything_ends_the_run() -> None:
    act = Act({"error": {"message": "temperature is not supported"}}, status=400)
    text = "temperature is not supported"
    with (
        serving(lambda body, number: act) as server,
        Client(config(server, concurrency=1)) as client,
        pytest.raises(StopError, match=text),
    ):
        client.ask(asking(*map(str, range(50))))
    assert len(server.bodies) == 8


@pytest.mark.parametrize(
    ("status", "content", "given", "do"),
    [
        (401, {"error": {"message": "Incorrect API key provided"}}, "status 401: Incorrect API key", "put the right key into TEACHER_KEY"),
        (403, {"error": "no access"}, "status 403: no access", "allow this key to use 'teacher'"),
        (404, {"error": {"message": "The model `teacher` does not exist"}}, "model `teacher` does not exist", "check base_url (most end with /v1) and model"),
        (404, {"detail": "Not Found"}, "status 404: Not Found", "check base_url"),
        (307, {}, "status 307: moved to http://elsewhere", "set base_url to that place"),
        (429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}, "status 429: You exceeded", "top up the account"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_be_used_ends_the_run(
    status: int, content: Any, given: str, do: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_KEY", "sk-secret")
    act = Act(content, status=status, headers={"Location": "http://elsewhere"} if status == 307 else {})
    with serving(lambda body, number: act) as server:
        with Client(config(server, api_key_env="TEACHER_KEY", concurrency=2)) as client:
            with pytest.raises(StopError) as caught:
                client.ask(asking(*map(str, range(20))))
            assert given in caught.value.given and do in caught.value.do and len(server.bodies) <= 4
            with pytest.raises(StopError):
                client.ask(asking("more"))
        assert len(server.bodies) <= 4


def test_the_key_goes_into_the_header_and_nowhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEACHER_KEY", "sk-secret-12345")

    def behave(body: Body, number: int) -> Act:
        if shown(body) == "bad":
            return Act({"error": {"message": "the key sk-secret-12345 may not say this"}}, status=400)
        return echo(body, number)

    options = {"api_key_env": "TEACHER_KEY", "cache": str(tmp_path / "cache")}
    with serving(behave) as server, Client(config(server, **options)) as client:
        answers = client.ask(asking("good", "bad"))
        text = repr(client.server) + repr(client.spent) + client.spent.text()
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer sk-secret-12345"}
    assert answers[1].error is not None and "the key *** may not say this" in answers[1].error.given
    assert "sk-secret" not in text + repr(answers)
    files = [path for path in (tmp_path / "cache").iterdir() if path.is_file()]
    assert files and not any(b"sk-secret" in path.read_bytes() for path in files)


def test_no_server_at_all() -> None:
    with serving() as server:
        pass
    text = "did not answer in 3 attempts; the last: no connection"
    with Client(config(server, retries=2)) as client, pytest.raises(StopError, match=text) as caught:
        client.ask(asking("a", "b"))
    assert "cache is off: what was answered is asked again" in caught.value.do


def test_a_server_that_dies_ends_the_run_and_what_it_had_said_is_kept(tmp_path: Path) -> None:
    def behave(body: Body, number: int) -> Act:
        return echo(body, number) if number < 5 else Act({"error": "dead"}, status=500)

    came: list[Answer] = []
    with serving(behave) as server:
        settings = config(server, retries=1, concurrency=1, cache=str(tmp_path))
        with Client(settings) as client, pytest.raises(StopError, match="status 500: dead") as caught:
            client.ask(asking(*map(str, range(50))), lambda place, answer: came.append(answer))
        assert "is not paid again" in caught.value.do and len(server.bodies) <= 5 + (WRONG_AFTER + 1) * 2
        server.behave = echo
        with Client(settings) as client:
            answers = client.ask(asking(*map(str, range(50))))
    assert sum(answer.error is None for answer in came) == 5 == sum(answer.cached for answer in answers)


def test_a_callback_that_raises_ends_the_ask_and_the_client_goes_on() -> None:
    def fail(place: int, answer: Answer) -> None:
        raise ValueError("mine")

    behave = echo_after(0.02)
    with serving(behave) as server, Client(config(server, concurrency=2)) as client:
        with pytest.raises(ValueError, match="mine"):
            client.ask(asking(*map(str, range(100))), fail)
        assert len(server.bodies) < 20
        assert client.ask(asking("next"))[0].text == "you said next"


def test_unusual_but_good_replies() -> None:
    said = {
        "none": completion(None),
        "parts": {"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "finish_reason": None}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        "thinks": completion("4", reasoning_content="2 and 2"),
        "cut": completion("and so", finish="length"),
        "half a pair": completion("x \ud83d y"),
    }  # fmt: skip
    with serving(lambda body, number: Act(said[shown(body)])) as server, Client(config(server)) as client:
        found = dict(zip(said, client.ask(asking(*said)), strict=True))
    assert [answer.text for answer in found.values()] == ["", "ab", "4", "and so", "x � y"]
    assert (
        found["thinks"].reasoning == "2 and 2" and found["cut"].finish == "length" and found["parts"].finish == "stop"
    )


def test_withheld_replies_are_errors() -> None:
    said = {"filtered": completion("", finish="content_filter"), "refused": completion(None, refusal="I cannot help")}
    with serving(lambda body, number: Act(said[shown(body)])) as server, Client(config(server)) as client:
        errors = [answer.error for answer in client.ask(asking(*said))]
    assert [str(error).splitlines()[0] for error in errors] == [
        "the server withheld the reply (content_filter)", "the model refused to reply: I cannot help"
    ]  # fmt: skip


def test_a_server_that_counts_no_tokens_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    def behave(body: Body, number: int) -> Act:
        return Act({**completion("a reply of thirty characters.."), "usage": None})

    with serving(behave) as server, Client(config(server)) as client:
        answers = client.ask(asking("twelve chars", "twelve signs"))
    assert [(answer.tokens_in, answer.tokens_out) for answer in answers] == [(4, 10)] * 2
    assert capsys.readouterr().out.count("counts no tokens: they are estimated from the text") == 1
    assert client.spent.text() == "2 answers for 8 + 20 tokens, tokens of 2 estimated"


def test_nothing_to_ask() -> None:
    with serving() as server, Client(config(server)) as client:
        assert client.ask([]) == [] and server.bodies == []
