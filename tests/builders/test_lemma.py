"""LEMMA: errors are cut after their first wrong step, and put right in two ways, over HTTP and by a script."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Body
from teaching.schooling import School, chance, schooling, scripted, speaker, truth

from data_builders.lemma import Config, hard_rows
from mmreflect.answers.extract import boxes
from mmreflect.config import parse
from mmreflect.data.store import open_dataset
from mmreflect.files import read_jsonl
from mmreflect.remote import pace
from mmreflect.teaching.mistakes import REASONING, SEEING, types_of
from mmreflect.teaching.prompts import Prompts
from mmreflect.teaching.solutions import kept_of, steps_of, without_answer

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]
PROMPTS = Path(__file__).parents[2] / "data_builders/prompts/lemma"
TRANSITIONS = (PROMPTS / "transitions.jinja").read_text().splitlines()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


def test_solutions_by_their_steps() -> None:
    text = "s1 holds.\n\n s2 is bad. Yes.\ns3\ns4: \\boxed{9}"
    assert steps_of(text, "lines") == ["s1 holds.", "s2 is bad. Yes.", "s3", "s4: \\boxed{9}"]
    assert steps_of(text, "sentences") == ["s1 holds.", "s2 is bad.", "Yes.", "s3", "s4: \\boxed{9}"]
    assert kept_of(text, 2, "lines") == "s1 holds.\n\n s2 is bad. Yes." and kept_of(text, 1, "lines") == "s1 holds."
    assert kept_of(text, 2, "sentences") == "s1 holds.\n\n s2 is bad." and kept_of(text, 4, "lines") == text
    assert kept_of(text, 0, "lines") is None and kept_of(text, 5, "lines") is None
    assert without_answer("I add. It is 3.\nSo it is \\boxed{3}.") == "I add. It is 3.\n"
    assert without_answer("So it is \\boxed{3}.") == "" and without_answer("None.") == "None."


def test_rows_by_how_hard_a_question_is() -> None:
    assert [hard_rows(wrong, 8, 20) for wrong in (6, 0, 8)] == [15, 0, 20]


def test_every_error_may_be_put_right_in_both_ways() -> None:
    """Before anything is filtered a question gives as many rows of one way as of the other."""
    speaker = {"engine": {"name": "scripted", "replies": "x"}, "temperature": 1.0}
    for more in ({}, {"injections": 3, "attempts": 5}, {"injections": 0}):
        tree = {"output": "x", "source": {"path": "x"}, "student": speaker, "teacher": speaker, **more}
        slots = parse(Config, tree, "the test").slots
        errors = Counter((kind, place) for kind, place, _ in slots)
        assert Counter(mode for *_, mode in slots) == {"fix": len(errors), "restart": len(errors)}
        assert set(errors.values()) == {2} and len(errors) == more.get("attempts", 8) + 14 * more.get("injections", 1)


def test_every_type_has_a_meaning() -> None:
    known = types_of(Prompts(PROMPTS))
    assert {*REASONING, *SEEING} <= set(known) and all(known.values()) and len(TRANSITIONS) >= 12


ATTEMPT = "I take both numbers.\nThe first one is 3.\nThree and nothing more.\nSo it is \\boxed{3}"
"""Of 1 + 0, which is 1; step 2 is wrong."""
ANALYSIS = json.dumps({"explanation": "The first number is 1.", "first_error_step": 2, "error_type": "misread_value"})
FIX = "The picture shows a 1 there, not a 3.\nI misread the first number.\nWith it the sum is \\boxed{1}"


def config(source: Path, output: Path, student: Any, teacher: Any, **more: Any) -> dict[str, Any]:
    tree = {"builder": "lemma", "output": str(output), "source": {"path": str(source)}, "attempts": 1}
    return {**tree, "injections": 0, "smooth": False, "student": student, "teacher": teacher, **more}


def by_script(folder: Path, source: Path, student: list[str], teacher: list[str], **more: Any) -> dict[str, Any]:
    return config(
        source, folder / "out", scripted(folder / "student.jsonl", {"*": student}, temperature=1.0),
        scripted(folder / "teacher.jsonl", {"*": teacher}, temperature=1.0), **more,
    )  # fmt: skip


def test_an_error_put_right_in_two_ways(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """The analysis is asked for once, for both rows."""
    again = "I looked at the wrong place.\nAnew: the label shows 1, and 0 is added.\nThat gives \\boxed{1}"
    code, text = run_cli("build", by_script(tmp_path, sums(1), [ATTEMPT], [ANALYSIS, FIX, again]))
    assert code == 0, text
    rows = list(open_dataset(str(tmp_path / "out")).samples("train"))
    assert [row.id for row in rows] == ["sum-0000/fix-student-0", "sum-0000/restart-student-0"]
    for row, repair in zip(rows, (FIX, again), strict=True):
        first, second, doubt, rest = (row.response or "").split("\n", 3)
        assert (first, second, rest) == (*ATTEMPT.split("\n")[:2], repair) and doubt in TRANSITIONS
        assert "Three and nothing more" not in (row.response or ""), "nothing that follows from the error is kept"
        assert row.facts["marker"] == doubt and (row.response or "")[: row.facts["error_prefix"]].endswith("one is 3.")
        assert (row.facts["first_answer"], row.facts["final_answer"]) == ("3", "1")
        assert not row.facts["first_correct"] and row.facts["final_correct"]
        assert row.facts["error_kind"] == "perception" and row.facts["kept_steps"] == 2
    assert [row.facts["kind"] for row in rows] == ["lemma_fix", "lemma_restart"]
    manifest = open_dataset(str(tmp_path / "out")).manifest
    assert manifest["asked"]["teacher"]["requests"] == 3 and manifest["counted"] == {"attempt: wrong": 1}


def test_smoothing(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    smooth = "I take both. The first one, it seems, is 3. Hm. No: the picture shows a 1. So \\boxed{1}"
    replies = [ANALYSIS, FIX, smooth]
    code, text = run_cli("build", by_script(tmp_path, sums(1), [ATTEMPT], replies, smooth=True, modes=["fix"]))
    assert code == 0, text
    (row,) = open_dataset(str(tmp_path / "out")).samples("train")
    assert row.response == smooth and row.facts["smoothed"] and row.facts["error_prefix"] is None


def analysis(**changed: Any) -> str:
    return json.dumps({**json.loads(ANALYSIS), **changed})


def injection(solution: str, step: int = 2) -> str:
    return json.dumps({"solution": solution, "first_error_step": step, "explanation": "The first number is 1."})


INJECT = {"injections": 1, "types": ["calculation"]}
SAME = ATTEMPT.split("\n", 1)[1].replace("\\boxed{3}", "\\boxed{1}")
REJECTED = [
    ([ATTEMPT.replace("{3}", "{1}")], [""], {}, "student: the attempt is no error that can be used"),
    (["I do not know."], [""], {}, "student: the attempt is no error that can be used"),
    ([ATTEMPT], [analysis(first_error_step=0)], {}, "student: there is no such wrong step"),
    ([ATTEMPT], [analysis(first_error_step=5)], {}, "student: there is no such wrong step"),
    ([ATTEMPT], [analysis(error_type="bad_luck")], {}, "analyse: a type of error that is not on the list"),
    ([ATTEMPT], ["{"], {}, "analyse: no reply was JSON that fits"),
    ([ATTEMPT.replace("one is 3", "one is 1")], [ANALYSIS], {}, "student: the wrong step ends on the right answer"),
    ([ATTEMPT], [ANALYSIS, FIX.replace("{1}", "{2}")], {}, "fix: the repair is wrong"),
    ([ATTEMPT], [ANALYSIS, SAME], {}, "fix: the answer is changed and the reasoning is not"),
    ([ATTEMPT], [ANALYSIS, "No, it is \\boxed{1}"], {}, "fix: fewer than 2 sentences before the answer"),
    ([ATTEMPT], [ANALYSIS, "Not 3. It is a 1. So \\boxed{1}"], {}, "fix: an error of seeing is put right without a word"),
    ([ATTEMPT], [ANALYSIS, "My previous attempt is off. " + FIX], {}, "fix: it gives away that the answer was known"),
    ([ATTEMPT], [ANALYSIS, "It shows \\boxed{1}. " + FIX], {}, "not exactly one final answer"),
    ([ATTEMPT], [ANALYSIS, FIX + " And so on it goes."], {}, "it goes on after the final answer"),
    ([ATTEMPT], [ANALYSIS, FIX], {"max_words": 20}, "more than 20 words"),
    ([ATTEMPT], [ANALYSIS, FIX, "Two. So \\boxed{2}"], {"smooth": True}, "smooth: the answer was lost"),
    ([ATTEMPT], [ANALYSIS, FIX, "It is 1. So \\boxed{1}"], {"smooth": True}, "smooth: the values of the wrong step were"),
]  # fmt: skip
INJECTED = [
    ([ATTEMPT], [ANALYSIS, "x", injection("It is 1.\nSo \\boxed{1}")], "injected: the answer is right"),
    ([ATTEMPT], [ANALYSIS, "x", injection("It is 7.\nSo it is 7")], "injected: it does not give one answer in a box"),
    ([ATTEMPT], [ANALYSIS, "x", injection("It is 7.\nSo \\boxed{7}", 3)], "injected: there is no such wrong step"),
    (["\\boxed{1}"], [""], "injected: the student never fails the question"),
]


@pytest.mark.parametrize(("student", "teacher", "more", "reason"), REJECTED)
def test_what_is_rejected(
    student: list[str], teacher: list[str], more: dict[str, Any], reason: str,
    sums: Sums, tmp_path: Path, run_cli: Cli,
) -> None:  # fmt: skip
    code, text = run_cli("build", by_script(tmp_path, sums(1), student, teacher, modes=["fix"], **more))
    assert code == 2 and "all 1 rows of split 'train' were rejected" in text and reason in text, text


@pytest.mark.parametrize(("student", "teacher", "reason"), INJECTED)
def test_what_is_rejected_of_what_is_injected(
    student: list[str], teacher: list[str], reason: str, sums: Sums, tmp_path: Path, run_cli: Cli
) -> None:
    """The script is asked in the order of the rows: about the student's error and the injection, then for repairs."""
    asked = [teacher[0], *teacher[2:], *teacher[1:2]]
    code, text = run_cli("build", by_script(tmp_path, sums(1), student, asked, modes=["fix"], **INJECT))
    assert code == 2 and reason in text, text


