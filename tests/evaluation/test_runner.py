import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmreflect.cli import main
from mmreflect.environments import single_turn
from mmreflect.evaluation.runner import evaluate
from mmreflect.files import read_json
from mmreflect.records import Sample
from mmreflect.rollouts.actions import Request, Sampling
from mmreflect.rollouts.engines.scripted import ScriptedEngine

Cli = Callable[..., tuple[int, str]]
ENVIRONMENT = single_turn.create(single_turn.Config())
SAMPLING = Sampling(temperature=0, max_new_tokens=200)


def samples(count: int) -> list[Sample]:
    return [Sample(f"q{place}", [{"role": "user", "content": "how many?"}], gold="3") for place in range(count)]


def say(request: Request, asked: int) -> str:
    final = "3" if request.sample_id != "q1" else "4"
    return f"<think>t</think><answer>2</answer><reflection>wait</reflection><answer>{final}</answer>"


def test_every_question_is_asked_once_and_recorded(tmp_path: Path) -> None:
    engine = ScriptedEngine(say)
    found = evaluate(engine, ENVIRONMENT, samples(5), SAMPLING, batch_size=2, file=tmp_path / "samples.jsonl")
    assert [record["id"] for record in found.records] == ["q0", "q1", "q2", "q3", "q4"]
    assert found.ledger.final_accuracy.value == 0.8 and found.ledger.fix_rate.value == 0.8
    first = json.loads((tmp_path / "samples.jsonl").read_text().splitlines()[0])
    assert (
        first["first"] == "2"
        and first["final"] == "3"
        and first["tokens_first"] == len("<think>t</think><answer>2</answer>")
    )
    assert first["segments"] == [{"author": "model", "stage": "answer", "text": first["text"]}]


def test_an_interrupted_evaluation_repeats_no_question(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    whole = evaluate(ScriptedEngine(say), ENVIRONMENT, samples(6), SAMPLING, batch_size=2, file=file)
    content = file.read_text()
    lines = content.splitlines(keepends=True)
    file.write_text("".join(lines[:2]) + lines[2][:20])
    engine = ScriptedEngine(say)
    again = evaluate(engine, ENVIRONMENT, samples(6), SAMPLING, batch_size=2, file=file)
    assert len(engine.requests) == 4 and file.read_text() == content and again == whole


def config(grid: Path, output: Path, model: Path, **keys: Any) -> dict[str, Any]:
    data = {"path": str(grid), "split": "validation"}
    return {
        "benchmark": "dataset",
        "output": str(output),
        "model": str(model),
        "data": data,
        "max_new_tokens": 8,
        **keys,
    }


def test_through_the_front_door(run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    code, text = run_cli("eval", config(grid, tmp_path / "run", tiny_model("qwen3_vl")))
    assert code == 0, text
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["ledger"]["n"] == 6 and result["seconds"] > 0
    assert len((tmp_path / "run/samples.jsonl").read_text().splitlines()) == 6


def test_another_model_needs_another_output(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    assert run_cli("eval", config(grid, tmp_path / "run", tiny_model("qwen2_5_vl")))[0] == 0
    code, text = run_cli("eval", config(grid, tmp_path / "run", tiny_model("qwen3_vl")))
    assert code == 2 and "model.path:" in text and "choose another output" in text


def test_from_python(grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    import mmreflect

    run = mmreflect.evaluate(config(grid, tmp_path / "run", tiny_model("qwen2_5_vl")), "data.limit=3")
    assert run.result is not None and run.result["ledger"]["n"] == 3


def test_unknown_split_is_refused_before_anything_is_loaded(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    code, text = run_cli("eval", config(grid, tmp_path / "run", tiny_model("qwen2_5_vl")), "data.split=tset")
    assert code == 2 and "unknown split 'tset'" in text and not (tmp_path / "run").exists()


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen3_vl"])
def test_chat_answers_and_says_what_changed(
    family: str, tiny_model: Callable[[str], Path], grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = next((grid / "media/train/00000").iterdir())
    assert main(["chat", str(tiny_model(family)), str(picture), "How many red shapes?", "max_new_tokens=6"]) == 0
    assert "stopped by" in capsys.readouterr().out


def test_chat_refuses_what_it_cannot_use(
    tiny_model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "x.png"
    picture.write_text("no picture")
    assert main(["chat", str(tiny_model("qwen2_vl")), str(picture), "q"]) == 2
    assert "not a picture" in capsys.readouterr().err
    assert main(["chat", str(tiny_model("qwen2_vl")), str(tmp_path / "gone.png"), "q"]) == 2
    assert "no such picture" in capsys.readouterr().err


def test_chat_colours_blocks_and_shows_markup_as_it_is() -> None:
    from mmreflect.chat import coloured

    shown = coloured("<think>[red]a</think><answer>1</answer><reflection>b</reflection><answer>2</answer>")
    assert (
        "\\[red]a" in shown and "[magenta]<reflection>b</reflection>[/]" in shown and shown.count("[bold green]") == 2
    )


def test_a_result_records_its_contract(
    run_cli: Cli, grid: Path, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """Another model is the same contract, another prompt or limit is not."""

    def evaluated(name: str, family: str = "qwen2_5_vl", **settings: Any) -> str:
        config = {
            "benchmark": "dataset",
            "output": str(tmp_path / name),
            "model": str(tiny_model(family)),
            "data": {"path": str(grid), "split": "validation"},
            "max_new_tokens": 4,
        }
        code, text = run_cli("eval", config | settings)
        assert code == 0, text
        return str(tmp_path / name)

    one, two = evaluated("one"), evaluated("two", "qwen2_vl")
    other = evaluated("other", environment={"name": "single_turn", "instruction": "Think first."})
    contracts = [read_json(Path(item) / "result.json")["contract"] for item in (one, two, other)]
    assert contracts[0]["hash"] == contracts[1]["hash"] != contracts[2]["hash"]
    assert contracts[0]["model"]["weights"] != contracts[1]["model"]["weights"]
    assert main(["eval", "compare", one, two]) == 0 and main(["eval", "compare", one, other]) == 2


def test_half_a_surrogate_pair_is_written_and_read_back(tmp_path: Path) -> None:
    engine = ScriptedEngine(lambda request, asked: "<answer>3</answer> \ud83d")
    found = evaluate(engine, ENVIRONMENT, samples(2), SAMPLING, file=tmp_path / "samples.jsonl")
    again = evaluate(ScriptedEngine(say), ENVIRONMENT, samples(2), SAMPLING, file=tmp_path / "samples.jsonl")
    assert again == found and found.records[0]["text"].endswith("\ud83d")
