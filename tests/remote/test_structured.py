"""Replies in JSON: what is repaired, what is asked for again, what is given up."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, RootModel, field_validator
from remote.loopback import Act, Body, Server, completion, serving, shown

from mmreflect.records import Turn
from mmreflect.remote.asks import Ask, RefusedError
from mmreflect.remote.client import Client
from mmreflect.remote.settings import ServerConfig
from mmreflect.remote.structured import RejectedError, read_reply


class Verdict(BaseModel):
    correct: bool
    reason: str
    steps: list[int] = Field(default_factory=list)

    @field_validator("reason")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("no reason is given")
        return value


class Numbers(RootModel[list[int]]):
    pass


@pytest.mark.parametrize(
    "text",
    [
        '{"correct": true, "reason": "a, b"}',
        '```json\n{"correct": true, "reason": "a, b"}\n```',
        'Here it is:\n{"correct": true, "reason": "a, b",}\nI hope that helps, {really}.',
        '{"correct": true, "reason": "a, b", "steps": [],\n }',
        '<think>maybe {"correct": false, "reason": "x"} or {</think> {"correct": true, "reason": "a, b"}',
        'First {"correct": false, "reason": "draft"}, then {"correct": true, "reason": "a, b"}',
        '{"correct": true, "reason": "a, b"} where set {1, 2} is meant',
    ],
)
def test_what_is_repaired(text: str) -> None:
    assert read_reply(text, Verdict) == Verdict(correct=True, reason="a, b")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the reply is empty"),
        ("<think>hm</think>\n", "the reply is empty"),
        ("It is correct.", "the reply holds no JSON object"),
        ('{"correct": true, "reason": "a', "its JSON does not end"),
        ('{"correct": true, "reason": "a", "steps": [{"correct": true, "reason": "inner"}', "its JSON does not end"),
        ('{"correct": true, "reason": "a"} and {"correct', "its JSON does not end"),
        ('{"correct": true "reason": "a"}', "the reply is not JSON: Expecting ',' delimiter at character 17"),
        ('{"correct": true}', "the reply does not fit: reason: Field required"),
        ('{"correct": "perhaps", "reason": 4}', "the reply does not fit: correct: Input should be a valid boolean"),
        ('{"correct": true, "reason": " "}', "reason: Value error, no reason is given"),
        ('{"correct": true, "reason": "\\ud83d"}', "the reply holds half a character"),
        ('{"reason": ' + "[" * 50_000 + "]" * 50_000 + "}", "the reply is nested too deep"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(RejectedError) as caught:
        read_reply(text, Verdict)
    assert reason in str(caught.value)


def test_a_whole_json_that_was_cut_after_its_end_is_refused_too() -> None:
    with pytest.raises(RejectedError, match="cut off at its limit of tokens"):
        read_reply('{"correct": true, "reason": "a"}', Verdict, "length")


def test_commas_and_brackets_in_strings_are_left_alone() -> None:
    text = 'so: {"correct": true, "reason": "a,] b,} \\" {", "steps": [1, 2,],}'
    assert read_reply(text, Verdict) == Verdict(correct=True, reason='a,] b,} " {', steps=[1, 2])


def test_lists() -> None:
    assert read_reply("The set {1}: [1, 2, 3,]", Numbers).root == [1, 2, 3]
    with pytest.raises(RejectedError, match="no JSON list"):
        read_reply('{"a": 1}', Numbers)


# ---- through the client ----------------------------------------------------------------------------------------

GOOD = '{"correct": true, "reason": "it adds up"}'


def config(server: Server, cache: "str | Path" = "off", **more: Any) -> ServerConfig:
    return ServerConfig(**{"base_url": server.url, "model": "teacher", "cache": str(cache), **more})


def asking(text: str = "Is it right?", **more: Any) -> list[Ask]:
    return [Ask([Turn("user", [text])], schema=Verdict, **more)]


def test_the_schema_goes_along_and_the_value_comes_back() -> None:
    with serving(lambda body, number: Act(completion(GOOD))) as server, Client(config(server)) as client:
        answer = client.ask(asking())[0]
    assert answer.value == Verdict(correct=True, reason="it adds up") and answer.text == GOOD and answer.tries == 1
    form = server.bodies[0]["response_format"]
    assert form == {"type": "json_schema", "json_schema": {"name": "Verdict", "schema": Verdict.model_json_schema()}}
    assert shown(server.bodies[0]) == "Is it right?"


def test_a_refused_reply_is_asked_for_again_with_the_reason_and_another_seed() -> None:
    said = ['{"correct": true, "reason": "it a', "Yes.", GOOD]
    with serving(lambda body, number: Act(completion(said[number], tokens_in=5, tokens_out=4))) as server:
        with Client(config(server)) as client:
            answer = client.ask(asking(seed=3))[0]
        assert answer.error is None and answer.value == Verdict(correct=True, reason="it adds up")
        assert (answer.tries, answer.tokens_in, answer.tokens_out, client.spent.rejected) == (3, 15, 12, 2)
    assert len({body["seed"] for body in server.bodies}) == 3 and server.bodies[0]["seed"] == 3
    assert "1 refusal so far, the last because the reply was cut off: its JSON does not end." in shown(server.bodies[1])
    assert "holds no JSON object" in shown(server.bodies[2]) and '"correct"' in shown(server.bodies[2])


def test_a_reply_that_never_fits_is_given_up_with_the_reason_and_not_paid_again(tmp_path: Path) -> None:
    with serving(lambda body, number: Act(completion("I'd rather not."))) as server:
        for cached in (False, True):
            with Client(config(server, tmp_path, tries=2)) as client:
                answer = client.ask(asking())[0]
            assert answer.value is None and answer.text == "I'd rather not." and answer.cached == cached
            assert (
                answer.error is not None
                and answer.error.given == "rejected after 2 tries: the reply holds no JSON object"
            )
            assert len(server.bodies) == 2 and client.spent.failed == 1 and client.spent.rejected == 2
        server.behave = lambda body, number: Act(completion(GOOD))
        with Client(config(server, tmp_path, tries=3)) as client:
            answer = client.ask(asking())[0]
        assert answer.error is None and answer.tries == 3 and len(server.bodies) == 3, "one more try was paid"


def test_a_rejected_reply_is_never_served_as_good(tmp_path: Path) -> None:
    said = ["nonsense", GOOD]
    with serving(lambda body, number: Act(completion(said[number]))) as server:
        for _ in range(2):
            with Client(config(server, tmp_path)) as client:
                answer = client.ask(asking())[0]
            assert answer.value == Verdict(correct=True, reason="it adds up") and answer.tries == 2
        assert len(server.bodies) == 2 and client.spent.cached == 2


def test_a_server_without_response_format_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    def behave(body: Body, number: int) -> Act:
        if "response_format" in body:
            return Act({"error": {"message": "response_format is not supported"}}, status=400)
        return Act(completion(GOOD if "fits this JSON schema" in shown(body) else "plain"))

    with serving(behave) as server, Client(config(server, concurrency=1)) as client:
        answers = client.ask(asking("one") + asking("two") + [Ask([Turn("user", ["three"])])])
        assert [answer.text for answer in answers] == [GOOD, GOOD, "plain"] and len(server.bodies) <= 5
    assert capsys.readouterr().out.count("takes no response_format") == 1


def test_another_refusal_of_a_structured_request_keeps_its_own_words() -> None:
    act = Act({"error": {"message": "image too large"}}, status=400)
    with serving(lambda body, number: act) as server, Client(config(server)) as client:
        error = client.ask(asking())[0].error
    assert isinstance(error, RefusedError) and "image too large" in error.given and len(server.bodies) == 2
