"""Bad input through the front door: references, final answers, evaluation sets, and reasons that can be counted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmreflect.building.builder import Rejected
from mmreflect.building.reasons import general_words
from mmreflect.data.store import open_dataset
from mmreflect.errors import UserError
from mmreflect.files import read_json, read_jsonl

Cli = Callable[..., tuple[int, str]]
Rows = list[dict[str, Any]]
UNGRADED = "the answer cannot be graded against"


def write(file: Path, rows: Rows) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def tree(tmp_path: Path, rows: Rows, builder: str, **more: Any) -> dict[str, Any]:
    source = str(write(tmp_path / "in/rows.jsonl", rows))
    own = {"source": source, "validation": 0.0} if builder == "rows" else {"sources": {"mine": {"path": source}}}
    return {"builder": builder, **own, "output": str(tmp_path / builder), **more}


def rejects(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the rejects by the ids that the rows have in their source."""
    lines = (line for file in sorted((folder / "rejects").glob("*.jsonl")) for line in read_jsonl(file))
    return {str(line.get("id")).removeprefix("mine/"): line for line in lines}


def kept(folder: Path) -> list[str]:
    return [str(row["id"]).removeprefix("mine/") for row in open_dataset(str(folder)).rows("train")]


REFERENCES: list[tuple[Any, dict[str, Any], str]] = [
    (r"\frac{{{", {}, UNGRADED),
    ("", {}, UNGRADED),
    ("   ", {}, UNGRADED),
    ("Z", {"options": ["x", "y"]}, UNGRADED),
    ("3", {"options": ["x", "y"]}, UNGRADED),
    ("banana", {"answer_type": "number"}, UNGRADED),
    ("3", {"answer_type": "nonsense"}, UNGRADED),
    (True, {}, "the answer is a truth value"),
    ({"x": 1}, {}, "the answer is a dict"),
    (float("nan"), {}, "the answer is no number (NaN or infinite)"),
    ([], {}, "the answer is a list"),
    ([[1]], {}, "the answer is a list"),
    (["1,5", "2"], {}, "the answer is a list whose elements cannot be told apart"),
]


@pytest.mark.parametrize("builder", ["rows", "mix"])
def test_references_that_nothing_can_be_graded_against(builder: str, tmp_path: Path, run_cli: Cli) -> None:
    rows = [
        {"id": f"bad-{place}", "question": f"How many of {place}?", "answer": answer, "facts": facts}
        for place, (answer, facts, _) in enumerate(REFERENCES)
    ]
    good = [
        {"id": "list", "question": "Which numbers?", "answer": [1, 2]},
        {"id": "words", "question": "Which colours?", "answer": ["red", "blue"], "response": r"\boxed{red, blue}"},
        {"id": "open", "question": "Describe it."},
    ]
    code, text = run_cli("build", tree(tmp_path, [*rows, *good], builder))
    assert code == 0, text
    out = tmp_path / builder
    assert kept(out) == ["list", "words", "open"]
    assert [row["answer"] for row in open_dataset(str(out)).rows("train")] == ["[1, 2]", "[red, blue]", None]
    found = rejects(out)
    for place, (_, _, reason) in enumerate(REFERENCES):
        told = found[f"bad-{place}"]
        assert reason in (told["reason"] + told.get("detail", "")), told
    manifest = open_dataset(str(out)).manifest
    assert manifest["rejects"][UNGRADED] == 7 and not any("bad-" in reason for reason in manifest["rejects"])
    assert manifest["quality"]["checks"]["reference"] == {"does not apply": 1, "failed": 7, "passed": 2}
    code, text = run_cli(
        "build", tree(tmp_path, [*rows, *good], builder), "quality.ungraded=keep", f"output={out}-kept"
    )
    assert code == 0 and open_dataset(f"{out}-kept").manifest["quality"]["checks"]["reference"]["kept"] == 7


FINALS = {
    "said twice": ("The answer is 3. Wait, the answer is 4.", "several final answers"),
    "tag and box": (r"I count. <answer>3</answer> No, really it is \boxed{9}", "several final answers"),
    "box and tag": (r"I count: \boxed{9}. <answer>3</answer>", "several final answers"),
    "once more": ("The answer is 3. Hmm, once more. The answer is 4.", "several final answers"),
    "two boxes": (r"So \boxed{3}. Again, \boxed{3}.", "several final answers"),
    "hashes": ("#### 5\n#### 3", "several final answers"),
    "taken back": (r"\boxed{3} Wait, it should be 8.", "several final answers"),
    "open tag": ("I count. <answer>3", "an answer tag is never closed"),
    "empty": ("", "the response is empty"),
    "blank": (" ", "no final answer"),
    "leak": (r"The ground truth is \boxed{3}.", "the response gives away that the answer was known"),
    "wrong": (r"It is \boxed{8}.", "the final answer is wrong"),
}


