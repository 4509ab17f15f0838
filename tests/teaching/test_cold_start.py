r"""Four kinds of cold-start data: what is chosen, and exactly one \boxed{} at the end."""

import re
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
RIGHT = "I take the first number and count on from it, one by one, and so get the sum of both: \\boxed{1}"
OTHER = "Put both rows of dots side by side. All dots together, every single one of them counted, are \\boxed{1}"
WRONG = "One and nothing more must surely be more than one, as far as I see it: \\boxed{2}"
ALIKE = f"So {RIGHT}"
LONG = "Once more, slowly, I take the first number and count on from it until the second one is spent: \\boxed{1}"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


def config(source: Path, output: Path, teacher: Any, **more: Any) -> dict[str, Any]:
    return {"builder": "cold_start", "output": str(output), "source": {"path": str(source)}, "teacher": teacher, **more}


def built(folder: Path) -> dict[str, Any]:
    return {sample.id: sample for sample in open_dataset(str(folder)).samples("train")}


def test_the_kinds_by_a_script(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """Question `sum-0000` is 1 + 0, without a picture; every speaker says in order what stands here."""
    teacher = [RIGHT + " or \\boxed{1}", ALIKE, RIGHT, OTHER, WRONG, "I said two, but nothing was added.", LONG]
    policy = {"sum-0000": [WRONG, "No idea.", RIGHT, WRONG]}
    tree = config(
        sums(1), tmp_path / "out",
        scripted(tmp_path / "teacher.jsonl", {"sum-0000": teacher}, temperature=1.0),
        policy=scripted(tmp_path / "policy.jsonl", policy, temperature=1.0),
        kinds=["distilled", "reflection", "self_critic"], per_question=2, samples=4,
    )  # fmt: skip
    code, text = run_cli("build", tree)
    assert code == 0, text
    rows = built(tmp_path / "out")
    assert list(rows) == ["sum-0000/distilled", "sum-0000/distilled-2", "sum-0000/reflection", "sum-0000/self_critic"]
    said = {name.partition("/")[2]: sample.response for name, sample in rows.items()}
    assert said["distilled"] == RIGHT, "the shortest with one box"
    assert said["distilled-2"] == OTHER, "what is like the first is left out"
    wrong, link, right = said["reflection"].split("\n\n")
    assert (wrong, right) == (WRONG.replace("\\boxed{2}", "2"), RIGHT)
    assert link in (Path(__file__).parents[2] / "data_builders/prompts/cold_start/links.jinja").read_text().splitlines()
    assert said["self_critic"] == f"{WRONG.replace(chr(92) + 'boxed{2}', '2')}\n\n{teacher[5]}\n\n{LONG}"
    facts = {name.partition("/")[2]: sample.facts for name, sample in rows.items()}
    assert [facts[kind]["first_correct"] for kind in said] == [True, True, False, False]
    assert [facts[kind]["first_answer"] for kind in said] == ["1", "1", "2", "2"]
    assert facts["reflection"]["provenance"]["attempt_id"][1] == "sum-0000/teacher#2"
    assert (
        facts["reflection"]["provenance"]["sampler"]["n"] == 4
        and "n" not in facts["self_critic"]["provenance"]["sampler"]
    )
    manifest = open_dataset(str(tmp_path / "out")).manifest
    assert manifest["asked"]["teacher"]["requests"] == 7, "what two rows of a question want is asked once"
    assert manifest["counted"]["reflection: policy's samples right"] == 1


REJECTED = [
    ("distilled", [WRONG], {}, "distilled: no right solution that can be chosen"),
    ("distilled", ["So: \\boxed{1}"], {}, "distilled: no right solution that can be chosen"),
    ("reflection", [RIGHT], {}, "reflection: no wrong attempt"),
    ("reflection", [WRONG], {}, "reflection: no right solution"),
    ("caption", [RIGHT], {}, "caption: there is nothing to describe"),
    ("self_critic", [WRONG, "Hm.", WRONG, "Hm.", WRONG], {}, "self_critic: the last revision is wrong"),
    ("self_critic", ["No idea."], {}, "self_critic: the attempt gives no answer in a box"),
    ("distilled", [RIGHT], {"max_tokens": 50}, "not 32 to 50 tokens"),
    ("distilled", ["我们把两个数加起来，一个一个地数下去，最后得到这两个数的和，也就是答案，请看这里：\\boxed{1}"], {}, "in another script"),
    ("distilled", ["The ground truth says that it is one, so that must be it: \\boxed{1}"], {}, "it gives away that the answer was known"),
    ("distilled", ["I add one and one and one and one. " * 5 + "\\boxed{1}"], {}, "it repeats itself"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "replies", "more", "reason"), REJECTED)
def test_what_is_rejected(
    kind: str, replies: list[str], more: dict[str, Any], reason: str, sums: Sums, tmp_path: Path, run_cli: Cli
) -> None:
    teacher = scripted(tmp_path / "teacher.jsonl", {"*": replies}, temperature=1.0)
    tree = config(sums(1), tmp_path / "out", teacher, kinds=[kind], samples=len(replies), **more)
    code, text = run_cli("build", tree)
    assert code == 2 and "all 1 rows of split 'train' were rejected" in text and reason in text, text


def test_a_caption_and_its_answer(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """`sum-0001` is 1 + 1 and has a picture: its description may not say 2, unless that is allowed."""
    says = {"sum-0000": ["x"], "sum-0001": ["There are 2 dots on it.", RIGHT.replace("{1}", "{2}")]}
    source = sums(2)
    for allowed, code in (("reject", 2), ("allow", 0)):
        teacher = scripted(tmp_path / "teacher.jsonl", says)
        tree = config(source, tmp_path / allowed, teacher, kinds=["caption"], gold_in_caption=allowed)
        found, text = run_cli("build", tree)
        assert found == code, text
        assert code == 0 or "caption: the description says the answer" in text
    (sample,) = built(tmp_path / "allow").values()
    assert sample.response == f"<caption>There are 2 dots on it.</caption>\n{says['sum-0001'][1]}"
    assert len(sample.media) == 1 and sample.facts["kind"] == "caption"


def teach(text: str, body: Body) -> str:
    right, seed = truth(text), body.get("seed", 0)
    seen = "I look at the first number and go on by the second one, step by step, until nothing is left of it. On my fingers I check that none of them was counted twice. "
    if "Describe what is visible" in text:
        return "A small square of one colour, and nothing else on it at all."
    if "Go through it critically" in text:
        return "I check the sum again. The last step looks doubtful to me."
    if "improved solution" in text:
        return f"{seen}Done anew, the sum is \\boxed{{{right if chance(text, 'revise') < 0.8 else right + 1}}}"
    answer = right if chance(text, seed, body["model"]) < (0.3 if body["model"] == "policy" else 0.6) else right + 1
    return f"{seen}{'Carefully. ' * int(3 * chance(seed, 'long'))}So it is \\boxed{{{answer}}}"


@pytest.mark.parametrize("count", [14, pytest.param(60, marks=pytest.mark.slow)])
def test_over_http_from_a_teacher_that_errs(count: int, sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    source, school = sums(count), School(teach, faults=0.2)
    with schooling(school) as server:
        tree = config(
            source, tmp_path / "out", speaker(server, "teacher", tmp_path / "cache", temperature=1.0),
            policy=speaker(server, "policy", tmp_path / "cache", temperature=1.0),
            kinds=["distilled", "reflection", "caption", "self_critic"], samples=3, shard_rows=80,
        )  # fmt: skip
        code, text = run_cli("build", tree)
    assert code == 0, text
    rows = built(tmp_path / "out")
    kinds = [sample.facts["kind"] for sample in rows.values()]
    assert len(rows) >= (100 if count == 60 else 20) and set(kinds) == {
        "distilled",
        "reflection",
        "caption",
        "self_critic",
    }
    for sample in rows.values():
        (box,) = boxes(sample.response)
        assert box.text == sample.gold == sample.facts["final_answer"] and box.end == len(sample.response)
    critics = [sample.facts["first_correct"] for sample in rows.values() if sample.facts["kind"] == "self_critic"]
    assert count < 60 or 0.2 <= sum(critics) / len(critics) <= 0.4, critics
    assert set(school.answered.values()) == {1}
    assert all(re.fullmatch(r"sum-\d{4}/\w+", name) for name in rows)


def test_a_question_is_never_in_two_shards(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """Two rows a question and three rows a shard: the shards take four, so that an engine here samples just once."""
    teacher = scripted(tmp_path / "teacher.jsonl", {"*": [RIGHT, OTHER]}, temperature=1.0)
    tree = config(sums(3), tmp_path / "out", teacher, kinds=["distilled"], per_question=2, samples=2, shard_rows=3)
    code, text = run_cli("build", tree)
    assert code == 0 and "2 of at most 4 rows" in text, text
    manifest = open_dataset(str(tmp_path / "out")).manifest
    assert manifest["asked"]["teacher"]["requests"] == 3 * 2 and manifest["config"]["shard_rows"] == 4
    assert [shard["rows"] for shard in manifest["splits"]["train"]["shards"]] == [2, 0]


BAD = [
    ({"kinds": ["distilled", "distilled"]}, "kinds holds one twice"),
    ({"kinds": ["destilled"]}, "kinds.0"),
    ({"samples": 4}, "samples=4 at temperature=0 would all be the same"),
    ({"kinds": ["self_critic"], "critic": "policy"}, "critic is 'policy' and no policy is named"),
    ({"kinds": ["caption"], "policy": {"model": "tiny"}}, "none of the kinds asks it"),
    ({"kinds": ["caption"], "leaks": ["("]}, "leaks holds '(', which is no regular expression"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "message"), BAD)
def test_bad_options(more: dict[str, Any], message: str, tmp_path: Path, run_cli: Cli) -> None:
    code, text = run_cli("build", config(tmp_path, tmp_path / "out", {"model": "tiny"}, **more))
    assert code == 2 and message in text, text
