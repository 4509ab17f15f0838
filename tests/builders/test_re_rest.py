"""Re-ReST: right solutions, repairs of failed ones, lessons for the reflector; over HTTP and by a script."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Body
from teaching.schooling import School, chance, schooling, scripted, speaker, truth

from mmreflect.answers.extract import boxes
from mmreflect.data.store import open_dataset
from mmreflect.remote import pace

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]
OPENER = "Reflection: I should have"
RIGHT = "One and nothing more are one.\nSo it is \\boxed{1}"
WRONG = "I put both digits side by side.\nSo it is \\boxed{10}"
OTHER = "I take the larger one twice.\nSo it is \\boxed{2}"
REPAIR = f"{OPENER} added the numbers.\n\nSolution:\nI add 0 to 1, which changes nothing.\nSo it is \\boxed{{1}}"
SOLUTION = REPAIR.split("Solution:\n")[1]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


def config(source: Path, output: Path, agent: Any, reflector: Any, **more: Any) -> dict[str, Any]:
    tree = {"builder": "re_rest", "output": str(output), "source": {"path": str(source)}}
    return {**tree, "agent": agent, "reflector": reflector, **more}


def by_script(folder: Path, source: Path, agent: list[str], reflector: list[str], **more: Any) -> dict[str, Any]:
    return config(
        source, folder / "out", scripted(folder / "agent.jsonl", {"*": agent}, temperature=1.0),
        scripted(folder / "reflector.jsonl", {"*": reflector}, temperature=1.0), **more,
    )  # fmt: skip


def built(folder: Path) -> dict[str, Any]:
    return {sample.id: sample for sample in open_dataset(str(folder)).samples("train")}


def test_one_right_one_repaired_one_not(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """Outputs [1, 0, 0] and repairs [-, 1, 0] by some order of the failures: one row of each kind, one rejected."""
    tree = by_script(
        tmp_path,
        sums(1),
        [RIGHT, WRONG, OTHER, "It is \\boxed{1}"],
        [REPAIR, REPAIR.replace("{1}", "{2}")],
        max_repairs=2,
    )
    code, text = run_cli("build", tree)
    assert code == 0, text
    rows = built(tmp_path / "out")
    assert list(rows) == ["sum-0000/agent-0", "sum-0000/repair-0"]
    assert rows["sum-0000/agent-0"].response == RIGHT and rows["sum-0000/agent-0"].facts["first_correct"]
    repair = rows["sum-0000/repair-0"]
    assert repair.response == SOLUTION and OPENER not in str(repair.messages)
    assert repair.facts["kind"] == "reflector_repair" and repair.facts["attempt"] in (WRONG, OTHER)
    assert repair.facts["first_answer"] in ("10", "2") and not repair.facts["first_correct"]
    manifest = open_dataset(str(tmp_path / "out")).manifest
    assert manifest["rejects"] == {"agent: the sample is wrong, or failed": 2, "repair: the answer is wrong": 1}
    assert manifest["counted"] == {"sample: right": 1, "sample: wrong": 2}
    assert manifest["asked"]["agent"]["requests"] == 4 and manifest["asked"]["reflector"]["requests"] == 2


@pytest.mark.parametrize(
    ("agent", "origin", "reply"),
    [
        ([RIGHT, WRONG, WRONG], "own", f"{OPENER} worked it out as follows.\n\nSolution:\n{RIGHT}"),
        ([WRONG, WRONG, WRONG, "\\boxed{1}"], "repair", REPAIR),
    ],
)
def test_lessons_for_the_reflector(
    agent: list[str], origin: str, reply: str, sums: Sums, tmp_path: Path, run_cli: Cli
) -> None:
    code, text = run_cli("build", by_script(tmp_path, sums(1), agent, [REPAIR], kinds=["reflector"]))
    assert code == 0, text
    (row,) = built(tmp_path / "out").values()
    assert row.response == reply and row.facts["repair_mode"] == origin
    asked = row.question
    assert WRONG in asked and "is 10, which is wrong" in asked and "The right answer is 1." in asked


REJECTED = [
    ([RIGHT], ["x"], {}, "repair: the agent has not failed so often"),
    ([WRONG], [SOLUTION], {}, "repair: it is not a reflection and a solution as asked for"),
    ([WRONG], [REPAIR.replace("I should", "You should")], {}, "repair: it is not a reflection and a solution"),
    ([WRONG], [REPAIR.replace("{1}", "{10}")], {}, "repair: the answer is wrong"),
    ([WRONG], [REPAIR.split("Solution:")[0] + "Solution:\n\\boxed{1}"], {}, "repair: there is nothing but the answer"),
    ([WRONG], [REPAIR.split("Solution:")[0] + "Solution:\n" + WRONG.replace("{10}", "{1}")], {}, "the reasoning is not"),
    ([WRONG, "From this: \\boxed{10}"], [REPAIR], {}, "repair: its reasoning does not lead to its answer"),
    ([WRONG], [REPAIR.replace("I add 0", "By the answer key I add 0")], {}, "it gives away that the answer was known"),
    ([WRONG], [REPAIR], {"max_words": 5}, "more than 5 words"),
]  # fmt: skip


@pytest.mark.parametrize(("agent", "reflector", "more", "reason"), REJECTED)
def test_what_is_rejected(
    agent: list[str], reflector: list[str], more: dict[str, Any], reason: str,
    sums: Sums, tmp_path: Path, run_cli: Cli,
) -> None:  # fmt: skip
    code, text = run_cli("build", by_script(tmp_path, sums(1), agent, reflector, kinds=["repair"], samples=1, **more))
    assert code == 2 and "all 1 rows of split 'train' were rejected" in text and reason in text, text


def test_the_verdict_alone(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    agent = ["I do not know.", "\\boxed{1}"]
    tree = by_script(tmp_path, sums(1), agent, [REPAIR], kinds=["reflector"], samples=1, feedback="verdict")
    code, text = run_cli("build", tree)
    assert code == 0, text
    (row,) = built(tmp_path / "out").values()
    assert "gives no final answer" in row.question and "right answer is" not in row.question


def teach(text: str, body: Body) -> str:
    """A third of the solutions are right; some repairs are wrong, copied, or without a reflection."""
    right, seed = truth(text), body.get("seed", 0)
    if "Repair it" in text:
        if chance(text, "copy") < 0.15:
            start = text.index("I take the first"), text.index("\\boxed")
            return f"{OPENER} been careful.\n\nSolution:\n{text[slice(*start)]}\\boxed{{{right}}}"
        opener = "" if chance(text, "opener") < 0.1 else OPENER
        said = right + 1 if chance(text, "wrong") < 0.1 else right
        return f"{opener} counted.\n\nSolution:\nCounting on from the first one, step by step.\nThis makes \\boxed{{{said}}}"
    if "only the conclusion is missing" in text:
        return f"It is \\boxed{{{right + (chance(text, 'conclude') < 0.1)}}}"
    said = right if chance(seed, "right") < 0.33 else right + 1
    return f"I take the first number and go on by the second, {chance(seed):.4f} of it.\nThat is \\boxed{{{said}}}"


def test_over_http_from_a_reflector_that_errs(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    school = School(teach, faults=0.2)
    with schooling(school) as server:
        tree = config(
            sums(60), tmp_path / "out", speaker(server, "agent", tmp_path / "cache", temperature=0.7),
            speaker(server, "reflector", tmp_path / "cache"), kinds=["agent", "repair", "reflector"], shard_rows=100,
        )  # fmt: skip
        code, text = run_cli("build", tree)
    assert code == 0, text
    rows = built(tmp_path / "out")
    kinds = Counter(row.facts["kind"] for row in rows.values())
    assert len(rows) >= 100 and set(kinds) == {"agent_solution", "reflector_repair", "reflector"}, kinds
    for row in rows.values():
        (box,) = boxes(row.response)
        assert box.text == row.gold == row.facts["final_answer"] and len(row.media) == int(row.id[7]) % 2
    manifest = open_dataset(str(tmp_path / "out")).manifest
    for words in ("the answer is wrong", "the reasoning is not", "as asked for", "does not lead to its answer"):
        assert any(words in reason for reason in manifest["rejects"]), manifest["rejects"]
    assert sum(manifest["rejects"].values()) + len(rows) == 60 * 5
    assert set(school.answered.values()) == {1}
    assert sum(manifest["counted"].values()) == 180


BAD = [
    ({}, "samples=3 at temperature=0 would all be the same"),
    ({"samples": 1, "kinds": ["repair", "repair"]}, "kinds holds one twice"),
    ({"samples": 1, "kinds": ["agent"]}, "none of the kinds asks it"),
    ({"samples": 1, "max_repairs": 2}, "max_repairs=2 is above samples=1"),
    ({"samples": 1, "leaks": ["("]}, "leaks holds '(', which is no regular expression"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "message"), BAD)
def test_bad_options(more: dict[str, Any], message: str, tmp_path: Path, run_cli: Cli) -> None:
    code, text = run_cli("build", config(tmp_path, tmp_path / "out", {"model": "tiny"}, {"model": "tiny"}, **more))
    assert code == 2 and message in text, text