@pytest.mark.parametrize("builder", ["rows", "mix"])
def test_exactly_one_final_answer(builder: str, tmp_path: Path, run_cli: Cli) -> None:
    good = {
        "first try": r"<think>The answer is 5.</think><answer>5</answer><reflection>no: \boxed{4}?</reflection><answer>3</answer>",
        "both": r"So \boxed{3}. <answer>3</answer>",
        "part": "The answer to the first part is 2. So the total is 2 + 1. The answer is 3.",
        "words": "There are three boxes. The answer is 3. So the answer is 3.",
        "thought": r"<think>Is it \boxed{4}? The answer is 4.</think> The answer is 3.",
    }
    responses = {name: said for name, (said, _) in FINALS.items()} | good
    rows: Rows = [
        {"id": name, "question": f"How many boxes are in the one called {name}?", "answer": "3", "response": said}
        for name, said in responses.items()
    ]
    rows.append({"id": "rl", "question": "How many?", "answer": "3", "response": None})
    code, text = run_cli("build", tree(tmp_path, rows, builder))
    assert code == 0, text
    assert kept(tmp_path / builder) == [*good, "rl"]
    assert {name: line["reason"].removeprefix("mine: ") for name, line in rejects(tmp_path / builder).items()} == {
        name: reason for name, (_, reason) in FINALS.items()
    }


def test_a_mixture_checks_what_nobody_checked(tmp_path: Path, run_cli: Cli) -> None:
    """A dataset of ours stays as it is, here with a wrong answer that its build let pass; the same as a file does not."""
    wrong = [{"id": f"w{place}", "question": f"How much is {place}?", "answer": "3", "response": r"\boxed{8}"} for place in range(3)]  # fmt: skip
    code, text = run_cli("build", tree(tmp_path, wrong, "rows"), "quality.answer=off")
    assert code == 0, text
    sources = {
        "ours": {"path": str(tmp_path / "rows")},
        "file": {"path": str(write(tmp_path / "file.jsonl", [*wrong, {"id": "r", "question": "2?", "answer": "2"}]))},
    }
    mix = {"builder": "mix", "sources": sources, "stop": "all_exhausted", "output": str(tmp_path / "out"), "seed": 1}
    code, text = run_cli("build", mix)
    assert code == 0, text
    names = {name.split("#")[0] for name in kept(tmp_path / "out")}
    assert names == {"ours/w0", "ours/w1", "ours/w2", "file/r"}
    manifest = open_dataset(str(tmp_path / "out")).manifest
    answers, taken = manifest["quality"]["checks"]["answer"], manifest["mixture"]
    assert answers["exempt"] == taken["ours"]["taken"] and answers["failed"] + answers["does not apply"] == taken["file"]["taken"]  # fmt: skip
    assert set(manifest["rejects"]) == {"the final answer is wrong"}


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "hub"])
def test_a_column_that_a_source_lacks_is_refused_before_the_build(kind: str, tmp_path: Path, run_cli: Cli) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"problem": f"How much is {place}?", "solution": str(place)} for place in range(30)]
    (tmp_path / "hub").mkdir()
    write(tmp_path / "hub/train.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    source = {
        "jsonl": {"path": str(tmp_path / "hub/train.jsonl")},
        "parquet": {"path": str(tmp_path / "a.parquet")},
        "hub": {"hub": str(tmp_path / "hub"), "limit": 30},
    }[kind]
    for number, (columns, words) in enumerate((
        ({"question": "proble"}, "column 'proble' is missing in its first rows"),
        ({}, "there is neither 'messages' nor a 'question' in its first rows"),
    )):  # fmt: skip
        out = tmp_path / f"out-{number}"
        mix = {"builder": "mix", "sources": {"theirs": {**source, "columns": columns}}, "output": str(out)}
        code, text = run_cli("build", mix)
        said = " ".join(text.split())
        assert code == 2 and f"source theirs ({next(iter(source.values()))}): {words}" in said, text
        assert "one of: problem, solution" in said and "did you mean 'problem'?" in said, text
        if kind != "hub":
            assert not out.exists()
            assert run_cli("build", mix, "--plan")[0] == 2
    mix["sources"] = {"theirs": {**source, "columns": {"question": "problem", "answer": "solution"}}}
    assert run_cli("build", mix, f"output={tmp_path / 'good'}")[0] == 0


