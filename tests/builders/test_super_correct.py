"""SuperCorrect: thought templates, and pairs of corrections for preference training; over HTTP and by a script."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Body
from teaching.schooling import School, chance, schooling, scripted, speaker, truth

from data_builders.super_correct import parsed
from mmreflect.data.store import open_dataset, sample_from_row
from mmreflect.errors import UserError
from mmreflect.remote import pace

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]
PAIR = {"prompt", "chosen", "rejected"}
RECIPE = "<Generalized>Count on from the larger number.</Generalized>"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


def template(answer: object, steps: tuple[str, ...] = ("I see 1.", "<Key>Zero adds nothing.</Key> So 1.")) -> str:
    """As a teacher may write it, with a blank in the tags."""
    body = "\n".join(f"<Step {number}>{step}</Step {number}>" for number, step in enumerate(steps, 1))
    return f"{body}\n{RECIPE}\n<Answer>{answer}</Answer>"


def test_reading_a_template() -> None:
    assert parsed(template(1)) == (
        ["I see 1.", "<Key>Zero adds nothing.</Key> So 1."], "Count on from the larger number.", "1",
    )  # fmt: skip
    assert parsed(template(1).replace("Step ", "Step")) == parsed(template(1))
    for wrong in (
        template(1).replace("Step 2", "Step 3"),
        template(1).replace("Step 1", "Step 2"),
        template(1).replace("</Key>", ""),
        template(1).replace("I see 1.", "<Key>A note alone.</Key>"),
        template(1).replace(RECIPE, ""),
        template(1).replace("Count on", "<Key>Count</Key> on"),
        template(1) + " Done.",
        "So it is 1.",
    ):
        assert parsed(wrong) is None, wrong


def config(source: Path, output: Path, **more: Any) -> dict[str, Any]:
    return {"builder": "super_correct", "output": str(output), "source": {"path": str(source)}, **more}


def test_templates_by_a_script(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """Of 1 + 0 and 1 + 1; what is stored has one way of writing the tags."""
    replies = {"sum-0000": [template(1)], "sum-0001": [template(3)], "sum-0002": ["Three."], "sum-0003": [template(4, ("One step.",))]}  # fmt: skip
    replies["sum-0004"] = [template(5).replace("I see 1.", "The reference solution says 5.")]
    tree = config(sums(5), tmp_path / "out", teacher=scripted(tmp_path / "teacher.jsonl", replies))
    code, text = run_cli("build", tree)
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    (row,) = dataset.samples("train")
    assert row.response == template(1).replace("Step ", "Step") and row.facts["kind"] == "thought_template"
    assert "Write each step between <Step1>" in str(row.messages[0]) and row.question == "How much is 1 + 0?"
    assert dataset.manifest["rejects"] == {
        "template: the answer is wrong": 1, "template: the tags are not as asked for": 1, "template: fewer than 2 steps": 1,
        "response: it gives away that the answer was known": 1,
    }  # fmt: skip
    assert dataset.manifest["counted"] == {"notes": 1, "steps": 2}


WRONG = template(9, ("I see 1.", "I see 0.", "They make 9."))
RIGHT_STEPS = "<Step1>I see 1.</Step1>\n<Step2>I see 0.</Step2>"


def correction(**changed: Any) -> str:
    told = {"step": 3, "cause": "The sum is misread.", "kind": "reasoning", "correction": "They make 1."}
    return json.dumps(told | changed)


def verdict(accepted: bool) -> str:
    return json.dumps({"remark": "Say which digit.", "accepted": accepted})


OWN = "<Cause>I took a wrong turn.</Cause>\n<Correction>They make 8.</Correction>"


def pairs(folder: Path, source: Path, student: list[str], teacher: list[str], inspector: list[str], **more: Any) -> Any:
    said = {"student": student, "teacher": teacher, "inspector": inspector}
    speakers = {who: scripted(folder / f"{who}.jsonl", {"*": replies}) for who, replies in said.items()}
    return config(source, folder / "out", stage="pairs", **speakers, **more)


def test_a_pair_whose_first_correction_was_sent_back(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """The mistake is in step 3: the prompt holds steps 1 and 2 only."""
    teacher = [correction(cause="Something is off."), correction()]
    tree = pairs(tmp_path, sums(1), [WRONG, OWN], teacher, [verdict(False), verdict(True), verdict(False)])
    code, text = run_cli("build", tree)
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    (row,) = dataset.rows("train")
    assert set(row) == {"id", "prompt", "chosen", "rejected", "images", "videos", "answer", "facts"}
    assert [turn["role"] for turn in row["prompt"]] == ["system", "user"]
    asked = row["prompt"][1]["content"][0]["text"]
    assert RIGHT_STEPS in asked and "made in step 3" in asked and "make 9" not in asked
    chosen = "<Cause>The sum is misread.</Cause>\n<Correction>They make 1.</Correction>"
    assert row["chosen"] == [{"role": "assistant", "content": [{"type": "text", "text": chosen}]}]
    assert row["rejected"][0]["content"][0]["text"] == OWN
    assert row["facts"]["error_step"] == 3 and row["facts"]["error_kind"] == "reasoning"
    (sample,) = dataset.samples("train")
    assert sample.response == chosen, "what reads rows for supervised training learns the chosen side"
    assert dataset.manifest["counted"] == {"attempts, wrong": 1, "pairs, accepted in round 2": 1, "pairs, reasoning": 1}
    assert dataset.manifest["asked"]["inspector"]["requests"] == 3


REJECTED = [
    ([template(1)], [correction()], [verdict(True)], "attempt: it is right"),
    (["It is 9."], [correction()], [verdict(True)], "attempt: the tags are not as asked for"),
    ([WRONG], [correction(step=4)], [verdict(True)], "correct: there is no such wrong step"),
    ([WRONG], [correction(step=0)], [verdict(True)], "correct: there is no such wrong step"),
    ([WRONG], [correction(cause="<Cause>x")], [verdict(True)], "correct 1: no reply was JSON that fits"),
    ([WRONG], [correction(cause="The reference answer is 1.")], [verdict(True)], "gives away that the answer was known"),
    ([WRONG], [correction()], [verdict(False)], "inspect: no correction was accepted in 3 rounds"),
    ([WRONG, "They make 8."], [correction()], [verdict(True)], "own correction: the tags are not as asked for"),
    ([WRONG, OWN], [correction()], [verdict(True)], "pair: the student's correction is right as well"),
    ([WRONG, OWN.replace("I took a wrong turn.", "The sum is misread.").replace("8", "1")], [correction()], [verdict(True)], "pair: both sides say the same"),
]  # fmt: skip


@pytest.mark.parametrize(("student", "teacher", "inspector", "reason"), REJECTED)
def test_what_is_rejected(
    student: list[str], teacher: list[str], inspector: list[str], reason: str,
    sums: Sums, tmp_path: Path, run_cli: Cli,
) -> None:  # fmt: skip
    code, text = run_cli("build", pairs(tmp_path, sums(1), student, teacher, inspector))
    assert code == 2 and "all 1 rows of split 'train' were rejected" in text and reason in text, text


def teach(text: str, body: Body) -> str:
    right, seed = truth(text), body.get("seed", 0)
    if "turn the solution of a question into a lesson" in text:
        return template(right if chance(text, "template") < 0.9 else right + 1)
    if "You check whether a mistake" in text:
        return verdict("one by one" in text)
    if "Walk through the steps" in text:
        kind = "perception" if chance(text, "kind") < 0.5 else "reasoning"
        words = f"Counted one by one, they make {right}." if chance(text, "good") < 0.8 else "They make more."
        return correction(step=2, kind=kind, correction=words)
    if "Write between <Cause>" in text:
        way = "one by one" if chance(text, "own") < 0.1 else "in a hurry"
        return f"<Cause>I was too fast.</Cause><Correction>Counted {way} it is {right}.</Correction>"
    said = right if chance(seed, "right") < 0.3 else right + 1
    return template(said, ("I see both.", f"They make {said}, by {chance(seed):.4f}."))


def test_over_http_and_as_datasets_loads_it(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    from datasets import load_dataset

    school, cache = School(teach, faults=0.2), tmp_path / "cache"
    with schooling(school) as server:
        source, teacher = sums(60), speaker(server, "teacher", cache)
        student = speaker(server, "student", cache, temperature=0.7)
        tree = config(source, tmp_path / "pairs", stage="pairs", teacher=teacher, student=student, attempts=3, shard_rows=60, quality={"repeats": "count"})  # fmt: skip
        code, text = run_cli("build", tree)
        assert code == 0, text
        code, text = run_cli("build", config(source, tmp_path / "templates", teacher=teacher))
        assert code == 0, text
    assert set(school.answered.values()) == {1}
    dataset = open_dataset(str(tmp_path / "pairs"))
    rows = list(dataset.rows("train"))
    assert len(rows) >= 100 and len(list(open_dataset(str(tmp_path / "templates")).samples("train"))) >= 45
    assert sum(dataset.manifest["rejects"].values()) + len(rows) == 180
    assert dataset.manifest["quality"]["compared"]["found"]["an earlier row is the same"] > 0, (
        "it says little, and often"
    )
    counted = dataset.manifest["counted"]
    assert (
        counted["pairs, perception"] + counted["pairs, reasoning"] == len(rows)
        and counted["pairs, accepted in round 2"]
    )
    for row in rows:
        assert "one by one" in row["chosen"][0]["content"][0]["text"], row["chosen"]
        parts = [part["type"] for turn in row["prompt"] for part in turn["content"]]
        assert parts.count("image") == len(row["images"])
    files = [str(path) for path in sorted((tmp_path / "pairs/train").iterdir())]
    loaded = load_dataset("json", data_files=files, split="train", cache_dir=str(tmp_path / "hub"))
    assert len(loaded) == len(rows) and loaded[0]["chosen"][0]["role"] == "assistant"
    # TRL's trainer of preferences takes just these three of the columns that it knows
    assert {"prompt", "chosen", "rejected", "completion", "messages", "label"} & set(loaded.column_names) == PAIR


BAD = [
    ({"stage": "pairs"}, "stage is 'pairs' and no student is named"),
    ({"student": {"model": "tiny"}}, "stage 'templates' asks the teacher once; remove student"),
    ({"attempts": 2}, "stage 'templates' asks the teacher once; remove attempts"),
    ({"stage": "pairs", "student": {"model": "tiny"}, "attempts": 2}, "attempts=2 at temperature=0"),
    ({"leaks": ["("]}, "leaks holds '(', which is no regular expression"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "message"), BAD)
def test_bad_options(more: dict[str, Any], message: str, tmp_path: Path, run_cli: Cli) -> None:
    code, text = run_cli("build", config(tmp_path, tmp_path / "out", teacher={"model": "tiny"}, **more))
    assert code == 2 and message in text, text


def test_a_pair_that_is_not_whole() -> None:
    turn = [{"role": "user", "content": "Why?"}]
    with pytest.raises(UserError, match="row 'a' is no whole pair"):
        sample_from_row({"id": "a", "prompt": turn, "rejected": turn}, Path())
