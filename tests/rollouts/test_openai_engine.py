"""The engine that speaks through a server: conversations, lengths, failures, and a real model behind the protocol."""

import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from remote.loopback import Act, Body, Server, completion, serving, shown

from mmreflect.components import load
from mmreflect.config import component_parser, to_tree
from mmreflect.environments import single_turn
from mmreflect.errors import UserError
from mmreflect.evaluation.runner import evaluate, prefix_lengths
from mmreflect.records import Author, Media, Reply, Sample, Stop, Turn
from mmreflect.rollouts.actions import Action, Context, Continue, Environment, Observe, Probe, Sampling
from mmreflect.rollouts.driver import resume, roll_out
from mmreflect.rollouts.engines import openai
from mmreflect.rollouts.engines._openai import OpenAIEngine
from mmreflect.rollouts.engines._openai_table import Table

SINGLE = single_turn.create(single_turn.Config())


@contextmanager
def speaking(server: Server, **more: Any) -> Iterator[OpenAIEngine]:
    option = component_parser("engine", load)(
        {"name": "openai", "server": {"base_url": server.url, "model": "m", "cache": "off", **more}}
    )
    option.module.check(option.options)
    engine = option.module.create(option.options, None, None)
    try:
        yield engine
    finally:
        engine.client.close()


def sample(name: str, *content: str | Media) -> Sample:
    parts = [{"type": "text", "text": part} if isinstance(part, str) else {"type": part.kind} for part in content]
    media = [part for part in content if isinstance(part, Media)]
    return Sample(
        name, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}], media, gold="4"
    )


@pytest.mark.parametrize(
    ("text", "count", "ended", "pieces"),
    [
        ("abcdef", 4, True, ["ab", "cd", "ef", ""]),
        ("abcdef", 3, False, ["ab", "cd", "ef"]),
        ("abc", 6, True, ["a", "", "b", "", "c", ""]),
        ("abc", 1, True, ["abc", ""]),
        ("abc", 0, True, ["abc", ""]),
        ("", 1, True, [""]),
        ("", 0, False, []),
    ],
)
def test_a_reply_is_split_evenly_over_the_tokens_that_were_counted(
    text: str, count: int, ended: bool, pieces: list[str]
) -> None:
    table = Table()
    ids = table.reply(text, count, ended)
    assert [table.text([token]) for token in ids] == pieces
    assert table.text(ids) == text and (ids[-1:] == [0]) == ended and ids == table.reply(text, count, ended)


def test_texts_turns_and_lengths() -> None:
    said = {
        "How many?": completion("It is four: \\boxed{4}", tokens_out=9),
        "Long?": completion("and on", "length", tokens_out=8),
    }
    with serving(lambda body, number: Act(said[shown(body)])) as server, speaking(server) as engine:
        groups = roll_out(
            engine, SINGLE, [sample("a", "How ", "many?"), sample("b", "Long?")], 1, Sampling(0.0, max_new_tokens=8), 0
        )
        short, long = (group.rollouts[0] for group in groups)
        assert prefix_lengths(short, engine) == [3, 5, 8, 10, 13, 16, 18, 21, 21]
    assert (short.text, short.stop, len(short.token_ids)) == ("It is four: \\boxed{4}", Stop.EOS, 9)
    assert (long.text, long.stop, len(long.token_ids)) == ("and on", Stop.LENGTH, 8)
    assert server.bodies[0]["messages"][0] == {"role": "system", "content": "Be brief."}


