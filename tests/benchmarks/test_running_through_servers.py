"""A benchmark asked of a server, judged by a server, in several turns, with words put in the model's mouth."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Act, Body, says, serving, shown
from test_running import asking, scripted

from mmreflect.cli import main
from mmreflect.evaluation.contract import differences
from mmreflect.files import read_json, read_jsonl
from mmreflect.remote import pace

Cli = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


def through(url: str, folder: Path, name: str, release: Path, **more: Any) -> dict[str, Any]:
    """An evaluation whose engine is a server: it sends pictures by limits of its own."""
    settings = asking(name, release, folder / "run")
    server = {"base_url": url, "model": "theirs", "cache": str(folder / "asked"), **more}
    for key in ("max_pixels", "frames"):
        del settings[key]
    return settings | {"engine": {"name": "openai", "server": server}}


def test_asked_of_a_server_without_a_model_here(releases: Path, run_cli: Cli, tmp_path: Path) -> None:
    with serving(lambda body, number: says("The answer is A.")) as server:
        code, text = run_cli("eval", through(server.url, tmp_path, "chartqa", releases / "chartqa"))
    assert code == 0, text
    result = read_json(tmp_path / "run/result.json")
    assert result["contract"]["model"]["path"] == "theirs" and result["contract"]["model"]["server"] == server.url
    assert len(server.bodies) == result["counts"]["questions"]
    assert all(part["type"] == "image_url" for part in [server.bodies[0]["messages"][-1]["content"][0]])


def test_a_server_that_fails_for_a_while(releases: Path, run_cli: Cli, tmp_path: Path) -> None:
    """What it never said is no wrong answer: nothing is scored, and starting again asks for that alone."""

    asked = dict[str, int]()

    def failing(body: Body, number: int) -> Act:
        place = asked.setdefault(json.dumps(body), len(asked))  # what was answered is answered again
        return Act({"error": {"message": "busy"}}, status=503) if place % 4 == 2 else says("The answer is A.")

    with serving(failing) as server:
        settings = through(server.url, tmp_path, "chartqa", releases / "chartqa", retries=0, concurrency=1)
        settings["batch_size"] = 4
        code, text = run_cli("eval", settings)
        assert code == 2 and "5 of 20 answers could not be asked for; the first: " in text and "busy" in text, text
        assert "only these are asked for again" in text and not (tmp_path / "run/result.json").exists()
        before, server.behave = len(server.bodies), lambda body, number: says("The answer is A.")
        code, text = run_cli("eval", settings)
    assert code == 0, text
    assert read_json(tmp_path / "run/result.json")["counts"]["not_asked"] == 0
    assert len(asked) == 20 and len(server.bodies) - before == 5


def test_judged_after_it_was_asked(releases: Path, run_cli: Cli, tmp_path: Path) -> None:
    """MathVista's extractor; a judge that is down ends the run, and starting again asks neither side twice."""
    engine = scripted(tmp_path, else_say="I would say that it is the first of them.")
    down = asking("mathvista", releases / "mathvista", tmp_path / "run", engine=engine, max_new_tokens=100)
    judge = {"model": "umpire", "cache": str(tmp_path / "judged"), "retries": 0, "concurrency": 1}

    def dying(body: Body, number: int) -> Act:
        return says("A") if number < 4 else Act(status=401, content={"error": {"message": "no more"}})

    with serving(dying) as server:
        code, text = run_cli("eval", down | {"judge": {"base_url": server.url, **judge}})
        assert code == 2 and "no more" in text, text
        assert not (tmp_path / "run/result.json").exists()
        before = (tmp_path / "run/samples.jsonl").read_bytes()
        asked = {shown(body) for body in server.bodies[:4]}
        server.behave = lambda body, number: says("A")
        heard = len(server.bodies)
        code, text = run_cli("eval", down | {"judge": {"base_url": server.url, **judge}})
    assert code == 0, text
    assert (tmp_path / "run/samples.jsonl").read_bytes() == before
    assert not asked & {shown(body) for body in server.bodies[heard:]}, "what was judged is not judged again"
    result = read_json(tmp_path / "run/result.json")
    assert result["contract"]["judge"]["model"] == "umpire" and "umpire" not in result["contract"]["rule"]
    assert result["counts"]["ungraded"] == 0 and "prompt" in result["label"]
    rows = list(read_jsonl(tmp_path / "run/responses.jsonl"))
    assert all(row["extraction"] == "A" and row["judged_by"].startswith("umpire") for row in rows)


