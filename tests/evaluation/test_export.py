"""Results in the layouts of lmms-eval and VLMEvalKit, entered by `mmreflect export`, and read back."""

import csv
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from evaluation.asked import CONFIRMED, FIXED, NASTY, QUESTIONS, REPLIES, ask, rows_of

from mmreflect import recipes
from mmreflect.cli import main
from mmreflect.errors import UserError
from mmreflect.evaluation.exchange.vlmevalkit import read_predictions
from mmreflect.evaluation.rescore import Settings, rescore


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ask(tmp_path_factory.mktemp("asked"), REPLIES)


def export(folder: Path, layout: str, output: Path, *more: str) -> dict[str, Path]:
    """Files by the end of their names."""
    assert main(["export", str(folder), f"format={layout}", f"output={output}", *more]) == 0
    files = [file for file in output.rglob("*") if file.is_file()]
    return {file.name: file for file in files}


def table(file: Path) -> list[dict[str, str]]:
    with open(file, newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t" if file.suffix == ".tsv" else ","))


def verdicts(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["id"], row["prediction"], row["correct"]) for row in rows]


def test_lmms_eval_files(run: Path, tmp_path: Path) -> None:
    files = export(run, "lmms_eval", tmp_path, "model=org/some-model", "name=mathvista_testmini_format")
    (samples,) = [file for name, file in files.items() if name.endswith("_samples_mathvista_testmini_format.jsonl")]
    (results,) = [file for name, file in files.items() if name.endswith("_results.json")]
    assert samples.parent == results.parent == tmp_path / "org__some-model" and len(files) == 2
    first, *_ = rows_of(samples)
    order = [
        "doc_id",
        "target",
        "resps",
        "filtered_resps",
        "token_counts",
        "doc_hash",
        "input_media",
        "accuracy",
        "input",
    ]
    assert list(first)[: len(order)] == order
    assert (first["doc_id"], first["target"], first["accuracy"]) == (0, "green", 1.0)
    assert first["resps"] == [FIXED] and first["filtered_resps"] == "B"
    assert "resps" not in rows_of(samples)[5], "left out where nothing was filtered, as lmms-eval does"
    tree = json.loads(results.read_text())
    scores = tree["results"]["mathvista_testmini_format"]
    # 2 of 6 right: the sample's variance is (2 * (2/3)**2 + 4 * (1/3)**2) / 5 = 4/15
    assert scores["accuracy,none"] == pytest.approx(1 / 3)
    assert scores["accuracy_stderr,none"] == pytest.approx(math.sqrt(4 / 15 / 6))
    assert tree["n-samples"]["mathvista_testmini_format"] == {"original": 6, "effective": 6}
    hashes = "".join(f"sample_{place}{row['doc_hash']}" for place, row in enumerate(rows_of(samples)))
    assert tree["task_hashes"] == {"mathvista_testmini_format": hashlib.sha256(hashes.encode()).hexdigest()}
    assert tree["mmreflect"]["contract"]["hash"] == json.loads((run / "result.json").read_text())["contract"]["hash"]
    assert tree["config"]["model_args"] == "pretrained=org/some-model" and tree["higher_is_better"]


def test_lmms_eval_is_read_back_with_the_same_verdicts(run: Path, tmp_path: Path) -> None:
    files = export(run, "lmms_eval", tmp_path / "out")
    (samples,) = [file for name, file in files.items() if "_samples_" in name]
    back = tmp_path / "back.jsonl"
    assert main(["eval", "rescore", "mathvista", f"responses={samples}", f"output={back}"]) == 0
    assert verdicts(rows_of(back)) == verdicts(rows_of(run / "scored.jsonl"))
    found, known = (json.loads(file.read_text()) for file in (tmp_path / "back.summary.json", run / "summary.json"))
    assert found["category"] == known["category"] and found["average"] == known["average"]