def looking_again(picture: Media) -> Environment:
    def environment(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        first = yield Observe(given.turns()[-1].content, stage="first", history=given.turns()[:-1])
        sure = yield Probe("sure", ["Are you sure?"])
        alone = yield Probe("alone", [picture, "What is it?"], afresh=True)
        yield Observe([picture, "Look again."], stage="second")
        last = yield Observe(["Sum up."], stage="afresh", history=[Turn("system", ["Anew."])], afresh=True)
        return {"said": [reply.text for reply in (first, sure, alone, last)]}

    return environment


def test_turns_probes_and_starting_afresh(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    picture = Media("image", str(tmp_path / "a.png"))

    def behave(body: Body, number: int) -> Act:
        return Act(completion(f"reply to {shown(body)}", tokens_out=5))

    with serving(behave) as server, speaking(server) as engine:
        sampling = Sampling(0.7, 0.9, 5, max_new_tokens=16, budget=64)
        (group,) = roll_out(engine, looking_again(picture), [sample("a", "How many?")], 1, sampling, 3)
    talk = [
        [
            (turn["role"], turn["content"] if isinstance(turn["content"], str) else len(turn["content"]))
            for turn in body["messages"]
        ]
        for body in server.bodies
    ]
    begun = [("system", "Be brief."), ("user", "How many?")]
    assert talk == [
        begun,
        [*begun, ("assistant", "reply to How many?"), ("user", "Are you sure?")],
        [("user", 2)],
        [*begun, ("assistant", "reply to How many?"), ("user", 2)],
        [("system", "Anew."), ("user", "Sum up.")],
    ]  # fmt: skip
    rollout = group.rollouts[0]
    assert rollout.facts["said"] == [
        "reply to How many?",
        "reply to Are you sure?",
        "reply to What is it?",
        "reply to Sum up.",
    ]
    assert rollout.text == "reply to How many?reply to Look again.reply to Sum up."
    assert [(span.author, span.stage, span.end - span.start) for span in rollout.spans] == [
        (Author.MODEL, "first", 5), (Author.ENVIRONMENT, "second", 1), (Author.MODEL, "second", 5), (Author.MODEL, "afresh", 5)
    ]  # fmt: skip
    settings = [(body["temperature"], body.get("top_p"), body.get("top_k"), "seed" in body) for body in server.bodies]
    assert settings == [
        (0.7, 0.9, 5, True),
        (0.0, None, None, False),
        (0.0, None, None, False),
        (0.7, 0.9, 5, True),
        (0.7, 0.9, 5, True),
    ]


def test_every_rollout_has_a_seed_of_its_own_and_the_same_next_time() -> None:
    with serving(lambda body, number: Act(completion("x"))) as server, speaking(server) as engine:
        for _ in range(2):
            roll_out(engine, SINGLE, [sample("a", "?"), sample("b", "?")], 3, Sampling(1.0), seed=5)
    seeds = [body["seed"] for body in server.bodies]
    assert len(set(seeds[:6])) == 6 and sorted(seeds[:6]) == sorted(seeds[6:])


def forcing(given: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
    yield Observe(given.turns()[-1].content, stage="first")
    yield Continue("Wait,", stage="forced")
    return {}


def test_forced_words_are_refused() -> None:
    assert frozenset({"media"}) == openai.CAPABILITIES
    with serving() as server, speaking(server) as engine:
        (group,) = roll_out(engine, forcing, [sample("a", "?")], 1, Sampling(), 0)
        (rollout,) = resume(engine, group.rollouts, [Continue("Wait,", "forced")], Sampling(), 0)
        for found in (rollout, group.rollouts[0]):
            assert found.stop is Stop.ERROR and "cannot put words into the model's mouth" in found.facts["error"]
        with pytest.raises(UserError, match="capability 'continue'"):
            engine.tokenize("Wait,")
    assert len(server.bodies) == 1


def test_training_through_a_server_is_refused_before_anything_starts(
    run_cli: Callable[..., tuple[int, str]], grid: Path, tmp_path: Path
) -> None:
    settings = {
        "method": "grpo",
        "output": str(tmp_path / "run"),
        "model": "tiny",
        "data": {"path": str(grid), "split": "rl"},
        "rewards": [{"name": "accuracy"}],
        "rollout": {"engine": {"name": "openai", "server": {"base_url": "http://localhost:1/v1", "model": "m"}}},
        "trainer": {"num_generations": 2, "per_device_train_batch_size": 2},
    }
    code, text = run_cli("train", settings)
    assert code == 2 and "engine 'openai' lacks: policy, tokens" in text and not (tmp_path / "run").exists()


def test_a_request_that_fails_for_good_fails_alone(capsys: pytest.CaptureFixture[str]) -> None:
    def behave(body: Body, number: int) -> Act:
        if shown(body) == "bad":
            return Act({"error": {"message": "too [large]"}}, status=400)
        return Act(completion("fine"))

    with serving(behave) as server, speaking(server) as engine:
        groups = roll_out(engine, SINGLE, [sample("a", "good"), sample("b", "bad")], 2, Sampling(1.0), 0)
        good, bad = (group.rollouts[0] for group in groups)
        assert (good.text, good.stop) == ("fine", Stop.EOS) and (bad.text, bad.stop, bad.token_ids) == (
            "",
            Stop.ERROR,
            [],
        )
        assert "2 of 4 requests failed" in (out := capsys.readouterr().out) and "status 400: too [large] (2)" in out
        (group,) = roll_out(engine, SINGLE, [sample("b", "bad")], 1, Sampling(1.0), 1)
        assert group.rollouts[0].stop is Stop.ERROR, "others have succeeded before"
    with (
        serving(behave) as server,
        speaking(server) as engine,
        pytest.raises(UserError, match=r"status 400: too \[large\]"),
    ):
        roll_out(engine, SINGLE, [sample("b", "bad")], 1, Sampling(1.0), 0)


def test_options_are_checked_and_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = component_parser("engine", load)
    server = {"base_url": "http://localhost:8000/v1", "model": "m"}
    with pytest.raises(ValueError, match=r"unknown key 'server.api_key'; did you mean 'api_key_env'"):
        parse({"name": "openai", "server": {**server, "api_key": "sk-secret"}})
    with pytest.raises(ValueError, match="missing key 'server'"):
        parse("openai")
    option = parse({"name": "openai", "server": {**server, "api_key_env": "TEACHER_KEY", "extra": {"min_p": 0.1}}})
    assert parse(to_tree(option)) == option
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    with pytest.raises(UserError, match="TEACHER_KEY is not set"):
        option.module.check(option.options)


def test_the_module_is_imported_without_torch_numpy_or_httpx() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['numpy'] = sys.modules['httpx'] = sys.modules['PIL'] = None; "
        "import mmreflect.rollouts.engines.openai"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- a real model ----------------------------------------------------------------------------------------------


@contextmanager
def transformers_serve(folder: Path | None = None) -> Iterator[str]:
    """Run `transformers serve` in a thread of this process, with a model or with all that are named; gives its address."""
    from transformers.cli.serve import Serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Serve(
        None if folder is None else str(folder), host="127.0.0.1", port=port, device="cpu", non_blocking=True
    )
    try:
        for _ in range(600):
            if server.server.started:
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill_server()


@pytest.mark.skipif(importlib.util.find_spec("uvicorn") is None, reason="transformers[serving] is not installed")
def test_transformers_serve_says_what_the_engine_transformers_says(
    tiny_model: Callable[[str], Path], grid: Path, clip: Path, tmp_path: Path
) -> None:
    from mmreflect.data.rendering import Renderer
    from mmreflect.data.store import open_dataset
    from mmreflect.models import ModelConfig, load_model
    from mmreflect.rollouts.engines._generation import TransformersEngine

    folder = tiny_model("qwen2_5_vl")
    samples = list(open_dataset(str(grid)).samples("rl"))[:4]
    sampling = Sampling(temperature=0.0, max_new_tokens=12)
    loaded = load_model(ModelConfig(path=str(folder)))
    here = TransformersEngine(loaded, Renderer(loaded.tokenizer, loaded.processor), 4)
    own = evaluate(here, SINGLE, samples, sampling)
    with transformers_serve(folder) as url:
        server = Server(lambda body, number: Act(b""))
        server.url = url
        for asked in (True, False):
            with speaking(server, model=str(folder), cache=str(tmp_path / "cache")) as engine:
                found = evaluate(engine, SINGLE, samples, sampling)
                spent = engine.client.spent
                assert (spent.answered, spent.cached) == ((4, 0) if asked else (0, 4)) and not spent.estimated
            # The server takes white space off the ends of a reply.
            assert [item["text"] for item in found.records] == [item["text"].strip() for item in own.records]
            assert [item["tokens"] for item in found.records] == [item["tokens"] for item in own.records]
        with speaking(server, model=str(folder)) as engine:
            (group,) = roll_out(engine, looking_again(Media("image", str(clip), at=1.0)), samples[:1], 1, sampling, 0)
            assert group.rollouts[0].stop is not Stop.ERROR, group.rollouts[0].facts
        with speaking(server, model="another") as engine, pytest.raises(UserError, match="Server is pinned to"):
            roll_out(engine, SINGLE, samples[:1], 1, sampling, 0)
