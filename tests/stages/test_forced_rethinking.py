"""Forced Rethinking: test vectors of VL-Rethinker, and token-exact transcripts from a scripted engine."""

import random
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

from mmreflect.environments import single_turn
from mmreflect.records import Author, Group, Reply, Sample, Score, Span, Stop
from mmreflect.rewards import accuracy, native_wait_bonus
from mmreflect.rl.advantages import group_mean
from mmreflect.rl.rows import rows_of
from mmreflect.rollouts.actions import Action, Context, Continue, Observe, Sampling
from mmreflect.rollouts.driver import resume, roll_out
from mmreflect.rollouts.engines.scripted import ScriptedEngine
from mmreflect.rollouts.scoring import Scorer
from mmreflect.rollouts.tools import Tools
from mmreflect.stages.forced_rethinking import (
    Config,
    Cut,
    ForcedRethinking,
    Triggers,
    acceptance,
    choose_trigger,
    cut_length,
)

ENVIRONMENT = single_turn.create(single_turn.Config())
SAMPLING = Sampling(max_new_tokens=200, budget=400)


def sample(name: str = "q") -> Sample:
    return Sample(name, [{"role": "user", "content": "how many?"}], gold="3")


def engine_of(*replies: str) -> ScriptedEngine:
    return ScriptedEngine(lambda request, asked: replies[asked % len(replies)])


def groups_of(engine: ScriptedEngine, n: int = 1) -> list[Group]:
    return roll_out(engine, ENVIRONMENT, [sample()], n, SAMPLING, seed=0)


def tools_of(engine: ScriptedEngine, seed: int = 0) -> Tools:
    return Tools(engine, SAMPLING, Scorer({"accuracy": (accuracy.create(accuracy.Config()), 1.0)}), seed, 0)


def options(**keys: object) -> Config:
    return Config(
        **{"keep_probability": 1.0, "append_probability": 1.0, "fraction": 1.0, "min_second_tokens": 0, **keys}
    )  # type: ignore[arg-type]


def test_t10_splice_in_token_space() -> None:
    first = groups_of(engine_of("ab"))[0].rollouts[0]
    assert first.token_ids == [ord("a"), ord("b"), 0]
    second = resume(engine_of("c"), [first], [Continue("tu", "rethink")], SAMPLING, seed=0)[0]
    assert second.token_ids == [ord(letter) for letter in "abtuc"] + [0]
    assert second.token_ids.count(0) == 1
    assert second.spans == [
        Span(0, 2, Author.MODEL, "answer"),
        Span(2, 4, Author.FORCED, "rethink"),
        Span(4, 6, Author.MODEL, "rethink"),
    ]
    assert first.token_ids == [ord("a"), ord("b"), 0], "the first rollout is left as it was"


def test_t10_supervised_mask_is_trigger_and_second_look() -> None:
    engine = engine_of("<answer>9</answer>")
    groups = groups_of(engine, n=2)
    tools = tools_of(engine)
    tools.score(groups)
    tools.engine = engine_of("<answer>3</answer>")
    word = "\n\nWait"
    triggers = Triggers(bare=word, self_questioning=word, self_verification=word, self_correction=word)
    made = ForcedRethinking(options(accepted_per_query=1, triggers=triggers))(groups, tools)[0]
    accepted = next(item for item in made.rollouts if "rethink" in item.facts)
    facts = accepted.facts["rethink"]
    assert (facts["first_length"], facts["trigger_length"]) == (18, 6)
    row = next(item for item in rows_of([made], group_mean.create(group_mean.Config())) if item.rollout is accepted)
    assert row.sft_weights_T is not None
    assert row.sft_weights_T.tolist() == [0.0] * 18 + [1.0] * (6 + 18 + 1)


def test_a_forced_rollout_is_scored_as_forced_and_with_its_group() -> None:
    """T8: the bonus for reflecting words is not paid to what was forced."""
    seen: list[tuple[int, int]] = []

    def bonus(group: Group) -> list[Score]:
        seen.append((len(group.rollouts), sum("rethink" in item.facts for item in group.rollouts)))
        return native_wait_bonus.create(native_wait_bonus.Config(marker="answer"))(group)

    engine = engine_of("<answer>9</answer>")
    groups = groups_of(engine, n=2)
    tools = tools_of(engine)
    tools.scorer.rewards["native_wait_bonus"] = (bonus, 1.0)
    tools.score(groups)
    tools.engine = engine_of(" no. <answer>3</answer>")
    made = ForcedRethinking(options(accepted_per_query=1))(groups, tools)[0]
    forced = next(item for item in made.rollouts if "rethink" in item.facts)
    assert forced.score is not None and forced.score.value == 1.0
    assert seen[-1] == (2, 1), "the whole final group is scored again"


