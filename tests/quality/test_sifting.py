"""Quality of whole datasets, through the front door: planted faults, each with its reason and its count."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from mmreflect.building import sifting
from mmreflect.cli import main
from mmreflect.data.store import open_dataset
from mmreflect.files import read_jsonl

Cli = Callable[..., tuple[int, str]]
Rows = list[dict[str, Any]]
SAME, NEAR = "an earlier row is the same", "an earlier row is nearly the same"
TEXT = (
    "A train of 12 cars leaves the old town at noon and meets another one of 7 cars on a bridge; how many cars are on"
)


def digest(folder: Path) -> dict[str, str]:
    ignored = {"config.yaml", "result.json", "run.lock", "run.json"}
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ignored)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def scene(seed: int) -> Image.Image:
    """A picture of its own for every seed: discs here and there."""
    picture = Image.new("RGB", (160, 120), "white")
    draw = ImageDraw.Draw(picture)
    for place in range(12):
        shade = hashlib.sha256(f"{seed} {place}".encode()).digest()
        x, y = shade[3] % 130, shade[4] % 90
        draw.ellipse([x, y, x + 20 + shade[5] % 40, y + 20 + shade[6] % 40], fill=(shade[0], shade[1], shade[2]))
    return picture


def row(name: str, question: str, response: str | None = r"It is \boxed{4}.", answer: str | None = "4", *images: str) -> dict[str, Any]:  # fmt: skip
    return {"id": name, "question": question, "response": response, "answer": answer, "images": list(images)}


@pytest.fixture
def source(tmp_path: Path) -> Callable[[Rows], Path]:
    """A folder with rows and six pictures: scenes 0 to 3, scene 0 as a JPEG, and halved."""
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(4):
        scene(seed).save(folder / f"{seed}.png")
    scene(0).save(folder / "jpeg.jpg", quality=60)
    scene(0).resize((80, 60)).save(folder / "half.png")

    def write(rows: Rows) -> Path:
        file = folder / "rows.jsonl"
        file.write_text("".join(json.dumps(one) + "\n" for one in rows))
        return file

    return write


@pytest.fixture
def build(run_cli: Cli, tmp_path: Path, source: Callable[[Rows], Path]) -> Callable[..., dict[str, Any]]:
    """Build rows and return the manifest."""

    def make(rows: Rows, *words: str, output: str = "out", **quality: Any) -> dict[str, Any]:
        tree = {"builder": "rows", "source": str(source(rows)), "validation": 0.0, "shard_rows": 3, "quality": quality}
        code, text = run_cli("build", {**tree, "output": str(tmp_path / output)}, *words)
        assert code == 0, text
        manifest: dict[str, Any] = open_dataset(str(tmp_path / output)).manifest
        return manifest

    return make


def kept(folder: Path) -> list[str]:
    return [str(one["id"]) for one in open_dataset(str(folder)).rows("train")]


def rejects(folder: Path) -> dict[str, dict[str, Any]]:
    return {str(line["id"]): line for file in sorted((folder / "rejects").glob("*.jsonl")) for line in read_jsonl(file)}


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
    }
    lines = (tmp_path / "out/marks/train-00000.jsonl").read_text().splitlines()
    assert len(lines) == 1, "where nothing is compared no row is marked"


PLANTED = [
    row("a", "How many patches?", r"It is \boxed{4}.", "4", "0.png"),
    row("a-same", "How many patches?", r"It is \boxed{4}.", "4", "0.png"),
    row("a-other-response", "How many patches?", r"Counted anew, I say that there must be \boxed{4}.", "4", "0.png"),
    row("a-other-question", "What is the sum of the corners?", r"It is \boxed{4}.", "4", "0.png"),
    row("a-other-picture", "How many patches?", r"It is \boxed{4}.", "4", "1.png"),
    row("a-jpeg", "How many patches?", r"It is \boxed{4}.", "4", "jpeg.jpg"),
    row("a-half", "How many patches?", r"It is \boxed{4}.", "4", "half.png"),
    row("b", f"{TEXT} it?", r"Together \boxed{19}.", "19"),
    row("b-near", f"{TEXT} it then?", r"Together \boxed{19}.", "19"),
    row("b-other-answer", f"{TEXT} it, and 1?", r"Together \boxed{20}.", "20"),
    row("c", "How many patches?", r"It is \boxed{4}.", "4", "2.png", "0.png"),
    row("c-same", "How many patches?", r"It is \boxed{4}.", "4", "2.png", "0.png"),
    row("c-near", "How many patches?", r"It is \boxed{4}.", "4", "2.png", "half.png"),
    row("c-far", "How many patches?", r"It is \boxed{4}.", "4", "2.png", "3.png"),
]
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
    assert rejects(out)["c-same"] == {"split": "train", "index": 11, "id": "c-same", "reason": SAME, "of": "c"}
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


def evaluation(folder: Path) -> Path:
    """A JSONL file of an evaluation: a question in words, one with scene 3, and one whose picture is broken."""
    folder.mkdir()
    scene(3).save(folder / "x.jpg", quality=60)
    rows: Rows = [
        {"id": "held", "question": f"{TEXT} it?"},
        {"id": "shown", "question": "How many patches?", "images": ["x.jpg"]},
        {"id": "gone", "question": "What?", "images": ["gone.png"]},
    ]
    (folder / "eval.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return folder / "eval.jsonl"


def test_overlap_with_evaluation_sets(build: Callable[..., dict[str, Any]], tmp_path: Path, run_cli: Cli) -> None:
    held_out, pictures = evaluation(tmp_path / "eval"), tmp_path / "pictures"
    pictures.mkdir()
    shutil.copyfile(tmp_path / "in/1.png", pictures / "first.png")
    rows = [*PLANTED, row("d", "Is it red?", None, "yes", "3.png"), row("e", f"{TEXT.upper()} it", None, "19")]
    manifest = build(rows, against=[str(held_out), str(pictures)])
    overlap = manifest["quality"]["compared"]["overlap"]
    assert overlap[str(held_out)] == {
        "questions": 2,
        "pictures": 1,
        "unread": 1,
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
        ("empty", "which holds neither manifest.json nor a picture"),
        ("text.jsonl", "in which no row can be read"),
    ):
        code, text = run_cli("build", tree, f"quality.against=[{tmp_path / name}]", f"output={tmp_path / 'to' / name}")
        assert code == 2 and said in text and "Traceback" not in text, text


class Full:
    """A disk that is full at the nth call."""

    def __init__(self, function: Callable[..., Any], at: int) -> None:
        self._function, self._left = function, at

    def __call__(self, *given: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._function(*given)


@pytest.mark.parametrize(
    ("name", "at"), [("write_jsonl", 1), ("write_atomic", 1), ("write_atomic", 2), ("_sweep", 1), ("_sweep", 2)]
)
def test_a_pass_that_broke_off_goes_on_to_the_same_bytes(
    name: str, at: int, build: Callable[..., Any], run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(PLANTED, near_repeats="drop")
    tree = json.loads((tmp_path / "config.yaml").read_text()) | {"output": str(tmp_path / "cut")}
    with monkeypatch.context() as patch:
        patch.setattr(sifting, name, Full(getattr(sifting, name), at))
        code, text = run_cli("build", tree)
    assert code == 2 and "is full" in text and not (tmp_path / "cut/manifest.json").exists()
    assert run_cli("build", tree)[0] == 0
    assert digest(tmp_path / "cut") == digest(tmp_path / "out")


def test_a_pass_that_was_killed_goes_on_to_the_same_bytes(
    build: Callable[..., Any], run_cli: Cli, tmp_path: Path
) -> None:
    build(PLANTED, near_repeats="drop")
    tree = json.loads((tmp_path / "config.yaml").read_text()) | {"output": str(tmp_path / "cut")}
    (tmp_path / "cut.json").write_text(json.dumps(tree))
    script = (
        "import os, sys; from mmreflect.building import sifting; from mmreflect.cli import main\n"
        "sifting._sweep = lambda *given: os.kill(os.getpid(), 9)\n"
        f"main(['build', {str(tmp_path / 'cut.json')!r}])"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, env=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL and not (tmp_path / "cut/manifest.json").exists()
    assert len((tmp_path / "cut/train/00000.jsonl").read_text().splitlines()) == 2, "one of three rows is gone already"
    assert run_cli("build", tree)[0] == 0
    assert digest(tmp_path / "cut") == digest(tmp_path / "out")


def test_parts_are_compared_when_they_are_put_together(
    build: Callable[..., Any], run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(PLANTED, near_repeats="drop")
    tree = (tmp_path / "config.yaml").read_text()
    parts = [str(tmp_path / name) for name in ("first", "second")]
    for number, part in enumerate(parts, 1):
        code, text = run_cli("build", tree, f"output={part}", f"shard={number}/2")
        assert code == 0 and "an earlier row" not in text, text
    merge = ["build", "merge", str(tmp_path / "merged"), *parts]
    with monkeypatch.context() as patch:
        patch.setattr(sifting, "_sweep", Full(sifting._sweep, 2))
        assert main(merge) == 2
    before = [digest(Path(part)) for part in parts]
    assert main(merge) == 0
    assert digest(tmp_path / "merged") == digest(tmp_path / "out")
    assert [digest(Path(part)) for part in parts] == before, "media of a part are linked, and stay"


def test_a_build_whose_manifest_was_lost_ends_at_the_same_bytes(
    build: Callable[..., Any], run_cli: Cli, tmp_path: Path
) -> None:
    build(PLANTED)
    before = digest(tmp_path / "out")
    (tmp_path / "out/manifest.json").unlink()
    (tmp_path / "out/result.json").unlink()
    (tmp_path / "out/train/00000.jsonl").unlink()
    build(PLANTED)
    assert digest(tmp_path / "out") == before


def test_an_evaluation_set_that_changes_in_the_middle_is_refused(
    build: Callable[..., Any], run_cli: Cli, tmp_path: Path
) -> None:
    held_out = evaluation(tmp_path / "eval")
    build(PLANTED, against=[str(held_out)])
    (tmp_path / "out/result.json").unlink()
    held_out.write_text(held_out.read_text() + '{"question": "new?"}\n')
    code, text = run_cli("build", (tmp_path / "config.yaml").read_text())
    assert code == 2 and "has changed since this dataset was compared with it" in text


def test_shards_and_marks_that_do_not_fit_are_named(build: Callable[..., Any], run_cli: Cli, tmp_path: Path) -> None:
    build(PLANTED)
    (tmp_path / "out/result.json").unlink()
    shard = tmp_path / "out/train/00000.jsonl"
    shard.write_text(shard.read_text().splitlines(keepends=True)[0])
    code, text = run_cli("build", (tmp_path / "config.yaml").read_text())
    assert code == 2 and "does not hold the rows of its marks" in text and "it is built again" in text
    (tmp_path / "out/marks/train-00000.jsonl").unlink()
    code, text = run_cli("build", (tmp_path / "config.yaml").read_text())
    assert code == 2 and "has no" in text and "marks/train-00000.jsonl" in text
    shard.unlink()
    assert run_cli("build", (tmp_path / "config.yaml").read_text())[0] == 0


def test_workers_find_the_same(run_cli: Cli, tmp_path: Path) -> None:
    """Every row of this leaf stands twice, but for its id; one of its kinds may."""
    leaf = tmp_path / "pairs_of_rows.py"
    leaf.write_text(
        "from mmreflect.building import Example, Workers\n"
        "from mmreflect.config import config\n\n"
        "EXEMPT = {'free': ('repeats',)}\n\n"
        "@config\nclass Config:\n    output: str\n    seed: int = 0\n    shard_rows: int = 3\n    workers: Workers = 1\n\n"
        "def splits(config):\n    return {'train': 12}\n\n"
        "def make(config, split, index):\n"
        "    question = {'role': 'user', 'content': f'What is {index % 6}?'}\n"
        "    facts = {'kind': 'free' if index % 6 == 0 else 'bound'}\n"
        "    return Example(str(index), [question], answer=str(index % 6), facts=facts)\n"
    )
    for workers in (1, 2):
        tree = {"builder": str(leaf), "output": str(tmp_path / str(workers)), "workers": workers}
        assert run_cli("build", tree)[0] == 0
        assert kept(tmp_path / str(workers)) == ["0", "1", "2", "3", "4", "5", "6"]
    assert digest(tmp_path / "1") == digest(tmp_path / "2")
    assert open_dataset(str(tmp_path / "1")).manifest["quality"]["compared"]["exempt"] == 2
    (tmp_path / "wrong.py").write_text(leaf.read_text().replace("'repeats'", "'repeat'"))
    code, text = run_cli("build", {"builder": str(tmp_path / "wrong.py"), "output": str(tmp_path / "x")})
    assert code == 2 and "unknown check in EXEMPT 'repeat'" in text and "did you mean 'repeats'?" in text, text


PAIRS = """
from mmreflect.building import Example
from mmreflect.config import config