def test_looking_again_at_a_benchmarks_videos(releases: Path, run_cli: Cli, tmp_path: Path) -> None:
    """The environment decides what is shown; the benchmark decides what is right."""
    first, second = "<think>a</think><time_interval>[0.0, 2.0]</time_interval>", "<think>b</think><answer>C</answer>"
    engine = scripted(tmp_path)
    Path(engine["replies"]).write_text(json.dumps({"sample_id": "*", "replies": [first, second, "C"]}) + "\n")
    settings = asking(
        "videomme", releases / "videomme", tmp_path / "run", engine=engine, max_new_tokens=200, budget=9000
    )
    code, text = run_cli("eval", settings | {"environment": "revisor"})
    assert code == 0, text
    records = list(read_jsonl(tmp_path / "run/samples.jsonl"))
    assert all(record["facts"]["segment"] == [0.0, 2.0] and len(record["media"]) == 2 for record in records)
    scored = list(read_jsonl(tmp_path / "run/scored.jsonl"))
    assert {row["prediction"] for row in scored} == {"C"} and {row["final_answer"] for row in scored} == {"C"}


def test_words_that_a_benchmark_puts_in_the_models_mouth(
    releases: Path, tiny_model: Callable[[str], Path], run_cli: Cli, tmp_path: Path
) -> None:
    """MLVU's answer begins with "Best Option: (": token by token after the assistant's header, and not behind a server."""
    from mmreflect.data.rendering import Renderer
    from mmreflect.models import ModelConfig, load_model
    from mmreflect.records import Turn
    from mmreflect.rollouts.engines._generation import TransformersEngine

    loaded = load_model(ModelConfig(path=str(tiny_model("qwen2_5_vl"))))
    engine = TransformersEngine(loaded, Renderer(loaded.tokenizer, loaded.processor), 4)
    turns = [Turn("user", ["Which?"]), Turn("assistant", ["Best Option: ("])]
    ids, plain = engine.encode([turns])[0], engine.encode([turns[:1]])[0]
    assert ids[: len(plain)] == plain and ids[len(plain) :] == engine.tokenize("Best Option: (")
    assert engine.encode([turns, turns[:1]]) == [ids, plain]
    settings = asking("mlvu", releases / "mlvu", tmp_path / "run", model=str(tiny_model("qwen2_5_vl")))
    settings["release"]["limit"] = 3
    assert run_cli("eval", settings)[0] == 0
    assert read_json(tmp_path / "run/result.json")["contract"]["prompt"]["prefill"] == "used"
    with serving(lambda body, number: says("B")) as server:
        other = through(server.url, tmp_path, "mlvu", releases / "mlvu") | {"output": str(tmp_path / "server")}
        code, text = run_cli("eval", other)
    assert code == 0 and "left out: the words that mlvu puts in the model's mouth" in text
    assert server.bodies[0]["messages"][-1]["role"] == "user"
    differing = ["eval", "compare", str(tmp_path / "run"), str(tmp_path / "server")]
    assert main(differing) == 2


