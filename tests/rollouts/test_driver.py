import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from mmreflect.environments import single_turn
from mmreflect.records import Author, Media, Reply, Sample, Stop, Turn
from mmreflect.rl.advantages import group_mean
from mmreflect.rl.rows import rows_of
from mmreflect.rollouts.actions import Action, Context, Continue, Observe, Probe, Sampling
from mmreflect.rollouts.driver import Driver, Episode, roll_out
from mmreflect.rollouts.engines.scripted import ScriptedEngine

SAMPLING = Sampling(max_new_tokens=50, budget=200)


def sample(name: str = "q", text: str = "how many?") -> Sample:
    return Sample(
        name,
        [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]},
        ],
        [Media("image", "a.png")],
    )


def look_again(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
    first = yield Observe(given.turns()[-1].content, stage="propose")
    yield Observe(["look: ", Media("image", "crop.png")], stage="revise")
    return {"first": first.text}


def test_single_turn_shows_history_media_and_instruction() -> None:
    engine = ScriptedEngine(lambda request, asked: "3")
    environment = single_turn.create(single_turn.Config(instruction="Box it."))
    rollout = roll_out(engine, environment, [sample()], 1, SAMPLING, seed=0)[0].rollouts[0]
    assert "".join(chr(token) for token in rollout.prompt_ids) == "be brief\x01how many?\n\nBox it."
    assert rollout.media == [Media("image", "a.png")] and rollout.text == "3" and rollout.stop is Stop.EOS


def test_groups_keep_order_and_every_rollout_its_own_seed() -> None:
    engine = ScriptedEngine(lambda request, asked: f"{request.sample_id}{asked}")
    groups = roll_out(engine, single_turn.create(single_turn.Config()), [sample("a"), sample("b")], 3, SAMPLING, seed=0)
    assert [[item.text for item in group.rollouts] for group in groups] == [["a0", "a1", "a2"], ["b0", "b1", "b2"]]
    assert len({request.seed for request in engine.requests}) == 6


def test_seeds_do_not_depend_on_the_batch() -> None:
    def seeds(*names: str) -> dict[str, list[int]]:
        engine = ScriptedEngine(lambda request, asked: "x")
        roll_out(
            engine, single_turn.create(single_turn.Config()), [sample(name) for name in names], 2, SAMPLING, seed=5
        )
        return {name: [request.seed for request in engine.requests if request.sample_id == name] for name in names}

    assert seeds("a", "b", "c")["b"] == seeds("b")["b"]


def test_new_media_in_the_middle_of_a_rollout() -> None:
    engine = ScriptedEngine(lambda request, asked: f"r{asked}")
    rollout = roll_out(engine, look_again, [sample()], 1, SAMPLING, seed=0)[0].rollouts[0]
    assert rollout.token_ids == [ord("r"), ord("0"), 0, *map(ord, "look: "), 1, ord("r"), ord("1"), 0]
    assert [(span.author, span.stage) for span in rollout.spans] == [
        (Author.MODEL, "propose"),
        (Author.ENVIRONMENT, "revise"),
        (Author.MODEL, "revise"),
    ]
    assert [item.path for item in rollout.media] == ["a.png", "crop.png"] and rollout.facts == {"first": "r0"}
    assert engine.requests[1].media == rollout.media


def test_budget_is_checked_before_anything_is_inserted() -> None:
    engine = ScriptedEngine(lambda request, asked: "r" * 20)
    rollout = roll_out(engine, look_again, [sample()], 1, Sampling(max_new_tokens=30, budget=28), seed=0)[0].rollouts[0]
    assert rollout.stop is Stop.BUDGET and len(rollout.token_ids) == 21 and rollout.media == [Media("image", "a.png")]


def test_a_reply_cut_by_its_limit_gets_one_end_token_before_the_next_turn() -> None:
    engine = ScriptedEngine(lambda request, asked: "r" * 60)
    rollout = roll_out(engine, look_again, [sample()], 1, SAMPLING, seed=0)[0].rollouts[0]
    assert rollout.token_ids[50] == 0 and rollout.token_ids[:50].count(0) == 0 and rollout.stop is Stop.LENGTH


def test_driver_can_be_stepped() -> None:
    engine = ScriptedEngine(lambda request, asked: "r")
    driver, episode = Driver(engine, SAMPLING), Episode(sample(), look_again, 0)
    driver.open([episode])
    assert (
        driver.step([episode]) == [episode]
        and episode.rollout is not None
        and episode.rollout.token_ids == [ord("r"), 0]
    )
    assert driver.step([episode]) == []


def test_an_environment_must_begin_with_observe() -> None:
    def wrong(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        yield Continue("x", "y")
        return {}

    rollout = roll_out(ScriptedEngine(lambda request, asked: ""), wrong, [sample()], 1, SAMPLING, seed=0)[0].rollouts[0]
    assert rollout.stop is Stop.ERROR and "must begin with Observe, and began with Continue" in rollout.facts["error"]


def test_probes_alone_are_stopped_too() -> None:
    def curious(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        yield Observe(["q"], stage="answer")
        while True:
            yield Probe("again", ["?"])

    sampling = Sampling(max_new_tokens=5, budget=100, max_turns=4)
    rollout = roll_out(ScriptedEngine(lambda request, asked: "r"), curious, [sample()], 1, sampling, seed=0)[
        0
    ].rollouts[0]
    assert rollout.stop is Stop.BUDGET and rollout.text == "r"


def test_scripted_replies_from_a_file(tmp_path: Path) -> None:
    from mmreflect.components import default, load
    from mmreflect.config import component_parser
    from mmreflect.errors import UserError

    file = tmp_path / "replies.jsonl"
    file.write_text('{"sample_id": "q", "replies": ["1", "2"]}\n')
    option = component_parser("engine", load)({"name": "scripted", "replies": str(file)})
    engine = option.module.create(option.options)
    environment = default("environment", "single_turn")
    rollouts = roll_out(engine, environment.module.create(environment.options), [sample()], 3, SAMPLING, seed=0)[
        0
    ].rollouts
    assert [item.text for item in rollouts] == ["1", "2", "1"]
    with pytest.raises(UserError, match="has no replies for sample 'other'"):
        roll_out(engine, environment.module.create(environment.options), [sample("other")], 1, SAMPLING, seed=0)


def test_turns_put_media_in_their_places() -> None:
    assert sample().turns() == [Turn("system", ["be brief"]), Turn("user", [Media("image", "a.png"), "how many?"])]


def test_a_probe_is_asked_on_the_side_and_leaves_the_rollout_as_it_is() -> None:
    seen: list[str] = []

    def probing(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        yield Observe(given.turns()[-1].content, stage="propose")
        aside = yield Probe("sufficient", [Media("image", "crop.png"), "enough?"])
        seen.append(aside.text)
        yield Observe(["go on"], stage="revise")
        return {}

    engine = ScriptedEngine(lambda request, asked: f"r{asked}")
    rollout = roll_out(engine, probing, [sample()], 1, SAMPLING, seed=0)[0].rollouts[0]
    assert seen == ["r1"] and rollout.probes["sufficient"].text == "r1" and rollout.text == "r0r2"
    assert [item.path for item in rollout.media] == ["a.png"]
    assert [item.path for item in engine.requests[1].media] == ["a.png", "crop.png"]
    assert type(rollout).from_json(rollout.to_json()) == rollout


def test_an_environment_that_never_stops_is_stopped() -> None:
    def endless(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        while True:
            yield Observe(["more"], stage="again")

    sampling = Sampling(max_new_tokens=5, budget=10_000, max_turns=4)
    rollout = roll_out(ScriptedEngine(lambda request, asked: "r"), endless, [sample()], 1, sampling, seed=0)[
        0
    ].rollouts[0]
    assert rollout.stop is Stop.BUDGET and rollout.text == "rrrr"


@pytest.mark.parametrize("when", ["opening", "later"])
def test_an_environment_that_raises_fails_its_own_rollout(when: str) -> None:
    def broken(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        if given.id == "bad" and when == "opening":
            raise ValueError("no segment")
        yield Observe(["q"], stage="answer")
        if given.id == "bad":
            raise ValueError("no segment")
        return {}

    groups = roll_out(
        ScriptedEngine(lambda request, asked: "r"), broken, [sample("good"), sample("bad")], 1, SAMPLING, seed=0
    )
    good, bad = groups[0].rollouts[0], groups[1].rollouts[0]
    assert good.stop is Stop.EOS and good.text == "r"
    told = r"the environment raised ValueError: no segment \(test_driver\.py, line \d+\)"
    assert bad.stop is Stop.ERROR and re.fullmatch(told, bad.facts["error"])
    assert rows_of(groups, group_mean.create(group_mean.Config()))[0].rollout is good
    assert len(rows_of(groups, group_mean.create(group_mean.Config()))) == 1


def test_what_is_asked_afresh_sees_nothing_of_the_rollout() -> None:
    def looking(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        yield Observe(given.turns()[-1].content, stage="propose")
        yield Probe("letter", [Media("image", "crop.png"), "which?"], [Turn("system", ["s"])], True, max_new_tokens=1)
        yield Observe([Media("image", "crop.png"), "go on"], "revise", history=[Turn("system", ["t"])], afresh=True)
        yield Observe([Media("image", "late.png"), "and?"], "revise")
        return {"progress": context.progress}

    engine = ScriptedEngine(lambda request, asked: f"r{asked}")
    sampling = Sampling(max_new_tokens=5, budget=100)
    rollout = roll_out(engine, looking, [sample()], 1, sampling, seed=0, progress=0.25)[0].rollouts[0]
    first, probe, afresh, last = engine.requests
    assert engine.detokenize(probe.prompt_ids) == "swhich?" and not probe.token_ids and probe.max_new_tokens == 1
    assert [item.path for item in probe.media] == ["crop.png"] and rollout.probes["letter"].text == "r"
    assert engine.detokenize(afresh.prompt_ids) == "tgo on" and not afresh.token_ids
    assert [item.path for item in afresh.media] == ["crop.png"]
    assert engine.detokenize(last.token_ids) == "r2and?" and last.prompt_ids == afresh.prompt_ids
    assert [item.path for item in last.media] == ["crop.png", "late.png"]
    assert rollout.text == "r0r2r3" and rollout.facts == {"progress": 0.25}
    before, after = rollout.stretches()
    assert before.prompt_ids == first.prompt_ids and after.prompt_ids == afresh.prompt_ids
    assert engine.detokenize(rollout.token_ids[before.start : before.end]) == "r0"
    assert engine.detokenize(rollout.token_ids[after.start : after.end]) == "r2and?r3"
    assert [[item.path for item in part.media] for part in (before, after)] == [["a.png"], ["crop.png", "late.png"]]
    assert type(rollout).from_json(rollout.to_json()) == rollout