SIDES = [("4", "5"), ("4", "5"), ("4", "4"), ("5", "4"), ("4", "x = 4")]


@config
class Config:
    output: str
    offset: int = 10
    seed: int = 0
    shard_rows: int = 3


def splits(config):
    return {"train": 5, "validation": 1}


def make(config, split, index):
    chosen, rejected = (f"So it is \\\\boxed{{{side}}}." for side in SIDES[index])
    number = index // 2 + (config.offset if split == "validation" else 0)
    asked = {"role": "user", "content": f"Question {number}?"}
    return Example(f"{split}-{index}", [asked, {"role": "assistant", "content": chosen}], answer="4", rejected=rejected)
"""


def test_pairs_are_checked_on_both_sides_and_compared(run_cli: Cli, tmp_path: Path) -> None:
    leaf = tmp_path / "some_pairs.py"
    leaf.write_text(PAIRS)
    code, text = run_cli("build", {"builder": str(leaf), "output": str(tmp_path / "out")})
    assert code == 0, text
    assert kept(tmp_path / "out") == ["train-0"]
    found = {name: line["reason"] for name, line in rejects(tmp_path / "out").items()}
    assert found == {
        "train-1": SAME,
        "train-2": "both sides of the pair are the same",
        "train-3": "the final answer is wrong",
        "train-4": "the rejected side is right",
    }
    code, text = run_cli("build", {"builder": str(leaf), "output": str(tmp_path / "x"), "offset": 0})
    assert code == 2 and "1 questions stand in two splits" in text, (
        "pairs have no messages, and are compared all the same"
    )
