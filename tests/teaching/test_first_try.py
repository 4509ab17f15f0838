"""Thoughts cut after the i-th candidate, and what the candidates of all rollouts show."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Body
from teaching.schooling import School, chance, schooling, scripted, speaker, truth

from mmreflect import recipes
from mmreflect.data.store import open_dataset
from mmreflect.files import read_jsonl
from mmreflect.reflection.transitions import Step
from mmreflect.remote import pace
from mmreflect.teaching.steps import Said

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


def config(source: Path, output: Path, policy: Any, **more: Any) -> dict[str, Any]:
    return {"builder": "first_try", "output": str(output), "source": {"path": str(source)}, "policy": policy, **more}


def test_candidates_by_lines() -> None:
    leaf = recipes.load("builder", "first_try")
    lines = ["m is 2.", "n is 3.", "So m + n = 5", "Let me check that.", "Hence the answer is 5.", r"\boxed{6}"]
    assert leaf.candidate_lines(lines) == [(2, "5"), (4, "5"), (5, "6")]
    assert leaf.thoughts_of(Said("<think>\na\nb\n</think>\nc")) == ("a\nb", "\nc")
    assert leaf.thoughts_of(Said("c", reasoning="a")) == ("a", "c")
    assert leaf.thoughts_of(Said("<think>a")) is None and leaf.thoughts_of(Said("a</think> ")) is None


def test_statistics_of_candidates() -> None:
    """Gold 13, candidates [12, 12, 15, 13, 13]: two of four confirm, one of four corrects, P(F->T) is 1/3."""
    leaf = recipes.load("builder", "first_try")
    steps = [Step.KEPT_WRONG, Step.CHANGED_WRONG, Step.CORRECTED, Step.KEPT_RIGHT]
    counted = {f"step {step}": 1 for step in steps} | {
        "rollouts": 2, "rollouts without a candidate": 1, "candidates": 5, "last right": 1,
        "first line, millionths": 603279, "characters": 200, "characters after the first": 50,
    }  # fmt: skip
    found = leaf.statistics(counted)
    assert (found["confirmatory"], found["corrective"], found["p_corrected"]) == (0.5, 0.25, 0.333333)
    assert (found["first_accuracy"], found["final_accuracy"], found["gain"]) == (0, 1, 1)
    assert found["first_line"] == 0.603279 and found["spent_after_first"] == 0.25 and found["candidates"] == 5
    assert leaf.statistics({})["p_corrected"] is None and leaf.statistics({"rollouts": 3})["steps"]["F->T"] is None


THOUGHTS = "<think>\nadd\nsee\nSo it is 2\nwait\nx\ny\nThus it is 1\nz\nHence it is 1\nend\n</think>\nIt is \\boxed{1}"


@pytest.mark.parametrize("finish", ["ask", "prefill"])
def test_a_cut_by_a_script(finish: str, sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """Candidates stand in lines 3, 7 and 9: cut at 2 keeps lines 1 to 7; there is no fourth."""
    source = sums(1)
    policy = scripted(tmp_path / "policy.jsonl", {"sum-0000": [THOUGHTS, "Two: \\boxed{2}", "So: \\boxed{1}"]})
    tree = config(source, tmp_path / "out", policy, cuts=[1, 2, 4], more_than=1, finish=finish)
    code, text = run_cli("build", tree)
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    (sample,) = dataset.samples("train")
    kept = THOUGHTS.partition("\nz\n")[0]
    assert sample.id == "sum-0000/cut-2" and sample.response == f"{kept}\n</think>\n\nSo: \\boxed{{1}}"
    facts = sample.facts
    assert facts["candidates"] == ["2", "1", "1"] and facts["steps"] == ["F->T", "T->T"]
    assert (facts["first_correct"], facts["final_correct"], facts["kept_lines"], facts["lines"]) == (False, True, 7, 10)
    assert list(dataset.manifest["rejects"]) == [
        "no rollout ends right, states that more than 1 times and has candidate 4",
        "the candidate at the cut is wrong",
    ]
    found = dataset.manifest["counted"]
    assert found["rollouts"] == 1 and found["p_corrected"] == 1 and found["gain"] == 1 and found["first_line"] == 0.3


def think(text: str, body: Body) -> str:
    right = truth(text)
    if "your thoughts end here" in text:
        return f"It is \\boxed{{{right if chance(text, 'finish') < 0.9 else right + 1}}}"
    if "Find every line" in text:
        numbered = [line.partition(": ") for line in text.splitlines() if line[:1].isdigit()]
        found = [(int(number), line.split()[-1]) for number, _, line in numbered if "it is" in line]
        return str({"candidates": [{"line": line, "answer": answer} for line, answer in found]}).replace("'", '"')
    first = right if chance(text, "first") < 0.7 else right + 1
    lines = ["I add both.", f"So it is {first}", *(f"Checked again, thus it is {right}" for _ in range(8))]
    return "<think>\n" + "\n".join(lines) + f"\n</think>\nThe sum is \\boxed{{{right}}}"


@pytest.mark.parametrize("count", [14, pytest.param(50, marks=pytest.mark.slow)])
def test_over_http_with_a_teacher_that_finds_candidates(count: int, sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    source, school = sums(count), School(think, faults=0.2)
    with schooling(school) as server:
        speakers = {part: speaker(server, part, tmp_path / "cache") for part in ("policy", "teacher")}
        tree = config(source, tmp_path / "out", speakers["policy"], teacher=speakers["teacher"], extractor="teacher", cuts=[1, 2, 6])  # fmt: skip
        code, text = run_cli("build", tree)
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    samples = list(dataset.samples("train"))
    assert len(samples) >= (100 if count == 50 else 20) and set(school.answered.values()) == {1}
    found = dataset.manifest["counted"]
    assert found["rollouts"] == count and found["rules_agree_with_teacher"] == 1 and found["candidates"] == 9
    assert found["gain"] == round(1 - found["first_accuracy"], 6) > 0
    assert any("another answer than the candidate" in reason for reason in dataset.manifest["rejects"])


def test_sets_that_are_equal_in_tokens(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """120 tokens for each cut, in shards of 8 and 4 rows 80 and 40: a shard leaves less over than its smallest row."""
    with schooling(School(think)) as server:
        policy = speaker(server, "policy", tmp_path / "cache")
        tree = config(sums(6), tmp_path / "out", policy, cuts=[1, 3], more_than=1, tokens=120, shard_rows=8)
        code, text = run_cli("build", tree)
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    spent: dict[tuple[str, int], list[int]] = {}
    for shard in dataset.manifest["splits"]["train"]["shards"]:
        for row in read_jsonl(tmp_path / "out" / shard["file"]):
            spent.setdefault((shard["file"][-7], row["facts"]["cut"]), []).append(row["facts"]["tokens"])
    assert {shard for shard, _ in spent} == {"0", "1"}
    for (shard, _), tokens in spent.items():
        assert sum(tokens) <= (80 if shard == "0" else 40)
    found = dataset.manifest["counted"]["tokens_by_cut"]
    assert found == {str(cut): sum(sum(spent.get((shard, cut), [])) for shard in "01") for cut in (1, 3)}
    assert dataset.manifest["rejects"]["not drawn: the set has its tokens"] > 0


BAD = [
    ({"cuts": [1, 1]}, "cuts holds one twice"),
    ({"cuts": []}, "cuts: list should have at least 1 item"),
    ({"samples": 2}, "samples=2 at temperature=0 would all be the same"),
    ({"extractor": "teacher"}, "extractor: teacher and a teacher belong together"),
]


@pytest.mark.parametrize(("more", "message"), BAD)
def test_bad_options(more: dict[str, Any], message: str, tmp_path: Path, run_cli: Cli) -> None:
    code, text = run_cli("build", config(tmp_path, tmp_path / "out", {"model": "tiny"}, **more))
    assert code == 2 and message in text, text


def test_a_server_takes_no_words_in_its_mouth(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    policy = {"engine": {"name": "openai", "server": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}}}
    code, text = run_cli("build", config(sums(1), tmp_path / "out", policy, finish="prefill"))
    assert code == 2 and "engine 'openai' cannot go on from thoughts" in text and "set finish=ask" in text
