"""Who speaks in a row, and rows whose parts are not what they should be, through the front door."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmreflect.data.roles import with_our_roles
from mmreflect.data.store import open_dataset, sample_from_row, split_response
from mmreflect.errors import UserError
from mmreflect.files import read_jsonl

Cli = Callable[..., tuple[int, str]]
Row = dict[str, Any]
ROLE = "a turn has a role that is none of ours"
NOBODY = "no turn is the user's"


def talk(*turns: tuple[str, str], **more: Any) -> Row:
    return {"messages": [{"role": role, "content": text} for role, text in turns], "answer": "7", **more}


TALKS: dict[str, tuple[Row, str | None]] = {
    "sharegpt": (talk(("human", "How many cats?"), ("gpt", r"\boxed{7}")), None),
    "capital": (talk(("System", "Be short."), ("User", "How many dogs?"), ("Assistant", r"\boxed{7}")), None),
    "wrong-gpt": (talk(("human", "How many owls?"), ("gpt", r"\boxed{8}")), "the final answer is wrong"),
    "wrong-capital": (talk(("user", "How many ants?"), ("Assistant", r"\boxed{9}")), "the final answer is wrong"),
    "bot": (talk(("user", "How many bees?"), ("bot", r"\boxed{7}")), ROLE),
    "model": (talk(("user", "How many bugs?"), ("model", r"\boxed{7}")), ROLE),
    "tool": (talk(("user", "How many bats?"), ("tool", "7"), ("assistant", r"\boxed{7}")), ROLE),
    "system": (talk(("system", "How many?")), NOBODY),
    "assistant": (talk(("assistant", r"\boxed{7}")), NOBODY),
}


@pytest.mark.parametrize("builder", ["rows", "mix"])
def test_roles_are_ours_or_the_row_is_none(builder: str, tmp_path: Path, run_cli: Cli) -> None:
    """No row passes the checks by the name of a role; what is surely ours under another name is checked as ours."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"id": name, **row}) + "\n" for name, (row, _) in TALKS.items()))
    own: Row = {"source": str(file), "validation": 0.0} if builder == "rows" else {"sources": {"mine": {"path": str(file)}}}  # fmt: skip
    code, text = run_cli("build", {"builder": builder, **own, "output": str(tmp_path / "out")})
    assert code == 0, text
    rows = {str(row["id"]).removeprefix("mine/"): row for row in open_dataset(str(tmp_path / "out")).rows("train")}
    assert list(rows) == ["sharegpt", "capital"]
    assert [turn["role"] for turn in rows["sharegpt"]["messages"]] == ["user", "assistant"]
    assert [turn["role"] for turn in rows["capital"]["messages"]] == ["system", "user", "assistant"]
    lines = list(read_jsonl(tmp_path / "out/rejects/train-00000.jsonl"))
    reasons = {str(line["id"]).removeprefix("mine/"): line["reason"].removeprefix("mine: ") for line in lines}
    assert reasons == {name: reason for name, (_, reason) in TALKS.items() if reason}
    (bot,) = (line for line in lines if str(line["id"]).endswith("bot"))
    assert bot["detail"].endswith("none of ours ('bot')") and "human and gpt are read as user" in bot["expected"]
    checks = open_dataset(str(tmp_path / "out")).manifest["quality"]["checks"]["answer"]
    assert checks == {"failed": 2, "passed": 2}


def test_translating_leaves_what_is_no_turn() -> None:
    turns = [{"role": " GPT ", "content": "x", "name": "y"}, {"role": 5}, 7, {"content": ""}]
    assert with_our_roles(turns) == [{"role": "assistant", "content": "x", "name": "y"}, *turns[1:]]
    assert with_our_roles("text") == "text" and with_our_roles(None) is None


