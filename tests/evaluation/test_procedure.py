"""Stages and decodings at evaluation: what they may see, what is refused before anything starts, and every YAML."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from remote.loopback import Act, Body, completion, serving, shown

from mmreflect.components import load
from mmreflect.config import Component, component_parser, load_yaml
from mmreflect.environments import single_turn
from mmreflect.evaluation.procedure import Procedure
from mmreflect.files import read_json, read_jsonl
from mmreflect.records import Group, Sample
from mmreflect.rollouts.actions import Request, Sampling
from mmreflect.rollouts.engines.scripted import ScriptedEngine
from mmreflect.rollouts.tools import Tools
from mmreflect.stages import Needs

Cli = Callable[..., tuple[int, str]]
ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = single_turn.create(single_turn.Config())
SAMPLING = Sampling(0.7, max_new_tokens=100)


def stage(given: Any) -> Component:
    return component_parser("stage", load)(given)


def looking(needs: Needs, seen: list[Group], tools_seen: list[Tools]) -> Component:
    """A stage that keeps what it was shown."""
    module = ModuleType("looking")

    def look(groups: Sequence[Group], tools: Tools) -> list[Group]:
        seen.extend(groups)
        tools_seen.append(tools)
        return list(groups)

    module.needs, module.create = lambda options: needs, lambda options: look  # type: ignore[attr-defined]
    return Component("stage", "looking", None, module)


def test_stages_see_no_reference_and_no_score() -> None:
    facts = {"gt_interval": [1, 2], "options": {"A": "12", "B": "15"}, "solution": "see B"}
    asked = Sample("q", [{"role": "user", "content": "?"}], gold="B", response="B it is", facts=facts)
    seen: list[Group] = []
    used: list[Tools] = []
    engine = ScriptedEngine(lambda request, number: "A")
    (group,) = Procedure(engine, ENVIRONMENT, SAMPLING, [looking(Needs(), seen, used)])([asked], 2, seed=0)
    (blind,) = seen
    assert (blind.sample.gold, blind.sample.response) == (None, None)
    assert blind.sample.facts == {"options": {"A": "12", "B": "15"}, "answer_type": "multiple_choice"}
    assert [item.score for item in blind.rollouts] == [None, None] and used[0].scorer is None
    with pytest.raises(RuntimeError, match="there are no scores at evaluation"):
        used[0].score([blind])
    assert group.sample is asked and len(group.rollouts) == 2


def test_an_instruction_stands_behind_the_question_and_limits_hold_for_the_first_reply() -> None:
    engine = ScriptedEngine(lambda request, number: "x" * 50)
    needs = Needs(instruction="Be honest.", max_new_tokens=7)
    (group,) = Procedure(engine, ENVIRONMENT, SAMPLING, [looking(needs, [], [])])(
        [Sample("q", [{"role": "user", "content": "Why?"}])], 1, seed=0
    )
    assert "".join(chr(token) for token in engine.requests[0].prompt_ids) == "Why?\n\nBe honest."
    assert engine.requests[0].max_new_tokens == 7 and group.sample.question == "Why?"


def test_an_instruction_stands_before_a_prefilled_reply() -> None:
    engine = ScriptedEngine(lambda request, number: "x")
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because"}]
    Procedure(engine, ENVIRONMENT, SAMPLING, [looking(Needs(instruction="Be honest."), [], [])])(
        [Sample("q", turns)], 1, seed=0
    )
    assert "".join(chr(token) for token in engine.requests[0].prompt_ids) == "Why?\n\nBe honest.Because"


def test_every_answer_of_a_vote_has_samples_of_its_own() -> None:
    seeds: list[int] = []

    def say(request: Request, asked: int) -> str:
        seeds.append(request.seed)
        return f"<answer>{(5, 3, 3, 7, 7, 7)[asked]}</answer>"

    procedure = Procedure(
        ScriptedEngine(say), ENVIRONMENT, SAMPLING, [stage({"name": "self_consistency", "samples": 3})]
    )
    (group,) = procedure([Sample("q", [{"role": "user", "content": "?"}], gold="3")], 2, seed=0)
    assert [item.text for item in group.rollouts] == ["<answer>3</answer>", "<answer>7</answer>"]
    assert len(set(seeds)) == 6


def test_draws_do_not_depend_on_the_batch() -> None:
    def seeds_of(*names: str) -> dict[str, list[int]]:
        engine = ScriptedEngine(lambda request, number: "<answer>3</answer>")
        samples = [Sample(name, [{"role": "user", "content": "?"}]) for name in names]
        Procedure(engine, ENVIRONMENT, SAMPLING, [stage("rethink"), stage("reflect_vote")])(samples, 1, seed=0)
        return {name: [item.seed for item in engine.requests if item.sample_id == name] for name in names}

    together = seeds_of("a", "b", "c")
    assert seeds_of("b") == {"b": together["b"]} and len(set(together["b"])) == 9


# ---- the front door ---------------------------------------------------------------------------------------------


def config(grid: Path, output: Path, model: Path | str, **keys: Any) -> dict[str, Any]:
    data = {"path": str(grid), "split": "validation", "limit": 2}
    return {
        "benchmark": "dataset",
        "output": str(output),
        "model": str(model),
        "data": data,
        "max_new_tokens": 8,
        **keys,
    }


REFUSED = [
    ({"stages": ["forced_rethinking"]}, "stage 'forced_rethinking' looks at scores", "use rethink"),
    ({"stages": ["self_consistency"]}, "asks each question 8 times at temperature 0", "set temperature=0.6"),
    ({"stages": ["self_consistencie"]}, "unknown stage 'self_consistencie'", "did you mean 'self_consistency'"),
    ({"stages": ["leap"], "temperature": 1.0}, "stage 'leap' leaves 8 answers", "add the stage self_consistency"),
    ({"stages": ["leap", "self_consistency"], "temperature": 1.0}, "begins after 4,096 tokens", "raise max_new_tokens"),
    (
        {"stages": [{"name": "leap", "paths": 5}, "self_consistency"], "temperature": 1.0},
        "'leap' leaves 5 answers to a question, and stage 'self_consistency' takes 8", "set both to 5",
    ),
    (
        {"stages": [{"name": "leap", "every": 4}, "self_consistency"], "temperature": 1.0, "environment": "frame_select"},
        "environment 'frame_select' would take it for whole", "environment=single_turn",
    ),
    (
        {"stages": ["rethink", {"name": "leap", "every": 4}, "self_consistency"], "temperature": 1.0},
        "stage 'leap' stands behind stage 'rethink', and works on unfinished answers", "change their order",
    ),
    ({"stages": ["principles"]}, "missing key 'principles'", ""),
    ({"decoding": "early_stopp"}, "unknown decoding 'early_stopp'", "did you mean 'early_stop'"),
    ({"decoding": {"name": "early_stop", "classifier": "gone.py:f"}}, "no such file: gone.py", "check the path"),
    (
        {"decoding": "early_stop", "engine": {"name": "scripted", "replies": "x"}},
        "decoding 'early_stop' needs an engine that can do: decoding; engine 'scripted' cannot", "use engine transformers",
    ),
    (
        {"stages": ["rethink"], "engine": {"name": "openai", "server": {"base_url": "http://localhost:1/v1", "model": "m"}}},
        "stage 'rethink' needs an engine that can do: continue; engine 'openai' cannot", "use engine transformers",
    ),
    (
        {"stages": ["reflect_vote"], "temperature": 1.0,
         "engine": {"name": "openai", "server": {"base_url": "http://localhost:1/v1", "model": "m"}}},
        "stage 'reflect_vote' needs an engine that can do: continue", "use engine transformers",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "given", "do"), REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_loaded(
    keys: dict[str, Any], given: str, do: str, run_cli: Cli, grid: Path, tmp_path: Path
) -> None:
    code, text = run_cli("eval", config(grid, tmp_path / "run", "tiny", **keys))
    assert code == 2 and not (tmp_path / "run").exists()
    assert given in " ".join(text.split()) and do in " ".join(text.split())


def test_training_refuses_stages_of_evaluation(run_cli: Cli, grid: Path, tmp_path: Path) -> None:
    settings = {
        "method": "grpo", "output": str(tmp_path / "run"), "model": "tiny", "data": {"path": str(grid), "split": "rl"},
        "rewards": ["accuracy"], "rollout": {"stages": ["self_consistency"]},
        "trainer": {"num_generations": 2, "per_device_train_batch_size": 2},
    }  # fmt: skip
    code, text = run_cli("train", settings)
    assert code == 2 and "stage 'self_consistency' is for evaluation" in text and not (tmp_path / "run").exists()


SMALL = {
    "cyclic_reflex": ["decoding.words=[look, circle, red, s]", "decoding.period=4"],
    "early_stop": [],
    "truncate_reflection": [],
    "rethink": [],
    "self_consistency": ["stages.0.samples=3"],
    "leap": ["stages.0.every=12", "stages.0.summary_tokens=6", "stages.0.paths=3", "stages.0.peers=1", "stages.1.samples=3",
             "max_new_tokens=120"],
    "reflect_vote": ["stages.0.samples=2"],
    "principles": ["stages.0.score_tokens=4"],
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_every_recipe_runs_on_a_tiny_model(
    name: str, run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """With the model's own words cut short: what is counted is there, every token of every round is spent."""
    family = "qwen3_vl" if name in ("cyclic_reflex", "leap") else "qwen2_5_vl"
    settings = [f"model={tiny_model(family)}", f"output={tmp_path / 'run'}", "max_new_tokens=8", *SMALL[name]]
    settings += [f"data={{path: {grid}, split: validation, limit: 2}}"]
    text = (ROOT / f"configs/eval/{name}.yaml").read_text()
    code, said = run_cli("eval", text, *settings)
    assert code == 0, said
    result, records = read_json(tmp_path / "run/result.json"), list(read_jsonl(tmp_path / "run/samples.jsonl"))
    assert f"tokens of all rounds {result['procedure']['tokens']:,}" in " ".join(said.split())
    assert result["ledger"]["n"] == 2 and result["procedure"]["tokens"] == sum(item["tokens"] for item in records)
    tree = load_yaml(ROOT / f"configs/eval/{name}.yaml")
    terms = result["contract"]["decoding"]
    if "decoding" in tree:
        assert terms["token_level"]["name"] == name and "biased" in result["procedure"]["token_level"]
    else:
        assert [item["name"] for item in terms["stages"]] == [item["name"] for item in tree["stages"]]
        assert set(result["procedure"]["stages"]) <= {item["name"] for item in tree["stages"]}
        assert result["procedure"]["stages"] and f"{tree['stages'][0]['name']}: " in said