def test_responses_are_joined_with_the_release(
    releases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    responses, output = tmp_path / "responses.jsonl", tmp_path / "out.jsonl"

    def score(*rows: dict[str, Any]) -> tuple[int, str]:
        responses.write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = [f"responses={responses}", f"output={output}", f"release.source={releases / 'mathvista'}"]
        capsys.readouterr()
        code = main(["eval", "rescore", "mathvista", *words])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    code, text = score({"pid": "2", "response": "A"}, {"pid": "1", "response": "B"})
    assert code == 0 and "18 of 20 questions" in text, text
    assert [row["id"] for row in read_jsonl(output)] == ["2", "1"]
    assert read_json(tmp_path / "out.summary.json")["rescore"]["release"]["not_answered"] == 18
    code, text = score({"pid": "2", "response": "A"}, {"pid": "77", "response": "B"})
    assert code == 2 and "1 of 2 responses answer no question of" in text and "'77'" in text
    code, text = score({"response": "A"})
    assert code == 2 and "row 1: no 'id'" in text and "in every row, to find it in the release" in text
    assert main(["eval", "rescore", "mathvista", f"responses={responses}", f"output={output}", "release=x"]) == 2
    assert "write release.source=x" in capsys.readouterr().err


def test_the_contract_says_what_a_server_was_sent(releases: Path, run_cli: Cli, tmp_path: Path) -> None:
    """Smaller pictures and fields that the server understands are other terms; limits that nothing reads are refused."""
    with serving(lambda body, number: says("A")) as server:
        plain = through(server.url, tmp_path, "chartqa", releases / "chartqa")
        assert run_cli("eval", plain)[0] == 0
        for name, more in {
            "small": {"pictures": {"max_pixels": 400}},
            "warm": {"extra": {"temperature": 1.5, "chat_template_kwargs": {"enable_thinking": True}}},
        }.items():
            other = through(server.url, tmp_path, "chartqa", releases / "chartqa", **more)
            assert run_cli("eval", other | {"output": str(tmp_path / name)})[0] == 0
        code, text = run_cli("eval", plain | {"max_pixels": 400, "output": str(tmp_path / "refused")})
        assert (
            code == 2 and "max_pixels is set, and engine 'openai' sends pictures and clips by limits of its own" in text
        )
    contracts = [read_json(tmp_path / name / "result.json")["contract"] for name in ("run", "small", "warm")]
    assert differences(contracts[0], contracts[1]) == ["pixels.max_pixels: None against 400"]
    assert [item.split(":")[0] for item in differences(contracts[0], contracts[2])] == [
        "decoding.extra.chat_template_kwargs", "decoding.extra.temperature"
    ]  # fmt: skip


def test_other_media_under_the_same_names(
    releases: Path, tiny_model: Callable[[str], Path], run_cli: Cli, tmp_path: Path
) -> None:
    """They make another run, and results that are not compared; a copy of the same files does."""
    ours = tmp_path / "nextgqa"
    shutil.copytree(releases / "nextgqa", ours)
    settings = asking("nextgqa", ours, tmp_path / "first", model=str(tiny_model("qwen2_5_vl")))
    settings["release"]["limit"] = 2
    assert run_cli("eval", settings)[0] == 0
    copied = settings | {"release": {"source": str(releases / "nextgqa"), "limit": 2}, "output": str(tmp_path / "copy")}
    assert run_cli("eval", copied)[0] == 0
    first, copy = (read_json(tmp_path / name / "result.json")["contract"] for name in ("first", "copy"))
    assert first["hash"] == copy["hash"] and first["versions"]["av"] and first["pixels"]["decoder"] == "pyav"
    assert first["decoding"]["dtype"] == "float32" and first["pixels"]["processor"]["image"]["longest_edge"] > 0
    films = sorted(ours.rglob("*.mp4"))
    for film in films[1:]:
        shutil.copy(films[0], film)
    code, text = run_cli("eval", settings)
    assert code == 2 and "holds a run on another media: it has changed since" in text
    assert run_cli("eval", settings | {"output": str(tmp_path / "second")})[0] == 0
    second = read_json(tmp_path / "second/result.json")["contract"]
    assert [item.split(":")[0] for item in differences(first, second)] == ["benchmark.media"]
