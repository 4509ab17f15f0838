"""Principle-guided revision: which principles are flagged, and what is asked until nothing is."""

from typing import Any

import pytest
from stages.test_rounds import answer, evaluated

from mmreflect.rollouts.actions import Request
from mmreflect.rollouts.engines.scripted import ScriptedEngine
from mmreflect.stages.principles import flagged, read_scores

OPTIONS = {
    "name": "principles", "principles": ["No guesses.", "Name the region.", "Read numbers off."],
    "preamble": "Rules:\n{principles}", "ask_scores": "Scores?\n{principles}", "ask_critique": "Why?\n{principles}",
    "ask_revision": "Again.",
}  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "numbers"), [([5, 4, 3], [3]), ([4, 4, 5], []), ([None, 5, 1], [1, 3]), ([4, None, 4], [2])]
)
def test_flagged(scores: list[int | None], numbers: list[int]) -> None:
    assert flagged(scores, 4) == numbers


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("1: 5\n2: 4\n3: 3", [5, 4, 3]),
        ("1. **5**\n2) 4\n- 3 - 3", [5, 4, 3]),
        ("[5, 4, 3]", [5, 4, 3]),
        ("5 4 3", [5, 4, 3]),
        ("5, 4", [None, None, None]),
        ("1: 5\n3: 9", [5, None, None]),
        ("1: 5\n1: 4\n2: 3", [None, 3, None]),
        ("1: 4.5\n2: 10\n3: 2", [None, None, 2]),
        ("It is fine.", [None, None, None]),
        ("4: 5", [None, None, None]),
        ("", [None, None, None]),
    ],
)
def test_scores_are_read_or_they_are_none(text: str, scores: list[int | None]) -> None:
    assert read_scores(text, 3) == scores


def engine_of(*scores: str) -> tuple[ScriptedEngine, list[str]]:
    """Scores in order; every other reply by the last turn; the turns that were shown."""
    shown: list[str] = []
    waiting = list(scores)

    def say(request: Request, asked: int) -> str:
        said = "".join(chr(token) for token in [*request.prompt_ids, *request.token_ids])
        turn = max(("Rules", "Scores?", "Why?", "Again."), key=said.rfind)
        shown.append(said[said.rfind(turn) :])
        if turn == "Scores?":
            return waiting.pop(0)
        return {"Rules": answer(5), "Why?": "It was a guess.", "Again.": answer(3)}[turn]

    return ScriptedEngine(say), shown


def test_only_what_is_flagged_is_criticised_then_revised() -> None:
    engine, shown = engine_of("1: 5\n2: 4\n3: 3")
    found = evaluated(engine, OPTIONS)
    (record,) = found.records
    everything = "1. No guesses.\n2. Name the region.\n3. Read numbers off."
    assert shown == [f"Rules:\n{everything}", f"Scores?\n{everything}", "Why?\n3. Read numbers off.", "Again."]
    assert [(item["stage"], item["text"]) for item in record["facts"]["procedure"]["rounds"]] == [
        ("answer", answer(5)), ("score", "1: 5\n2: 4\n3: 3"), ("critique", "It was a guess."), ("revise", answer(3))
    ]  # fmt: skip
    assert (record["first"], record["final"], record["text"]) == ("5", "3", answer(3))
    assert record["question"] == "how many?", "the record's question is the dataset's"
    scored = len("1: 5\n2: 4\n3: 3") + 1
    assert record["tokens"] == scored + sum(len(item["text"]) for item in record["segments"]) + 3, "three end tokens"
    assert record["probes"] == {"principles_1": "1: 5\n2: 4\n3: 3"}
    counts = found.procedure["stages"]["principles"]
    assert (counts["scored"], counts["unreadable"], counts["flagged"], counts["revised"]) == (1, 0, 1, 1)


def test_nothing_flagged_asks_nothing_more() -> None:
    engine, shown = engine_of("1: 4\n2: 4\n3: 5")
    found = evaluated(engine, {**OPTIONS, "rounds": 3})
    assert (
        len(shown) == 2
        and found.records[0]["final"] == "5"
        and "revised" not in found.procedure["stages"]["principles"]
    )
    assert found.records[0]["facts"]["procedure"]["chosen"] == 0 and not found.records[0]["corrective"]


def test_rounds_end_when_nothing_is_flagged_any_more() -> None:
    engine, shown = engine_of("what?", "5, 5, 5")
    found = evaluated(engine, {**OPTIONS, "rounds": 3})
    assert [text.split("\n")[0] for text in shown] == ["Rules:", "Scores?", "Why?", "Again.", "Scores?"]
    counts = found.procedure["stages"]["principles"]
    assert (counts["scored"], counts["unreadable"], counts["flagged"], counts["revised"]) == (2, 3, 3, 1)
    stages = [item["stage"] for item in found.records[0]["facts"]["procedure"]["rounds"]]
    assert (
        stages == ["answer", "score", "critique", "revise", "score"]
        and found.records[0]["facts"]["procedure"]["chosen"] == 3
    )
    assert found.records[0]["final"] == "3"


@pytest.mark.parametrize(("room", "stages"), [(20, ["answer", "score"]), (60, ["answer", "score", "critique"])])
def test_without_room_the_answer_stays_and_what_was_spent_is_kept(room: int, stages: list[str]) -> None:
    """The answer takes 19 tokens, the critique 35 more, and the revision has 6 before its first word."""
    engine, _ = engine_of("1: 1\n2: 5\n3: 5")
    options: dict[str, Any] = {**OPTIONS, "principles": ["No guesses.", "B.", "C."]}
    found = evaluated(engine, options, budget=room)
    (record,) = found.records
    assert [item["stage"] for item in record["facts"]["procedure"]["rounds"]] == stages and record["final"] == "5"
    assert found.procedure["stages"]["principles"]["no_room"] == 1
    assert record["tokens"] == sum(item["tokens"] for item in record["facts"]["procedure"]["rounds"])