def test_vlmevalkit_files(run: Path, tmp_path: Path) -> None:
    files = export(run, "vlmevalkit", tmp_path, "name=MathVista_MINI", "model=org/some model")
    stem = "some-model_MathVista_MINI"
    assert set(files) == {f"{stem}.tsv", f"{stem}_score.tsv", f"{stem}_acc.csv", f"{stem}_score.csv"}
    rows = table(files[f"{stem}.tsv"])
    assert list(rows[0])[:4] == ["index", "question", "A", "B"] and [row["index"] for row in rows] == list("012345")
    assert (
        rows[0]["prediction"] == FIXED
        and rows[0]["answer"] == "green"
        and (rows[0]["A"], rows[0]["B"]) == ("red", "green")
    )
    assert rows[0]["skills"] == "['counting', 'reading']" and rows[0]["category"] == "colours" and rows[1]["A"] == ""
    assert [row["score"] for row in table(files[f"{stem}_score.tsv"])] == ["1", "0", "1", "0", "0", "0"]
    (shares,) = table(files[f"{stem}_acc.csv"])
    assert (
        float(shares["Overall"]) == pytest.approx(1 / 3)
        and float(shares["colours"]) == 0.5
        and shares["split"] == "none"
    )
    groups = {row["Task&Skill"]: row for row in table(files[f"{stem}_score.csv"])}
    assert groups["Overall"] == {
        **{"Task&Skill": "Overall", "tot": "6", "prefetch": "6", "hit": "2"},
        **{"prefetch_rate": "100.0", "acc": "33.333333333333336"},
    }
    assert groups["reading"]["tot"] == "1" and groups["counting"]["hit"] == "2"


def test_vlmevalkit_is_read_back_with_the_same_verdicts(run: Path, tmp_path: Path) -> None:
    files = export(run, "vlmevalkit", tmp_path, "model=m")
    rows = read_predictions(files["m_mathvista_testmini.tsv"])
    given = [{key: value for key, value in row.items() if key != "draw"} for row in rows_of(run / "responses.jsonl")]
    assert [dict(row) for row in rows] == given, "numbers, lists and what is missing among them"
    scored, _ = rescore(recipes.load("benchmark", "mathvista").BENCHMARK, rows, Settings())
    assert verdicts(scored) == verdicts(rows_of(run / "scored.jsonl"))


def test_hostile_texts_survive_a_table(tmp_path: Path) -> None:
    said = f'a\tb\r\nc "quoted" {NASTY} \\n <answer>3</answer>'
    long = "y" * 200_000
    run = ask(tmp_path, {"q2": said, "q3": long}, max_new_tokens=300_000)
    files = export(run, "vlmevalkit", tmp_path / "out", "model=m")
    rows = {row["pid"]: row for row in read_predictions(files["m_mathvista_testmini.tsv"])}
    assert (
        rows["q2"]["response"] == said and rows["q3"]["response"] == long and rows["q4"]["question"] == f"Is {NASTY} 9?"
    )


def test_several_answers_to_a_question(tmp_path: Path) -> None:
    replies: dict[str, str | list[str]] = {
        "q2": ["<answer>3</answer>", "<answer>4</answer>"],
        "q3": [CONFIRMED, CONFIRMED],
    }
    run = ask(tmp_path, replies, num_generations=2, temperature=1.0)
    files = export(run, "lmms_eval", tmp_path / "lmms")
    (samples,) = [file for name, file in files.items() if "_samples_" in name]
    assert [(row["doc_id"], row.get("draw", 0)) for row in rows_of(samples)][:4] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    (results,) = [file for name, file in files.items() if "_results" in name]
    scores = json.loads(results.read_text())["results"]["mathvista_testmini"]
    assert scores["accuracy_stderr,none"] == "N/A", "answers to one question are not independent"
    assert main(["eval", "rescore", "mathvista", f"responses={samples}", f"output={tmp_path / 'back.jsonl'}"]) == 0
    assert verdicts(rows_of(tmp_path / "back.jsonl")) == verdicts(rows_of(run / "scored.jsonl"))
    tables = export(run, "vlmevalkit", tmp_path / "kit", "model=m")
    overall = [table(tables[f"m-draw{draw}_mathvista_testmini_acc.csv"])[0]["Overall"] for draw in (1, 2)]
    assert [float(share) for share in overall] == pytest.approx([2 / 6, 1 / 6])


