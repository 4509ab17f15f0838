"""Voting and rethinking stages from a script: what is asked, what is kept, and what it costs."""

from typing import Any

from mmreflect.components import load
from mmreflect.config import Component, component_parser
from mmreflect.environments import single_turn
from mmreflect.evaluation.runner import Evaluation, evaluate
from mmreflect.records import Sample
from mmreflect.rollouts.actions import Sampling
from mmreflect.rollouts.engines.scripted import ScriptedEngine

ENVIRONMENT = single_turn.create(single_turn.Config())


def stage(given: Any) -> Component:
    return component_parser("stage", load)(given)


def sample(name: str = "q", gold: str | None = "3") -> Sample:
    return Sample(name, [{"role": "user", "content": "how many?"}], gold=gold)


def engine_of(*replies: str) -> ScriptedEngine:
    return ScriptedEngine(lambda request, asked: replies[asked % len(replies)])


def evaluated(engine: ScriptedEngine, *stages: Any, **limits: Any) -> Evaluation:
    sampling = Sampling(0.7, max_new_tokens=limits.pop("max_new_tokens", 200), **limits)
    return evaluate(engine, ENVIRONMENT, [sample()], sampling, stages=[stage(item) for item in stages])


def answer(value: Any) -> str:
    return f"<answer>{value}</answer>"


# ---- self_consistency -------------------------------------------------------------------------------------------


def test_the_answer_of_most_samples_is_kept_with_all_of_them() -> None:
    found = evaluated(
        engine_of(answer(5), answer(3), "no idea", answer("3.0")), {"name": "self_consistency", "samples": 4}
    )
    (record,) = found.records
    tokens = [len(answer(5)) + 1, len(answer(3)) + 1, len("no idea") + 1, len(answer("3.0")) + 1]
    assert [(item["text"], item["answer"], item["tokens"]) for item in record["facts"]["procedure"]["rounds"]] == list(
        zip([answer(5), answer(3), "no idea", answer("3.0")], ["5", "3", "no idea", "3.0"], tokens, strict=True)
    )
    assert (record["first"], record["final"], record["text"]) == ("5", "3", answer(3))
    assert (record["first_correct"], record["final_correct"], record["corrective"]) == (False, True, True)
    assert (record["tokens"], record["tokens_first"]) == (sum(tokens), tokens[0])
    assert record["reflected"] is False, "samples of a vote are no reflection"
    assert found.procedure["stages"]["self_consistency"] == {
        "voters": 4, "unparsed": 1, "agreeing": 2, "ties": 0, "nobody_voted": 0, "tokens": sum(tokens)
    }  # fmt: skip
    assert found.procedure["rounds"] == 4 and found.procedure["tokens"] == sum(tokens)


def test_answers_without_any_form_are_read_by_the_type_of_the_question() -> None:
    found = evaluated(engine_of("5", "3", "There are 3 shapes."), {"name": "self_consistency", "samples": 3})
    assert found.records[0]["final"] == "3" and found.records[0]["final_correct"] is True


def test_a_tie_goes_to_the_earlier_answer_and_is_counted() -> None:
    found = evaluated(engine_of(answer(5), answer(3)), {"name": "self_consistency", "samples": 2})
    assert found.records[0]["final"] == "5" and found.procedure["stages"]["self_consistency"]["ties"] == 1


def test_where_nobody_votes_the_first_sample_stays() -> None:
    found = evaluated(engine_of("no idea", "none"), {"name": "self_consistency", "samples": 2})
    assert found.records[0]["text"] == "no idea" and found.records[0]["final_correct"] is False
    assert found.procedure["stages"]["self_consistency"]["nobody_voted"] == 1


# ---- rethink ----------------------------------------------------------------------------------------------------


def test_every_finished_answer_goes_on_from_the_same_words() -> None:
    engine = engine_of(answer(5), f" no. {answer(3)}")
    found = evaluated(engine, "rethink")
    (record,) = found.records
    trigger = "\n\nWait, does it seem right?"
    assert record["text"] == f"{answer(5)}{trigger} no. {answer(3)}"
    assert [(item["author"], item["stage"]) for item in record["segments"]] == [
        ("model", "answer"), ("forced", "rethink"), ("model", "rethink")
    ]  # fmt: skip
    first, whole = len(answer(5)) + 1, len(record["text"]) + 1
    assert [(item["stage"], item["answer"], item["tokens"]) for item in record["facts"]["procedure"]["rounds"]] == [
        ("answer", "5", first), ("rethink", "3", whole - first)
    ]  # fmt: skip
    assert (record["first"], record["final"], record["tokens"], record["tokens_first"]) == ("5", "3", whole, first)
    assert record["reflected"] is True
    assert found.procedure["stages"] == {"rethink": {"rethought": 1, "tokens": whole - first}}