def test_the_cut_is_made_in_the_last_reply_of_several() -> None:
    def two_turns(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        yield Observe(["q"], stage="one")
        yield Observe(["look"], stage="two")
        return {}

    engine = engine_of("first Wait", r"I see 3. \boxed{4}")
    rollout = roll_out(engine, two_turns, [sample()], 1, SAMPLING, seed=0)[0].rollouts[0]
    kept = cut_length(rollout, Config().cuts, engine)
    assert kept == len("I see 3. ")
    second = resume(engine_of("!"), [rollout], [Continue("?", "rethink", kept)], SAMPLING, seed=0)[0]
    assert second.text == "first WaitI see 3. ?!"


@pytest.mark.parametrize(
    ("length", "correct", "waits", "reason"),
    [(30, True, 1, "short"), (31, True, 1, ""), (1023, True, 1, ""), (1024, True, 1, "long"), (31, False, 1, "wrong"), (31, True, 4, ""), (31, True, 5, "waits")],
)  # fmt: skip
def test_t11_acceptance(length: int, correct: bool, waits: int, reason: str) -> None:
    assert acceptance(length, correct, waits, Config()) == reason


def test_t11_at_most_two_per_query() -> None:
    engine = engine_of(*["<answer>9</answer>"] * 8)
    groups = groups_of(engine, n=8)
    tools = tools_of(engine)
    tools.score(groups)
    tools.engine = engine_of("<answer>3</answer>")
    made = ForcedRethinking(options(fraction=1.0))(groups, tools)[0]
    assert sum("rethink" in item.facts for item in made.rollouts) == 2 and len(made.rollouts) == 8
    assert tools.metrics["rethink/dropped_quota"] == [6 / 8] and tools.metrics["rethink/accept_rate"] == [2 / 8]
    assert tools.metrics["rethink/fix_rate"] == [1.0] * 8 and "rethink/harm_rate" not in tools.metrics


def test_fraction_bounds_the_share_of_a_group() -> None:
    engine = engine_of("<answer>9</answer>")
    groups = groups_of(engine, n=4)
    tools = tools_of(engine)
    tools.score(groups)
    tools.engine = engine_of("<answer>3</answer>")
    made = ForcedRethinking(options(fraction=0.25))(groups, tools)[0]
    assert sum("rethink" in item.facts for item in made.rollouts) == 1


def test_t12_trigger_frequencies() -> None:
    rng = random.Random(0)
    for correct, last in ((True, "self_verification"), (False, "self_correction")):
        drawn = Counter(choose_trigger(correct, 0.4, rng) for _ in range(20000))
        assert {name: count / 20000 for name, count in drawn.items()} == pytest.approx(
            {"bare": 0.2, "self_questioning": 0.3, last: 0.5}, abs=0.015
        )


def test_wrong_second_looks_and_unfinished_first_ones_stay_out() -> None:
    engine = engine_of("<answer>9</answer>", "x" * 500)
    groups = groups_of(engine, n=2)
    assert [item.stop for item in groups[0].rollouts] == [Stop.EOS, Stop.LENGTH]
    tools = tools_of(engine)
    tools.score(groups)
    tools.engine = engine_of("<answer>8</answer>")
    before = [item.text for item in groups[0].rollouts]
    made = ForcedRethinking(options())(groups, tools)[0]
    assert [item.text for item in made.rollouts] == before
    assert tools.metrics["rethink/tried"] == [0.5] and tools.metrics["rethink/dropped_wrong"] == [1.0]


def test_easy_groups_do_not_try_their_wrong_answers() -> None:
    engine = engine_of(*["<answer>3</answer>"] * 4, "<answer>9</answer>")
    groups = groups_of(engine, n=5)
    tools = tools_of(engine)
    tools.score(groups)
    tools.engine = engine_of("<answer>3</answer>")
    ForcedRethinking(options())(groups, tools)
    assert "rethink/fix_rate" not in tools.metrics and len(tools.metrics["rethink/harm_rate"]) == 4


def test_draws_depend_on_seed_step_and_sample_alone() -> None:
    def forced_texts(seed: int) -> list[str]:
        engine = engine_of("<answer>9</answer>")
        groups = groups_of(engine, n=8)
        tools = tools_of(engine, seed)
        tools.score(groups)
        tools.engine = engine_of("<answer>3</answer>")
        return [item.text for item in ForcedRethinking(options(keep_probability=0.5))(groups, tools)[0].rollouts]

    assert forced_texts(1) == forced_texts(1) != forced_texts(2)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (r"I see 3. Wait, no. \boxed{4}", "I see 3. "),
        (r"I see it. \boxed{4}", "I see it. "),
        ("So the Answer is 4", "So the "),
        ("one\n\ntwo\n\nthree", "one\n\ntwo"),
        ("nothing to cut", "nothing to cut"),
        ("Wait", "Wait"),
    ],
)
def test_cuts_of_the_code_in_their_order(text: str, kept: str) -> None:
    engine = engine_of(text)
    rollout = groups_of(engine)[0].rollouts[0]
    length = cut_length(rollout, Config().cuts, engine)
    assert engine.detokenize(rollout.token_ids[:length]) == kept