def test_what_has_no_verdict_is_no_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ask(tmp_path, REPLIES, [{**row, "answer": None} for row in QUESTIONS])
    capsys.readouterr()
    files = export(run, "vlmevalkit", tmp_path / "kit", "model=m")
    assert "6 answers without a verdict" in capsys.readouterr().out
    assert {row["score"] for row in table(files["m_mathvista_testmini_score.tsv"])} == {"-1"}
    assert table(files["m_mathvista_testmini_acc.csv"]) == [{"split": "none"}]
    files = export(run, "lmms_eval", tmp_path / "lmms")
    (samples,) = [file for name, file in files.items() if "_samples_" in name]
    assert {row["accuracy"] for row in rows_of(samples)} == {None}


def test_what_could_not_be_asked_is_left_out_and_fields_with_names_of_lmms_eval_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ask(tmp_path, REPLIES)
    samples = rows_of(run / "samples.jsonl")
    samples[2]["stop"] = "error"
    (run / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
    given = [row | {"input": "the release's own"} for row in rows_of(run / "responses.jsonl")]
    (run / "responses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    files = export(run, "lmms_eval", tmp_path / "lmms")
    said = capsys.readouterr().out
    assert "5 answers exported" in said and "1 answer left out: never asked for" in said
    assert "the release's field 'input', a name that lmms-eval uses itself" in said
    (written,) = [file for name, file in files.items() if "_samples_" in name]
    assert [row["doc_id"] for row in rows_of(written)] == [0, 1, 3, 4, 5]


def test_an_evaluation_of_a_dataset(grid: Path, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(json.dumps({"sample_id": "*", "replies": ["<answer>2</answer>"]}) + "\n")
    config = {
        "benchmark": "dataset", "output": str(tmp_path / "run"), "data": {"path": str(grid), "split": "validation"},
        "engine": {"name": "scripted", "replies": str(tmp_path / "r.jsonl")}, "max_new_tokens": 100,
    }  # fmt: skip
    (tmp_path / "eval.yaml").write_text(json.dumps(config))
    assert main(["eval", str(tmp_path / "eval.yaml")]) == 0
    records = rows_of(tmp_path / "run/samples.jsonl")
    files = export(tmp_path / "run", "lmms_eval", tmp_path / "out")
    (samples,) = [file for name, file in files.items() if name.endswith("_samples_dataset_validation.jsonl")]
    assert [row["accuracy"] for row in rows_of(samples)] == [float(record["final_correct"]) for record in records]
    assert [row["target"] for row in rows_of(samples)] == [record["gold"] for record in records]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["format=lmmseval", "output=x"], "unknown format 'lmmseval'"),
        (["format=lmms_eval"], "missing: output=VALUE"),
        (["output=x"], "missing: format=VALUE"),
        (["format=lmms_eval", "output=x", "colour=red"], "unknown setting 'colour'"),
        (["format=lmms_eval", f"output={__file__}"], "is a file"),
    ],
)
def test_settings_are_checked(run: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["export", str(run), *words]) == 2
    assert said in capsys.readouterr().err


def test_what_cannot_be_exported(grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_run = tmp_path / "open"
    open_run.mkdir()
    (open_run / "samples.jsonl").write_text("")
    for folder, said in (
        (grid, "expected: one of: card, llama_factory, ms_swift, trl"),
        (open_run, "is not finished"),
        (tmp_path / "gone", "does not exist"),
    ):
        assert main(["export", str(folder), "format=lmms_eval", f"output={tmp_path / 'x'}"]) == 2
        assert said in capsys.readouterr().err
    assert main(["export", str(tmp_path), "format=lmms_eval", f"output={tmp_path / 'x'}"]) == 2
    assert "holds several evaluations" in capsys.readouterr().err
    (open_run / "result.json").write_text("{}")
    assert main(["export", str(open_run), "format=lmms_eval", f"output={tmp_path / 'x'}"]) == 2
    assert "holds no answer that was asked for" in capsys.readouterr().err


def test_a_table_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs.tsv").write_text('"index"\t"prediction"\n"1"\t"A"\n')
    with pytest.raises(UserError, match="row 1: no 'mmreflect'"):
        read_predictions(tmp_path / "theirs.tsv")
    with pytest.raises(UserError, match="no such file"):
        read_predictions(tmp_path / "gone.tsv")