def test_a_first_answer_in_plain_words_is_still_the_first_try() -> None:
    found = evaluated(engine_of("The answer is 5.", "\nThe answer is 3."), {"name": "rethink", "trigger": "bare"})
    assert (found.records[0]["first"], found.records[0]["final"]) == ("5", "3")
    assert found.ledger.fix_rate.value == 1.0


def test_what_cannot_go_on_stays_and_is_counted() -> None:
    cut = evaluated(engine_of("x" * 500), "rethink")
    assert (
        cut.procedure["stages"] == {"rethink": {"unfinished": 1}}
        and "rounds" not in cut.records[0]["facts"]["procedure"]
    )
    full = evaluated(engine_of(answer(5)), "rethink", budget=len(answer(5)) + 4)
    assert full.procedure["stages"] == {"rethink": {"no_room": 1}} and full.records[0]["final"] == "5"


def test_stages_follow_one_another() -> None:
    """Two answers, each thought over, then a vote: the ledger's first try is the very first answer."""
    replies = [answer(5), answer(7), answer(3), answer(3)]
    found = evaluated(engine_of(*replies), "rethink", {"name": "self_consistency", "samples": 2})
    (record,) = found.records
    assert (record["first"], record["final"]) == ("5", "3")
    assert found.procedure["stages"]["rethink"]["rethought"] == 2, "the loser's counts are not lost"
    assert found.procedure["rounds"] == 4
    nested = record["facts"]["procedure"]["rounds"]
    assert [[item["answer"] for item in one["rounds"]] for one in nested] == [["5", "3"], ["7", "3"]]
    assert record["tokens"] == sum(item["tokens"] for one in nested for item in one["rounds"])


# ---- reflect_vote -----------------------------------------------------------------------------------------------


def test_answers_and_reflections_vote_together() -> None:
    engine = engine_of(answer(5), answer(7), f" looked. {answer(3)}", f" seen. {answer(3)}")
    found = evaluated(engine, {"name": "reflect_vote", "samples": 2, "ask": "Check."})
    (record,) = found.records
    opener = "Reflection: I should have"
    rounds = record["facts"]["procedure"]["rounds"]
    assert [(item["stage"], item["answer"]) for item in rounds] == [
        ("sample", "5"), ("sample", "7"), ("reflect", "3"), ("reflect", "3")
    ]  # fmt: skip
    assert record["facts"]["procedure"]["chosen"] == 2 and record["text"] == f"{opener} looked. {answer(3)}"
    assert [(item["author"], item["text"]) for item in record["segments"]] == [
        ("model", answer(5)), ("environment", "Check."), ("forced", opener), ("model", f" looked. {answer(3)}")
    ]  # fmt: skip
    assert (record["first"], record["final"]) == ("5", "3")
    first, second = len(answer(5)) + 1, len(answer(7)) + 1
    added = [len("Check.") + len(opener) + len(f" {word}. {answer(3)}") + 1 for word in ("looked", "seen")]
    assert [item["tokens"] for item in rounds] == [first, second, *added] and record["tokens"] == first + second + sum(
        added
    )
    assert found.procedure["stages"]["reflect_vote"] == {
        "voters": 4, "unparsed": 0, "agreeing": 2, "ties": 0, "nobody_voted": 0, "tokens": record["tokens"],
        "reflected": 2, "not_reflected": 0, "won_by_reflection": 1,
    }  # fmt: skip


def test_first_answers_win_ties_against_reflections() -> None:
    engine = engine_of(answer(5), answer(3))
    found = evaluated(engine, {"name": "reflect_vote", "samples": 1, "opener": None})
    assert found.records[0]["final"] == "5" and found.procedure["stages"]["reflect_vote"]["won_by_reflection"] == 0
    assert [item["author"] for item in found.records[0]["segments"]] == ["model"], (
        "the winner is the first answer itself"
    )
