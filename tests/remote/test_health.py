"""Whether a server lives: a few requests that are never answered, or refused, and a server that answers nobody."""

from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Act, Body, echo, serving, shown
from remote.test_client import asking, config

from mmreflect.remote import pace
from mmreflect.remote.asks import RefusedError, StopError, UnansweredError
from mmreflect.remote.client import Client
from mmreflect.remote.spending import Paid


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.02)


def bad_ones(body: Body, number: int) -> Act:
    return Act({"choices": []}) if shown(body).startswith("bad") else echo(body, number)


def test_requests_that_are_never_answered_do_not_end_a_server_that_answers(tmp_path: Path) -> None:
    """Nothing but such requests is left, as on every further start of a run whose others are in the cache."""
    with serving(bad_ones) as server:
        settings = config(server, retries=1, concurrency=2, cache=str(tmp_path))
        with Client(settings) as client:
            client.ask(asking("good"))
        with Client(settings) as client:
            answers = client.ask(asking("good", *(f"bad {place}" for place in range(9))))
        assert answers[0].error is None and all(isinstance(one.error, UnansweredError) for one in answers[1:])
        others = [body for body in server.bodies[1:] if not shown(body).startswith("bad")]
    assert len(server.bodies) - len(others) == 1 + 18 and client.spent.health == len(others) > 0
    assert {shown(body) for body in others} == {"good"}, "one that was answered before is asked again"
    assert f"asked {len(others)} time" in client.spent.text()


@pytest.mark.parametrize("known", [True, False])
def test_a_server_that_hangs_and_answers_a_plain_question_ends_the_run(known: bool, tmp_path: Path) -> None:
    """Where it has never answered anything, a few requests may be at fault themselves, but not eight; none is given up."""
    hangs = False

    def behave(body: Body, number: int) -> Act:
        plain = shown(body) == "Reply with the word yes."
        return Act({"choices": []}) if hangs and not plain else echo(body, number)

    with serving(behave) as server:
        settings = config(server, retries=0, concurrency=1, cache=str(tmp_path))
        if known:
            with Client(settings) as client:
                client.ask(asking("good"))
        hangs, found = True, dict[int, Any]()
        with Client(settings) as client:
            asks = asking(*(["good"] if known else []), *map(str, range(20)))
            with pytest.raises(StopError, match="did not answer in 1 attempt"):
                client.ask(asks, lambda place, answer: found.setdefault(place, answer.error))
        assert [type(error) for error in found.values()] == ([type(None)] if known else [])


def test_a_request_that_is_never_answered_waits_for_the_first_answer_and_is_sent_again(tmp_path: Path) -> None:
    """The server answers plain questions only at first, as one that still loads its model may."""
    seen: list[str] = []

    def behave(body: Body, number: int) -> Act:
        seen.append(shown(body))
        loading = len([text for text in seen if text.startswith("row")]) <= 5
        return Act({"choices": []}) if shown(body).startswith("row") and loading else bad_ones(body, number)

    with serving(behave) as server:
        settings = config(server, retries=0, concurrency=1, cache=str(tmp_path))
        with Client(settings) as client:
            answers = client.ask(asking("bad", *(f"row {place}" for place in range(8))))
    assert [type(answer.error) for answer in answers] == [UnansweredError] + [type(None)] * 8
    assert seen.count("bad") == 2 and seen.count("row 0") == 2


def test_the_only_request_that_is_left_does_not_end_a_run_that_was_answered_before(tmp_path: Path) -> None:
    """All others are in files already, and not even read from the cache."""
    with serving(bad_ones) as server:
        settings = config(server, retries=0, cache=str(tmp_path))
        with Client(settings) as client:
            client.spent.before = Paid(requests=1)  # as a run's account tells
            assert isinstance(client.ask(asking("bad"))[0].error, UnansweredError)


def test_the_only_request_ends_the_run_where_nothing_was_ever_answered() -> None:
    with serving(bad_ones) as server, Client(config(server, retries=0)) as client:
        with pytest.raises(StopError, match="did not answer in 1 attempt"):
            client.ask(asking("bad"))
        assert [shown(body) for body in server.bodies] == ["bad", "Reply with the word yes."]


@pytest.mark.parametrize(("status", "named"), [(400, "did not answer in 1 attempt"), (401, "check|key|401")])
def test_a_server_lives_that_refuses_a_plain_question_but_not_one_that_locks_us_out(status: int, named: str) -> None:
    """One that lives is waited for, which is in vain where nothing else is under way."""

    def behave(body: Body, number: int) -> Act:
        return Act({"choices": []}) if shown(body) == "bad" else Act({"error": "no"}, status=status)

    with serving(behave) as server, Client(config(server, retries=0)) as client:
        with pytest.raises(StopError, match=named):
            client.ask(asking("bad"))
        assert len(server.bodies) == 2


@pytest.mark.parametrize("known", [True, False])
def test_many_refused_requests_do_not_end_a_run_that_has_answers(known: bool, tmp_path: Path) -> None:
    def behave(body: Body, number: int) -> Act:
        return Act({"error": "too large"}, status=413) if shown(body).startswith("bad") else echo(body, number)

    bad = [f"bad {place}" for place in range(12)]
    with serving(behave) as server:
        settings = config(server, cache=str(tmp_path), concurrency=1)
        if known:
            with Client(settings) as client:
                client.ask(asking("good"))
        with Client(settings) as client:
            if known:
                answers = client.ask(asking("good", *bad))
                assert sum(isinstance(answer.error, RefusedError) for answer in answers) == 12
            else:
                with pytest.raises(StopError, match="too large"):
                    client.ask(asking(*bad))
