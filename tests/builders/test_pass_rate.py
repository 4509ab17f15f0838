"""Pass rates by a script, over HTTP, of a tiny model, from a release and from what is known over time."""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders.test_killed_build import digest
from remote.loopback import Act, Body, completion, serving
from teaching.schooling import School, chance, schooling, text_of_body, truth

from mmreflect import recipes
from mmreflect.data.store import open_dataset
from mmreflect.evaluation.accuracies import variance
from mmreflect.files import read_jsonl
from mmreflect.remote import pace

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


def script(folder: Path, right: dict[str, int], tries: int) -> dict[str, Any]:
    """An engine that answers the sums 1 + 0, 1 + 1, .. right so many times."""
    rows = [
        {
            "sample_id": name,
            "replies": [f"\\boxed{{{int(name[-2:]) + 1}}}"] * count + ["\\boxed{99}"] * (tries - count),
        }
        for name, count in right.items()
    ]
    (folder / "replies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"name": "scripted", "replies": str(folder / "replies.jsonl")}


def tree(source: Path, output: Path, **more: Any) -> dict[str, Any]:
    return {"builder": "pass_rate", "output": str(output), "source": {"path": str(source)}, **more}


def kept(folder: Path) -> dict[str, dict[str, Any]]:
    return {sample.id: sample.facts for sample in open_dataset(str(folder)).samples("train")}


def rejects(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for file in sorted(folder.glob("rejects/*.jsonl")) for row in read_jsonl(file)}


def test_above_zero_as_vl_rethinker_chooses(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """8, 4, 1 and 0 right of 8: the first three stay, always-right ones too; pass@4 of 1 in 8 is 1 - 35/70 = 0.5."""
    right = {"sum-0000": 8, "sum-0001": 4, "sum-0002": 1, "sum-0003": 0}
    engine = script(tmp_path, right, 8)
    more = {"engine": engine, "keep": {"above": 0.0}, "pass_at": [1, 4], "batch_size": 3, "shard_rows": 2}
    code, text = run_cli("build", tree(sums(4), tmp_path / "out", **more))
    assert code == 0, text
    rows = kept(tmp_path / "out")
    assert {name: row["pass_rate"] for name, row in rows.items()} == {
        "sum-0000": 1.0, "sum-0001": 0.5, "sum-0002": 0.125,
    }  # fmt: skip
    assert rows["sum-0002"] == {
        "pass_rate": 0.125, "passes": 1, "rollouts": 8, "ungraded": 0, "cut": 0, "pass_at": {"1": 0.125, "4": 0.5},
    }  # fmt: skip
    (left_out,) = rejects(tmp_path / "out").values()
    assert left_out["id"] == "sum-0003" and left_out["reason"] == "the pass rate is not above 0"
    assert (left_out["pass_rate"], left_out["passes"], left_out["rollouts"]) == (0.0, 0, 8)
    found = open_dataset(str(tmp_path / "out")).manifest["pass_rate"]
    assert found["right"] == {"0/8": 1, "1/8": 1, "4/8": 1, "8/8": 1} and found["not_rated"] == 0
    # pass@4 of 4 in 8 is 1 - 1/70; (1 + 69/70 + 0.5 + 0) / 4 = 0.621429
    assert found["pass_at_k"] == {"1": 0.40625, "4": 0.621429, "8": 0.75}


def test_the_levels_of_glance_or_gaze(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """4/4 dropped, 2/4 level 1, 0/4 level 2; 3/4 and 1/4 where the config's limits put them; level 2 alone is kept."""
    engine = script(tmp_path, {f"sum-000{place}": 4 - place for place in range(5)}, 4)
    levels = {"level_1": {"at_least": 0.5}, "level_2": {"below": 0.5}}
    more = {"engine": engine, "rollouts": 4, "keep": {"below": 1.0}, "levels": levels, "keep_levels": ["level_2"]}
    code, text = run_cli("build", tree(sums(5), tmp_path / "out", **more))
    assert code == 0, text
    assert {name: row["level"] for name, row in kept(tmp_path / "out").items()} == {
        "sum-0003": "level_2", "sum-0004": "level_2",
    }  # fmt: skip
    assert {name: (row["reason"], row["level"]) for name, row in rejects(tmp_path / "out").items()} == {
        "sum-0000": ("the pass rate is not below 1", "level_1"),
        "sum-0001": ("not of level_2", "level_1"),
        "sum-0002": ("not of level_2", "level_1"),
    }
    assert open_dataset(str(tmp_path / "out")).manifest["pass_rate"]["levels"] == {
        "level_1": 3, "level_2": 2, "None": 0,
    }  # fmt: skip


def test_what_cannot_be_graded_is_not_wrong(tmp_path: Path, run_cli: Cli) -> None:
    row = {"id": "sum-0000", "question": "Which?", "answer": "Z", "facts": {"options": ["a cup", "a book"]}}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"id": "sum-0001", "answer": "A"}))
    rows = {
        "builder": "rows",
        "source": str(tmp_path / "rows.jsonl"),
        "output": str(tmp_path / "in"),
        "validation": 0.0,
        "quality": {"ungraded": "keep"},
    }
    assert run_cli("build", rows)[0] == 0
    (tmp_path / "r.jsonl").write_text(json.dumps({"sample_id": "*", "replies": ["A", "B"]}))
    more = {"engine": {"name": "scripted", "replies": str(tmp_path / "r.jsonl")}, "rollouts": 2}
    code, text = run_cli("build", tree(tmp_path / "in", tmp_path / "out", **more))
    assert code == 0, text
    left_out = rejects(tmp_path / "out")["sum-0000"]
    assert left_out["reason"] == "too few rollouts could be graded"
    assert left_out["pass_rate"] is None and left_out["ungraded"] == 2
    assert kept(tmp_path / "out")["sum-0001"]["pass_rate"] == 0.5


