"""Limits of tokens and cost: kept, told, and gone on from."""

import re
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Act, Server, completion, serving

from mmreflect.records import Turn
from mmreflect.remote.asks import Ask, LimitReachedError
from mmreflect.remote.client import Client
from mmreflect.remote.progress import progress_line
from mmreflect.remote.settings import ServerConfig

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
    limit: dict[str, Any], message: str, concurrency: int, tmp_path: Path
) -> None:
    # A request is reckoned at 10 + 20 tokens and takes 10 + 2; for the cost, 10 + 40 and 10 + 16.
    tokens_out = 2 if "max_tokens_total" in limit else 8
    with serving(lambda body, number: Act(completion("x", tokens_in=10, tokens_out=tokens_out), delay=0.01)) as server:
        settings = config(server, tmp_path, concurrency=concurrency, **limit)
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
        with Client(settings) as client, pytest.raises(LimitReachedError, match=f"{done} from the cache"):
            client.ask(asking(20))
        assert len(server.bodies) == done, "what an earlier start paid counts"
        higher = {name: 20 * value if name.startswith("max") else value for name, value in limit.items()}
        with Client(config(server, tmp_path, **higher)) as client:
            assert all(answer.error is None for answer in client.ask(asking(20)))
        assert len(server.bodies) == 20


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