def test_one_row_that_lacks_a_column_is_rejected_alone(tmp_path: Path, run_cli: Cli) -> None:
    rows = [{"problem": "How much is 1?", "answer": "1"}, {"id": "b", "question": "How much is 2?", "answer": "2"}]
    file = write(tmp_path / "a.jsonl", rows)
    source = {"path": str(file), "columns": {"question": "problem"}}
    code, text = run_cli("build", {"builder": "mix", "sources": {"mine": source}, "output": str(tmp_path / "out")})
    assert code == 0, text
    assert rejects(tmp_path / "out")["b"]["reason"] == "mine: column 'problem' is missing"


def test_an_evaluation_set_is_checked_before_anything_starts(tmp_path: Path, run_cli: Cli) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "p.png")
    (tmp_path / "noise.bin").write_bytes(b"\xff\xfe\x00\x01")
    write(tmp_path / "held.jsonl", [{"problem": "How many?", "gold": "0"}])
    (tmp_path / "empty.jsonl").write_text("\n")
    build = tree(tmp_path, [{"question": "How many?", "answer": "1"}], "rows")
    for name, said in (
        ("p.png", "names the picture"),
        ("noise.bin", "in which no row can be read"),
        ("empty.jsonl", "in which no row can be read (it is empty)"),
        ("held.jsonl", "whose rows have no question; their columns: problem, gold"),
    ):
        for words in ([], ["--plan"]):
            code, text = run_cli("build", build, f"quality.against=[{tmp_path / name}]", *words)
            assert code == 2 and said in " ".join(text.split()), text
            assert not (tmp_path / "rows").exists()
    assert (
        "one of these columns: question, messages, prompt, conversations, image, images, video, videos" in text
        and "rename 'problem'" in text
    )
    write(tmp_path / "shown.jsonl", [{"id": "e", "images": ["p.png"]}])
    Image.new("RGB", (8, 8)).save(tmp_path / "in/same.png")
    rows = [{"id": "a", "question": "How many?", "images": ["same.png"]}, {"id": "b", "question": "How much?"}]
    source = f"source={write(tmp_path / 'in/shown.jsonl', rows)}"
    code, text = run_cli("build", build, source, f"quality.against=[{tmp_path / 'shown.jsonl'}]")
    assert code == 0 and rejects(tmp_path / "rows")["a"]["reason"] == "a picture stands in an evaluation set", text