def test_another_environment(clip: Path, tmp_path: Path, run_cli: Cli) -> None:
    """Grounding in a film: [1, 2] is right, [0, 0.2] has no overlap with it, and a third reply states nothing."""
    facts = {"task": "grounding", "answer_type": "temporal_iou", "gt_interval": [1, 2]}
    row = {"id": "g", "question": "a cup falls", "videos": [str(clip)], "answer": "[1, 2]", "facts": facts}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    rows = {
        "builder": "rows",
        "source": str(tmp_path / "rows.jsonl"),
        "output": str(tmp_path / "in"),
        "validation": 0.0,
    }
    assert run_cli("build", rows)[0] == 0
    said = ["<answer>[1, 2]</answer>", "<answer>[0, 0.2]</answer>", "No idea.", "<answer>[1.1, 2]</answer>"]
    (tmp_path / "r.jsonl").write_text(json.dumps({"sample_id": "g", "replies": said}))
    more = {"engine": {"name": "scripted", "replies": str(tmp_path / "r.jsonl")}, "rollouts": 4}
    code, text = run_cli("build", tree(tmp_path / "in", tmp_path / "out", environment="grounding", **more))
    assert code == 0, text
    assert (kept(tmp_path / "out")["g"]["pass_rate"], kept(tmp_path / "out")["g"]["ungraded"]) == (0.5, 0)


def test_variance_by_hand() -> None:
    assert variance([0, 0.5, 1, 0.5]) == 0.125 and variance([1, 1, 1, 1]) == 0.0
    with pytest.raises(ValueError, match="no accuracies"):
        variance([])


def test_the_question_of_greatest_variance_over_checkpoints(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """Three checkpoints, whose left-out questions count as well: 0, 1/2, 1 has 1/6; 1/2, 1/2, 1 has 1/18."""
    source = sums(3)
    for place, right in enumerate([(0, 2, 4), (2, 2, 4), (4, 4, 4)]):
        engine = script(tmp_path, {f"sum-000{number}": count for number, count in enumerate(right)}, 4)
        more = {"engine": engine, "rollouts": 4, "keep": {"below": 1.0} if place < 2 else {}}
        code, text = run_cli("build", tree(source, tmp_path / f"step-{place}", **more))
        assert code == 0, text
    history = [str(tmp_path / f"step-{place}") for place in range(3)]
    code, text = run_cli("build", tree(source, tmp_path / "out", history=history, top=1))
    assert code == 0 and "the 1 of greatest variance" in text, text
    (facts,) = kept(tmp_path / "out").values()
    assert facts["accuracies"] == [0.0, 0.5, 1.0] and facts["variance"] == pytest.approx(1 / 6)
    left_out = rejects(tmp_path / "out")
    assert left_out["sum-0001"]["variance"] == pytest.approx(1 / 18) and left_out["sum-0002"]["variance"] == 0.0


def write_run(folder: Path, keep_every: int = 1) -> Path:
    (folder / "rollouts").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"rollout: {{keep_every: {keep_every}}}\n")
    epochs = [{"sum-0000": [0, 0], "sum-0001": [1, 1]}, {"sum-0000": [1, None], "sum-0001": [1, 1], "sum-0002": [0, 1]}]
    for step, questions in enumerate(epochs):
        groups = [
            {"sample_id": name, "rollouts": [{"score": {"parts": {"accuracy": {"value": one}}}} for one in values]}
            for name, values in questions.items()
        ]
        (folder / f"rollouts/step-{step:06}.json").write_text(json.dumps(groups))
    return folder


