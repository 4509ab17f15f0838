"""The engine of judging, on plain rows and a real server on loopback, as a run over a model calls it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Act, Body, Server, completion, says, serving, shown

from mmreflect.errors import UserError
from mmreflect.evaluation.benchmark import Benchmark, Reading, Recorded
from mmreflect.evaluation.judge import Case, Judge, Question, Steps, UnusableReplyError, word_of
from mmreflect.evaluation.judging import judge_rows, judge_terms, needs_judge
from mmreflect.evaluation.rescore import Settings, rescore
from mmreflect.remote.settings import ServerConfig


def steps(cases: Sequence[Case]) -> Steps:
    """Extract, then judge; a row that knows its verdict needs nothing, and an unusable verdict is dealt with if told."""
    [case] = cases
    if "verdict" in case.row:
        return [{}]
    found = yield Question(f"extract {case.response.final}")
    try:
        verdict = yield Question(f"judge {found}", word_of({"yes": True, "no": False}))
    except UnusableReplyError:
        if not case.row.get("forgiving"):
            raise
        verdict = None
    return [{"extraction": found, "verdict": verdict}]


def rule(row: Any, response: Any) -> Reading:
    return Reading(row.get("extraction"), row.get("verdict"))


JUDGE = Judge({"extract": "extract", "judge": "judge"}, {"official": steps}, depth=2, max_tokens=33)
MADE = Benchmark("made", None, (), None, {"official": rule, "plain": rule}, lambda rows: {"n": len(rows)},  # type: ignore[arg-type]
                 Recorded(verdict=("correct",)), judge=JUDGE)  # fmt: skip


def config(server: Server, folder: Path, **more: Any) -> ServerConfig:
    return ServerConfig(**{"base_url": server.url, "model": "umpire", "cache": str(folder / "asked"), **more})


def agreeing(change: Callable[[str], Any] = lambda text: None) -> Callable[[Body, int], Act]:
    def behave(body: Body, number: int) -> Act:
        text = shown(body)
        said = change(text)
        if isinstance(said, Act):
            return said
        return says(said if said is not None else "yes" if text.startswith("judge") else text.split()[-1])

    return behave


def rows_of(*texts: str, **more: Any) -> list[dict[str, Any]]:
    return [{"id": str(place), "response": text, "answer": "x", **more} for place, text in enumerate(texts)]


def test_rows_come_back_as_copies_with_the_outcome(tmp_path: Path) -> None:
    rows = [
        *rows_of("a", "b"),
        {"id": "9", "answer": "x", "response": "c", "verdict": True},
        {"id": "10", "correct": False},
    ]
    with serving(agreeing()) as server:
        made, account = judge_rows(MADE, rows, config(server, tmp_path))
        assert sorted(map(shown, server.bodies[:2])) == ["extract a", "extract b"]
        assert sorted(map(shown, server.bodies[2:])) == ["judge a", "judge b"]
        assert {body["max_tokens"] for body in server.bodies} == {33}
        again, later = judge_rows(MADE, rows, config(server, tmp_path))
        assert len(server.bodies) == 4 and again == made
    assert rows[0] == {"id": "0", "response": "a", "answer": "x"}
    mark = f"umpire, prompt {JUDGE.prompt_hash}"
    assert [(row.get("extraction"), row.get("verdict"), row.get("judged_by")) for row in made] == [
        ("a", True, mark), ("b", True, mark), (None, True, None), (None, None, None),
    ]  # fmt: skip
    found, known = account.to_json(), later.to_json()
    assert (found["rows"], found["settled_without"], found["asked"], found["from_cache"]) == (2, 2, 4, 0)
    assert (known["asked"], known["from_cache"], known["tokens_in"], known["tokens_from_cache"]) == (0, 4, 0, 48)
    assert found["cost"] is None


def test_terms_say_what_a_judged_score_depends_on() -> None:
    server = ServerConfig(base_url="http://localhost:1/v1", model="umpire", tries=2, extra={"min_p": 0.1})
    terms = judge_terms(MADE, server)
    assert terms["model"] == "umpire" and terms["prompt"] == JUDGE.prompt_hash and "ours" in terms["label"]
    assert terms["decoding"] == {
        "temperature": 0.0, "max_tokens": 33, "seed": None, "tries": 2, "extra": {"min_p": 0.1},
    }  # fmt: skip
    elsewhere = ServerConfig(base_url="http://localhost:2/v1", model="umpire", tries=2, extra={"min_p": 0.1})
    assert judge_terms(MADE, elsewhere) == terms
    assert replace(JUDGE, prompts={"extract": "extract", "judge": "Judge"}).prompt_hash != JUDGE.prompt_hash
    assert needs_judge(MADE) and not needs_judge(MADE, "plain") and not needs_judge(replace(MADE, judge=None))
    with pytest.raises(UserError, match="the rule 'plain' of made asks no model"):
        judge_terms(MADE, server, "plain")
    with pytest.raises(UserError, match="made asks no model"):
        judge_rows(replace(MADE, judge=None), rows_of("a"), server)


def test_nothing_is_opened_where_nothing_is_to_be_asked(tmp_path: Path) -> None:
    server = ServerConfig(
        base_url="http://127.0.0.1:9/v1", model="umpire", api_key_env="NOT_THERE", cache=str(tmp_path / "c")
    )
    made, account = judge_rows(MADE, rows_of("a", verdict=False), server)
    assert made[0]["verdict"] is False and account.to_json()["asked"] == 0 and not (tmp_path / "c").exists()


def test_unreadable_replies_are_drawn_again_and_then_given_up(tmp_path: Path) -> None:
    rows = rows_of("a", "b", "c")
    rows[1]["forgiving"] = True
    seen: dict[str, int] = {}

    def change(text: str) -> Any:
        seen[text] = seen.get(text, 0) + 1
        if text == "judge c":
            return "<think>no? yes?</think> YES!" if seen[text] == 2 else Act(completion("yes", finish="length"))
        return "who knows" if text.startswith("judge") else None

    with serving(agreeing(change)) as server:
        made, account = judge_rows(MADE, rows, config(server, tmp_path, tries=3, price_in=1.0))
    assert {text: number for text, number in seen.items() if text.startswith("judge")} == {
        "judge a": 3, "judge b": 3, "judge c": 2,
    }  # fmt: skip
    drawn = [(body["temperature"], body.get("seed")) for body in server.bodies if shown(body) == "judge a"]
    assert drawn == [(0.0, None), (0.5, 1), (1.0, 2)]
    assert made[0]["judge_error"] == "unusable reply: after 3 tries: 'who knows' is none of yes, no"
    assert "verdict" not in made[0] and "judged_by" not in made[0]
    assert made[1]["verdict"] is None and "judge_error" not in made[1]
    assert made[2]["verdict"] is True
    found = account.to_json()
    assert (found["failed"], found["invalid"], found["rows"]) == ({"unusable reply": 1}, 1, 3)
    assert found["cost"] == pytest.approx(found["tokens_in"] / 1e6)
    scored, summary = rescore(MADE, made, Settings(), judged=account)
    assert [row["correct"] for row in scored] == [None, None, True]
    assert summary["rescore"]["judge"] == found and summary["rescore"]["ungraded"] == 2


def test_refused_requests_leave_their_rows_ungraded(tmp_path: Path) -> None:
    refusal = Act({"error": {"message": "too long"}}, status=400)
    with serving(agreeing(lambda text: refusal if text == "extract b" else None)) as server:
        made, account = judge_rows(MADE, rows_of("a", "b"), config(server, tmp_path, concurrency=1))
    assert account.failed == {"the server refused the request": 1} and "too long" in made[1]["judge_error"]
    assert "too long" in account.first and made[0]["verdict"] is True
    # Another rule, which asks nobody, takes no notice of that.
    _, summary = rescore(MADE, [{**made[1], "verdict": True}], Settings("plain"))  # type: ignore[list-item]
    assert summary["rescore"]["ungraded"] == 0 and summary["rescore"]["judge_errors"] == {}


def test_a_limit_ends_the_run_and_what_was_answered_is_kept(tmp_path: Path) -> None:
    rows = rows_of(*"abcdef")
    with serving(agreeing()) as server:
        with pytest.raises(UserError, match="max_tokens_total is 60"):
            judge_rows(MADE, rows, config(server, tmp_path, concurrency=1, max_tokens_total=60))
        asked = len(server.bodies)
        assert 0 < asked < 6
        made, account = judge_rows(MADE, rows, config(server, tmp_path))
        assert len(server.bodies) == 12 and account.to_json()["from_cache"] == asked
    assert all(row["verdict"] is True for row in made)


def test_a_silent_server_is_an_error_of_the_user(tmp_path: Path) -> None:
    broken = Act({"error": {"message": "out of memory"}}, status=500)
    with (
        serving(lambda body, number: broken) as server,
        pytest.raises(UserError, match=r"(?s)out of memory.*start the same again"),
    ):
        judge_rows(MADE, rows_of(*"abcdef"), config(server, tmp_path, retries=0, concurrency=1))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        (" **0**\n", 0),
        ("0.", 0),
        ("Judgement: 1", 1),
        ("**Judgement:** 0", 0),
        ("Not 1", None),
        ("10", None),
        ("", None),
        ('"1"', 1),
    ],
)
def test_words(text: str, value: int | None) -> None:
    read = word_of({"0": 0, "1": 1})
    if value is None:
        with pytest.raises(ValueError, match="is none of 0, 1"):
            read(text)
    else:
        assert read(text) == value


def test_the_longer_word_counts() -> None:
    read = word_of({"safe": True, "unsafe": False, "incorrect": 0, "correct": 1})
    assert [read(text) for text in ("Unsafe\nS1", "safe, I think", "Incorrect.", "Correct")] == [False, True, 0, 1]
    with pytest.raises(ValueError, match="'safely' is none of"):
        read("safely")
