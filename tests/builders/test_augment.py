"""Questions in other words and with other orders of options: by a script, over HTTP from a teacher that errs."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Body
from teaching import test_staff
from teaching.schooling import School, chance, schooling, scripted, speaker
from teaching.staff import POSTS, Post

from mmreflect.answers.spec import spec_of
from mmreflect.data.store import open_dataset
from mmreflect.files import read_jsonl
from mmreflect.remote import pace

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


def tree(source: Path, output: Path, **more: Any) -> dict[str, Any]:
    return {"builder": "augment", "output": str(output), "source": {"path": str(source)}, **more}


def built(folder: Path) -> dict[str, Any]:
    return {sample.id: sample for sample in open_dataset(str(folder)).samples("train")}


def reasons(folder: Path) -> dict[str, str]:
    rejects = [row for file in sorted(folder.glob("rejects/*.jsonl")) for row in read_jsonl(file)]
    return {f"{row['id']}/{row['index']}": row["reason"] for row in rejects}


@pytest.fixture
def choices(tmp_path: Path, run_cli: Cli) -> Callable[[int], Path]:
    """Sums with four options each; every other one shows its options in the middle of the text."""

    def make(count: int) -> Path:
        rows = []
        for place in range(count):
            left, right = place // 10 + 1, place % 10
            options = [str(left + right + offset) for offset in (3, 0, 1, 2)]
            listed = "\n".join(f"{letter}. {said}" for letter, said in zip("ABCD", options, strict=True))
            text = f"Look carefully. How much is {left} + {right}?\n{listed}"
            text += "\nAnswer with A, B, C or D." if place % 2 else ""
            response = f"I add {left} and {right}.\nThe answer is \\boxed{{B}}"
            facts = {"options": options, "option": "B"}
            rows.append({"id": f"c{place:03}", "question": text, "answer": "B", "response": response, "facts": facts})
        (tmp_path / "choices.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = {
            "builder": "rows",
            "source": str(tmp_path / "choices.jsonl"),
            "output": str(tmp_path / "choices"),
            "validation": 0.0,
        }
        assert run_cli("build", source)[0] == 0
        return tmp_path / "choices"

    return make


def test_options_move_and_the_answer_follows(choices: Callable[[int], Path], tmp_path: Path, run_cli: Cli) -> None:
    config = tree(choices(30), tmp_path / "out", kinds=["permute"], permutations=2, shard_rows=12)
    code, text = run_cli("build", config)
    assert code == 0, text
    rows = built(tmp_path / "out")
    assert len(rows) == 90 and open_dataset(str(tmp_path / "out")).manifest["counted"] == {
        "original": 30,
        "permute": 60,
    }
    letters = Counter[str]()
    for name, row in rows.items():
        options = dict(spec_of(row.facts).options or ())
        total = sum(map(int, re.findall(r"How much is (\d+) \+ (\d+)", row.question)[0]))
        assert options[row.gold] == str(total) and row.facts["option"] == row.gold, "the answer is still the sum"
        assert all(f"\n{letter}. {said}" in row.question for letter, said in options.items())
        assert row.response.endswith(f"The answer is \\boxed{{{row.gold}}}")
        if row.facts["augment"] == "permute":
            letters[row.gold] += 1
            provenance = row.facts["provenance"]
            assert name == f"{provenance['source']}/permute-{provenance['place']}"
            assert "ABCD"[provenance["order"].index("B")] == row.gold, "at its letter's new place"
    assert set(letters) == set("ABCD") and max(letters.values()) < 30
    two = [tuple(rows[f"c000/permute-{place}"].facts["options"]) for place in (0, 1)]
    assert two[0] != two[1] and tuple(rows["c000"].facts["options"]) not in two
    before = (tmp_path / "out/train/00002.jsonl").read_bytes()
    for file in ("train/00002.jsonl", "manifest.json", "result.json"):
        (tmp_path / "out" / file).unlink()
    assert run_cli("build", config)[0] == 0
    assert (tmp_path / "out/train/00002.jsonl").read_bytes() == before, "a missing shard comes out the same"


def test_what_cannot_move_is_named(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    code, text = run_cli("build", tree(sums(2), tmp_path / "out", kinds=["permute"]))
    assert code == 0 and set(built(tmp_path / "out")) == {"sum-0000", "sum-0001"}, text
    assert reasons(tmp_path / "out") == {f"sum-000{n}/{2 * n + 1}": "permute: the row has no options" for n in (0, 1)}
    code, text = run_cli("build", tree(tmp_path / "sums", tmp_path / "b", kinds=["permute"], originals=False))
    assert code == 2 and "all 2 rows of split 'train' were rejected: permute: the row has no options (2)" in text, text


CONTRADICTIONS = {
    "small": ("Option (a) is not right and option b is right. \\boxed{B}", None),
    "place": ("The second option is right. \\boxed{B}", "permute: the response speaks of an option by its place"),
    "number": ("Option 2 is right. \\boxed{B}", "permute: the response speaks of an option by its place"),
    "han": ("选项B是对的。\\boxed{B}", None),
    "plain": ("The correct option is B", None),
    "article": (
        "A isn't right, since 11 is odd. \\boxed{B}",
        "permute: a letter stands in the response that may be an option",
    ),
    "past": (
        "A looked tempting at first. \\boxed{B}",
        "permute: a letter stands in the response that may be an option",
    ),
    "lone": ("I think b fits. \\boxed{B}", "permute: a letter stands in the response that may be an option"),
}


def test_no_row_contradicts_itself(tmp_path: Path, run_cli: Cli) -> None:
    """Three options, the second is right: every letter of a response says so wherever it moves, or there is no row."""
    rows = [
        {"id": name, "question": f"{'哪个数字是这个' if name == 'han' else 'Which ' + name}?\nA. 11\nB. 22\nC. 33", "answer": "B", "response": said,
         "facts": {"options": ["11", "22", "33"]}}
        for name, (said, _) in CONTRADICTIONS.items()
    ]  # fmt: skip
    (tmp_path / "mc.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {
        "builder": "rows",
        "source": str(tmp_path / "mc.jsonl"),
        "output": str(tmp_path / "mc"),
        "validation": 0.0,
    }
    assert run_cli("build", source)[0] == 0
    code, text = run_cli(
        "build", tree(tmp_path / "mc", tmp_path / "out", kinds=["permute"], permutations=4, originals=False)
    )
    assert code == 0, text
    refused = {name.split("/")[0]: reason for name, reason in reasons(tmp_path / "out").items()}
    assert refused == {name: reason for name, (_, reason) in CONTRADICTIONS.items() if reason}
    made = built(tmp_path / "out")
    assert len(made) == 4 * 3 and {row.gold for row in made.values()} == {"A", "B", "C"}
    for row in made.values():
        options = dict(zip("ABC", row.facts["options"], strict=True))
        assert options[row.gold] == "22"
        if row.id.startswith("small"):
            (wrong, right) = re.findall(r"[Oo]ption \(?([abc])", row.response)
            assert options[wrong.upper()] == "11" and right.upper() == row.gold
        else:
            assert set(re.findall("[ABC]", row.response)) == {row.gold}


def by_script(
    folder: Path, source: Path, said: list[str], solved: list[str] | None = None, **more: Any
) -> dict[str, Any]:
    replies = [json.dumps({"question": one}) if "{" not in one else one for one in said]
    teacher = scripted(folder / "teacher.jsonl", {"*": replies}, temperature=1.0)
    solver = {"solver": scripted(folder / "solver.jsonl", {"*": solved}, temperature=1.0)} if solved else {}
    return tree(source, folder / "out", kinds=["rephrase"], originals=False, teacher=teacher, **solver, **more)


def test_other_words_with_a_solver_who_agrees(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    said = ["What do you get when you add 0 to 1?", "Find the sum of 1 and 0."]
    config = by_script(tmp_path, sums(1), said, ["\\boxed{1}", "\\boxed{2}"], rephrasings=2, solves=2)
    code, text = run_cli("build", config)
    assert code == 0, text
    rows = built(tmp_path / "out")
    assert {name: row.question for name, row in rows.items()} == {
        "sum-0000/rephrase-0": said[0], "sum-0000/rephrase-1": said[1],
    }  # fmt: skip
    provenance = rows["sum-0000/rephrase-1"].facts["provenance"]
    assert provenance["source"] == "sum-0000" and provenance["augment"] == "rephrase" and provenance["place"] == 1
    assert provenance["solver"] == "scripted" and provenance["teacher"] == "scripted"
    assert all(row.gold == "1" and row.facts["augment"] == "rephrase" for row in rows.values())
    code, text = run_cli("build", config, "min_solved=2", f"output={tmp_path / 'strict'}")
    assert code == 2 and "rephrase: the solver does not find the answer (2)" in text, text


REJECTED = [
    ("How much is one and nothing?", "rephrase: the numbers are not the same"),
    ("How much is 1 + 0, that is 1?", "rephrase: the numbers are not the same"),
    ("how much is 1 + 0", "rephrase: it says the same in the same words"),
    ("In triangle ABC, how much is 1 + 0?", "rephrase: the names are not the same"),
    ("How much is 1 + 0, or two of it?", "rephrase: the numbers are not the same"),
    ("How much is 1 + 0 in centimetres?", "rephrase: the units are not the same"),
    ("How much is not 1 + 0?", "rephrase: it is not denied as often"),
    ("Add <image> 1 and 0.", "rephrase: the marks are not the same"),
    ("Add " + "very " * 40 + "carefully 1 and 0.", "rephrase: it is much longer than the question"),
    ("What is $1 + 0$?", "rephrase: the formulas are not the same"),
    ('{"answer": 3}', "rephrase: no reply was JSON that fits"),
]


@pytest.mark.parametrize(("said", "reason"), REJECTED)
def test_what_is_rejected(said: str, reason: str, sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    code, text = run_cli("build", by_script(tmp_path, sums(1), [said]))
    assert code == 2 and reason in text, text


def test_options_and_inner_pictures_stay(tmp_path: Path, run_cli: Cli) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    shown = [{"type": "image"}, {"type": "text", "text": "In the first picture,"}, {"type": "image"}]
    shown.append({"type": "text", "text": "is another one. Which has 3 dots?\nA. left\nB. right"})
    row = {"id": "q", "messages": [{"role": "user", "content": shown}], "images": [str(tmp_path / "a.png")] * 2}
    row |= {"answer": "A", "facts": {"options": ["left", "right"]}}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    source = {
        "builder": "rows",
        "source": str(tmp_path / "rows.jsonl"),
        "output": str(tmp_path / "in"),
        "validation": 0.0,
    }
    assert run_cli("build", source)[0] == 0
    said = "One picture is followed by <image> another. Say which shows 3 dots. <options>"
    code, text = run_cli("build", by_script(tmp_path, tmp_path / "in", [said]))
    assert code == 0, text
    (made,) = built(tmp_path / "out").values()
    parts = made.messages[0]["content"]
    assert [part["type"] for part in parts] == ["image", "text", "image", "text"]
    assert parts[1]["text"] == "One picture is followed by "
    assert parts[3]["text"] == " another. Say which shows 3 dots.\nA. left\nB. right"
    lost = by_script(tmp_path, tmp_path / "in", [said.replace("<options>", "")], solved=None)
    code, text = run_cli("build", lost | {"output": str(tmp_path / "lost")})
    assert code == 2 and "rephrase: the marks are not the same" in text, text


def test_an_answer_that_is_given_away(tmp_path: Path, run_cli: Cli) -> None:
    row = {"id": "q", "question": "Which animal is shown?", "answer": "zebra"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    source = {
        "builder": "rows",
        "source": str(tmp_path / "rows.jsonl"),
        "output": str(tmp_path / "in"),
        "validation": 0.0,
    }
    assert run_cli("build", source)[0] == 0
    code, text = run_cli("build", by_script(tmp_path, tmp_path / "in", ["Is this animal a zebra or another one?"]))
    assert code == 2 and "rephrase: it gives the answer away" in text, text


def teach(text: str, body: Body) -> str:
    """Rephrases sums, and at set rates loses a number, breaks its JSON, or changes what is asked; and solves them."""
    seed = body.get("seed", 0)
    if "to be written anew" in text:
        left, right = re.findall(r"How much is (\d+) \+ (\d+)\?", text)[-1]
        options = " <options>" if "<options>" in text.split("written anew:")[1] else ""
        tail = " Answer with A, B, C or D." if "Answer with A, B, C or D." in text else ""
        kind, verb = chance(text, seed, "kind"), ["Find", "Give", "Work out", "Name"][int(4 * chance(text, seed))]
        if chance(text.split("JSON")[0], "broken") < 0.1:
            return "In other words: add them."
        if kind < 0.1:
            return json.dumps({"question": f"Add {left} and some number.{options}{tail}"})
        if kind < 0.25:
            return json.dumps({"question": f"{verb} what is {right} below {left} in value.{options}{tail}"})
        return json.dumps({"question": f"{verb} the sum of {left} and {right}.{options}{tail}"})
    left, right = re.findall(r"(?:sum of|is) (\d+) (?:and|below) (\d+)", text)[-1]
    total = int(left) + int(right) if "sum of" in text else int(left) - int(right)
    listed = dict(re.findall(r"([A-D])\. (\d+)", text))
    letter = next((letter for letter, said in listed.items() if said == str(total)), "none")
    return f"\\boxed{{{letter if listed else total}}}"


def test_over_http_from_a_teacher_that_errs(choices: Callable[[int], Path], tmp_path: Path, run_cli: Cli) -> None:
    school = School(teach, faults=0.2)
    with schooling(school) as server:
        asked = {
            "teacher": speaker(server, "teacher", tmp_path / "cache", temperature=0.7),
            "solver": speaker(server, "solver", tmp_path / "cache"),
        }
        config = tree(choices(60), tmp_path / "out", rephrasings=2, shard_rows=60, **asked)
        code, text = run_cli("build", config)
    assert code == 0, text
    rows = built(tmp_path / "out")
    kinds = Counter(row.facts["augment"] for row in rows.values())
    assert kinds["original"] == kinds["permute"] == 60 and kinds["rephrase"] >= 30, kinds
    for row in rows.values():
        options = dict(spec_of(row.facts).options or ())
        if row.facts["augment"] == "rephrase":
            total = sum(map(int, re.findall(r"sum of (\d+) and (\d+)", row.question)[0]))
            assert options[row.gold] == str(total) and "\nA. " in row.question
    manifest = open_dataset(str(tmp_path / "out")).manifest
    for words in ("numbers are not the same", "the solver does not find the answer", "no reply was JSON that fits"):
        assert any(words in reason for reason in manifest["rejects"]), manifest["rejects"]
    assert sum(manifest["rejects"].values()) + len(rows) == 60 * 4 and set(school.answered.values()) == {1}
    assert manifest["prompts"] and manifest["asked"]["solver"]["requests"] >= 60


@pytest.mark.slow
def test_killed(sums: Sums, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    post = Post("augment", teach, ("teacher", "solver"), "", {}, few=10, many=60, options={"rephrasings": 4})
    monkeypatch.setitem(POSTS, "augment", post)
    test_staff.test_killed_it_ends_at_the_same_bytes("augment", sums, tmp_path)


def test_the_recipe_with_a_tiny_teacher(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    recipe = (ROOT / "configs/build/augment.yaml").read_text()
    tiny = (
        "{model: {path: tiny, tiny: {hidden_size: 32, layers: 2, heads: 2, vision_hidden_size: 32}}, max_new_tokens: 4}"
    )
    words = [f"teacher={tiny}", "solver=null", "solves=1", "min_solved=1", f"source.path={sums(2)}"]
    code, text = run_cli("build", recipe, *words, f"output={tmp_path / 'out'}")
    assert code == 0 and set(built(tmp_path / "out")) == {"sum-0000", "sum-0001"}, text
    assert "no reply was JSON that fits" in str(open_dataset(str(tmp_path / "out")).manifest["rejects"])


BAD = [
    ({}, "the kind rephrase needs a teacher"),
    ({"kinds": ["permute"], "teacher": {"model": "tiny"}}, "teacher is set and nothing is rephrased"),
    ({"kinds": ["permute", "permute"]}, "kinds holds one twice"),
    ({"teacher": {"model": "tiny"}, "rephrasings": 2}, "rephrasings=2 at temperature=0 would all be the same"),
    ({"teacher": {"model": "tiny"}, "solver": {"model": "tiny"}, "solves": 2}, "solves=2 at temperature=0"),
    ({"kinds": ["permute"], "min_solved": 2}, "min_solved=2 is above solves=1"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "message"), BAD)
def test_bad_options(more: dict[str, Any], message: str, tmp_path: Path, run_cli: Cli) -> None:
    code, text = run_cli("build", tree(tmp_path, tmp_path / "out", **more))
    assert code == 2 and message in text, text
