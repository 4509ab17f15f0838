"""Every benchmark's replica through the command line: asked of a tiny model and of a script, scored, merged, resumed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmreflect import recipes
from mmreflect.cli import main
from mmreflect.evaluation.benchmark import Row
from mmreflect.evaluation.releases import ReleaseConfig, open_release, questions
from mmreflect.files import read_json, read_jsonl

Cli = Callable[..., tuple[int, str]]
BENCHMARKS = [name for name in recipes.names("benchmark") if name != "dataset"]


def asking(name: str, release: Path, output: Path, **keys: Any) -> dict[str, Any]:
    base = {"benchmark": name, "output": str(output), "release": {"source": str(release)}, "max_new_tokens": 4}
    return {**base, "max_pixels": 3136, "frames": {"fps": 1, "max_frames": 4, "max_pixels": 3136}, **keys}


def scripted(folder: Path, answers: dict[str, str] | None = None, else_say: str = "The answer is A.") -> dict[str, Any]:
    """An engine that says the same to every question, but for those that are named."""
    file = folder / "replies.jsonl"
    rows = [{"sample_id": key, "replies": [said]} for key, said in (answers or {}).items()]
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"sample_id": "*", "replies": [else_say]}]))
    return {"name": "scripted", "replies": str(file)}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_is_asked_of_a_tiny_model(
    name: str, releases: Path, tiny_model: Callable[[str], Path], run_cli: Cli, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    code, text = run_cli("eval", asking(name, releases / name, output, model=str(tiny_model("qwen2_5_vl"))))
    assert code == 0, text
    result, records = read_json(output / "result.json"), list(read_jsonl(output / "samples.jsonl"))
    assert len(records) == result["counts"]["questions"] == result["counts"]["answers"] >= 10
    assert result["counts"]["not_asked"] == result["counts"]["set_aside"] == 0
    assert result["scores"] or result["counts"]["ungraded"], "some rules leave out what gives no answer"
    for item in result["scores"].values():
        assert item["low"] is None or item["low"] <= item["value"] <= item["high"]
    assert result["contract"]["benchmark"]["name"] == name and len(result["contract"]["hash"]) == 16
    again = tmp_path / "again.jsonl"
    words = ("eval", "rescore", name, f"responses={output / 'responses.jsonl'}", f"output={again}")
    assert main(list(words)) == 0
    assert again.read_bytes() == (output / "scored.jsonl").read_bytes(), "scored alike without the model"


@pytest.mark.parametrize(
    "name", [name for name in BENCHMARKS if "strict" in recipes.load("benchmark", name).BENCHMARK.rules]
)
def test_the_references_of_a_release_are_right_answers(name: str, releases: Path, run_cli: Cli, tmp_path: Path) -> None:
    benchmark = recipes.load("benchmark", name).BENCHMARK
    release = open_release(
        benchmark, ReleaseConfig(source=str(releases / name)), cache=tmp_path / "cache", max_frames=4
    )
    known = {item.id: benchmark.rules["strict"].gold(Row(item.row)) for item in questions(release).asked}
    right = {key: f"<think>let me see</think><answer>{gold}</answer>" for key, gold in known.items() if gold}
    settings = asking(
        name, releases / name, tmp_path / "run", engine=scripted(tmp_path, right), rule="strict", max_new_tokens=400
    )
    code, text = run_cli("eval", settings)
    assert code == 0, text
    result = read_json(tmp_path / "run/result.json")
    assert len(right) >= 10 and result["counts"]["without_key"] == len(known) - len(right)
    assert {row["correct"] for row in read_jsonl(tmp_path / "run/scored.jsonl") if row["id"] in right} == {True}
    assert result["ledger"]["final_accuracy"]["value"] == 1.0


def test_draws_shards_and_the_whole(releases: Path, run_cli: Cli, tmp_path: Path) -> None:
    """Three answers to each question; two shards put together are the files of the whole, to the byte."""
    engine = scripted(tmp_path)
    rows = [{"sample_id": "1", "replies": ["The answer is A.", "B", "(C)"]}, {"sample_id": "*", "replies": ["A", "B"]}]
    Path(engine["replies"]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    shared = {"engine": engine, "num_generations": 3, "temperature": 1.0, "max_new_tokens": 100}
    whole = asking("mathvista", releases / "mathvista", tmp_path / "whole", **shared)
    code, text = run_cli("eval", whole)
    assert code == 0 and "pass@2" in text, text
    result = read_json(tmp_path / "whole/result.json")
    rates = [result["pass_at_k"]["k"][k]["value"] for k in ("1", "2", "3")]
    assert rates == sorted(rates) and rates[0] == pytest.approx(result["scores"]["accuracy"]["value"])
    assert result["scores"]["accuracy"]["clusters"] == result["counts"]["questions"] == result["counts"]["answers"] / 3
    again = tmp_path / "again.jsonl"
    assert (
        main(["eval", "rescore", "mathvista", f"responses={tmp_path / 'whole/responses.jsonl'}", f"output={again}"])
        == 0
    )
    assert read_json(tmp_path / "again.summary.json") == read_json(tmp_path / "whole/summary.json"), "and its intervals"
    for number in (1, 2):
        part = asking("mathvista", releases / "mathvista", tmp_path / f"part{number}", **shared)
        part["release"]["shard"] = f"{number}/2"
        assert run_cli("eval", part)[0] == 0
    merged, parts = str(tmp_path / "merged"), [str(tmp_path / "part2"), str(tmp_path / "part1")]
    assert main(["eval", "merge", merged, *parts]) == 0
    for file in ("samples.jsonl", "responses.jsonl", "scored.jsonl", "summary.json"):
        assert (tmp_path / "merged" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    left, right = (read_json(tmp_path / name / "result.json") for name in ("merged", "whole"))
    assert {**left, "seconds": 0} == {**right, "seconds": 0, "shards": 2}
    assert main(["eval", "compare", merged, str(tmp_path / "whole")]) == 0
    assert run_cli("eval", whole | {"output": merged})[1].strip().endswith("is finished already; nothing to do")


def test_shards_that_do_not_belong_together(
    releases: Path, run_cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = scripted(tmp_path)
    for folder, shard, rule in (("a", "1/2", "official"), ("b", "2/2", "strict"), ("c", None, "official")):
        made = asking(
            "mathvista", releases / "mathvista", tmp_path / folder, engine=engine, rule=rule, max_new_tokens=100
        )
        made["release"]["shard"] = shard
        assert run_cli("eval", made)[0] == 0

    def refused(*folders: str) -> str:
        capsys.readouterr()
        assert main(["eval", "merge", str(tmp_path / "out"), *(str(tmp_path / name) for name in folders)]) == 2
        return capsys.readouterr().err

    assert "rule: 'official' -> 'strict'" in refused("a", "b") and "in release.shard and output alone" in refused(
        "a", "b"
    )
    assert "shards 1/2, 1/2 are given" in refused("a", "a") and "1/2 to 2/2, each once" in refused("a", "a")
    assert "holds no shard" in refused("a", "c") and "1 shards are named" in refused("a")
    assert not (tmp_path / "out").exists()


def test_a_hidden_split_gives_a_submission(releases: Path, run_cli: Cli, tmp_path: Path) -> None:
    settings = asking(
        "mathvista", releases / "mathvista", tmp_path / "run", engine=scripted(tmp_path), max_new_tokens=100
    )
    settings["release"]["split"] = "test"
    code, text = run_cli("eval", settings, "--plan")
    assert code == 0 and "its answers are not published" in " ".join(text.split())
    code, text = run_cli("eval", settings)
    assert code == 0 and "no score, but" in text, text
    result, given = read_json(tmp_path / "run/result.json"), read_json(tmp_path / "run/submission.json")
    assert result["scores"] == {} and result["ledger"]["ungraded"] == result["counts"]["answers"]
    assert list(given) == [row["id"] for row in read_jsonl(tmp_path / "run/samples.jsonl")]


def test_several_benchmarks_in_one_call(
    releases: Path, tiny_model: Callable[[str], Path], run_cli: Cli, tmp_path: Path
) -> None:
    """One model for all; a broken one does not keep the others from finishing, and what is finished is not repeated."""
    film = {
        "name": "videomme",
        "label": "with-subtitles",
        "release": {"source": str(releases / "videomme"), "style": "with_subtitles"},
    }
    settings = asking("", releases / "chartqa", tmp_path / "all", model=str(tiny_model("qwen2_5_vl"))) | {
        "benchmark": ["chartqa", film, {"name": "mmmu", "release": {"source": str(releases / "mmmu"), "limit": 3}}]
    }
    code, text = run_cli("eval", settings)
    assert code == 0 and "all benchmarks" in text, text
    found = read_json(tmp_path / "all/result.json")["benchmarks"]
    assert list(found) == ["chartqa", "with-subtitles", "mmmu"] and found["mmmu"]["counts"]["questions"] == 3
    assert found["with-subtitles"]["contract"]["benchmark"]["style"] == "with_subtitles"
    assert "is finished already" in run_cli("eval", settings)[1]
    code, text = run_cli("eval", settings | {"benchmark": ["chartqa", "chartqa"]})
    assert code == 2 and "'chartqa' stands twice" in text and "add 'label: chartqa-2'" in text
    code, text = run_cli("eval", settings | {"benchmark": [{"nome": "chartqa"}]})
    assert code == 2 and "a name, or {name: NAME" in text
    assert run_cli("eval", settings | {"benchmark": "chartqa,mmu"})[1].count("did you mean 'mmmu'?") == 1


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"rule": "offical"}, "unknown rule of mathvista 'offical'"),
        ({"fallback": "guess"}, "unknown fallback 'guess'"),
        ({"num_generations": 4}, "num_generations=4 with temperature=0: all answers to a question would be the same"),
        ({"engine": {"name": "transformers"}}, "no model is named, and engine 'transformers' speaks with one"),
        ({"release": {"source": "nowhere"}}, "no such folder or file: source=nowhere"),
        ({"relase": {}}, "unknown key 'relase'; did you mean 'release'?"),
        ({"rule": "strict", "judge": {"base_url": "http://localhost:1/v1", "model": "x"}}, "the rule 'strict' of mathvista asks no model"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_starts(
    keys: dict[str, Any], said: str, releases: Path, run_cli: Cli, tmp_path: Path
) -> None:
    base = asking("mathvista", releases / "mathvista", tmp_path / "run", engine=scripted(tmp_path))
    code, text = run_cli("eval", base | keys)
    assert code == 2 and said in text, text
    assert not (tmp_path / "run").exists()