def test_paths_without_a_vote_are_all_recorded(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    leap = {"name": "leap", "paths": 2, "peers": 1, "every": 4, "summary_tokens": 2}
    keys = {"stages": [leap], "temperature": 1.0, "num_generations": 2}
    code, text = run_cli("eval", config(grid, tmp_path / "run", tiny_model("qwen2_5_vl"), **keys))
    assert code == 0, text
    assert [item["draw"] for item in read_jsonl(tmp_path / "run/samples.jsonl")] == [0, 1, 0, 1]
    code, text = run_cli("eval", config(grid, tmp_path / "odd", "tiny", **{**keys, "num_generations": 3}))
    assert code == 2 and "leaves 2 answers to a question, and 3 is asked for" in " ".join(text.split())


def test_a_plan_says_them(run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    keys = {
        "stages": ["rethink", {"name": "self_consistency", "samples": 4}],
        "decoding": "early_stop",
        "temperature": 1.0,
    }
    code, text = run_cli("eval", config(grid, tmp_path / "run", tiny_model("qwen2_5_vl"), **keys), "--plan")
    flat = " ".join(text.split())
    assert code == 0 and "early_stop (stop_after 1" in flat and "each question 4 times, then rethink" in flat
    assert "then self_consistency (samples 4)" in flat


def test_contracts_differ_by_stage_decoding_and_the_users_file(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.py"

    def hash_of(name: str, **keys: Any) -> str:
        code, text = run_cli("eval", config(grid, tmp_path / name, tiny_model("qwen2_5_vl"), **keys))
        assert code == 0, text
        return str(read_json(tmp_path / name / "result.json")["contract"]["hash"])

    mine.write_text("def f(question):\n    return 0.0\n")
    decoding = {"name": "early_stop", "classifier": f"{mine}:f"}
    hashes = [hash_of("a"), hash_of("b", stages=["rethink"]), hash_of("c", decoding=decoding)]
    mine.write_text("def f(question):\n    return 1.0\n")
    hashes.append(hash_of("d", decoding=decoding))
    assert len(set(hashes)) == 4
    counted = [read_json(tmp_path / name / "result.json")["procedure"]["token_level"] for name in "cd"]
    assert [item["correction_expected"] for item in counted] == [0, 2]
    mine.write_text("def f(question):\n    return 0.5\n")
    code, text = run_cli("eval", config(grid, tmp_path / "d", tiny_model("qwen2_5_vl"), decoding=decoding))
    assert code == 2 and "choose another output" in text, "an edited classifier makes another run"


def behaving(body: Body, number: int) -> Act:
    turn = shown(body)
    if "Scores?" in turn:
        return Act(completion("1: 2", tokens_out=4))
    return Act(completion("\\boxed{5}" if "Why?" in turn or len(body["messages"]) < 3 else "\\boxed{3}", tokens_out=5))


def test_scores_that_a_server_does_not_give_are_failures_and_flag_nothing(
    run_cli: Cli, grid: Path, tmp_path: Path
) -> None:
    def failing(body: Body, number: int) -> Act:
        if "Scores?" in shown(body):
            return Act({"error": {"message": "too large"}}, status=400)
        return behaving(body, number)

    principles = {"name": "principles", "principles": ["No guesses."], "ask_scores": "Scores?"}
    with serving(failing) as server:
        engine = {"name": "openai", "server": {"base_url": server.url, "model": "m", "cache": "off"}}
        code, text = run_cli("eval", config(grid, tmp_path / "run", "tiny", engine=engine, stages=[principles]))
    assert code == 0, text
    assert read_json(tmp_path / "run/result.json")["procedure"]["stages"] == {"principles": {"failed": 2}}
    assert [item["final"] for item in read_jsonl(tmp_path / "run/samples.jsonl")] == ["5", "5"]


def test_a_server_runs_stages_of_new_turns(run_cli: Cli, grid: Path, tmp_path: Path) -> None:
    principles = {
        "name": "principles", "principles": ["No guesses."], "ask_scores": "Scores?", "ask_critique": "Why?",
    }  # fmt: skip
    with serving(behaving) as server:
        engine = {"name": "openai", "server": {"base_url": server.url, "model": "m", "cache": "off"}}
        keys = {"engine": engine, "stages": [principles]}
        code, text = run_cli("eval", config(grid, tmp_path / "run", "tiny", **keys))
        assert code == 0, text
        keys = {
            "engine": engine,
            "stages": [{"name": "reflect_vote", "samples": 1, "opener": None}],
            "temperature": 1.0,
        }
        code, text = run_cli("eval", config(grid, tmp_path / "vote", "tiny", **keys))
        assert code == 0, text
    records = list(read_jsonl(tmp_path / "run/samples.jsonl"))
    assert [(item["first"], item["final"]) for item in records] == [("5", "3")] * 2
    counts = read_json(tmp_path / "run/result.json")["procedure"]["stages"]["principles"]
    assert (counts["revised"], counts["flagged"]) == (2, 2)
    votes = read_json(tmp_path / "vote/result.json")["procedure"]["stages"]["reflect_vote"]
    assert (votes["voters"], votes["reflected"], votes["ties"]) == (4, 2, 2)
