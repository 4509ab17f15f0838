"""Limits of tokens and cost: kept, told, and gone on from."""

import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest
from remote.loopback import Act, Body, Server, completion, serving, shown

from mmreflect.records import Turn
from mmreflect.remote import account
from mmreflect.remote.asks import Ask, LimitReachedError
from mmreflect.remote.cache import Paid
from mmreflect.remote.client import Client
from mmreflect.remote.progress import progress_line
from mmreflect.remote.settings import ServerConfig
from mmreflect.remote.spending import brief
from mmreflect.runs import open_run

PRICED = {"price_in": 1_000_000.0, "price_out": 2_000_000.0}
"""One token in costs 1, one out 2."""


def config(server: Server, folder: Path, **more: Any) -> ServerConfig:
    return ServerConfig(**{"base_url": server.url, "model": "teacher", "cache": str(folder), **more})


def asking(count: int, limit: int = 20) -> list[Ask]:
    return [Ask([Turn("user", [f"{place:30}"])], limit) for place in range(count)]


def test_costs_are_counted(tmp_path: Path) -> None:
    with serving(lambda body, number: Act(completion("x", tokens_in=7, tokens_out=3))) as server:
        for paid in (5, 0):
            with Client(config(server, tmp_path, **PRICED)) as client:
                answers = client.ask(asking(5))
                assert [(item.tokens_in, item.tokens_out) for item in answers] == [(7, 3)] * 5
                assert client.spent.paid == paid * 13 and client.spent.cost == 65 and client.spent.tokens == 50
                client.ask(asking(5))
                assert client.spent.cost == 65, "asked again is not paid again"


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"max_tokens_total": 100}, "max_tokens_total is 100: 72 tokens spent, and the next request may take 30 more"),
        ({"max_cost": 200.0, **PRICED}, "max_cost is 200: 156 spent, and the next request may take 50 more"),
    ],
    ids=["tokens", "cost"],
)
def test_a_limit_is_never_passed_and_a_higher_one_goes_on(
    limit: dict[str, Any], message: str, concurrency: int, run: Callable[[str], None], tmp_path: Path
) -> None:
    # A request is reckoned at 10 + 20 tokens and takes 10 + 2; for the cost, 10 + 40 and 10 + 16.
    tokens_out = 2 if "max_tokens_total" in limit else 8
    with serving(lambda body, number: Act(completion("x", tokens_in=10, tokens_out=tokens_out), delay=0.01)) as server:
        settings = config(server, tmp_path, concurrency=concurrency, **limit)
        run("a")
        with Client(settings) as client, pytest.raises(LimitReachedError) as caught:
            client.ask(asking(20))
        done = len(server.bodies)
        assert done == 6
        assert client.spent.cost <= (settings.max_cost or 1e9) and client.spent.tokens <= (
            settings.max_tokens_total or 1e9
        )
        assert message in caught.value.given and f"{done} answers for" in caught.value.given
        assert re.search(
            r"raise max_\w+ and start the same again; finished requests are in .* not paid again", caught.value.do
        )
        run("a")
        with Client(settings) as client, pytest.raises(LimitReachedError, match="in all starts spent"):
            client.ask(asking(20))
        assert len(server.bodies) == done, "what an earlier start paid counts"
        higher = {name: 20 * value if name.startswith("max") else value for name, value in limit.items()}
        with Client(config(server, tmp_path, **higher)) as client:
            assert all(answer.error is None for answer in client.ask(asking(20)))
        assert len(server.bodies) == 20


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Begin a run, or go on with it, as another start of its process does."""
    monkeypatch.setattr(account, "_claimed", [])

    def begin(name: str) -> None:
        folder = tmp_path / name
        open_run(str(folder), "build", "x", {"output": str(folder)})
        (folder / "rows.jsonl").write_text("")  # it has done some work

    return begin


def test_a_limit_holds_over_all_starts_of_a_run_whatever_they_ask(run: Callable[[str], None], tmp_path: Path) -> None:
    """By hand: a request is reckoned at 10 + 20 and takes 12, so that 100 tokens let 6 of them go out: 72 + 30 > 100."""
    with serving(lambda body, number: Act(completion("x", tokens_in=10, tokens_out=2))) as server:
        settings = config(server, tmp_path / "cache", max_tokens_total=100)
        for place in range(0, 20, 2):  # each start asks for something else: what is finished is not asked about again
            run("a")
            with Client(settings) as client:
                try:
                    client.ask(asking(20)[place : place + 2])
                except LimitReachedError as error:
                    assert "72 tokens in all starts spent" in error.given
        assert len(server.bodies) == 6 and client.spent.before == Paid(6, 60, 12)
        run("b")
        with Client(settings) as client:
            client.ask(asking(8))
            assert (client.spent.cached, client.spent.answered) == (6, 2), "what another run has paid costs nothing now"
        shutil.rmtree(tmp_path / "a")
        run("a")
        with Client(settings) as client:
            client.ask(asking(9)[8:])
            assert client.spent.before == Paid(), "a folder made anew holds another run"


def test_nothing_goes_out_before_all_that_was_paid_is_known(run: Callable[[str], None], tmp_path: Path) -> None:
    """The new requests come first, those in the cache behind them."""
    with serving(lambda body, number: Act(completion("x", tokens_in=10, tokens_out=2))) as server:
        settings = config(server, tmp_path / "cache", max_tokens_total=100, concurrency=1)
        run("a")
        with Client(settings) as client:
            client.ask(asking(20)[10:16])
        run("a")
        with Client(settings) as client, pytest.raises(LimitReachedError):
            client.ask(asking(20))
        assert len(server.bodies) == 6


def test_what_a_plain_question_costs_is_in_the_account(run: Callable[[str], None], tmp_path: Path) -> None:
    def behave(body: Body, number: int) -> Act:
        if shown(body) == "bad":
            return Act({"choices": []})
        return Act(completion("x", tokens_in=7, tokens_out=3))

    with serving(behave) as server:
        run("a")
        with Client(config(server, tmp_path / "cache", retries=0, concurrency=1)) as client:
            client.ask([Ask([Turn("user", ["other"])])])
            client.ask([Ask([Turn("user", ["bad"])])])
            assert (client.spent.answered, client.spent.health) == (1, 1)
        run("a")
        with Client(config(server, tmp_path / "cache")) as client:
            client.ask([Ask([Turn("user", ["other"])])])
            assert client.spent.before == Paid(1, 14, 6)


def test_clients_of_one_payee_pay_from_one_purse_in_every_start(run: Callable[[str], None], tmp_path: Path) -> None:
    """By hand: a request is reckoned at 10 + 20 and takes 12; 6 of them fit into 100, whoever of the two asks."""
    with serving(lambda body, number: Act(completion("x", tokens_in=10, tokens_out=2), delay=0.01)) as server:
        settings = config(server, tmp_path / "cache", max_tokens_total=100)
        for start in range(3):
            run("a")
            with Client(replace(settings, concurrency=3)) as one, Client(replace(settings, concurrency=4)) as two:
                ends = [SimpleQueue[Any](), SimpleQueue[Any]()]
                one.send(asking(20)[:10], ends[0].put)
                two.send(asking(20)[10:], ends[1].put)
                errors = [end.get(timeout=60) for end in ends]
            assert len(server.bodies) == 6, "the second asks of a purse that the first has paid from"
            for error in errors:
                assert isinstance(error, LimitReachedError)
                assert error.given.startswith(
                    "max_tokens_total is 100: 72 tokens" + (" in all starts" if start else "")
                )
            if not start and one.spent.answered and two.spent.answered:
                assert "72 tokens by all blocks that ask 'teacher' spent" in errors[0].given
        with Client(replace(settings, max_tokens_total=130)) as third:
            with pytest.raises(LimitReachedError, match="108 tokens in all starts spent"):
                third.ask(asking(20))
            assert third.spent.before == Paid(6, 60, 12)
        run("a")
        with Client(replace(settings, price_in=1.0)) as other:
            assert all(answer.error is None for answer in other.ask(asking(20)[:6]))
            assert other.spent.before == Paid(), "another price is another account"


def test_who_waits_for_another_client_is_woken_by_it(run: Callable[[str], None], tmp_path: Path) -> None:
    """By hand: of 60 tokens the first holds 30; the second needs 31 and waits, and goes out when 12 were paid."""
    gate = threading.Event()

    def behave(body: Body, number: int) -> Act:
        gate.wait(60 if not number else 0)
        return Act(completion("x", tokens_in=10, tokens_out=2))

    with serving(behave) as server:
        settings = config(server, tmp_path / "cache", max_tokens_total=60)
        run("a")
        with Client(settings) as one, Client(replace(settings, concurrency=1)) as two:
            first, second = SimpleQueue[Any](), SimpleQueue[Any]()
            one.send(asking(1), first.put)
            while not server.bodies:
                time.sleep(0.005)
            two.send(asking(2, 21)[1:], second.put)
            with pytest.raises(Empty):
                second.get(timeout=0.3)
            assert len(server.bodies) == 1
            gate.set()
            assert [found.get(timeout=60)[0].error for found in (first, second)] == [None, None]


def test_the_whole_limit_can_be_used(tmp_path: Path) -> None:
    with serving(lambda body, number: Act(completion("x", tokens_in=10, tokens_out=20))) as server:
        with Client(config(server, tmp_path, max_tokens_total=150)) as client:
            client.ask(asking(5))
        assert client.spent.tokens == 150 and len(server.bodies) == 5


def test_the_line_says_rows_tokens_and_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda body, number: Act(completion("x", tokens_in=7, tokens_out=3))) as server:
        settings = config(server, tmp_path, **PRICED)
        with Client(settings) as client, progress_line(client, "teacher", 4) as line:
            client.ask(asking(4), lambda place, answer: line.advance())
    assert capsys.readouterr().out == "teacher: 4 answers for 28 + 12 tokens, cost 52\n"


def test_the_live_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    act = Act(completion("x", tokens_in=7, tokens_out=3))
    with (
        serving(lambda body, number: act) as server,
        Client(config(server, tmp_path)) as client,
        progress_line(client, "teacher", 4, done=1) as line,
    ):
        client.ask(asking(3), lambda place, answer: line.advance())
    out = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    assert "4/4" in out and "3 answers for 21 + 9 tokens" in out


def test_the_short_form_sums_all_clients(tmp_path: Path) -> None:
    act = Act(completion("x", tokens_in=6000, tokens_out=150))
    with (
        serving(lambda body, number: act) as server,
        Client(config(server, tmp_path)) as one,
        Client(config(server, tmp_path, model="b", price_in=10.0)) as two,
    ):
        assert brief([one.spent, two.spent]) == "0 answers, 0 tokens"
        one.ask(asking(1))
        two.ask(asking(2))
        # 3 x 6,150 tokens; 2 x 6,000 of them cost 10 a million
        assert brief([one.spent, two.spent]) == "3 answers, 18.4k tokens, cost 0.12"
