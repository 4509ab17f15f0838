"""Quality of whole datasets, through the front door: planted faults, each with its reason and its count."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quality.planted import NEAR, PLANTED, SAME, TEXT, Rows, evaluation, kept, rejects, row

from mmreflect.data.store import open_dataset
from mmreflect.files import read_jsonl

Cli = Callable[..., tuple[int, str]]


def test_bad_rows_are_rejected_with_reasons_and_numbers(build: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    run = "one two three four five six seven eight "
    rows = [
        row("good", "How many?"),
        row("rl", "How many are red?", None),
        row("free", "Describe it.", "A cat.", None),
        row("wrong", "How many are blue?", r"It is \boxed{5}."),
        row("boxes", "How many are big?", r"\boxed{5}, I mean, no: \boxed{4}."),
        row("again", "How many are old?", run * 6 + r"\boxed{4}"),
        row("script", "How many are new?", r"Я думаю, что их четыре: \boxed{4}"),
        row("leak", "How many are wet?", r"The ground truth is \boxed{4}."),
        row("empty", "How many are dry?", r"It is \boxed{4}.", "   "),
        row("twice", "How many are low?", run * 6 + r"\boxed{5}"),
    ]
    manifest = build(rows)
    assert kept(tmp_path / "out") == ["good", "rl", "free"]
    reasons = {
        "the final answer is wrong": 2,
        "several final answers": 1,
        "the response repeats itself more than 4 times": 1,
        "the response is in another script": 1,
        "the response gives away that the answer was known": 1,
        "the answer cannot be graded against": 1,
    }
    assert manifest["rejects"] == manifest["quality"]["dropped"] == dict(sorted(reasons.items()))
    found = rejects(tmp_path / "out")
    assert found["wrong"]["final_answer"] == "5" and found["wrong"]["gold"] == "4"
    assert found["boxes"]["final_answers"] == 2 and found["again"]["run"] == run.strip()
    assert found["twice"]["also"] == ["the response repeats itself more than 4 times"]
    checks = manifest["quality"]["checks"]
    assert checks["answer"] == {"does not apply": 2, "failed": 3, "passed": 5}
    assert checks["length"] == {"does not apply": 1, "passed": 9}
    assert checks["rejected_side"] == {"does not apply": 10}


def test_what_is_off_is_not_checked(build: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    rows = [row("wrong", "How many?", r"It is \boxed{5}."), row("boxes", "How much?", r"\boxed{5} no, \boxed{4}")]
    manifest = build(rows, "quality.answer=off", "quality.final_answer=off", "quality.repeats=off", near_repeats="off")
    assert len(kept(tmp_path / "out")) == 2 and manifest["quality"]["compared"] == {}
    assert set(manifest["quality"]["checks"]) == {
        "reference",
        "rejected_side",
        "length",
        "repetition",
        "script",
        "leak",
        "control",
    }
    lines = (tmp_path / "out/marks/train-00000.jsonl").read_text().splitlines()
    assert len(lines) == 1, "where nothing is compared no row is marked"


EXACT_OF = {"a-same": "a", "c-same": "c"}
NEAR_OF = {"a-jpeg": "a", "a-half": "a", "b-near": "b", "c-near": "c"}


def test_repeats_are_dropped_and_near_ones_counted(
    build: Callable[..., dict[str, Any]], tmp_path: Path, run_cli: Cli
) -> None:
    manifest = build(PLANTED)
    code, text = run_cli("build", (tmp_path / "config.yaml").read_text(), f"output={tmp_path / 'again'}")
    assert code == 0 and f"kept, and only counted: {NEAR} (4)" in " ".join(text.split())
    out, compared = tmp_path / "out", manifest["quality"]["compared"]
    assert kept(out) == [one["id"] for one in PLANTED if one["id"] not in EXACT_OF]
    assert {name: line["of"] for name, line in rejects(out).items()} == EXACT_OF
    texts = {"question": "How many patches?", "response": r"It is \boxed{4}."}
    told = {"split": "train", "index": 11, "id": "c-same", "reason": SAME, "of": "c"}
    assert rejects(out)["c-same"] == texts | told
    assert manifest["rejects"] == {SAME: 2} and compared["found"] == {SAME: 2, NEAR: 4}
    assert compared["dropped"] == manifest["quality"]["dropped"] == {SAME: 2} and compared["rows"] == 14
    counted = [line for file in sorted((out / "marks").glob("*-found.jsonl")) for line in read_jsonl(file)]
    assert {line["id"]: line["of"] for line in counted} == NEAR_OF
    assert manifest["splits"]["train"]["rows"] == 12
    named = {name for one in open_dataset(str(out)).rows("train") for name in one["images"]}
    assert {str(path.relative_to(out)) for path in (out / "media").rglob("*.*")} == named, (
        "what is dropped has no media"
    )


def test_near_repeats_are_dropped_where_that_is_asked_for(build: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    manifest = build(PLANTED, near_repeats="drop")
    gone = EXACT_OF | NEAR_OF
    assert kept(tmp_path / "out") == [one["id"] for one in PLANTED if one["id"] not in gone]
    assert manifest["rejects"] == {SAME: 2, NEAR: 4}
    line = rejects(tmp_path / "out")["b-near"]
    assert line["of"] == "b" and 0.8 <= line["question_likeness"] < 1 and line["response_likeness"] == 1
    strict = build(PLANTED, output="strict", near_repeats="drop", likeness=1.0, picture_bits=0)
    assert "b-near" in kept(tmp_path / "strict") and strict["quality"]["settings"]["likeness"] == 1.0


def test_one_question_with_two_references_is_counted_and_kept(
    build: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    rows = [row("a", "How many?", None, "4"), row("b", "How many?", None, "5"), row("c", "How many?", None, "4")]
    manifest = build(rows)
    assert kept(tmp_path / "out") == ["a", "b"] and manifest["quality"]["compared"]["same_question_other_answer"] == 1


def test_overlap_with_evaluation_sets(build: Callable[..., dict[str, Any]], tmp_path: Path, run_cli: Cli) -> None:
    held_out, pictures = evaluation(tmp_path / "eval"), tmp_path / "pictures"
    pictures.mkdir()
    shutil.copyfile(tmp_path / "in/1.png", pictures / "first.png")
    rows = [*PLANTED, row("d", "Is it red?", None, "yes", "3.png"), row("e", f"{TEXT.upper()} it", None, "19")]
    manifest = build(rows, against=[str(held_out), str(pictures)])
    overlap = manifest["quality"]["compared"]["overlap"]
    assert overlap[str(held_out)] == {
        "questions": 3,
        "pictures": 1,
        "unread": 1,
        "why_unread": {"a picture is missing": 1},
        "rows_by_question_alone": 1,
        "found": {
            "a picture nearly stands in an evaluation set": 2,
            "the question nearly stands in an evaluation set": 2,
            "the question stands in an evaluation set": 2,
        },
    }
    assert overlap[str(pictures)]["found"] == {"a picture stands in an evaluation set": 1}
    found = rejects(tmp_path / "out")
    assert found["d"]["of"] == found["c-far"]["of"] == "shown" and found["d"]["bits"] <= 6
    assert found["e"]["of"] == "held" and found["e"]["reason"] == "the question stands in an evaluation set"
    assert found["b-near"]["set"] == str(held_out) and found["b-near"]["likeness"] >= 0.8
    assert found["a-other-picture"]["of"] == "first.png"
    assert "a" in kept(tmp_path / "out"), "the same question about another picture is another question"
    counted = build(rows, output="counted", against=[str(held_out)], overlap="count")
    assert counted["quality"]["compared"]["dropped"] == {SAME: 2} and "d" in kept(tmp_path / "counted")


def test_a_dataset_of_ours_is_an_evaluation_set(
    build: Callable[..., dict[str, Any]], tmp_path: Path, grid: Path, run_cli: Cli
) -> None:
    """The grids of another seed are other pictures under the same few questions: nothing of them is dropped."""
    tree = {"builder": "grid", "output": str(tmp_path / "grid"), "splits": {"train": 60}, "seed": 2}
    code, text = run_cli("build", tree, f"quality.against=[{grid}]")
    assert code == 0, text
    manifest = open_dataset(str(tmp_path / "grid")).manifest
    assert manifest["rejects"] == {} and manifest["quality"]["compared"]["found"] == {}
    assert manifest["quality"]["checks"]["answer"] == {"exempt": 60}
    same = {**tree, "output": str(tmp_path / "same"), "seed": 1, "splits": {"train": 48, "rl": 12, "validation": 6}}
    code, text = run_cli("build", same, f"quality.against=[{grid}]")
    assert code == 2 and "all 48 rows of split 'train' were rejected" in text, text


def test_bad_evaluation_sets_are_named(run_cli: Cli, tmp_path: Path, source: Callable[[Rows], Path]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jsonl").write_text("nothing\n")
    tree = {"builder": "rows", "source": str(source(PLANTED)), "output": str(tmp_path / "out"), "validation": 0.0}
    for name, said in (
        ("gone", "which does not exist"),
        ("empty", "which holds neither manifest.json, nor rows, nor a picture"),
        ("text.jsonl", "in which no row can be read"),
    ):
        code, text = run_cli("build", tree, f"quality.against=[{tmp_path / name}]", f"output={tmp_path / 'to' / name}")
        assert code == 2 and said in text and "Traceback" not in text, text