def test_a_cut_rollout_goes_on_from_the_kept_tokens() -> None:
    engine = engine_of("<answer>9</answer><reflection>fine</reflection>")
    groups = groups_of(engine)
    tools = tools_of(engine)
    tools.score(groups)
    tools.engine = engine_of(" no</reflection><answer>3</answer>")
    cuts = [Cut(text="<reflection>", which="first")]
    word = "<reflection>Wait"
    triggers = Triggers(bare=word, self_questioning=word, self_verification=word, self_correction=word)
    made = ForcedRethinking(options(append_probability=0.0, cuts=cuts, triggers=triggers))(groups, tools)[0].rollouts[0]
    assert made.text == "<answer>9</answer><reflection>Wait no</reflection><answer>3</answer>"


def test_mask_of_the_trigger_in_the_policy_gradient() -> None:
    for mask, forced in ((False, True), (True, False)):
        engine = engine_of("<answer>9</answer>")
        groups = groups_of(engine, n=2)
        tools = tools_of(engine)
        tools.score(groups)
        tools.engine = engine_of("<answer>3</answer>")
        made = ForcedRethinking(options(accepted_per_query=1, mask_trigger_in_pg=mask))(groups, tools)
        row = next(
            item for item in rows_of(made, group_mean.create(group_mean.Config())) if "rethink" in item.rollout.facts
        )
        start = row.rollout.facts["rethink"]["first_length"]
        assert bool(row.advantages_T[start]) is forced and bool(row.advantages_T[start - 1]) is True


@pytest.mark.parametrize(("span", "start"), [("reflection", 18), ("second", 18 + 27), ("all", 0), ("code", 0)])
def test_spans_of_the_supervised_term(span: str, start: int) -> None:
    engine = engine_of("<answer>9</answer>")
    groups = groups_of(engine)
    tools = tools_of(engine)
    tools.score(groups)
    tools.engine = engine_of("<answer>3</answer>")
    word = "\n\nWait, there might be a mi"
    triggers = Triggers(bare=word, self_questioning=word, self_verification=word, self_correction=word)
    made = ForcedRethinking(options(sft_span=span, triggers=triggers))(groups, tools)[0].rollouts[0]
    assert made.facts["sft_span"] == [start, len(made.token_ids)]


def test_the_codes_span_takes_spontaneous_reflections_too() -> None:
    engine = engine_of("Wait, no. <answer>3</answer>", "<answer>9</answer>")
    groups = groups_of(engine, n=2)
    tools = tools_of(engine)
    tools.score(groups)
    made = ForcedRethinking(options(sft_span="code", keep_probability=0.0))(groups, tools)
    rows = rows_of(made, group_mean.create(group_mean.Config()))
    assert rows[0].sft_weights_T is not None and rows[0].sft_weights_T.all() and rows[1].sft_weights_T is None