def test_a_stored_row_of_nobody_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="row 'q': a turn has a role that is none of ours"):
        split_response([{"role": "gpt", "content": "x"}], "q")
    pair = {"id": "p", "prompt": [{"role": "user", "content": "q"}], "images": [], "videos": []}
    sides = {"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]}
    with pytest.raises(UserError, match="row 'p': the chosen side does not end on the assistant's turn"):
        sample_from_row(pair | sides, Path())
    with pytest.raises(UserError, match="row 'p': a turn is no mapping with role and content"):
        sample_from_row(pair | {"chosen": sides["rejected"], "rejected": ["b"]}, Path())


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_pair_whose_side_is_not_the_assistants(side: str, tmp_path: Path, run_cli: Cli) -> None:
    reply = {name: [{"role": "gpt", "content": rf"\boxed{{{number}}}"}] for name, number in (("chosen", 7), ("rejected", 8))}  # fmt: skip
    good = {"id": "good", "prompt": [{"role": "human", "content": "How many?"}], **reply, "answer": "7"}
    bad = good | {"id": "bad", side: [{"role": "user", "content": "7"}]}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (good, bad)))
    tree = {"builder": "mix", "sources": {"mine": {"path": str(tmp_path / "rows.jsonl")}}}
    code, text = run_cli("build", {**tree, "output": str(tmp_path / "out")})
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    assert [row["id"] for row in dataset.rows("train")] == ["mine/good"]
    assert dataset.manifest["rejects"] == {"mine: a side of the pair does not end on the assistant's turn": 1}


NO_PARTS: list[tuple[Row, str]] = [
    ({"images": "x.png"}, "'images' is no list of paths"),
    ({"images": [5]}, "'images' is no list of paths"),
    ({"images": {"(": 1}}, "'images' is no list of paths"),
    ({"videos": 5}, "'videos' is no list of paths"),
    ({"facts": [1]}, "facts is no mapping"),
    ({"facts": "none :)"}, "facts is no mapping"),
    ({"messages": 5}, "messages is no list of turns"),
    ({"messages": "(("}, "messages is no list of turns"),
    ({"question": None, "messages": 5}, "messages is no list of turns"),
    ({"question": None, "messages": {"a": 1}}, "messages is no list of turns"),
    ({"question": float("nan")}, "the row has neither 'messages' nor a 'question'"),
    ({"messages": [{"role": "user"}]}, "a turn is no mapping with role and content"),
    ({"messages": ["x"]}, "a turn is no mapping with role and content"),
    ({"messages": [{"role": "user", "content": 3}]}, "the content of a turn is neither text nor a list of parts"),
    ({"messages": [{"role": "user", "content": [3]}]}, "a part of a turn is no text, image or video"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "a part of a turn is no text, image or video"),
    ({"facts": {"error_prefix": "x"}}, "facts.error_prefix is no length of its response's beginning"),
    ({"facts": {"error_prefix": -1}}, "facts.error_prefix is no length of its response's beginning"),
    ({"facts": {"error_prefix": True}}, "facts.error_prefix is no length of its response's beginning"),
    ({"facts": {"error_prefix": 10}}, "facts.error_prefix is no length of its response's beginning"),
]


def test_reasons_say_what_is_wrong(tmp_path: Path, run_cli: Cli) -> None:
    """Each is the same for all such rows, and the row's own value stands beside it."""
    good = [{"id": f"good-{n}", "question": f"{n}?", "answer": "7", "response": r"\boxed{7}", "facts": {"error_prefix": n}} for n in (0, 9)]  # fmt: skip
    rows = [*good, *({"id": f"r{n}", "question": f"{n}, so?", "answer": "7", "response": r"\boxed{7}", **row} for n, (row, _) in enumerate(NO_PARTS))]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tree = {"builder": "rows", "source": str(tmp_path / "rows.jsonl"), "validation": 0.0}
    code, text = run_cli("build", {**tree, "output": str(tmp_path / "out")})
    assert code == 0, text
    assert [row["id"] for row in open_dataset(str(tmp_path / "out")).rows("train")] == ["good-0", "good-9"]
    lines = {line["id"]: line for line in read_jsonl(tmp_path / "out/rejects/train-00000.jsonl")}
    assert {name: line["reason"] for name, line in lines.items()} == {
        f"r{n}": reason for n, (_, reason) in enumerate(NO_PARTS)
    }
    assert lines["r3"]["detail"] == "'videos' is no list of paths (5)" and "('x')" in lines["r16"]["detail"]


def test_an_error_prefix_that_is_no_number_ends_no_training_in_a_traceback() -> None:
    """A set of others, which no build of ours has looked over."""
    turns = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "7"}]
    row = {"id": "e", "messages": turns, "facts": {"error_prefix": "x"}}
    with pytest.raises(UserError, match=r"row 'e': facts\.error_prefix is no length of its response's beginning"):
        sample_from_row(row, Path())