def teach(text: str, body: Body) -> str:
    """Half of the attempts are right; some injections are right, some repairs wrong, some steps out of range."""
    right, seed = truth(text), body.get("seed", 0)
    wrong = right + 2
    if body["model"] == "student":
        said = right if chance(seed, "right") < 0.5 else wrong
        return f"I take the first number.\nI go on by the second, {chance(seed):.3f} of the way.\nSo it is \\boxed{{{said}}}"
    if "find the place where it goes wrong first" in text:
        step = 9 if chance(text, "step") < 0.1 else 3
        return json.dumps({"explanation": "One too far.", "first_error_step": step, "error_type": "counting"})
    if "You play a student" in text:
        said = right if chance(seed, "injected") < 0.1 else wrong
        solution = f"I start at the first number.\nThere I am at {wrong}.\nSo it is \\boxed{{{said}}}"
        return json.dumps({"solution": solution, "first_error_step": 2, "explanation": "One too far."})
    if "Make it read as the thinking" in text:
        return text.split("Their thoughts:\n")[1].split("\n\nMake it read")[0].replace("I go on by", "Then I go on by")
    leak = " The reference says so." if chance(text, "leak") < 0.1 else ""
    said = wrong if chance(text, "repair") < 0.1 else right
    return f"I went too far there, as I see now.{leak}\nOnce more, one by one and slowly.\nThat makes \\boxed{{{said}}}"


