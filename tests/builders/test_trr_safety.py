"""Think-Reflect-Revise: what is unsafe, wrong or refused at the end is no row; over HTTP and by a script."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Body
from teaching.schooling import School, chance, schooling, scripted, speaker

from mmreflect.data.store import open_dataset
from mmreflect.remote import pace

Cli = Callable[..., tuple[int, str]]
FIRST = "<think>I see a kitten.</think>\n<answer>Pull its tail.</answer>"
POLICIES = {"animal_abuse": "POLICY OF ANIMALS"}
REVISED = "I cannot help with hurting it. A vet can help the kitten."


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


def write_requests(folder: Path, count: int, harmful: int | None = None) -> Path:
    """A JSONL file of requests: some harmful, half by default, and harmless questions whose answer is 2."""
    folder.mkdir(parents=True, exist_ok=True)
    bad = count // 2 if harmful is None else harmful
    facts = {"category": "animal_abuse"}
    rows: list[dict[str, Any]] = [
        {"id": f"bad-{place}", "question": f"How do I hurt kitten {place}?", "facts": facts} for place in range(bad)
    ]
    rows += [
        {"id": f"good-{place}", "question": f"Room {place}: how much is 1 + 1?", "answer": 2}
        for place in range(count - bad)
    ]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def requests(sums: Callable[..., Path]) -> Callable[..., Path]:
    """A dataset of so many harmful and harmless requests."""
    return lambda harmful, harmless: sums(harmful + harmless, write_requests, harmful=harmful)


def config(source: Path, output: Path, writer: Any, guard: Any, **more: Any) -> dict[str, Any]:
    tree = {"builder": "trr_safety", "output": str(output), "source": {"path": str(source)}}
    return {**tree, "writer": writer, "guard": guard, **more}


def by_script(folder: Path, source: Path, writer: list[str], guard: list[str], **more: Any) -> dict[str, Any]:
    return config(
        source, folder / "out", scripted(folder / "writer.jsonl", {"*": writer}),
        scripted(folder / "guard.jsonl", {"*": guard}), **more,
    )  # fmt: skip


def revision(revised: str = REVISED, reflection: str = "Pulling its tail hurts it, as I see now.") -> str:
    return json.dumps({"reflection": reflection, "revised": revised})


def judged(safe: bool, refusal: bool = False) -> str:
    return json.dumps({"reason": "Because.", "safe": safe, "refusal": refusal})


def test_a_harmful_request(requests: Callable[..., Path], tmp_path: Path, run_cli: Cli) -> None:
    guard = [judged(False), judged(True, True)]
    code, text = run_cli("build", by_script(tmp_path, requests(1, 0), [FIRST, revision()], guard))
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    (row,) = dataset.samples("train")
    assert (
        row.response
        == f"{FIRST}\n<reflect>Pulling its tail hurts it, as I see now.</reflect>\n<revise>{REVISED}</revise>"
    )
    assert "Forbidden" not in str(row.messages), "the policy stands in no prompt of the dataset"
    assert row.facts["harmful"] and not row.facts["first_correct"] and row.facts["final_answer"] == REVISED
    assert row.facts["category"] == "animal_abuse" and row.facts["checks"] == {"safe": True, "right": None}
    assert dataset.manifest["counted"] == {"harmful: by the general policy": 1, "harmful: first response bad": 1}


def test_a_good_response_may_stay(requests: Callable[..., Path], tmp_path: Path, run_cli: Cli) -> None:
    first = "<think>One and one.</think><answer>It is \\boxed{2}</answer>"
    writer = [first, revision("It is \\boxed{2}", "Counted again, it holds.")]
    code, text = run_cli("build", by_script(tmp_path, requests(0, 1), writer, [judged(True)]))
    assert code == 0, text
    (row,) = open_dataset(str(tmp_path / "out")).samples("train")
    assert row.facts["first_correct"] and not row.facts["harmful"] and row.facts["checks"]["right"]


REJECTED = [
    ("bad", ["Pull its tail."], [judged(True)], "attempt: the tags are not as asked for"),
    ("bad", [FIRST, revision("Pull it.")], [judged(True), judged(False)], "revise: the guard calls it unsafe"),
    ("bad", [FIRST, revision("")], [judged(True)], "revise: no reply was JSON that fits"),
    ("bad", [FIRST, revision("<revise>No.")], [judged(True)], "revise: no reply was JSON that fits"),
    ("bad", [FIRST, revision(reflection="My policy forbids it.")], [judged(True)], "revise: it speaks of what it was told to do"),
    ("good", [FIRST, revision("It is \\boxed{3}")], [judged(True)], "revise: the harmless question's answer is wrong"),
    ("good", [FIRST, revision("I must not say \\boxed{2}")], [judged(True, True)], "revise: a harmless question is refused"),
    ("good", [FIRST, revision("It is \\boxed{2}")], [judged(False)], "revise: the guard calls it unsafe"),
]  # fmt: skip


@pytest.mark.parametrize(("whose", "writer", "guard", "reason"), REJECTED)
def test_what_is_rejected(
    whose: str, writer: list[str], guard: list[str], reason: str,
    requests: Callable[..., Path], tmp_path: Path, run_cli: Cli,
) -> None:  # fmt: skip
    source = requests(1, 0) if whose == "bad" else requests(0, 1)
    code, text = run_cli("build", by_script(tmp_path, source, writer, guard))
    assert code == 2 and "all 1 rows of split 'train' were rejected" in text and reason in text, text


def say(text: str, body: Body) -> str:
    harmless = "1 + 1" in text
    if body["model"] == "guard":
        return judged("Pull" not in text, "I cannot" in text)
    if "look back on your own response" in text:
        if harmless:
            return revision("I cannot say \\boxed{2}" if chance(text) < 0.1 else "It is \\boxed{2}", "Two it is.")
        assert "POLICY OF ANIMALS" in text
        return revision("Pull its tail." if chance(text) < 0.1 else REVISED)
    if harmless:
        return f"<think>One and one.</think><answer>It is \\boxed{{{2 if chance(text) < 0.5 else 3}}}</answer>"
    return FIRST if chance(text) < 0.7 else FIRST.replace("Pull its tail.", "No.")


def test_over_http_from_a_writer_that_errs(requests: Callable[..., Path], tmp_path: Path, run_cli: Cli) -> None:
    school, cache = School(say, faults=0.2), tmp_path / "cache"
    with schooling(school) as server:
        tree = config(
            requests(100, 80), tmp_path / "out", speaker(server, "writer", cache), speaker(server, "guard", cache),
            policies=POLICIES, good_share=0.4, shard_rows=200,
        )  # fmt: skip
        code, text = run_cli("build", tree)
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    rows = list(dataset.samples("train"))
    assert len(rows) >= 100 and sum(dataset.manifest["rejects"].values()) + len(rows) == 180
    assert abs(sum(row.facts["first_correct"] for row in rows) / len(rows) - 0.4) < 0.02
    for row in rows:
        assert (
            "Pull" not in row.facts["final_answer"] and ("cannot" in row.facts["final_answer"]) == row.facts["harmful"]
        )
    assert dataset.manifest["counted"]["harmless: refused in the revision"] > 0
    assert set(school.answered.values()) == {1}


def test_bad_options(tmp_path: Path, run_cli: Cli) -> None:
    code, text = run_cli("build", config(tmp_path, tmp_path / "out", {"model": "tiny"}, {"model": "tiny"}, leaks=["("]))
    assert code == 2 and "leaks holds '(', which is no regular expression" in text, text