def test_a_build_goes_on_with_another_evaluation_set(
    tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The set asks all that the rows ask: nothing is taken out, no shard is built again when it is corrected."""
    rows = [{"id": f"r{place}", "question": f"How much is {place}?", "answer": str(place)} for place in range(6)]
    held, right = write(tmp_path / "held.jsonl", rows), write(tmp_path / "right.jsonl", rows[:2])
    build = tree(tmp_path, rows, "rows", shard_rows=3)
    out = tmp_path / "rows"
    code, text = run_cli("build", build, f"quality.against=[{held}]")
    assert code == 2 and "all 6 rows of split 'train' were rejected" in text and "nothing has been taken out" in text
    shard = (out / "train/00000.jsonl").stat().st_mtime_ns
    code, text = run_cli("build", build, f"quality.against=[{held}]", "quality.min_words=2")
    assert code == 2 and "holds a run of another configuration" in text and "min_words" in text
    code, text = run_cli("build", build, "quality.near_repeats=off")
    assert code == 2 and "holds a run of another configuration" in text, "the rows would be marked otherwise"
    code, text = run_cli("build", build, f"quality.against=[{right}]", "quality.likeness=1.0")
    assert code == 0 and "goes on with other settings, which nothing that is there depends on" in text, text
    assert kept(out) == ["r2", "r3", "r4", "r5"] and (out / "train/00001.jsonl").is_file()
    assert read_json(out / "manifest.json")["quality"]["settings"]["against"] == [str(right)]
    code, text = run_cli("build", build, f"quality.against=[{held}]", "quality.likeness=1.0")
    assert code == 2 and "holds a run of another configuration" in text, "what was taken out is gone"
    fresh = tmp_path / "fresh"
    assert run_cli("build", build, f"quality.against=[{right}]", "quality.likeness=1.0", f"output={fresh}")[0] == 0
    assert (fresh / "manifest.json").read_bytes() == (out / "manifest.json").read_bytes() and shard


def test_reasons_are_the_same_for_all_such_rows(tmp_path: Path, run_cli: Cli) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "text a.png").write_text("no picture")
    (source / "text b.png").write_text("nor this one")
    rows: Rows = [{"id": "good", "question": "How many?", "answer": "1"}]
    for place in range(2):
        rows += [
            {"id": f"gone-{place}", "question": "How many?", "images": [f"gone {place}.png"]},
            {"id": f"text-{place}", "question": "How many?", "images": [f"text {'ab'[place]}.png"]},
            {"id": f"facts-{place}", "question": "How many?", "facts": [place]},
            {"id": f"none-{place}"},
        ]
    build = tree(tmp_path, rows, "rows")
    file = Path(build["source"])
    file.write_text(file.read_text() + "{broken\n[1\n")
    code, text = run_cli("build", build)
    assert code == 0, text
    manifest = open_dataset(str(tmp_path / "rows")).manifest
    assert manifest["rejects"] == {
        "facts is no mapping": 2,
        "no such picture": 2,
        "not JSON": 2,
        "not a picture": 2,
        "the row has neither 'messages' nor a 'question'": 2,
    }
    found = rejects(tmp_path / "rows")
    assert found["gone-1"]["detail"] == f"no such picture: {source / 'gone 1.png'}"
    assert (
        found["facts-1"]["detail"].endswith("facts is no mapping ([1])") and found["facts-1"]["expected"] == "a mapping"
    )


REASONS = [
    ("no such picture: /a/nope.png", "no such picture"),
    ("q.jsonl, line 42: not JSON (Expecting value)", "not JSON"),
    ("mine: /x/q.jsonl, row 5: not JSON (x)", "mine: not JSON"),
    ("row 37: facts is no mapping ([1])", "facts is no mapping"),
    ("not a picture: /tmp/x-9k/0.png (12 bytes, starts with b'ab')", "not a picture"),
    ("the picture cannot be decoded: a/b.png (truncated (3 bytes left))", "the picture cannot be decoded"),
    ("row 3 has neither 'messages' nor a 'question'", "the row has neither 'messages' nor a 'question'"),
    ("row 'x' has 2 image placeholder(s) and 1 image(s)", "the row has N image placeholder(s) and N image(s)"),
    ("row 'x': a part is no text ({'type': '[x'})", "a part is no text"),
    ("crop (1, 2, 3, 4) does not fit /a/b.png", "crop does not fit …"),
    ("column 'label.gold' is missing", "column 'label.gold' is missing"),
    ("the assistant's turn holds media", "the assistant's turn holds media"),
    ("fix: the answer is changed", "fix: the answer is changed"),
]


@pytest.mark.parametrize(("given", "general"), REASONS)
def test_general_words(given: str, general: str) -> None:
    assert general_words(given) == general


def test_a_rejects_own_words_stay_as_they_are() -> None:
    told = Rejected.of(Rejected("more than 3 words", "it has 7", words=7), "a/b", prefix="mine: ")
    assert (told.given, told.facts) == ("mine: more than 3 words", {"id": "a/b", "detail": "it has 7", "words": 7})
    import pickle

    again = pickle.loads(pickle.dumps(told))
    assert (again.given, again.facts) == (told.given, told.facts)
    assert Rejected.of(UserError("no such picture: /x y.png"), own=["/x y.png"]).given == "no such picture"


def test_bytes_that_are_no_picture_leave_nothing_behind(tmp_path: Path, run_cli: Cli) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"id": f"r{n}", "question": f"{n}?", "image": {"bytes": b"none", "path": None}} for n in range(3)]
    Image.new("RGB", (8, 8)).save(tmp_path / "p.png")
    rows.append({"id": "good", "question": "How?", "image": {"bytes": (tmp_path / "p.png").read_bytes(), "path": None}})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    files = []
    for name in ("one", "two"):
        left = tmp_path / name / "arriving/train-000001/0.png"
        left.parent.mkdir(parents=True)
        left.write_bytes(b"left by a kill")
        (tmp_path / name / "run.lock").touch()
        mix = {"builder": "mix", "sources": {"mine": {"path": str(tmp_path / "a.parquet")}}}
        code, text = run_cli("build", {**mix, "output": str(tmp_path / "to" / name)})
        assert code == 0, text
        out = tmp_path / "to" / name
        assert not (out / "arriving").exists() and kept(out) == ["good"]
        assert open_dataset(str(out)).manifest["rejects"] == {"not a picture": 3}
        files.append((out / "rejects/train-00000.jsonl").read_bytes())
    assert files[0] == files[1] and b"arriving/train-000000/0.png" in files[0] and b"/tmp" not in files[0]