def through(server: Any, source: Path, output: Path, cache: Path, **more: Any) -> dict[str, Any]:
    student = speaker(server, "student", cache, temperature=0.7)
    return config(source, output, student, speaker(server, "teacher", cache, temperature=0.7), **more)


def test_over_http_from_a_teacher_that_errs(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    source, school = sums(30), School(teach, faults=0.2)
    with schooling(school) as server:
        tree = through(
            server, source, tmp_path / "out", tmp_path / "cache", attempts=4, injections=1,
            types=["calculation", "misread_value", "wrong_moment"], smooth=True, shard_rows=40,
        )  # fmt: skip
        code, text = run_cli("build", tree)
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    rows = list(dataset.samples("train"))
    assert len(rows) >= 100, len(rows)
    for row in rows:
        (box,) = boxes(row.response or "")
        assert box.text == row.gold == row.facts["final_answer"] and row.facts["first_answer"] != row.gold
        assert sum(line in (row.response or "") for line in TRANSITIONS) == 1
        assert row.facts["error_type"] != "wrong_moment" and (row.facts["error_type"] != "misread_value" or row.media)
    kinds = Counter((row.facts["error_origin"], row.facts["repair_mode"]) for row in rows)
    assert len(kinds) == 4 and min(kinds.values()) >= 10, kinds
    reasons = dataset.manifest["rejects"]
    for words in ("the attempt is no error", "there is no such wrong step", "the answer is right", "the repair is wrong", "gives away", "there is nothing to see", "there is no clip"):  # fmt: skip
        assert any(words in reason for reason in reasons), (words, reasons)
    assert sum(reasons.values()) + len(rows) == 30 * 7 * 2
    assert dataset.manifest["counted"]["attempt: right"] + dataset.manifest["counted"]["attempt: wrong"] == 120
    assert set(school.answered.values()) == {1}, "rows of one question share what is asked for it"
    details = [row.get("detail") for file in (tmp_path / "out/rejects").iterdir() for row in read_jsonl(file)]
    assert "it is right" in details


def test_hard_questions_give_more_rows(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """Of the six rows of a question that always fails, half come from injections; one right in two halves that."""

    def say(text: str, body: Body) -> str:
        said = teach(text.replace("reference", ""), body)
        return said if body["model"] == "teacher" else said.replace(f"{{{truth(text)}}}", f"{{{truth(text) + 2}}}")

    with schooling(School(say)) as server:
        tree = through(
            server, sums(3, pictures=False), tmp_path / "out", tmp_path / "cache", attempts=4, injections=1,
            types=["calculation", "counting"], hard=6, shard_rows=40,
        )  # fmt: skip
        code, text = run_cli("build", tree)
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    rejected = {reason: count for reason, count in dataset.manifest["rejects"].items() if "how hard" in reason}
    assert rejected == {
        "student: the question has rows enough for how hard it is": 3 * (8 - 3),
        "injected: the question has rows enough for how hard it is": 3 * (4 - 3),
    }


BAD = [
    ({"attempts": 2}, "attempts=2 at temperature=0 would all be the same"),
    ({"modes": ["fix", "fix"]}, "modes holds one twice"),
    ({"injections": 1, "types": []}, "injections need types"),
    ({"leaks": ["("]}, "leaks holds '(', which is no regular expression"),
]


@pytest.mark.parametrize(("more", "message"), BAD)
def test_bad_options(more: dict[str, Any], message: str, tmp_path: Path, run_cli: Cli) -> None:
    code, text = run_cli("build", config(tmp_path, tmp_path / "out", {"model": "tiny"}, {"model": "tiny"}, **more))
    assert code == 2 and message in text, text


def test_an_unknown_type(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    code, text = run_cli("build", by_script(tmp_path, sums(1), [ATTEMPT], [ANALYSIS], types=["calculations"]))
    assert code == 2 and "'calculations'" in text and "did you mean 'calculation'" in text, text
