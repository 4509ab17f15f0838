"""What is said about a server's options before anything is asked."""

from pathlib import Path
from typing import Any

import pytest

from mmreflect.config import parse
from mmreflect.errors import UserError
from mmreflect.remote.settings import ServerConfig, check

LEAST = {"base_url": "http://localhost:8000/v1", "model": "m"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_url": "localhost:8000"}, "base_url: expected an address such as http://localhost:8000/v1"),
        ({"base_url": "http://me:secret@host/v1"}, "base_url: an address holds no user, password or query"),
        ({"base_url": "http://host/v1?key=secret"}, "base_url: an address holds no user, password or query"),
        ({"base_url": "http://host/v1/chat/completions"}, "base_url: leave the endpoint out"),
        ({"api_key_env": "sk-secret"}, "api_key_env: expected the name of an environment variable in capitals"),
        ({"api_key_env": "secret1a2b3c"}, "api_key_env: expected the name of an environment variable in capitals"),
        ({"max_cost": 3.0}, "max_cost needs price_in and price_out"),
        ({"extra": {"messages": []}}, "extra may not set messages"),
        ({"extra": {"api_key": "secret"}}, "extra may not hold a key"),
        ({"concurency": 3}, "unknown key 'concurency'; did you mean 'concurrency'?"),
        ({"pictures": {"max_pixel": 3}}, "unknown key 'pictures.max_pixel'; did you mean 'max_pixels'?"),
        ({"requests_per_minute": 0}, "requests_per_minute: "),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(ServerConfig, {**LEAST, **options}, "server")
    assert message in str(caught.value) and "secret" not in str(caught.value)


def test_a_good_one() -> None:
    given = {
        **LEAST,
        "base_url": "https://host:1/v1/",
        "api_key_env": "TEACHER_KEY",
        "requests_per_minute": 30,
        "pictures": {"frames": {"nframes": 4}},
    }
    server = parse(ServerConfig, given, "server")
    assert server.base_url == "https://host:1/v1" and server.cost(2_000_000, 10) == 0.0
    assert server.pictures.frames.nframes == 4 and server.cache_folder == Path("outputs/requests")


def test_a_missing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ServerConfig(**LEAST, api_key_env="TEACHER_KEY")
    for value in (None, " "):
        monkeypatch.delenv("TEACHER_KEY", raising=False)
        if value is not None:
            monkeypatch.setenv("TEACHER_KEY", value)
        with pytest.raises(
            UserError, match=r"the environment variable TEACHER_KEY is not set(.|\n)*export TEACHER_KEY="
        ):
            check(server)


def test_without_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package httpx(.|\n)*pip install 'mmreflect\[teacher\]'"):
        check(ServerConfig(**LEAST))