def test_variance_over_a_training(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    config = tree(sums(3), tmp_path / "out", history=[str(write_run(tmp_path / "run"))], top=1)
    code, text = run_cli("build", config)
    assert code == 0, text
    (facts,) = kept(tmp_path / "out").values()
    assert facts["accuracies"] == [0.0, 1.0], "the rollout that could not be graded counts as none"
    assert rejects(tmp_path / "out")["sum-0002"]["reason"] == "fewer than two accuracies are known"
    code, text = run_cli("build", config, "signal=format", "output=" + str(tmp_path / "other"))
    assert code == 2 and "no score has the part 'format'" in text and "one of: accuracy" in text, text


def test_trainings_that_kept_too_little(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    source = sums(1)
    some = str(write_run(tmp_path / "run", keep_every=10))
    code, text = run_cli("build", tree(source, tmp_path / "a", history=[some]))
    assert code == 2 and "every 10th step alone" in text and "rollout.keep_every=1" in text, text
    code, text = run_cli("build", tree(source, tmp_path / "b", history=[str(tmp_path / "none")]))
    assert code == 2 and "is no dataset and holds no rollouts of a training" in text, text


def test_rates_of_a_release(tmp_path: Path, run_cli: Cli) -> None:
    rates = [0.25, 0, 1.0, None, -1, 3]
    rows = [
        {"id": f"q{n}", "question": f"How much is {n}?", "answer": n, "facts": {"rate": r}} for n, r in enumerate(rates)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {
        "builder": "rows",
        "source": str(tmp_path / "rows.jsonl"),
        "output": str(tmp_path / "in"),
        "validation": 0.0,
    }
    assert run_cli("build", source)[0] == 0
    code, text = run_cli("build", tree(tmp_path / "in", tmp_path / "out", known="rate", keep={"above": 0}))
    assert code == 0, text
    assert [row["pass_rate"] for row in kept(tmp_path / "out").values()] == [0.25, 1.0]
    assert {name: row["reason"] for name, row in rejects(tmp_path / "out").items()} == {
        "q1": "the pass rate is not above 0", "q3": "facts.rate is not known", "q4": "facts.rate is not known",
        "q5": "facts.rate is no share",
    }  # fmt: skip


def test_what_the_recipe_says_beside_it_works(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """Every other way that its comment names, word by word; none of them is started."""
    recipe = (ROOT / "configs/build/pass_rate.yaml").read_text()
    ways = [line.removeprefix("#     ") for line in recipe.splitlines() if line.startswith("#     ")]
    assert len(ways) == 5
    for way in ways:
        code, text = run_cli("build", recipe, *shlex.split(way), f"source.path={sums(3)}", "--plan")
        assert code == 0 and ("NAME" in text or "localhost" not in way), (way, text)


def test_questions_that_never_change_are_not_chosen(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """sum-0001 is always right and always asked: top=2 of one question that changes keeps one, and says so."""
    config = tree(sums(3), tmp_path / "out", history=[str(write_run(tmp_path / "run"))], top=2)
    code, text = run_cli("build", config)
    assert code == 0 and "of top=2 only 1 have a variance above 0" in " ".join(text.split()), text
    assert list(kept(tmp_path / "out")) == ["sum-0000"]
    assert rejects(tmp_path / "out")["sum-0001"]["reason"] == "the accuracy never changes: its variance is 0"
    counts = json.loads((tmp_path / "out/manifest.json").read_text())["rejects"]
    assert counts["the accuracy never changes: its variance is 0"] == 1


def test_the_recipe_on_a_tiny_model(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    recipe = (ROOT / "configs/build/pass_rate.yaml").read_text()
    small = "model={path: tiny, tiny: {hidden_size: 32, layers: 2, heads: 2, vision_hidden_size: 32}}"
    words = [small, f"source.path={sums(3)}", f"output={tmp_path / 'out'}", "rollouts=4", "max_new_tokens=4"]
    code, text = run_cli("build", recipe, *words, "keep={}", "media=copy")
    assert code == 0, text
    assert {(row["rollouts"], row["passes"] + row["ungraded"] <= 4) for row in kept(tmp_path / "out").values()} == {
        (4, True)
    }


def answer(text: str, body: Body) -> str:
    return f"\\boxed{{{truth(text) + (chance(text, body.get('seed')) < 0.5)}}}"


def server_tree(url: str, source: Path, output: Path, cache: Path) -> dict[str, Any]:
    server = {"base_url": url, "model": "policy", "cache": str(cache), "concurrency": 8}
    engine = {"name": "openai", "server": server}
    return tree(source, output, engine=engine, rollouts=4, batch_size=5, shard_rows=10, pass_at=[2])


def test_killed_it_goes_on_and_asks_nothing_twice(sums: Sums, tmp_path: Path) -> None:
    source, school = sums(40), School(answer, faults=0.1, delay=0.01)

    def command(url: str, name: str) -> list[str]:
        (tmp_path / f"{name}.json").write_text(
            json.dumps(server_tree(url, source, tmp_path / name, tmp_path / "cache"))
        )
        return [sys.executable, "-m", "mmreflect", "build", str(tmp_path / f"{name}.json")]

    with schooling(school) as server:
        process = subprocess.Popen(command(server.url, "cut"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list((tmp_path / "cut").glob("train/*.jsonl")):
            time.sleep(0.005)
        assert process.poll() is None, "killed in the middle"
        process.send_signal(signal.SIGKILL)
        process.wait()
        subprocess.run(command(server.url, "cut"), check=True, capture_output=True)
        assert sum(school.answered.values()) <= 160 + 16, "only what was under way at the kill was asked again"
        assert len(school.answered) == 160
        before = sum(school.came.values())
        subprocess.run(command(server.url, "whole"), check=True, capture_output=True)
        assert sum(school.came.values()) == before, "everything is in the cache"
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
    rates = {row["pass_rate"] for row in kept(tmp_path / "cut").values()}
    assert len(rates) >= 3 and rates <= {0.0, 0.25, 0.5, 0.75, 1.0}


def test_a_silent_server_ends_the_build_and_loses_nothing(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    down, silent = True, list[Any]()

    def behave(body: Body, number: int) -> Act:
        text = text_of_body(body)
        if "How much is" not in text:
            return Act(completion("I am here."))
        if "How much is 2 + 3?" in text and not silent:
            silent.append(body["seed"])
        if down and body["seed"] in silent:
            return Act({"error": {"message": "oops"}}, status=500)
        return Act(completion(answer(text, body)))

    with serving(behave) as server:
        config = server_tree(server.url, sums(20), tmp_path / "out", tmp_path / "cache")
        config["engine"]["server"]["retries"] = 1
        code, text = run_cli("build", config)
        assert (
            code == 2 and "row 'sum-0013': 1 of 4 rollouts were not answered" in text and "unanswered=reject" in text
        ), text
        assert [file.name for file in (tmp_path / "out/train").iterdir()] == ["00000.jsonl"]
        code, text = run_cli("build", config, "unanswered=reject", f"output={tmp_path / 'rejecting'}")
        assert code == 0 and kept(tmp_path / "rejecting")["sum-0013"]["ungraded"] == 1, text
        down = False
        code, text = run_cli("build", config)
    assert code == 0 and kept(tmp_path / "out")["sum-0013"]["ungraded"] == 0, text


BAD = [
    ({"rollouts": 8, "temperature": 0}, "rollouts=8 at temperature=0 would all be the same"),
    ({"known": "rate", "history": ["x"]}, "known and history both say where pass rates come from"),
    ({"known": "rate", "model": "tiny"}, "model is set, and nobody is asked"),
    ({"top": 1}, "top goes by the variance over `history`, which is empty"),
    ({"levels": {"level_1": {}}, "keep_levels": ["level1"]}, "keep_levels names 'level1', which is no level; did you"),
    ({"keep": {"above": 0.5, "at_least": 0.5}}, "at_least and above are both given"),
    ({"keep": {"above": 0.5, "below": 0.5}}, "no pass rate is above 0.5 and below 0.5"),
    ({"pass_at": [16]}, "min_graded and pass_at go up to rollouts=8"),
    ({}, "no model is named, and engine 'transformers' speaks with one"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "message"), BAD)
def test_bad_options(more: dict[str, Any], message: str, tmp_path: Path, run_cli: Cli) -> None:
    code, text = run_cli("build", tree(tmp_path, tmp_path / "out", **more))
    assert code == 2 and message in text, text


def test_ranges() -> None:
    limits = recipes.load("builder", "pass_rate").Range
    weak, strong = limits(at_least=0.2, at_most=0.8), limits(above=0.0, at_most=0.6)
    assert [weak.holds(rate) for rate in (0.125, 0.2, 0.8, 0.875)] == [False, True, True, False]
    assert [strong.holds(rate) for rate in (0.0, 0.125, 0.6, 0.625)] == [False, True, True, False]
